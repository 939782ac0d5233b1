# SPDX-License-Identifier: Apache-2.0
"""Keys from a directory: which files, with which warnings, and what comes while it is watched."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from g3.errors import ConfigError
from g3.interfaces import IKeyStore
from g3.keyless import local
from g3.keyless.common import Common
from g3.keyless.config import Backend, LocalStoreConfig
from g3.keyless.local import LocalStore
from g3.testing.streams import pump
from g3.tree.node import NodeContext
from tests.unit.keyless.world import key, pem
from tests.unit.net.reactors import Readers


class FakeReactor(Readers):
    """What is added is read when something has happened."""

    def settle(self) -> None:
        """Everything that happened is told and worked on."""
        for reader in list(self.readers):
            reader.doRead()
        pump(self)


class Notes:
    """A process log that is a list."""

    def __init__(self) -> None:
        self.notes: list[tuple[str, str]] = []

    def __getattr__(self, level: str) -> Any:
        return lambda text, **values: self.notes.append((level, text.format(**values)))

    def of(self, level: str) -> list[str]:
        return [text for at, text in self.notes if at == level]


class StoreTestCase(SynchronousTestCase):
    """A directory and a store of it."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.reactor = FakeReactor()
        self.common = Common(self.reactor, 0, Backend())
        self.log = Notes()
        self.patch(LocalStore, "log", self.log)

    def put(self, name: str, data: bytes, mode: int = 0o600) -> Path:
        path = self.directory / name
        path.write_bytes(data)
        path.chmod(mode)
        return path

    def make(self, **options: Any) -> LocalStore:
        """A store, prepared and started."""
        store = LocalStore(LocalStoreConfig(name="local", dir_path=self.directory, **options), NodeContext(reactor=self.reactor, common=self.common))
        verifyObject(IKeyStore, store)
        store.prepare()
        store.startService()
        self.addCleanup(store.stopService)
        return store

    def has(self, *kinds: str) -> None:
        """These are the keys there are."""
        self.assertEqual(set(self.common.ring.by_ski), {key(kind).ski for kind in kinds})


class LoadTests(StoreTestCase):
    """What is loaded."""

    def test_files_named_key_in_any_case(self) -> None:
        """And no others, none that is deeper, none without a name."""
        self.put("a.key", pem("rsa2048"))
        self.put("B.KEY", pem("p256"))
        self.put("c.pem", pem("p384"))
        self.put(".key", pem("p384"))
        (self.directory / "d.key").mkdir()
        self.put("d.key/e.key", pem("p384"))
        self.make()
        self.has("rsa2048", "p256")

    def test_links_to_files_are_followed(self) -> None:
        """Links to nowhere are told."""
        target = self.put("elsewhere", pem("p256"))
        (self.directory / "a.key").symlink_to(target.resolve())
        (self.directory / "b.key").symlink_to(self.directory / "nowhere")
        self.make()
        self.has("p256")
        self.assertEqual(len(self.log.of("warn")), 1)

    def test_what_cannot_be_loaded_is_told_and_passed_over(self) -> None:
        """Junk, a pipe nobody writes to, an empty file; by name, without content."""
        self.put("a.key", b"secret junk")
        self.put("b.key", b"")
        os.mkfifo(self.directory / "c.key")
        self.put("d.key", pem("p256"))
        self.make()
        self.has("p256")
        warnings = self.log.of("warn")
        self.assertEqual([name for name in "abc" if f"{name}.key" in "".join(warnings)], list("abc"))
        self.assertNotIn("secret", "".join(warnings))

    def test_a_file_that_others_may_read_is_warned_of(self) -> None:
        """By name and with its mode; it is loaded."""
        for mode in (0o644, 0o640, 0o604):
            self.log.notes.clear()
            self.put("a.key", pem("p256"), mode)
            self.make()
            self.has("p256")
            self.assertEqual(len(self.log.of("warn")), 1)
            self.assertIn(f"a.key is not safe: others may read it (mode {mode:04o})", self.log.of("warn")[0])

    def test_strict_permissions_leave_it_out(self) -> None:
        """What only its owner may read is loaded."""
        self.put("a.key", pem("p256"), 0o644)
        self.put("b.key", pem("rsa2048"), 0o400)
        self.make(strict_key_permissions=True)
        self.has("rsa2048")
        self.assertIn("a.key", self.log.of("error")[0])

    def test_a_directory_that_is_gone_is_an_error(self) -> None:
        """With its name; watched or not."""
        self.directory.rmdir()
        for watch in (False, True):
            with self.assertRaises(ConfigError) as caught:
                self.make(watch=watch)
            self.assertIn(str(self.directory), str(caught.exception))

    def test_a_reload_that_is_rolled_back_leaves_no_keys(self) -> None:
        """Those that were there before stay."""
        self.put("a.key", pem("p256"))
        self.put("b.key", pem("p384"))
        self.common.ring.add(key("p384"), "control")
        store = LocalStore(LocalStoreConfig(name="x", dir_path=self.directory, watch=True), NodeContext(reactor=self.reactor, common=self.common))
        store.prepare()
        self.has("p256", "p384")
        store.discard()
        self.has("p384")

    def test_what_was_loaded_stays(self) -> None:
        """When the file goes, and when the store does."""
        path = self.put("a.key", pem("p256"))
        store = self.make()
        path.unlink()
        store.rescan()
        self.reactor.settle()
        store.stopService()
        self.has("p256")


