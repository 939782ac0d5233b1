# SPDX-License-Identifier: Apache-2.0
"""A real Redis server on loopback, and its command line client."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from tests.functional.needs import need
from tests.functional.processes import Process

if TYPE_CHECKING:
    from pathlib import Path


class RedisServer(Process):
    """It serves C{port} when this returns, and keeps nothing on disk."""

    def __init__(self, directory: Path, port: int, *more: str, password: str = "") -> None:
        need("redis-server")
        self.port = port
        self._password = password
        secret = ("--requirepass", password) if password else ()
        words = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", *secret, *more]
        super().__init__("redis-server", words, directory / "redis.log")
        self.wait_listening(port)

    def cli(self, *words: str, database: int = 0) -> str:
        """What redis-cli prints."""
        secret = ["-a", self._password, "--no-auth-warning"] if self._password else []
        argv = ["redis-cli", "-p", str(self.port), "-n", str(database), *secret, *words]
        return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=20).stdout
