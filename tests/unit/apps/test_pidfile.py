# SPDX-License-Identifier: Apache-2.0
"""The pid file: whole, and ours only while it says so; who launched us hears of us; the log file is shared at an upgrade."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from twisted.python.logfile import LogFile
from twisted.trial.unittest import SynchronousTestCase

from g3.apps.launch import Launch, close_other_end
from g3.apps.logfile import append_to
from g3.apps.pidfile import PidFile
from g3.errors import ConfigError


class PidFileTests(SynchronousTestCase):
    def setUp(self) -> None:
        directory = Path(self.mktemp())
        directory.mkdir()
        self.path = directory / "x.pid"
        self.file = PidFile(str(self.path))

    def test_it_is_written_whole_and_removed(self) -> None:
        """Nothing is left beside it."""
        self.file.check()
        self.file.write()
        self.assertEqual(self.path.read_text(), f"{os.getpid()}\n")
        self.assertEqual(list(self.path.parent.iterdir()), [self.path])
        self.file.remove()
        self.assertEqual(list(self.path.parent.iterdir()), [])

    def test_that_of_another_stays(self) -> None:
        """A successor has written its own there."""
        self.file.write()
        self.path.write_text("1\n")
        self.file.remove()
        self.assertTrue(self.path.exists())

    def test_a_process_that_lives_is_not_overwritten(self) -> None:
        """But for the one that we take over from; one that is gone is no hindrance, nor is our own number after a restart in a container."""
        self.path.write_text(f"{os.getppid()}\n")
        self.assertIn("is running", str(self.assertRaises(ConfigError, self.file.check)))
        self.file.check([os.getppid()])
        for text in ("4194305", str(os.getpid()), ""):
            self.path.write_text(text)
            self.file.check()

    def test_a_file_that_is_none_is_left_alone(self) -> None:
        """Somebody mistyped the option."""
        self.path.write_text("root:x:0:0:\n")
        self.assertIn("holds something else", str(self.assertRaises(ConfigError, self.file.check)))

    def test_a_directory_that_is_not_there_is_told(self) -> None:
        """With its name."""
        error = self.assertRaises(ConfigError, PidFile(str(self.path.parent / "no" / "x")).write)
        self.assertIn("No such file or directory", str(error))

    def test_a_directory_that_became_forbidden_is_no_hindrance(self) -> None:
        """A start as root made the file ours: it is written in place, and a longer pid leaves nothing behind."""
        self.path.write_text("4194304\n" * 3)

        def forbidden(path: Path) -> None:
            raise PermissionError(13, "Permission denied", str(path))

        self.patch(self.file, "_replace", forbidden)
        self.file.write()
        self.assertEqual(self.path.read_text(), f"{os.getpid()}\n")

    def test_without_a_path_nothing_happens(self) -> None:
        """No file was asked for."""
        none = PidFile("")
        none.check()
        none.write()
        none.remove()


class LaunchTests(SynchronousTestCase):
    def test_the_first_word_counts(self) -> None:
        """The pipe is closed behind it."""
        ours, theirs = os.pipe()
        launch = Launch(theirs)
        launch.good()
        launch.over("g3proxy")
        self.assertEqual(os.read(ours, 100), b"0")
        self.assertEqual(os.read(ours, 100), b"")
        os.close(ours)

    def test_an_end_without_a_word_is_told(self) -> None:
        """Who launched us would wait for ever."""
        ours, theirs = os.pipe()
        Launch(theirs).over("g3proxy")
        self.assertEqual(os.read(ours, 100), b"1 g3proxy was told to end before it served")
        os.close(ours)

    def test_the_other_end_of_a_pipe_is_closed(self) -> None:
        """And no other pipe's."""
        ours, theirs = os.pipe()
        others = os.pipe()
        close_other_end(ours)
        self.assertEqual(os.read(ours, 1), b"")
        self.assertRaises(OSError, os.fstat, theirs)
        for descriptor in (ours, *others):
            os.close(descriptor)


class LogFileTests(SynchronousTestCase):
    def test_two_who_write_do_not_write_over_each_other(self) -> None:
        """Also when the second began while the first was writing; other files are left alone."""
        path, other = Path(self.mktemp()), Path(self.mktemp())
        logs = [LogFile.fromFullPath(str(path)) for _ in range(2)]
        with other.open("wb", 0) as file:
            append_to(path)
            for log in (*logs, *logs):
                log.write("line\n")
            self.assertEqual(path.read_text(), "line\n" * 4)
            self.assertFalse(fcntl.fcntl(file, fcntl.F_GETFL) & os.O_APPEND)
        for log in logs:
            log.close()

    def test_a_file_that_is_not_there_is_no_error(self) -> None:
        """twistd logs somewhere else."""
        append_to(Path("/nowhere/twistd.log"))
