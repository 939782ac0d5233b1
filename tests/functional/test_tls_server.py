# SPDX-License-Identifier: Apache-2.0
"""TLS as a server: session tickets that every worker and every daemon of a fleet knows, and what the keys of tls_server do."""

from __future__ import annotations

import json
import os
import re
import subprocess
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509 import ocsp

from tests.functional.certificates import Authority, pem
from tests.functional.harness import FunctionalTestCase
from tests.functional.needs import need
from tests.functional.processes import free_port
from tests.functional.redis_server import RedisServer

if TYPE_CHECKING:
    from tests.functional.harness import Daemon

HEAD = """
runtime: {{thread_number: {threads}}}
escaper:
  - {{name: e, type: dummy_deny}}
server:
  - name: http
    type: http_proxy
    escaper: e
"""
PORT = """
  - name: p{port}
    type: native_tls_port
    listen: 127.0.0.1:{port}
    server: http
    {more}
    tls_server:
      cert_pairs: {{certificate: server.pem, private_key: server-key.pem}}
      {tls}
"""
REQUEST = "GET http://127.0.0.1:1/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


class TLSServerCase(FunctionalTestCase):
    """An http_proxy behind ports with TLS, and C{openssl s_client} before them."""

    def setUp(self) -> None:
        super().setUp()
        need("openssl")
        self.authority = Authority()
        (self.directory / "ca.pem").write_bytes(pem(self.authority.certificate))
        self.issue("server", "g3proxy.local")

    def issue(self, name: str, *hosts: str) -> None:
        certificate, key = self.authority.issue(*hosts)
        (self.directory / f"{name}.pem").write_bytes(certificate)
        (self.directory / f"{name}-key.pem").write_bytes(key)

    def client(self, port: int, *words: str, name: str = "g3proxy.local") -> str:
        """All that s_client says of one request."""
        argv = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-servername", name, "-CAfile", "ca.pem", "-ign_eof", *words]
        ran = subprocess.run(argv, input=REQUEST, cwd=self.directory, capture_output=True, text=True, timeout=30, check=False)
        return ran.stdout + ran.stderr

    def handshake(self, port: int, *words: str) -> str:
        """ "New" or "Reused", after an answer came."""
        said = self.client(port, *words)
        self.assertIn("HTTP/1.1 403", said)
        return self.said(said, r"^(New|Reused), ")

    def said(self, text: str, pattern: str) -> str:
        """The first group of a line's C{pattern}, "" when there is none."""
        found = re.search(pattern, text, re.MULTILINE)
        return "" if found is None else found[1]


class WorkerTests(TLSServerCase):
    """Several workers behind one port."""

    def test_a_session_is_resumed_by_every_worker(self) -> None:
        """Without any ticketer; and after the worker that began it is gone."""
        port = free_port()
        daemon = self.start_daemon(HEAD.format(threads=3) + PORT.format(port=port, more="", tls=""), ports=[port])
        for version in ("-tls1_2", "-tls1_3"):
            self.assertEqual(self.handshake(port, version, "-sess_out", "session"), "New")
            self.assertEqual([self.handshake(port, version, "-sess_in", "session") for _ in range(8)], ["Reused"] * 8)
        self.assertNotIn("resumed only", daemon.output())


