# SPDX-License-Identifier: Apache-2.0
"""Helpers that answer datagrams: what g3fcgen and g3iploc have in common on the command line and as a service."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python import usage

from g3.apps import proxy
from g3.apps.daemon import BaseDaemon
from g3.config.values.net import split_port, to_address, to_port
from g3.net.options import SocketBuffer, UDPListen

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from g3.apps.configuration import FileSource
    from g3.apps.daemon import Settings
    from g3.config.main import MainConfig
    from g3.task import SocketAddress
    from g3.tree.node import NodeContext

log = Logger()

#: Seconds that pending requests have when the process is told to end.
DRAIN_LIMIT = 10.0
#: Where to receive, over everything else.
ENVIRONMENT = "UDP_LISTEN_ADDR"


class Options(proxy.BaseOptions):
    """The command line of a helper."""

    optParameters = (
        ("recv-buf-size", None, None, "Kernel buffer for received datagrams, bytes."),
        ("send-buf-size", None, None, "Kernel buffer for sent datagrams, bytes."),
    )

    def postOptions(self) -> None:
        self.buffer()
        super().postOptions()

    def buffer(self) -> SocketBuffer:
        """The sizes that were asked for. Raises UsageError."""
        sizes = [self._size(name) for name in ("recv-buf-size", "send-buf-size")]
        return SocketBuffer(recv=sizes[0], send=sizes[1])

    def _size(self, name: str) -> int | None:
        text = self[name]
        if text is not None and not (text.isascii() and text.isdecimal() and int(text) < 1 << 31):
            raise usage.UsageError(f"--{name}: {text!a} is no number of bytes")
        return None if text is None else int(text)


def listen_address(default: SocketAddress, group: str, environment: str | None) -> SocketAddress:
    """C{port<N>} as the name of the group means port N of all addresses; what the environment says wins. What is none is ignored, as upstream."""
    for text, host in ((environment, ""), (group.removeprefix("port") if group.startswith("port") else None, "::")):
        try:
            if text is None:
                continue
            if host:
                return host, to_port(text)
            name, port = split_port(text)
            address = to_address(name[1:-1] if name[:1] == "[" else name)
            if address is not None and port is not None:
                return str(address), to_port(port)
        except ValueError:
            pass
        log.warn("{text} is no place to receive datagrams, ignored", text=text)
    return default


class Frontend(Protocol):
    """What a helper answers with."""

    @property
    def stats(self) -> Any:
        """IMetricSource."""

    @property
    def address(self) -> tuple[str, int]:
        """Where it receives."""

    def start(self) -> None:
        """Begin."""

    def stop(self) -> None:
        """Close."""


class HelperDaemon(BaseDaemon):
    """A helper as a service: no nodes, no control socket; SIGINT, SIGTERM and SIGQUIT answer what is pending and end it."""

    kinds = ()
    controlled = False
    #: Where it receives if nobody says.
    default_address: ClassVar[SocketAddress]

    frontend: Frontend

    def __init__(self, reactor: Any, settings: Settings, source: FileSource, main: MainConfig, buffer: SocketBuffer) -> None:
        super().__init__(reactor, settings, source, main)
        self.buffer = buffer

    def bind(self) -> None:
        address = listen_address(self.default_address, self.settings.group, os.environ.get(ENVIRONMENT))
        self.frontend = self.make_frontend(self.settings.passed.bind_udp(UDPListen(address=address, socket_buffer=self.buffer)))
        self.root.context.metrics.add(self.frontend.stats)

    def make_frontend(self, sock: socket.socket) -> Frontend:
        """What answers on C{sock}."""
        raise NotImplementedError

    def metric_tags(self, context: NodeContext) -> tuple[tuple[str, str], ...]:
        return (("stat_id", context.daemon.stat_id),)

    def serving(self) -> str:
        return "datagrams at {}".format(" port ".join(map(str, self.frontend.address)))

    def _begin(self) -> None:
        super()._begin()
        if not self._leaving:
            self.frontend.start()

    def signals(self) -> dict[int, Callable[[], object]]:
        return {**super().signals(), **dict.fromkeys((signal.SIGTERM, signal.SIGINT, signal.SIGQUIT), self.end)}

    def end(self) -> None:
        """Answer what is pending, then end the process."""
        if not self._leaving:
            Deferred.fromCoroutine(self._end()).addErrback(lambda failure: log.failure("ending failed", failure))

    async def _end(self) -> None:
        from g3.tree.offline import within

        drained: Deferred[None] = Deferred()
        self.drain(lambda: drained.callback(None))
        if not await within(self.reactor, drained, DRAIN_LIMIT):
            log.warn("requests are still pending after {seconds} s, they are dropped", seconds=DRAIN_LIMIT)
        self.leave()

    def drain(self, when_idle: Callable[[], None]) -> None:
        """Take no more requests; C{when_idle()} is called when none is pending."""
        when_idle()

    async def _stop(self) -> None:
        await super()._stop()
        if getattr(self, "frontend", None) is not None:
            self.frontend.stop()