class WatchTests(StoreTestCase):
    """While we run."""

    def test_new_files_are_loaded(self) -> None:
        """Written, moved in, linked to; others are not looked at."""
        self.make(watch=True)
        self.put("a.key", pem("p256"))
        self.put("b.tmp", pem("p384")).rename(self.directory / "b.key")
        (self.directory / "c.key").symlink_to(self.put("real", pem("ed25519")).resolve())
        self.put("d.pem", pem("rsa2048"))
        self.has()
        self.reactor.settle()
        self.has("p256", "p384", "ed25519")

    def test_what_came_between_looking_and_serving_is_loaded(self) -> None:
        """The watch begins before the first look."""
        store = LocalStore(LocalStoreConfig(name="x", dir_path=self.directory, watch=True), NodeContext(reactor=self.reactor, common=self.common))
        store.prepare()
        self.put("a.key", pem("p256"))
        store.startService()
        self.addCleanup(store.stopService)
        self.reactor.settle()
        self.has("p256")

    def test_without_watch_only_a_rescan_finds_them(self) -> None:
        """As a reload does."""
        store = self.make()
        self.put("a.key", pem("p256"))
        self.reactor.settle()
        self.has()
        store.rescan()
        self.reactor.settle()
        self.has("p256")

    def test_a_secret_of_kubernetes_is_exchanged(self) -> None:
        """All its files at once, by moving one link."""
        for version, kind in (("one", "p256"), ("two", "p384")):
            (self.directory / version).mkdir()
            self.put(f"{version}/a.key", pem(kind))
        (self.directory / "..data").symlink_to("one")
        (self.directory / "a.key").symlink_to("..data/a.key")
        self.make(watch=True)
        self.has("p256")
        (self.directory / "new").symlink_to("two")
        (self.directory / "new").rename(self.directory / "..data")
        self.reactor.settle()
        self.has("p256", "p384")

    def test_many_at_once_are_loaded_a_few_a_turn(self) -> None:
        """Clients are served between."""
        self.patch(local, "BATCH", 2)
        store = self.make()
        for index, kind in enumerate(("p256", "p384", "p521", "ed25519", "rsa2048")):
            self.put(f"{index}.key", pem(kind))
        store.rescan()
        counts = []
        while self.reactor.calls:
            # One turn: advance would go on with what a call begets.
            self.reactor.calls.pop(0).func()
            counts.append(len(self.common.ring))
        self.assertEqual(counts, [2, 4, 5])

    def test_too_much_at_once_is_a_look_at_everything(self) -> None:
        """When the kernel could not keep all events."""
        store = self.make(watch=True)
        path = self.put("a.key", pem("p256"))
        self.reactor.settle()
        path.write_bytes(pem("p384"))
        for reader in self.reactor.readers:
            os.read(reader.fileno(), 65536)
        store._lost(False)
        self.reactor.settle()
        self.has("p256", "p384")

    def test_a_directory_that_goes_and_comes_back_is_watched_again(self) -> None:
        """It is told, and looked for every ten seconds."""
        self.make(watch=True)
        self.directory.rename(self.directory.with_name("away"))
        self.reactor.settle()
        self.assertEqual((len(self.log.of("warn")), self.reactor.readers), (1, []))
        self.reactor.advance(10)
        self.directory.mkdir()
        self.put("a.key", pem("p256"))
        self.reactor.advance(10)
        self.reactor.settle()
        self.has("p256")
        self.put("b.key", pem("p384"))
        self.reactor.settle()
        self.has("p256", "p384")

    def test_a_stopped_store_does_nothing_more(self) -> None:
        """No descriptor and no call is left."""
        store = self.make(watch=True)
        self.put("a.key", pem("p256"))
        for reader in list(self.reactor.readers):
            reader.doRead()
        store.stopService()
        self.assertEqual((self.reactor.readers, self.reactor.getDelayedCalls()), ([], []))
