# SPDX-License-Identifier: Apache-2.0
"""Being told of files: by the real kernel, without a reactor."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from g3.net.inotify import CLOSE_WRITE, CREATE, MOVED_TO, DirectoryWatch


class NoReactor:
    """Takes descriptors and asks none."""

    def addReader(self, reader: Any) -> None:
        """Noted by nobody."""

    removeReader = addReader


class DirectoryWatchTests(SynchronousTestCase):
    """One directory."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.names: list[tuple[str, int]] = []
        self.lost: list[bool] = []
        self.watch = DirectoryWatch(NoReactor(), self.directory, lambda name, mask: self.names.append((name, mask)), self.lost.append)
        self.addCleanup(self.watch.stop)

    def test_what_is_told(self) -> None:
        """Made, written, moved in; with the file's name whatever its bytes."""
        (self.directory / "a").write_bytes(b"x")
        (self.directory / "a").rename(self.directory / "b")
        name = os.fsdecode(b"\xff\xfe")
        (self.directory / name).symlink_to("b")
        self.watch.doRead()
        self.assertEqual(self.names, [("a", CREATE), ("a", CLOSE_WRITE), ("b", MOVED_TO), (name, CREATE)])
        self.watch.doRead()
        self.assertEqual(len(self.names), 4)

    def test_a_directory_that_goes_is_told_once(self) -> None:
        """Removed or moved away; the descriptor is given back."""
        self.directory.rmdir()
        self.watch.doRead()
        self.assertEqual((self.lost, self.watch.fileno()), ([True], -1))

    def test_what_cannot_be_watched(self) -> None:
        """Nothing, and a file."""
        path = self.directory / "file"
        path.write_bytes(b"")
        before = len(list(Path("/proc/self/fd").iterdir()))
        for wrong in (path, self.directory / "nowhere"):
            with self.assertRaises(OSError) as caught:
                DirectoryWatch(NoReactor(), wrong, print, print)
            self.assertEqual(caught.exception.filename, str(wrong))
        self.assertEqual(len(list(Path("/proc/self/fd").iterdir())), before)
