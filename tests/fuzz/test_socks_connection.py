# SPDX-License-Identifier: Apache-2.0
"""A socks_proxy connection under arbitrary bytes in arbitrary pieces: it never fails, never waits for ever, and keeps no more than it may."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from g3.proto.socks import v4, v5
from g3.servers.socks_proxy.connection import LINGER_SECONDS, READ_AHEAD
from g3.testing.streams import pump
from tests.unit.servers.socks_proxy.test_connection import ServerCase

MANY = settings(max_examples=1000, deadline=None, database=None)
PIECES = st.lists(
    st.one_of(
        st.binary(max_size=30),
        st.sampled_from(
            [
                b"\5\1\0",
                b"\5\2\0\2",
                b"\5",
                b"\5\1\0\3",
                v5.credentials("root", "toor"),
                v5.request(v5.CONNECT, "a.test", 443),
                v5.request(v5.CONNECT, "::1", 443),
                v5.request(v5.BIND, "a.test", 1),
                v4.request(v4.CONNECT, "1.2.3.4", 80, "me"),
                v4.request(v4.CONNECT, "a.test", 80),
                b"GET / HTTP/1.1\r\n\r\n",
                b"x" * 3000,
            ]
        ),
    ),
    max_size=8,
)


class ConnectionFuzz(ServerCase):
    @MANY
    @given(PIECES, st.booleans(), st.sampled_from(["stream", "error", "never"]), st.booleans())
    def test_whatever_a_client_says(self, pieces: list[bytes], users: bool, upstream: str, leaves: bool) -> None:
        self.client(**({"user_group": "users"} if users else {}))
        if upstream == "stream":
            self.upstream()
        else:
            self.escaper.answer = Deferred() if upstream == "never" else OSError(1)
        connection: Any = next(iter(self.server.connections))
        for piece in pieces:
            self.theirs.write(piece)
            pump(self.clock)
            self.assertLessEqual(len(connection.buffer), READ_AHEAD + 4096)
        if leaves:
            self.theirs.abortConnection()
        else:
            self.theirs.loseConnection()
        pump(self.clock)
        for _ in range(6):
            self.clock.advance(LINGER_SECONDS)
            pump(self.clock)
        if self.far is not None:
            self.far.abortConnection()
        if upstream == "never" and not self.ours.disconnected:
            self.server.force_quit()  # a half closed client still wants its upstream
        pump(self.clock)
        self.assertTrue(self.ours.disconnected)
        self.assertEqual((self.server.connections, self.server.stats.alive_tasks, self.group.user.alive), (set(), 0, 0))
