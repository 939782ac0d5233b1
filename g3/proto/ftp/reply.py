# SPDX-License-Identifier: Apache-2.0
"""Replies on the control connection (RFC 959 section 4.2), and the commands they answer."""

from __future__ import annotations

import re
from typing import NamedTuple

from g3.errors import ProtocolError

_FIRST = re.compile(rb"([1-5][0-9][0-9])(?:([ -])(.*))?", re.DOTALL)
_BREAKS = re.compile(rb"[\r\n\0]")


class FTPError(ProtocolError):
    """The server's bytes are no FTP, or too many; or what is to be said cannot be said in FTP."""

    status = 502


class Reply(NamedTuple):
    """A whole reply; C{lines} without the code in the first and the last of them, and without line ends."""

    code: int
    lines: tuple[bytes, ...]

    @property
    def text(self) -> str:
        """The first line, printable and short, for logs."""
        return "".join(char if char.isprintable() else "?" for char in self.lines[0][:80].decode("utf-8", "replace"))


class ReplyReader:
    """Takes bytes with L{feed}, gives whole replies with L{next}; what nobody has asked for yet waits as it came.

    Bounds: C{max_line} bytes of a line, its end included, and C{max_lines} lines of a reply. How much waits is the caller's to bound, by
    L{waiting}.
    """

    __slots__ = ("_at", "_code", "_data", "_lines", "max_line", "max_lines")

    def __init__(self, max_line: int = 2048, max_lines: int = 128) -> None:
        self.max_line, self.max_lines = max_line, max_lines
        self._data = b""
        self._at = 0
        self._code = b""
        self._lines: list[bytes] = []

    @property
    def waiting(self) -> int:
        """Bytes not looked at yet."""
        return len(self._data) - self._at

    def feed(self, data: bytes) -> None:
        """More bytes of the server's."""
        self._data = self._data[self._at :] + data
        self._at = 0

    def next(self) -> Reply | None:
        """The next reply, None as long as it is not there whole.

        @raise FTPError: it is none, or too large.
        """
        while (line := self._line()) is not None:
            if self._add(line):
                lines, self._lines = tuple(self._lines), []
                return Reply(int(self._code), lines)
            if len(self._lines) >= self.max_lines:
                raise FTPError("ftp reply: too many lines")
        return None

    def _line(self) -> bytes | None:
        end = self._data.find(b"\n", self._at, self._at + self.max_line) + 1
        if not end:
            if self.waiting >= self.max_line:
                raise FTPError("ftp reply: line too long")
            return None
        line, self._at = self._data[self._at : end], end
        return line.rstrip(b"\r\n")

    def _add(self, line: bytes) -> bool:
        """Whether this line ends the reply."""
        found = _FIRST.fullmatch(line)
        if self._lines:
            if found is None or found[1] != self._code or found[2] == b"-":
                self._lines.append(line)
                return False
        elif found is None:
            raise FTPError("ftp reply: no reply code")
        else:
            self._code = found[1]
        self._lines.append(found[3] or b"")
        return found[2] != b"-"


def command(word: bytes, argument: bytes | None = None) -> bytes:
    """The line of a command.

    @raise FTPError: the argument would be more than one line (status 400: it is the client's).
    """
    if argument is None:
        return word + b"\r\n"
    if _BREAKS.search(argument):
        raise FTPError("ftp: CR, LF or NUL in an argument", 400)
    return b"%b %b\r\n" % (word, argument)
