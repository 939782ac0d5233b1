# SPDX-License-Identifier: Apache-2.0
"""The bounds of a directory listing, which is passed on as it comes."""

from __future__ import annotations

from g3.proto.ftp.reply import FTPError


class ListingReader:
    """Counts: lines of C{max_line} bytes at most, their ends included, and C{max_entries} of them."""

    __slots__ = ("_entries", "_open", "max_entries", "max_line")

    def __init__(self, max_line: int = 2048, max_entries: int = 1024) -> None:
        self.max_line, self.max_entries = max_line, max_entries
        #: Bytes of the line that has no end yet.
        self._open = 0
        self._entries = 0

    def feed(self, data: bytes) -> None:
        """@raise FTPError: the listing is too large."""
        *ended, rest = data.split(b"\n")
        for line in ended:
            self._check(self._open + len(line) + 1)
            self._open = 0
        self._entries += len(ended)
        self._open += len(rest)
        self._check(self._open)
        if self._entries + bool(self._open) > self.max_entries:
            raise FTPError("ftp listing: too many entries")

    def _check(self, length: int) -> None:
        if length > self.max_line:
            raise FTPError("ftp listing: line too long")
