# SPDX-License-Identifier: Apache-2.0
"""g3keymess as a service: what it does beside every other daemon."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, ClassVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from g3.apps.daemon import BaseDaemon
from g3.control.endpoint import unique_name
from g3.control.keys import KeyCommands, rescan
from g3.errors import ConfigError
from g3.keyless.common import Common
from g3.keyless.config import PROGRAM, threads_of
from g3.keyless.process import make_undumpable
from g3.keyless.register import Registration

if TYPE_CHECKING:
    from g3.config.main import MainConfig
    from g3.control.commands import Commands

log = Logger()


class KeymessDaemon(BaseDaemon):
    """The process is made undumpable before a key is loaded, and again once it has changed its user."""

    program = PROGRAM
    kinds: ClassVar[tuple[str, ...]] = ("store", "server")
    commands: ClassVar[type[Commands]] = KeyCommands
    #: Clients are few, and stay: each counts.
    above_by = 0

    _registration: Registration | None = None

    def privilegedStartService(self) -> None:
        """Load all keys, bind everything."""
        try:
            make_undumpable()
            self._common = self.make_common()
        except ConfigError as error:
            self._start_failed(error)
        super().privilegedStartService()

    def threads(self) -> int:
        """How many signing threads we have."""
        return threads_of(self._main.worker)

    def make_common(self) -> Common:
        """What our servers and stores share. Raises ConfigError."""
        seat = self._seat
        place = (0, 1) if seat is None else (seat.number, seat.workers)
        return Common(self.reactor, self.threads(), self._main.sections["backend"], place)

    def startService(self) -> None:
        """Serve."""
        make_undumpable()
        super().startService()

    def look_over(self, main: MainConfig) -> None:
        pin_to_core(self.settings.group)
        for config in main.configs("server"):
            host, port = getattr(config, "listen").address  # noqa: B009 - every server here has it
            if getattr(config, "tls_server", None) is None and host not in ("127.0.0.1", "::1"):
                log.warn(
                    'server "{name}" takes key operations on {host} port {port} from everybody who can reach it, in plain text (set tls_server '
                    "with enable_client_auth, or ingress_network_filter, or listen on 127.0.0.1)",
                    name=config.name,
                    host=host,
                    port=port,
                )

    def common(self) -> Any:
        return self._common

    def prepare_nodes(self) -> Deferred[None]:
        options = self._main.sections["pre_register"]
        if options is None or self._seat is not None:
            # A worker's supervisor registers.
            return super().prepare_nodes()
        return Deferred.fromCoroutine(self._register(options))

    async def _register(self, options: Any) -> None:
        """Nothing is bound before we are registered. Whoever was told of our control socket may use it at once."""
        name = unique_name(self.settings.group, os.getpid())
        self._listeners[name].start()
        self._registration = Registration(self.reactor, options, str(self.settings.control_dir / name), os.getpid())
        await self._registration.startup()
        await super().prepare_nodes()

    def _reloaded(self, changes: list[str]) -> None:
        super()._reloaded(changes)
        rescan(self.root)

    async def _stop(self) -> None:
        if self._registration is not None:
            self._registration.stop()
        await super()._stop()
        self._common.stop()


def pinned_core(group: str) -> int | None:
    """The CPU that a group called C{core<N>} runs on alone, as upstream."""
    number = group.removeprefix("core")
    return int(number) if group.startswith("core") and number.isascii() and number.isdecimal() and len(number) < 10 else None


def pin_to_core(group: str) -> None:
    """Run there."""
    number = pinned_core(group)
    if number is None:
        return
    try:
        os.sched_setaffinity(0, {number})
    except (OSError, ValueError, OverflowError) as error:
        log.warn("cannot run on CPU {number} alone: {error}", number=number, error=error)
    else:
        log.info("running on CPU {number} alone", number=number)
