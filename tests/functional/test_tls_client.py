# SPDX-License-Identifier: Apache-2.0
"""TLS as a client: what each key of tls_client makes an nginx see, or makes of it."""

from __future__ import annotations

import socket
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509 import ocsp

from tests.functional.observed import ObservedCase
from tests.functional.peers import start_nginx
from tests.functional.processes import free_port
from tests.functional.rawhttp import RawClient

NGINX = """
server {{
    listen 127.0.0.1:{port} ssl;
    ssl_certificate {directory}/upstream.pem;
    ssl_certificate_key {directory}/upstream-key.pem;
    ssl_client_certificate {directory}/ca.pem;
    ssl_verify_client optional;
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_ecdh_curve X25519:P-384;
    ssl_stapling on;
    ssl_stapling_file {directory}/revoked.ocsp;
    return 200 "$ssl_protocol $ssl_cipher $ssl_curve $ssl_session_reused name=$ssl_server_name verify=$ssl_client_verify";
}}
"""
SERVER = """
  - name: s{port}
    type: tcp_stream
    listen: 127.0.0.1:{port}
    escaper: e
    upstream: 127.0.0.1:{to}
    tls_client: {tls}
    upstream_tls_name: upstream.test
"""
CA = "ca_certificate: ca.pem"


class TLSClientTests(ObservedCase):
    """One daemon with a tcp_stream for each choice."""

    def setUp(self) -> None:
        super().setUp()
        self.certificate("upstream", "upstream.test", "other.test")
        self.certificate("client", "g3proxy", client=True)
        leaf, now = x509.load_pem_x509_certificate((self.directory / "upstream.pem").read_bytes()), datetime.now(UTC)
        issuer = self.authority.certificate
        builder = ocsp.OCSPResponseBuilder().add_response(leaf, issuer, hashes.SHA1(), ocsp.OCSPCertStatus.REVOKED, now, None, now, None)
        signed = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, issuer).sign(self.authority.key, hashes.SHA256())
        (self.directory / "revoked.ocsp").write_bytes(signed.public_bytes(serialization.Encoding.DER))
        for path in (self.directory, *self.directory.iterdir()):
            path.chmod(0o755)
        self.to = free_port()
        nginx = start_nginx(self.directory, NGINX.format(port=self.to, directory=self.directory), self.to)
        self.addCleanup(nginx.kill)

    def ask(self, port: int) -> str:
        with RawClient(port) as client:
            return client.ask(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").body.decode()

    def test_what_the_upstream_sees(self) -> None:
        """Each key by itself; nginx says what was agreed on."""
        pair = "certificate: client.pem, private_key: client-key.pem"
        cases = (
            (f"{{{CA}}}", r"TLSv1.3 \S+ X25519 \. name=upstream.test verify=NONE"),
            ("{server_auth_certificate: ca.pem, protocol: tls1.2}", r"TLSv1.2 "),
            (f"{{{CA}, protocol: tls1.2, ciphers: ECDHE-ECDSA-AES256-GCM-SHA384}}", r"TLSv1.2 ECDHE-ECDSA-AES256-GCM-SHA384 "),
            (f"{{{CA}, protocol: tls1.3, ciphers: [TLS_CHACHA20_POLY1305_SHA256]}}", r"TLSv1.3 TLS_CHACHA20_POLY1305_SHA256 "),
            (f"{{{CA}, min_tls_version: 1.3}}", r"TLSv1.3 "),
            (f"{{{CA}, max_tls_version: tls1.2}}", r"TLSv1.2 "),
            (f"{{{CA}, supported_groups: P-384}}", r"\S+ \S+ secp384r1 "),
            (f"{{{CA}, disable_sni: true}}", r".* name= "),
            (f"{{{CA}, cert_pair: {{{pair}}}}}", r".* verify=SUCCESS"),
            (f"{{{CA}, {pair}}}", r".* verify=SUCCESS"),
            (f"{{{CA}, no_default_ca_certificate: true}}", r"TLSv1.3 "),
            ("{insecure: true}", r"TLSv1.3 "),
        )
        ports = [free_port() for _ in cases]
        daemon = self.serve("".join(SERVER.format(port=port, to=self.to, tls=tls) for port, (tls, _) in zip(ports, cases, strict=True)), *ports)
        for port, (tls, expected) in zip(ports, cases, strict=True):
            self.assertRegex(self.ask(port), f"^{expected}", tls)
        self.assertIn("tls_client is insecure: the certificate of upstream.test does not verify: unable to get local issuer", daemon.output())

    def test_sessions_are_kept_as_the_keys_say(self) -> None:
        """Three connections one after another; each kind of cache, and none."""
        cases = (
            (f"{{{CA}}}", "r"),
            (f"{{{CA}, use_builtin_session_cache: true, handshake_timeout: 9s}}", "r"),
            (f"{{{CA}, session_cache_lru_max_sites: 1, session_cache_each_capacity: 1}}", "r"),
            (f"{{{CA}, max_tls_version: 1.2}}", "r"),
            (f"{{{CA}, no_session_cache: true}}", "."),
        )
        ports = [free_port() for _ in cases]
        self.serve("".join(SERVER.format(port=port, to=self.to, tls=tls) for port, (tls, _) in zip(ports, cases, strict=True)), *ports)
        for port, (tls, expected) in zip(ports, cases, strict=True):
            seen = [self.ask(port).split()[3] for _ in range(3)]
            self.assertEqual(seen, [".", expected, expected], tls)

    def test_what_does_not_become_a_connection(self) -> None:
        """An authority that is not trusted, a revoked certificate, no version in common, a peer that is silent."""
        silent = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(silent.close)
        cases = (
            ("{no_default_ca_certificate: true}", self.to, "UpstreamTlsHandshakeFailed"),
            (f"{{{CA}, use_ocsp_stapling: true}}", self.to, "UpstreamTlsHandshakeFailed"),
            (f"{{{CA}, protocol: tls1.1}}", self.to, "UpstreamTlsHandshakeFailed"),
            (f"{{{CA}, handshake_timeout: 300ms}}", silent.getsockname()[1], "UpstreamTlsHandshakeTimeout"),
        )
        ports = [free_port() for _ in cases]
        servers = (SERVER.format(port=port, to=to, tls=tls) for port, (tls, to, _) in zip(ports, cases, strict=True))
        self.serve("".join(servers), *ports)
        for port, (tls, _, reason) in zip(ports, cases, strict=True):
            self.syslog.lines.clear()
            with socket.create_connection(("127.0.0.1", port), 10) as sock:
                self.assertEqual(sock.recv(1), b"", tls)
            self.assertEqual(self.finished()["reason"], reason, tls)

    def test_a_forward_proxy_keeps_sessions_of_many_sites(self) -> None:
        """http_proxy with https:// URIs of two sites in turn: each is resumed; with session_cache_lru_max_sites 1 neither."""
        cases = ((f"{{{CA}}}", "r"), (f"{{{CA}, session_cache_lru_max_sites: 1}}", "."))
        ports = [free_port() for _ in cases]
        server = "  - {{name: h{port}, type: http_proxy, listen: '127.0.0.1:{port}', escaper: e, tls_client: {tls}}}\n"
        self.serve("\n" + "".join(server.format(port=port, tls=tls) for port, (tls, _) in zip(ports, cases, strict=True)), *ports)
        for port, (tls, expected) in zip(ports, cases, strict=True):
            seen = []
            for name in ("upstream.test", "other.test") * 2:
                with RawClient(port) as client:
                    request = f"GET https://127.0.0.1:{self.to}/ HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n"
                    seen.append(client.ask(request.encode()).body.decode().split()[3:5])
            self.assertEqual([name for _, name in seen], ["name=upstream.test", "name=other.test"] * 2)
            self.assertEqual("".join(reused for reused, _ in seen), f"..{expected}{expected}", tls)
