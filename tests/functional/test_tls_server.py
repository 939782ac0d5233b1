# SPDX-License-Identifier: Apache-2.0
"""TLS as a server: session tickets that every worker and every daemon of a fleet knows, and what the keys of tls_server do."""

from __future__ import annotations

import json
import os
import re
import subprocess
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

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
        """"New" or "Reused", after an answer came."""
        said = self.client(port, *words)
        self.assertIn("HTTP/1.1 403", said)
        found = re.search(r"^(New|Reused), ", said, re.MULTILINE)
        self.assertIsNotNone(found, said)
        assert found is not None
        return found[1]


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
        found = re.search(r"0000 - ((?:[0-9a-f]{2}[ -]){16})", self.client(port, "-tls1_2"))
        assert found is not None
        return found[1].replace("-", "").replace(" ", "")

    def test_tickets_of_one_are_good_at_the_other_while_their_key_is(self) -> None:
        """Through two changes of the key, and without Redis in the end."""
        redis = RedisServer(self.directory, self.redis_port)
        self.addCleanup(redis.kill)
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
