# SPDX-License-Identifier: Apache-2.0
"""tls_stream: TLS with the client, then as tcp_stream."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import subprocess
import time

from tests.functional.needs import need
from tests.functional.observed import ObservedCase
from tests.functional.peers import start_nginx
from tests.functional.processes import free_port
from tests.functional.rawhttp import RawClient
from tests.functional.streams import DigestUpstream, digest

SERVER = """
  - name: stream
    type: tls_stream
    listen: 127.0.0.1:{port}
    escaper: e
    proxy_pass: 127.0.0.1:{to}
    {more}
    tls:
      certificate: server.pem
      private_key: server-key.pem
      {tls}
"""


class TLSStreamTests(ObservedCase):
    """One tls_stream."""

    def setUp(self) -> None:
        super().setUp()
        self.certificate("server", "stream.test")
        self.port = free_port()
        self.upstream = DigestUpstream(b"hello ")
        self.addCleanup(self.upstream.close)
        self.context = ssl.create_default_context(cafile=str(self.directory / "ca.pem"))

    def start(self, more: str = "", tls: str = "", to: int = 0, after: str = "") -> None:
        self.serve(SERVER.format(port=self.port, to=to or self.upstream.port, more=more, tls=tls) + after, self.port)

    def connect(self) -> ssl.SSLSocket:
        return self.context.wrap_socket(socket.create_connection(("127.0.0.1", self.port), 10), server_hostname="stream.test")

    def test_a_large_upload_arrives_whole_and_its_end_too(self) -> None:
        """5 MB and close_notify; the answer comes within TLS, and the record counts what was inside."""
        self.start()
        data = os.urandom(5_000_000)
        with self.connect() as sock:
            sock.sendall(data)
            with contextlib.suppress(ssl.SSLError):  # the answer comes before the other close_notify, and the library does not like that
                sock.unwrap()
        record = self.finished()
        self.assertEqual((record["server_type"], record["reason"]), ("TlsStream", "ClosedByClient"))
        self.assertEqual((record["c_rd_bytes"], record["r_wr_bytes"]), ("5000000", "5000000"))

    def test_the_upstream_s_answer_comes_back(self) -> None:
        """To openssl s_client, whose end of input is a close_notify."""
        need("openssl")
        self.start()
        peer = subprocess.Popen(
            ["openssl", "s_client", "-connect", f"127.0.0.1:{self.port}", "-CAfile", "ca.pem", "-verify_return_error", "-quiet", "-no_ign_eof"],
            cwd=self.directory,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert peer.stdin is not None and peer.stdout is not None
        self.assertEqual(peer.stdout.read(6), b"hello ")
        peer.stdin.write(b"some text")
        peer.stdin.close()
        peer.wait(20)
        peer.stdout.close()
        record = self.finished()
        self.assertEqual(record["c_rd_bytes"], "9")

    def test_tls_on_both_sides_with_certificates_on_both(self) -> None:
        """Mutual TLS with the client here and with nginx there."""
        self.certificate("upstream", "upstream.test")
        self.certificate("ours", "g3proxy", client=True)
        self.certificate("client", "client", client=True)
        for path in (self.directory, *self.directory.iterdir()):
            path.chmod(0o755)
        to = free_port()
        block = f"""
            server {{
                listen 127.0.0.1:{to} ssl;
                ssl_certificate {self.directory}/upstream.pem;
                ssl_certificate_key {self.directory}/upstream-key.pem;
                ssl_client_certificate {self.directory}/ca.pem;
                ssl_verify_client on;
                return 200 "$ssl_client_s_dn";
            }}
        """
        nginx = start_nginx(self.directory, block, to)
        self.addCleanup(nginx.kill)
        client = "{ca_certificate: ca.pem, cert_pair: {certificate: ours.pem, private_key: ours-key.pem}}"
        more = f"tls_client: {client}\n    upstream_tls_name: upstream.test"
        self.start(more, "enable_client_auth: true\n      client_auth_certificate: ca.pem", to)
        with self.assertRaises(OSError), RawClient(self.port, sock=self.connect()) as raw:
            raw.ask(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertEqual(self.counted("listen.failed", "server:stream"), 1)
        self.context.load_cert_chain(self.directory / "client.pem", self.directory / "client-key.pem")
        with RawClient(self.port, sock=self.connect()) as raw:
            self.assertEqual(raw.ask(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").body, b"CN=g3proxy")

    def test_a_handshake_that_stalls_ends_by_time(self) -> None:
        """listen.timeout, and no task."""
        self.start(tls="handshake_timeout: 1s")
        started = time.monotonic()
        with RawClient(self.port) as raw:
            self.assertTrue(raw.ended())
        self.assertTrue(0.9 < time.monotonic() - started < 4)
        self.assertEqual(self.counted("listen.timeout", "server:stream"), 1)
        self.assertEqual(self.total("server.task.total", "server:stream"), 0)

    def test_plain_clients_of_a_port_speak_tls_here_and_tls_clients_are_closed(self) -> None:
        """As upstream: a plain_tcp_port may be before it, a plain_tls_port not."""
        plain, secure = free_port(), free_port()
        pair = "{cert_pairs: {certificate: server.pem, private_key: server-key.pem}}"
        after = f"  - {{name: a, type: plain_tcp_port, listen: '127.0.0.1:{plain}', server: stream}}\n"
        after += f"  - {{name: b, type: plain_tls_port, listen: '127.0.0.1:{secure}', server: stream, tls_server: {pair}}}\n"
        self.start(after=after)
        self.port = plain
        with self.connect() as sock:
            self.assertEqual(sock.recv(6), b"hello ")
        self.port = secure
        with self.connect() as sock:
            self.assertEqual(sock.recv(1), b"")

    def test_digest_of_a_half_closed_stream(self) -> None:
        """TLS 1.3 lets one direction end: over memory, since the standard library's sockets cannot."""
        self.start()
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = self.context.wrap_bio(incoming, outgoing, server_hostname="stream.test")
        with socket.create_connection(("127.0.0.1", self.port), 10) as sock:

            def pump(step: object) -> bytes:
                while True:
                    try:
                        result = step()  # type: ignore[operator]
                    except ssl.SSLWantReadError:
                        sock.sendall(outgoing.read())
                        incoming.write(sock.recv(65536))
                    else:
                        sock.sendall(outgoing.read())
                        return result or b""

            pump(tls.do_handshake)
            pump(lambda: tls.write(b"some text"))
            got = pump(lambda: tls.read(6))
            with self.assertRaises(ssl.SSLWantReadError):
                tls.unwrap()
            sock.sendall(outgoing.read())
            # After our close_notify the library reads no more application data; the bytes are there all the same.
            rest = b""
            while part := sock.recv(65536):
                rest += part
        self.assertEqual(got, b"hello ")
        self.assertGreater(len(rest), len(digest(b"")), "an encrypted digest and a close_notify")
        record = self.finished()
        self.assertEqual((record["c_rd_bytes"], record["c_wr_bytes"], record["reason"]), ("9", "70", "ClosedByClient"))
