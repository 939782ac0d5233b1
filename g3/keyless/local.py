# SPDX-License-Identifier: Apache-2.0
"""The local store: key files in a directory, those that are there and, when watched, those that come."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, ClassVar

from g3.errors import ConfigError
from g3.keyless.config import LocalStoreConfig
from g3.keyless.store import KeyFileError, KeyStore, read_key_file
from g3.net.inotify import CREATE, DirectoryWatch

if TYPE_CHECKING:
    from pathlib import Path

    from g3.tree.node import NodeContext

#: Key files loaded in one turn while clients are served; each takes up to a millisecond.
BATCH = 8
#: Seconds between two tries to watch a directory that went away.
RETRY = 10.0
#: How Kubernetes exchanges all files of a mounted secret at once: by moving this link.
_SWAPPED = "..data"


class LocalStore(KeyStore):
    """Loads every file named *.key. None is ever forgotten, also not when its file is removed."""

    schema: ClassVar[type[LocalStoreConfig]] = LocalStoreConfig
    config: LocalStoreConfig

    def __init__(self, config: LocalStoreConfig, context: NodeContext) -> None:
        super().__init__(config, context)
        self._watch: DirectoryWatch | None = None
        self._todo: deque[Path] = deque()
        self._call: Any = None

    def prepare(self) -> None:
        """Watch, then look: so that nothing comes unseen in between."""
        try:
            if self.config.watch:
                self._watch = self._make_watch()
            paths = self._key_files()
        except OSError as error:
            raise ConfigError(f'store "{self.name}": {self.config.dir_path}: {error.strerror}') from error
        for path in paths:
            self._load(path)
        self.log.info("store {store}: {count} keys are loaded now", store=self.name, count=len(self.ring))

    def start(self) -> None:
        """Serve."""
        super().start()
        if self._watch is not None:
            self._watch.start()

    def discard(self) -> None:
        """Give back."""
        super().discard()
        self._stop_watching()

    def stop(self) -> None:
        """What was loaded stays."""
        self._stop_watching()
        if self._call is not None:
            self._call.cancel()
            self._call = None
        self._todo.clear()

    def rescan(self) -> None:
        """IKeyStore."""
        try:
            self._later(self._key_files())
        except OSError as error:
            self.log.warn("store {store}: cannot look into {path}: {error}", store=self.name, path=self.config.dir_path, error=error.strerror)

    def _key_files(self) -> list[Path]:
        return sorted(path for path in self.config.dir_path.iterdir() if _is_key(path.name))

    def _load(self, path: Path) -> None:
        try:
            key, weakness = read_key_file(path)
        except KeyFileError as error:
            self.log.warn("store {store}: key file not loaded: {error}", store=self.name, error=error)
            return
        if weakness and self.config.strict_key_permissions:
            self.log.error("store {store}: key file {path} was left out: {why}", store=self.name, path=path, why=weakness)
            return
        if weakness:
            self.log.warn("store {store}: key file {path} is not safe: {why}", store=self.name, path=path, why=weakness)
        if self.add(key):
            self.log.debug("store {store}: key {ski} loaded from {path}", store=self.name, ski=key.ski.hex(), path=path)

    # -- while we serve: a few at a time

    def _later(self, paths: list[Path]) -> None:
        self._todo.extend(paths)
        if self._call is None and self._todo:
            self._call = self.context.reactor.callLater(0, self._load_some)

    def _load_some(self) -> None:
        self._call = None
        for _ in range(min(BATCH, len(self._todo))):
            self._load(self._todo.popleft())
        self._later([])

    def _make_watch(self) -> DirectoryWatch:
        return DirectoryWatch(self.context.reactor, self.config.dir_path, self._named, self._lost)

    def _named(self, name: str, mask: int) -> None:
        path = self.config.dir_path / name
        if name == _SWAPPED:
            self.rescan()
        elif _is_key(name) and (mask != CREATE or path.is_symlink()):
            self._later([path])

    def _lost(self, gone: bool) -> None:
        if not gone:
            self.rescan()
            return
        self.log.warn("store {store}: {path} is gone, waiting for it to come back", store=self.name, path=self.config.dir_path)
        self._watch = None
        self._call_again()

    def _call_again(self) -> None:
        self._retry = self.context.reactor.callLater(RETRY, self._watch_again)

    _retry: Any = None

    def _watch_again(self) -> None:
        self._retry = None
        try:
            self._watch = self._make_watch()
        except OSError:
            self._call_again()
            return
        self._watch.start()
        self.log.info("store {store}: {path} is back", store=self.name, path=self.config.dir_path)
        self.rescan()

    def _stop_watching(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self._watch is not None:
            self._watch.stop()
            self._watch = None


def _is_key(name: str) -> bool:
    stem, dot, ending = name.rpartition(".")
    return bool(stem and dot) and ending.lower() == "key"
