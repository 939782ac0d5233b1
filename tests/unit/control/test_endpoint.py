# SPDX-License-Identifier: Apache-2.0
"""Where control sockets may be, and who removes them."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import tempfile
from pathlib import Path
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from g3.control.endpoint import MAX_PATH, ControlSocket, check_directory, clear_left, make_directory, shared_name, unique_name
from g3.errors import ConfigError


class DirectoryCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.top = Path(tempfile.mkdtemp(prefix="g3c"))
        self.addCleanup(shutil.rmtree, self.top, ignore_errors=True)
        self.directory = self.top / "control"

    def refuse(self, what: str) -> None:
        with self.assertRaises(ConfigError) as caught:
            make_directory(self.directory)
        self.assertIn(what, str(caught.exception))


class DirectoryTests(DirectoryCase):
    def test_it_is_made_for_us_alone(self) -> None:
        """Mode 0700 whatever the umask; parents are made."""
        old = os.umask(0)
        self.addCleanup(os.umask, old)
        make_directory(self.directory / "below")
        self.assertEqual(stat.S_IMODE((self.directory / "below").stat().st_mode), 0o700)

    def test_one_of_ours_is_used_again(self) -> None:
        """Also when others can look into it, as below /run."""
        self.directory.mkdir(mode=0o755)
        make_directory(self.directory)

    def test_a_relative_path_is_refused(self) -> None:
        """It must be absolute."""
        with self.assertRaises(ConfigError):
            check_directory(Path("control"))

    def test_a_file_is_refused(self) -> None:
        """It must be a directory."""
        self.directory.touch()
        self.refuse("no directory")

    def test_a_symbolic_link_is_refused(self) -> None:
        """Even to a directory of ours: who made the link could move it."""
        (self.top / "real").mkdir(mode=0o700)
        self.directory.symlink_to(self.top / "real")
        self.refuse("symbolic link")

    def test_one_that_others_can_write_to_is_refused(self) -> None:
        """They could replace the socket."""
        self.directory.mkdir()
        self.directory.chmod(0o777)
        self.refuse("can be written by others")

    def test_one_of_another_user_is_refused(self) -> None:
        """Its owner could replace the socket."""
        self.directory.mkdir(mode=0o700)
        with patch("os.geteuid", return_value=os.geteuid() + 1):
            self.refuse("belongs to uid")

    def test_one_of_the_user_we_become_is_used(self) -> None:
        """Made by a start before, given to that user then."""
        self.directory.mkdir(mode=0o700)
        owner = os.geteuid()
        with patch("os.geteuid", return_value=owner + 1):
            check_directory(self.directory, successor=owner)


class SocketTests(DirectoryCase):
    def setUp(self) -> None:
        super().setUp()
        make_directory(self.directory)
        self.path = self.directory / "a.sock"

    def make(self, *, replace: bool = False) -> ControlSocket:
        made = ControlSocket(self.path, replace=replace)
        self.addCleanup(made.close)
        return made

    def test_the_socket_is_for_us_alone(self) -> None:
        """Mode 0600 from the moment it exists."""
        self.make()
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o600)

    def test_closing_removes_the_file(self) -> None:
        """And again is nothing."""
        control = self.make()
        control.close()
        control.close()
        self.assertFalse(self.path.exists())

    def test_a_successors_file_is_left_alone(self) -> None:
        """Only the inode we made is removed."""
        control = self.make()
        successor = self.make(replace=True)
        control.close()
        self.assertTrue(self.path.exists())
        self.assertTrue(successor.ours)
        self.assertFalse(control.ours)

    def test_a_live_socket_is_not_replaced_unless_asked(self) -> None:
        """The unique socket of a daemon that lives is an error."""
        self.make()
        with self.assertRaises(ConfigError) as caught:
            self.make()
        self.assertIn("already exists", str(caught.exception))

    def test_a_dead_socket_is_replaced(self) -> None:
        """What a crash left behind does not stop the next daemon with that pid."""
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(self.path))
        self.assertTrue(self.make().ours)

    def test_a_link_or_file_in_its_place_is_refused_and_kept(self) -> None:
        """Whoever put it there, it is not ours to remove."""
        victim = self.top / "victim"
        victim.touch()
        self.path.symlink_to(victim)
        for replace in (True, False):
            with self.assertRaises(ConfigError):
                self.make(replace=replace)
        self.assertTrue(self.path.is_symlink())
        self.path.unlink()
        self.path.touch()
        with self.assertRaises(ConfigError):
            self.make(replace=True)
        self.assertTrue(self.path.exists())

    def test_a_socket_of_another_user_is_refused(self) -> None:
        """It is not replaced even when asked."""
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(self.path))
        with patch("os.geteuid", return_value=os.geteuid() + 1), self.assertRaises(ConfigError):
            self.make(replace=True)
        self.assertTrue(self.path.exists())

    def test_a_path_that_is_too_long_is_told(self) -> None:
        """A socket address has room for so much."""
        with self.assertRaises(ConfigError) as caught:
            ControlSocket(self.directory / ("x" * MAX_PATH), replace=False)
        self.assertIn(str(MAX_PATH), str(caught.exception))


class NameTests(SynchronousTestCase):
    def test_names_are_those_of_upstream(self) -> None:
        """The group without a name shares the socket called _."""
        self.assertEqual(unique_name("", 7), "_7.sock")
        self.assertEqual(unique_name("a", 7), "a_7.sock")
        self.assertEqual(shared_name("a"), "a.sock")
        self.assertEqual(shared_name(""), "_.sock")


class LeftTests(DirectoryCase):
    def test_only_what_a_killed_daemon_of_the_group_left_is_removed(self) -> None:
        """Nobody listens, and nobody has its number; files and sockets of others stay."""
        make_directory(self.directory)
        nobody = 4194305
        dead = [unique_name("g", nobody)]
        kept = [unique_name("g", os.getpid()), unique_name("h", nobody), unique_name("g_g", nobody), shared_name("g"), unique_name("g", 0) + "x"]
        for name in dead + kept:
            with socket.socket(socket.AF_UNIX) as left:
                left.bind(str(self.directory / name))
        alive = ControlSocket(self.directory / unique_name("g", nobody + 1), replace=False)
        self.addCleanup(alive.close)
        (self.directory / unique_name("g", nobody + 2)).write_text("no socket")
        clear_left(self.directory, "g")
        found = {path.name for path in self.directory.iterdir()}
        self.assertEqual(found, {*kept, alive.path.name, unique_name("g", nobody + 2)})
