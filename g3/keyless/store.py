# SPDX-License-Identifier: Apache-2.0
"""What key stores have in common: they put keys into the ring, and reading a key from a file is done in one place."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any

from twisted.logger import Logger
from zope.interface import implementer

from g3.errors import G3Error
from g3.interfaces import IKeyStore
from g3.net.libssl.keys import MAX_KEY_FILE, load_private_key
from g3.net.libssl.library import LibraryError
from g3.tree.node import Node

if TYPE_CHECKING:
    from pathlib import Path

    from g3.keyless.common import Common
    from g3.keyless.keys import KeyRing
    from g3.net.libssl.keys import PrivateKey
    from g3.tree.node import NodeContext

_READABLE_BY_OTHERS = stat.S_IRGRP | stat.S_IROTH


class KeyFileError(G3Error):
    """A key file was not loaded. The message names it, and has nothing of its content."""


def read_key_file(path: Path) -> tuple[PrivateKey, str]:
    """The key in a file, and why that file is not safe; "" when only its owner, who is root or us, may read it.

    @raise KeyFileError: it is no regular file, cannot be read or has no key.
    """
    try:
        # Not to wait for the other end of a pipe somebody put there.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        raise KeyFileError(f"{path}: {error.strerror}") from error
    try:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode):
            raise KeyFileError(f"{path}: not a regular file")
        data = os.read(fd, MAX_KEY_FILE + 1)
        return load_private_key(data), _weakness(info)
    except OSError as error:
        raise KeyFileError(f"{path}: {error.strerror}") from error
    except LibraryError as error:
        raise KeyFileError(f"{path}: {error}") from error
    finally:
        os.close(fd)


def _weakness(info: os.stat_result) -> str:
    if info.st_mode & _READABLE_BY_OTHERS:
        return f"others may read it (mode {stat.S_IMODE(info.st_mode):04o}): run chmod go-rwx"
    if info.st_uid not in (0, os.geteuid()):
        return f"it belongs to uid {info.st_uid}, who may read it"
    return ""


@implementer(IKeyStore)
class KeyStore(Node):
    """Base of key stores."""

    log = Logger()

    def __init__(self, config: Any, context: NodeContext) -> None:
        super().__init__(config, context)
        common: Common = context.common
        self.ring: KeyRing = common.ring
        self.source = f"{self.type_word} {self.name}"
        #: What C{prepare} brought, to be taken back by C{discard}.
        self._brought: list[bytes] | None = []

    def add(self, key: PrivateKey) -> bool:
        """Put a key into the ring. False when it was there."""
        try:
            new = self.ring.add(key, self.source)
        except OverflowError as error:
            self.log.error("store {store}: {error}", store=self.name, error=error)
            return False
        if new and self._brought is not None:
            self._brought.append(key.ski)
        return new

    def discard(self) -> None:
        """A reload is rolled back."""
        for ski in self._brought or ():
            self.ring.forget(ski, self.source)

    def start(self) -> None:
        """What was brought stays."""
        self._brought = None

    def rescan(self) -> Any:
        """IKeyStore."""
        raise NotImplementedError
