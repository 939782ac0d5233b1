# SPDX-License-Identifier: Apache-2.0
"""CONNECT: a tunnel to the upstream, answered once that is there (RFC 1928 section 6, SOCKS 4)."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from g3.errors import TaskError
from g3.logs.task import NO_TRAFFIC, log_tcp_connect
from g3.proto.socks import v4, v5
from g3.servers.socks_proxy.exchange import Exchange
from g3.servers.tunnel import TUNNEL_SLOTS, Tunnel
from g3.task import Task, Upstream

if TYPE_CHECKING:
    from typing import Any

    from g3.logs.task import TaskEvent, Traffic
    from g3.servers.socks_proxy.client import Client

_upstream = lru_cache(maxsize=4096)(Upstream)
_GRANTED = v4.reply(v4.GRANTED)


class SocksConnect(Tunnel, Exchange):
    """One tunnel. Byte counts of its log begin when it relays: the negotiation is not the task's."""

    __slots__ = (*TUNNEL_SLOTS, "_client_in", "_client_out")

    task: Task
    ended: bool
    server: Any
    stream: Any

    def __init__(self, client: Client, version: int, host: str, port: int) -> None:
        Exchange.__init__(self, client, version, "TcpConnect", _upstream(host, port))  # super() makes an object
        self._connecting = self.upstream = self.relay = None
        self._client_in = self._client_out = 0

    def start(self) -> None:
        try:
            self.admit()
            self.permit()
        except TaskError as error:
            self.fail(error)
        else:
            self.connect()

    def client_data(self, data: bytes) -> None:
        self.client.read_ahead(data)

    def greet(self) -> bytes:
        client, stream, notes = self.client, self.stream, self.task.connect
        self.answered = True
        if self.version == v5.VERSION:
            stream.write(v5.reply(v5.SUCCEEDED, notes.chained_outgoing or notes.local or v5.NOWHERE))
        else:
            stream.write(_GRANTED)
        ahead = client.take()
        self._client_in = stream.bytes_in - len(ahead)
        self._client_out = stream.bytes_out + stream.queued
        return ahead

    def refuse(self, error: TaskError) -> None:
        answer = self.answer(error)
        self.end(error)
        self.client.exchange_ended(answer)

    def disowned(self) -> None:
        self.client.lost = True

    def end(self, error: TaskError, closes: bool = True) -> None:
        Exchange.end(self, error, closes)
        if self.client.lost:
            self.server.gone(self.client)

    def record(self, event: TaskEvent, error: TaskError | None = None) -> None:
        log = self.server.task_log
        if log is not None:
            log_tcp_connect(log, self.task, event, self.server.clock(), error=error, traffic=self._traffic())

    def _traffic(self) -> Traffic:
        stream, upstream = self.stream, self.upstream
        if upstream is None:
            return NO_TRAFFIC
        written = stream.bytes_out + stream.queued - self._client_out
        return stream.bytes_in - self._client_in, written, upstream.bytes_in, upstream.bytes_out
