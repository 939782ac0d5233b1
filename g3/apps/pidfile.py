# SPDX-License-Identifier: Apache-2.0
"""The pid file: whole at every moment, taken over at an upgrade, removed only while it holds our pid.

It is ours and not twistd's, which writes it in place and refuses to start beside the daemon that is to be taken over from.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from twisted.logger import Logger

from g3.control.endpoint import lives
from g3.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Collection

log = Logger()


class PidFile:
    """@param path: where it is; nothing is done when it is empty. @param owner: uid and gid (None: as it is) of the process once it runs."""

    def __init__(self, path: str, owner: tuple[int | None, int | None] = (None, None)) -> None:
        self._path = Path(path) if path else None
        self._owner = owner

    def check(self, before: Collection[int] = ()) -> None:
        """See that nobody else has it.

        @param before: pids that may: of the daemon that we take over from.
        @raise ConfigError: a process that lives has it, or it is no pid file.
        """
        if self._path is None:
            return
        pid = self._held()
        if pid is not None and pid not in (os.getpid(), *before) and lives(pid):
            raise ConfigError(f"pid file {self._path}: process {pid} is running")

    def write(self) -> None:
        """Have our pid in it. Raises ConfigError."""
        if self._path is None:
            return
        try:
            self._replace(self._path)
        except PermissionError as error:
            # A user that may not write to the directory: the file itself was made ours by a start as root.
            try:
                self._overwrite(self._path)
            except OSError:
                raise self._refusal(error) from error
        except OSError as error:
            raise self._refusal(error) from error

    def remove(self) -> None:
        """Remove it while it holds our pid. Never raises."""
        if self._path is None:
            return
        try:
            if self._held() == os.getpid():
                self._path.unlink()
        except (OSError, ConfigError) as error:
            log.warn("pid file {path} cannot be removed: {error}", path=self._path, error=getattr(error, "strerror", error))

    def _held(self) -> int | None:
        """The pid in it; None when there is none."""
        if self._path is None:
            return None
        try:
            text = self._path.read_bytes()[:64].strip()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._refusal(error) from error
        if text and not text.isdigit():
            raise ConfigError(f"pid file {self._path} holds something else; it was left alone")
        return int(text) if text else None

    def _replace(self, path: Path) -> None:
        new = path.with_name(f".{path.name}.{os.getpid()}")
        new.unlink(missing_ok=True)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            with os.fdopen(descriptor, "wb") as file:
                uid, gid = self._owner
                if uid is not None or gid is not None:
                    os.fchown(descriptor, -1 if uid is None else uid, -1 if gid is None else gid)
                file.write(b"%d\n" % os.getpid())
            new.replace(path)
        except OSError:
            with suppress(OSError):
                new.unlink()
            raise

    @staticmethod
    def _overwrite(path: Path) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            # No reader finds less than a pid: the new one is there before what is left of a longer one goes.
            written = os.write(descriptor, b"%d\n" % os.getpid())
            os.ftruncate(descriptor, written)
        finally:
            os.close(descriptor)

    def _refusal(self, error: OSError) -> ConfigError:
        return ConfigError(f"pid file {self._path}: {error.strerror or error}")
