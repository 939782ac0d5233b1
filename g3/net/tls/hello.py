# SPDX-License-Identifier: Apache-2.0
"""Looking at a client hello before TLS is spoken, for those whose whole TLS depends on whom the client asks for.

A library that is told of the name within its handshake changes the certificate, but not everything: sessions are resumed, and with them client
certificates taken for granted, by what it began with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from g3.net.look import look
from g3.proto.tls.clienthello import HelloReader

if TYPE_CHECKING:
    from g3.net.timers import TimerWheel
    from g3.proto.tls.clienthello import ClientHello


async def look_at_hello(stream: Any, timers: TimerWheel, seconds: float) -> ClientHello:
    """The client hello with which C{stream}, an IStream that nobody reads, begins. It stays there for whoever speaks TLS next: in the socket
    when it came in one piece.

    @raise TLSError: it is none. @raise LookTimeout: it took more than C{seconds}. @raise LookEnded: the stream ended. In all these cases the
        stream is closed.
    """
    reader, taken = HelloReader(), bytearray()
    found: list[ClientHello] = []

    def judge(data: bytes) -> int | None:
        hello = reader.feed(data)
        if hello is None:
            taken.extend(data)
            return None
        found.append(hello)
        return 0

    await look(stream, timers, seconds, judge)
    stream.unread(bytes(taken))
    return found[0]
