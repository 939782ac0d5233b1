# SPDX-License-Identifier: Apache-2.0
"""Control sockets in the file system: where they are, who may own them, and removing only what is ours.

The directory is one we made (0700) or one of ours that others cannot write to; the socket is 0600. A symbolic link, or anything of
another user, is refused: in C{/tmp} anybody may have put it there.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from contextlib import suppress
from pathlib import Path

from g3.errors import ConfigError

#: Where upstream puts control sockets unless told otherwise.
DEFAULT_DIRECTORY = Path("/tmp/g3")
#: sockaddr_un has 108 bytes, one of them the end.
MAX_PATH = 107
#: Connections waiting to be accepted.
BACKLOG = 16


def unique_name(group: str, pid: int) -> str:
    """The socket that every daemon has."""
    return f"{group}_{pid}.sock"


def shared_name(group: str) -> str:
    """The socket of the daemon that serves a group now; C{_} for the group without a name."""
    return f"{group or '_'}.sock"


def check_group(group: str) -> None:
    """See that a group name can be part of a file name. Raises ConfigError."""
    if "/" in group or not group.isprintable():
        raise ConfigError(f"daemon group {group!r} cannot be part of a file name")


def check_place(path: Path) -> None:
    """See that a path can be a control directory, whoever owns it. Raises ConfigError: it is relative."""
    if not path.is_absolute():
        raise ConfigError(f"control directory {path} is not an absolute path")


def check_directory(path: Path, successor: int | None = None) -> None:
    """See that a directory may hold our sockets; C{path} need not exist.

    @param successor: the user we are about to become, who may own it as well.
    @raise ConfigError: it is relative, no directory, a link, somebody else's, or others can write to it.
    """
    check_place(path)
    try:
        info = path.lstat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigError(f"control directory {path}: {error.strerror}") from error
    if stat.S_ISLNK(info.st_mode):
        raise ConfigError(f"control directory {path} is a symbolic link, which may lead anywhere; name the directory itself")
    if not stat.S_ISDIR(info.st_mode):
        raise ConfigError(f"control directory {path} exists and is no directory")
    if info.st_uid not in (os.geteuid(), successor):
        raise ConfigError(f"control directory {path} belongs to uid {info.st_uid}, not to us (uid {os.geteuid()}); choose another with --control-dir")
    if info.st_mode & 0o022:
        raise ConfigError(f"control directory {path} can be written by others (mode {stat.S_IMODE(info.st_mode):04o}); run chmod go-w {path}")


def make_directory(path: Path, successor: int | None = None) -> None:
    """Make the directory, 0700, parents as the umask has it; one that exists is checked. Raises ConfigError."""
    check_directory(path, successor)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700)
    except FileExistsError:
        pass
    except OSError as error:
        raise ConfigError(f"control directory {path} cannot be made: {error.strerror}") from error
    # Checked again: between look and make somebody else may have been there first.
    check_directory(path, successor)


def clear_left(directory: Path, group: str) -> None:
    """Remove the sockets of daemons of that group that were killed: nobody listens on them, and there is no process of that number. What cannot
    be removed stays."""
    for path in directory.glob("*.sock"):
        pid = path.name.removeprefix(f"{group}_").removesuffix(".sock")
        if not pid.isascii() or not pid.isdecimal() or path.name != unique_name(group, int(pid)) or lives(int(pid)):
            continue
        with suppress(OSError):
            if stat.S_ISSOCK(path.lstat().st_mode) and not _is_alive(path):
                path.unlink()


class ControlSocket:
    """A listening unix socket, mode 0600. C{close} removes the file only while it is the one we made."""

    def __init__(self, path: Path, *, replace: bool) -> None:
        """
        @param replace: take the place of a socket of ours that is there (the shared one); else only of one where nobody listens any more.
        @raise ConfigError: something else is there, or it cannot be made.
        """
        if len(os.fsencode(path)) > MAX_PATH:
            raise ConfigError(f"control socket path {path} is longer than {MAX_PATH} bytes")
        _clear(path, replace=replace)
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            self._bind()
        except OSError as error:
            self.socket.close()
            raise ConfigError(f"control socket {path}: {error.strerror}") from error

    def _bind(self) -> None:
        # The file gets its mode when it is made, so that there is no moment in which others could connect.
        old = os.umask(0o177)
        try:
            self.socket.bind(str(self.path))
        finally:
            os.umask(old)
        info = self.path.lstat()
        self._identity = (info.st_dev, info.st_ino)
        self.socket.listen(BACKLOG)

    @property
    def ours(self) -> bool:
        """Whether the file is still the one we made."""
        try:
            info = self.path.lstat()
        except OSError:
            return False
        return (info.st_dev, info.st_ino) == self._identity

    def chown(self, uid: int, gid: int) -> None:
        """Give the file to the user the daemon is about to become."""
        if self.ours:
            os.chown(self.path, uid, gid, follow_symlinks=False)

    def close(self) -> None:
        """Stop listening; remove the file if it is ours. Again: nothing."""
        if self.socket.fileno() < 0:
            return
        if self.ours:
            self.path.unlink(missing_ok=True)
        self.socket.close()


def _clear(path: Path, *, replace: bool) -> None:
    try:
        info = path.lstat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigError(f"control socket {path}: {error.strerror}") from error
    if not stat.S_ISSOCK(info.st_mode):
        what = "a symbolic link" if stat.S_ISLNK(info.st_mode) else "no socket"
        raise ConfigError(f"control socket path {path} is {what}; it was left alone")
    if info.st_uid != os.geteuid():
        raise ConfigError(f"control socket {path} belongs to uid {info.st_uid}, not to us")
    if not replace and _is_alive(path):
        raise ConfigError(f"control socket path {path} already exists, and somebody listens on it")
    path.unlink(missing_ok=True)


def lives(pid: int) -> bool:
    """Whether there is a process of that number."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _is_alive(path: Path) -> bool:
    """Whether somebody listens: a daemon that crashed leaves its socket, and a pid comes again (in a container always the same one)."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        return probe.connect_ex(str(path)) not in (errno.ECONNREFUSED, errno.ENOENT)
