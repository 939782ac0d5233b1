# SPDX-License-Identifier: Apache-2.0
"""The control client: blocking, for commands that ask one thing and end."""

from __future__ import annotations

import os
import socket
import stat
from typing import TYPE_CHECKING, Any

from g3.control.messages import MAX_ANSWER, ControlError, parse_answer, request

if TYPE_CHECKING:
    from pathlib import Path

#: Seconds to wait for an answer: a reload may resolve names and load files.
TIMEOUT = 300.0


class NotConnected(Exception):
    """The daemon cannot be reached; the message says where and why."""


class ControlClient:
    """A connection to one daemon. Use as a context manager."""

    def __init__(self, path: Path, timeout: float = TIMEOUT) -> None:
        """
        @raise NotConnected: nobody is there, or the socket belongs to neither us nor root.
        """
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout)
        try:
            _check(path)
            self._socket.connect(str(path))
        except OSError as error:
            self._socket.close()
            raise NotConnected(f"failed to connect to control socket {path}: {error.strerror or error}") from error
        self._stream = self._socket.makefile("rb")

    def __enter__(self) -> ControlClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()
        self._socket.close()

    def call(self, command: str, **arguments: Any) -> Any:
        """The result of a command.

        @raise ControlError: the daemon refused, or the answer is none.
        @raise NotConnected: the connection broke or the answer took too long.
        """
        try:
            self._socket.sendall(request(command, arguments))
            line = self._stream.readline(MAX_ANSWER + 1)
        except OSError as error:
            raise NotConnected(f"no answer from the daemon: {error.strerror or error}") from error
        if not line.endswith(b"\n"):
            if len(line) > MAX_ANSWER:
                raise ControlError("the answer is too long")
            raise NotConnected("the daemon closed the connection without an answer")
        return parse_answer(line)


def _check(path: Path) -> None:
    info = path.lstat()
    if not stat.S_ISSOCK(info.st_mode):
        raise OSError(None, "not a socket")
    if info.st_uid not in (0, os.geteuid()) and os.geteuid() != 0:
        raise OSError(None, f"it belongs to uid {info.st_uid}")
