# SPDX-License-Identifier: Apache-2.0
"""dummy_close: every client that a server hands it is closed at once."""

from __future__ import annotations

import socket
import ssl

from tests.functional.harness import run_g3proxy
from tests.functional.observed import ObservedCase
from tests.functional.processes import free_port
from tests.functional.rawhttp import RawClient

SERVERS = """
  - {{name: port, type: plain_tcp_port, listen: "127.0.0.1:{plain}", server: nobody}}
  - {{name: tls, type: plain_tls_port, listen: "127.0.0.1:{secure}", server: none, tls_server: {{certificate: a.pem, private_key: a-key.pem}}}}
  - {{name: nobody, type: dummy_close}}
  - {{name: none, type: DummyClose}}
"""


class DummyCloseTests(ObservedCase):
    """Behind a port, and behind one that speaks TLS."""

    def test_clients_are_closed_without_a_byte(self) -> None:
        """Whether they speak first or not."""
        self.certificate("a", "a.test")
        plain, secure = free_port(), free_port()
        self.serve(SERVERS.format(plain=plain, secure=secure), plain, secure)
        for says in (b"", b"GET / HTTP/1.1\r\n\r\n", b"\5\1\0"):
            with RawClient(plain) as client:
                client.send(says)
                self.assertTrue(client.ended(), says)
        context = ssl.create_default_context(cafile=str(self.directory / "ca.pem"))
        sock = context.wrap_socket(socket.create_connection(("127.0.0.1", secure), 10), server_hostname="a.test")
        with RawClient(secure, sock=sock) as client:
            self.assertTrue(client.ended())
        self.assertEqual(self.counted("listen.accepted", "server:port", least=3), 3)

    def test_it_has_no_keys(self) -> None:
        """It does not listen, for one."""
        path = self.write("g3proxy.yaml", self._head + "  - {name: nobody, type: dummy_close, listen: '127.0.0.1:1'}\n")
        ran = run_g3proxy("--test-config", "--config", str(path))
        self.assertEqual(ran.returncode, 1)
        self.assertIn('"listen"', ran.stderr)
