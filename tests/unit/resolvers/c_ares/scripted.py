# SPDX-License-Identifier: Apache-2.0
"""A name server that does what a test says, over UDP and TCP on loopback. Its messages are made by twisted.names, not by what is tested."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import DatagramProtocol, Factory, Protocol
from twisted.names import dns

if TYPE_CHECKING:
    from collections.abc import Callable

    #: Given the question, makes the messages to send back.
    Script = Callable[[dns.Message], list[bytes]]

_RCODES = {"NOERROR": 0, "FORMERR": 1, "SERVFAIL": 2, "NXDOMAIN": 3, "NOTIMP": 4, "REFUSED": 5}
_RECORDS: dict[str, Any] = {"A": dns.Record_A, "AAAA": dns.Record_AAAA, "CNAME": dns.Record_CNAME}


def reply(query: dns.Message, *records: str, rcode: str = "NOERROR", truncated: bool = False, add: int = 0, absent: int = 0) -> bytes:
    """An answer; each record is C{name ttl type value}. C{add} is added to the id: a spoofed answer. C{absent}: seconds for which the
    authority says that there is no more than this (RFC 2308)."""
    answer = dns.Message((query.id + add) % 65536, answer=1, recDes=1, recAv=1, rCode=_RCODES[rcode], trunc=truncated, maxSize=0)
    answer.queries = query.queries
    for record in records:
        name, ttl, kind, value = record.split(" ")
        payload = _RECORDS[kind](value, int(ttl))
        answer.answers.append(dns.RRHeader(name, payload.TYPE, ttl=int(ttl), payload=payload))
    if absent:
        authority = dns.Record_SOA("ns.test", "root.test", 1, 2, 3, 4, absent, ttl=absent)
        answer.authority.append(dns.RRHeader("test", authority.TYPE, ttl=absent, payload=authority))
    return answer.toStr()


def bare_reply(query: bytes, rcode: int) -> bytes:
    """An answer with the question as it came, and nothing else."""
    return query[:2] + bytes((0x81, 0x80 | rcode)) + query[4:6] + bytes(6) + query[12:]


class _UDP(DatagramProtocol):
    def __init__(self, server: NameServer) -> None:
        self.server = server

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        assert self.transport is not None
        self.server.ports.append(addr[1])
        self.server.peers.append(addr[0])
        for answer in self.server.answers(datagram, "udp"):
            if self.server.delay:
                self.server.reactor.callLater(self.server.delay, self.transport.write, answer, addr)
            else:
                self.transport.write(answer, addr)


class _TCP(Protocol):
    def __init__(self, server: NameServer) -> None:
        self.server, self.data = server, b""

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.data += data
        while len(self.data) >= 2 and len(self.data) >= 2 + struct.unpack("!H", self.data[:2])[0]:
            size = struct.unpack("!H", self.data[:2])[0]
            message, self.data = self.data[2 : 2 + size], self.data[2 + size :]
            for answer in self.server.answers(message, "tcp"):
                self.transport.write(struct.pack("!H", len(answer)) + answer)


class NameServer:
    """C{queries} are (how, name, type) in the order they came; C{ports} and C{peers} the sources seen over UDP, C{last} the last message."""

    def __init__(self, script: Script | None = None) -> None:
        self.script = script
        #: Seconds until an answer over UDP goes out.
        self.delay = 0.0
        self.reactor: Any = None
        self.queries: list[tuple[str, str, str]] = []
        self.ports: list[int] = []
        self.peers: list[str] = []
        self.last = b""
        self._listening: list[Any] = []

    def answers(self, data: bytes, how: str) -> list[bytes]:
        self.last = data
        query = dns.Message()
        query.fromStr(data)
        question = query.queries[0]
        self.queries.append((how, question.name.name.decode().lower(), dns.QUERY_TYPES.get(question.type, "?")))
        return [] if self.script is None else self.script(query)

    def start(self, reactor: Any) -> str:
        """Listen; the address for the configuration."""
        self.reactor = reactor
        factory = Factory.forProtocol(lambda: _TCP(self))  # type: ignore[arg-type]
        while True:
            tcp = reactor.listenTCP(0, factory, interface="127.0.0.1")
            self._listening.append(tcp)
            port = tcp.getHost().port
            try:
                self._listening.append(reactor.listenUDP(port, _UDP(self), interface="127.0.0.1"))
            except CannotListenError:
                continue
            return f"127.0.0.1:{port}"

    async def stop(self) -> None:
        """Listen no more."""
        for port in self._listening:
            await maybeDeferred(port.stopListening)