class FleetTests(TLSServerCase):
    """Daemons that share keys in Redis."""

    def setUp(self) -> None:
        super().setUp()
        self.redis_port = free_port()
        self.ticketer = (
            f"tls_ticketer: {{check_interval: 100ms, source: {{type: redis, addr: '127.0.0.1:{self.redis_port}', enc_key: enc, dec_set: dec}}}}"
        )
        self.daemons: list[Daemon] = []

    def daemon(self, name: str) -> int:
        """Start one; where it listens."""
        port = free_port()
        path = self.write(f"{name}.yaml", HEAD.format(threads=0) + PORT.format(port=port, more=self.ticketer, tls=""))
        self.daemons.append(self.start_daemon(path, ports=[port], group=name))
        return port

    def key(self) -> dict[str, str]:
        return {"name": os.urandom(16).hex(), "aes": os.urandom(32).hex(), "hmac": os.urandom(16).hex()}

    def expiring(self, key: dict[str, str], seconds: float) -> str:
        return json.dumps({**key, "expire": (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()})

    def eventually(self, port: int, expected: str, *words: str) -> None:
        """A daemon takes a moment to see what is in Redis."""
        self.daemons[-1].wait_until(lambda: self.handshake(port, *words) == expected, f"{expected} by {' '.join(words)}")

    def ticket_key(self, port: int) -> str:
        """The name of the key of a new ticket, which is its first 16 bytes."""
        return self.said(self.client(port, "-tls1_2"), r"0000 - ((?:[0-9a-f]{2}[ -]){16})").replace("-", "").replace(" ", "")

    def test_tickets_of_one_are_good_at_the_other_while_their_key_is(self) -> None:
        """Through a change of the key, and without Redis in the end, which speaks TLS and wants a password."""
        self.issue("redis", "redis.test")
        files = ("--tls-cert-file", "redis.pem", "--tls-key-file", "redis-key.pem", "--tls-ca-cert-file", "ca.pem", "--tls-auth-clients", "no")
        plain = free_port()
        words = [str(self.directory / word) if word.endswith(".pem") else word for word in files]
        redis = RedisServer(self.directory, plain, "--tls-port", str(self.redis_port), *words, password="word")
        self.addCleanup(redis.kill)
        tls = "tls_client: {ca_certificate: ca.pem, no_default_ca_certificate: true}, tls_name: redis.test, password: word"
        self.ticketer = self.ticketer.replace("type: redis", f"type: redis, {tls}")
        old, new = self.key(), self.key()
        redis.cli("SET", "enc", json.dumps({**old, "lifetime": 3600}))
        one, two = self.daemon("one"), self.daemon("two")
        for port, daemon in zip((one, two), self.daemons, strict=True):
            daemon.wait_until(lambda port=port: self.ticket_key(port) == old["name"], "it uses the key of the fleet")
        for version in ("-tls1_2", "-tls1_3"):
            self.assertEqual(self.handshake(one, version, "-sess_out", "old" + version), "New")
            self.assertEqual(self.handshake(two, version, "-sess_in", "old" + version), "Reused")
        # The key rolls: what it made is still accepted.
        redis.cli("SADD", "dec", self.expiring(old, 3600), "no key at all")
        redis.cli("SET", "enc", json.dumps({"NAME": new["name"], "aes-key": new["aes"], "hmac-key": new["hmac"]}))
        for port, daemon in zip((one, two), self.daemons, strict=True):
            daemon.wait_until(lambda port=port: self.ticket_key(port) == new["name"], "it uses the new key")
        self.assertEqual(self.handshake(two, "-tls1_3", "-sess_in", "old-tls1_3"), "Reused")
        # A daemon that comes later has it from the set.
        three = self.daemon("three")
        self.eventually(three, "Reused", "-tls1_3", "-sess_in", "old-tls1_3")
        self.daemons[-1].wait_until(lambda: "a member of dec is none: no JSON map" in self.daemons[-1].output(), "it tells of what is no key")
        self.assertEqual(self.handshake(one, "-tls1_3", "-sess_out", "new"), "New")
        # Without Redis everything goes on, with one line about it.
        redis.stop()
        self.daemons[1].wait_until(lambda: "ticket keys from redis" in self.daemons[1].output(), "it tells")
        self.assertEqual(self.handshake(two, "-tls1_3", "-sess_in", "new"), "Reused")
        self.assertEqual(self.ticket_key(two), new["name"])

    def test_without_redis_there_are_keys_all_the_same(self) -> None:
        """Own ones; Redis that comes later is used."""
        port = self.daemon("alone")
        daemon = self.daemons[0]
        self.assertEqual(self.handshake(port, "-sess_out", "session"), "New")
        self.assertEqual(self.handshake(port, "-sess_in", "session"), "Reused")
        daemon.wait_until(lambda: "ticket keys from redis" in daemon.output(), "it tells")
        for _ in range(5):
            self.handshake(port)
        self.assertEqual(daemon.output().count("ticket keys from redis"), 1)
        redis = RedisServer(self.directory, self.redis_port)
        self.addCleanup(redis.kill)
        daemon.wait_until(lambda: "there is no key to encrypt with" in daemon.output(), "it tells that there is none")
        key = self.key()
        redis.cli("SET", "enc", json.dumps(key))
        daemon.wait_until(lambda: self.ticket_key(port) == key["name"], "it uses the key of the fleet")
        self.assertIn("it answers again", daemon.output())


class KeyTests(TLSServerCase):
    """Each key of tls_server, with both libraries: a ticketer takes the host's."""

    def serve(self, *tls: str) -> list[list[int]]:
        """Ports for each of these, without and with a ticketer, behind one daemon."""
        ports = [[free_port() for _ in tls] for _ in range(2)]
        servers = [
            PORT.format(port=port, more=more, tls=text)
            for numbers, more in zip(ports, ("", "tls_ticketer: {}"), strict=True)
            for port, text in zip(numbers, tls, strict=True)
        ]
        self.running = self.start_daemon(HEAD.format(threads=0) + "".join(servers), ports=[port for numbers in ports for port in numbers])
        return ports

    def staple(self, status: ocsp.OCSPCertStatus) -> None:
        leaf = x509.load_pem_x509_certificate((self.directory / "server.pem").read_bytes())
        now = datetime.now(UTC)
        revoked = now if status is ocsp.OCSPCertStatus.REVOKED else None
        issuer = self.authority.certificate
        builder = ocsp.OCSPResponseBuilder().add_response(leaf, issuer, hashes.SHA1(), status, now, None, revoked, None)
        signed = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, issuer).sign(self.authority.key, hashes.SHA256())
        (self.directory / "server.ocsp").write_bytes(signed.public_bytes(serialization.Encoding.DER))

    def test_versions_ciphers_and_groups(self) -> None:
        """What is agreed on is what the configuration lets."""
        cipher = r"Cipher is (\S+)"
        for newest, only12, oldest, ciphers, groups in self.serve(
            "min_tls_version: 1.3",
            "max_tls_version: tls1.2",
            "min_tls_version: 1.0",
            "ciphers: TLS_CHACHA20_POLY1305_SHA256:ECDHE-ECDSA-CHACHA20-POLY1305",
            "supported_groups: P-384",
        ):
            self.assertEqual(self.said(self.client(newest), cipher), "TLS_AES_256_GCM_SHA384")
            self.assertEqual(self.said(self.client(newest, "-tls1_2"), cipher), "(NONE)")
            self.assertEqual(self.said(self.client(only12), r"Protocol *: (\S+)"), "TLSv1.2")
            self.assertEqual(self.said(self.client(only12, "-tls1_3"), cipher), "(NONE)")
            old = ("-tls1", "-cipher", "DEFAULT@SECLEVEL=0")
            self.assertEqual(self.said(self.client(oldest, *old), r"Protocol *: (\S+)"), "TLSv1")
            self.assertEqual(self.said(self.client(only12, *old), cipher), "(NONE)")
            self.assertEqual(self.said(self.client(ciphers), cipher), "TLS_CHACHA20_POLY1305_SHA256")
            self.assertEqual(self.said(self.client(ciphers, "-tls1_2"), cipher), "ECDHE-ECDSA-CHACHA20-POLY1305")
            self.assertEqual(self.said(self.client(ciphers, "-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"), cipher), "(NONE)")
            self.assertEqual(self.said(self.client(groups), r"Server Temp Key: (?:ECDH, )?([^,\n]+)"), "secp384r1")

    def test_certificates_by_name(self) -> None:
        """An exact name before a wildcard; the first for nobody's."""
        self.issue("wild", "*.b.test")
        self.issue("exact", "one.b.test", "c.test")
        pairs = "\n".join(f"        - {{certificate: {name}.pem, private_key: {name}-key.pem}}" for name in ("server", "wild", "exact"))
        text = PORT.partition("      cert_pairs:")[0] + "      cert_pairs:\n{tls}\n"
        ports = [free_port(), free_port()]
        servers = [text.format(port=port, more=more, tls=pairs) for port, more in zip(ports, ("", "tls_ticketer: {}"), strict=True)]
        self.start_daemon(HEAD.format(threads=0) + "".join(servers), ports=ports)
        for port in ports:
            for name, subject in (("two.b.test", "*.b.test"), ("ONE.b.test", "one.b.test"), ("c.test", "one.b.test"), ("else.test", "g3proxy.local")):
                self.assertEqual(self.said(self.client(port, name=name), r"subject=CN = (\S+)"), subject)

    def test_a_staple_and_the_next_one(self) -> None:
        """ocsp_response goes to who asks for it, and a reload reads it again."""
        self.staple(ocsp.OCSPCertStatus.GOOD)
        ports = [numbers[0] for numbers in self.serve("ocsp_response: server.ocsp")]
        for port in ports:
            self.assertEqual(self.said(self.client(port, "-status"), r"Cert Status: (\S+)"), "good")
            self.assertEqual(self.said(self.client(port), r"Cert Status: (\S+)"), "")
        self.staple(ocsp.OCSPCertStatus.REVOKED)
        self.assertEqual(self.running.ctl("reload").returncode, 0)
        for port in ports:
            self.assertEqual(self.said(self.client(port, "-status"), r"Cert Status: (\S+)"), "revoked")
        (self.directory / "server.ocsp").write_bytes(b"junk")
        refused = self.running.ctl("reload")
        self.assertNotEqual(refused.returncode, 0)
        self.assertIn("server.ocsp", refused.stdout + refused.stderr)

    def test_sessions(self) -> None:
        """session_id_context, no_session_ticket, no_session_cache."""
        (_, (one, same, other, by_id, none)) = self.serve(
            "session_id_context: a", "session_id_context: a", "session_id_context: b", "no_session_ticket: true",
            "no_session_ticket: true\n      no_session_cache: true",
        )  # fmt: skip
        for version in ("-tls1_2", "-tls1_3"):
            for first, then, expected in ((one, same, "Reused"), (one, other, "New"), (by_id, by_id, "Reused"), (none, none, "New")):
                self.assertEqual(self.handshake(first, version, "-sess_out", "session"), "New")
                self.assertEqual(self.handshake(then, version, "-sess_in", "session"), expected, (first, then, version))
