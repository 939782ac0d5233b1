# SPDX-License-Identifier: Apache-2.0
"""What a TLS handshake costs a server, with both libraries: C{python -m tests.bench.handshake}."""

from __future__ import annotations

import contextlib
import sys
import time
from itertools import count
from typing import Any

from OpenSSL import SSL

from g3.net.libssl.server import libssl_server
from g3.net.tls.context import client_context, server_context
from g3.net.tls.options import ClientTLSOptions, ServerTLSOptions, SessionCache
from g3.net.tls.tickets import LocalKeys, LocalSecrets
from tests.unit.net.tls.certs import authority

ROUNDS = 1000
NAME = "a.test"
_numbers = count()


class Server:
    """One connection of a server over memory, and the CPU seconds it takes."""

    def __init__(self, side: Any) -> None:
        self.seconds = 0.0
        self.connection: Any = self.timed(side.open, None)

    def timed(self, call: Any, *arguments: Any) -> Any:
        start = time.process_time()
        try:
            return call(*arguments)
        finally:
            self.seconds += time.process_time() - start


def carry(one: Any, other: Any) -> None:
    """What one end has to send is the other's."""
    with contextlib.suppress(SSL.WantReadError):
        while True:
            other.bio_write(one.bio_read(65536))


def handshake(client_side: Any, server_side: Any) -> tuple[float, bool]:
    """CPU seconds of the server, and whether it was resumed."""
    client, server = client_side.open(None, NAME), Server(server_side)
    for _ in range(4):
        with contextlib.suppress(SSL.WantReadError):
            client.do_handshake()
        carry(client, server.connection)
        with contextlib.suppress(SSL.WantReadError):
            server.timed(server.connection.do_handshake)
        carry(server.connection, client)
    server.connection.send(b"x")
    carry(server.connection, client)
    client.recv(1)
    client_side.remember(client)
    for end in (client, server.connection):
        end.shutdown()
    return server.seconds, server_side.info(server.connection).resumed


def main() -> None:
    """Print a line for each kind of certificate, library and handshake."""
    keys = LocalKeys(LocalSecrets(time.monotonic), 43200)
    for kind in ("ec", "rsa"):
        options = ServerTLSOptions(cert_pairs=(authority().pair(NAME, kind=kind),))
        for cache, what in ((SessionCache.OFF, "full"), (SessionCache.MANY, "resumed")):
            for library, server in (("pyopenssl", server_context(options)), ("libssl", libssl_server(options, (), keys))):
                own = 1.0 + next(_numbers)
                client = client_context(ClientTLSOptions(ca_certificate=(authority().pem,), session_cache=cache, handshake_timeout=own))
                done = [handshake(client, server) for _ in range(ROUNDS)][1:]
                assert all(resumed is (what == "resumed") for _, resumed in done)
                spent = sum(seconds for seconds, _ in done) / len(done) * 1e6
                sys.stdout.write(f"{kind:4} {what:8} {library:10} {spent:6.0f} us\n")


if __name__ == "__main__":
    main()
