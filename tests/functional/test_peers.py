# SPDX-License-Identifier: Apache-2.0
"""The peers themselves: what a functional test stands on must hold before the proxy is blamed."""

from __future__ import annotations

import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.functional.certificates import make_certificates
from tests.functional.namespaces import Namespace
from tests.functional.needs import ROOT, need, need_namespaces
from tests.functional.peers import HTTPBIN_SERVERS, RecordingOrigin, start_dnsmasq, start_httpbin, start_nginx, start_squid


class NamespaceTests(SynchronousTestCase):
    """A namespace with every peer in it."""

    def setUp(self) -> None:
        need_namespaces()
        need("nginx", "squid", "dnsmasq")
        self.directory = Path(self.mktemp()).resolve()
        self.directory.mkdir(parents=True)
        self.namespace = Namespace(self.directory)
        self.addCleanup(self.namespace.close)

    def check(self, client: str, site: str, *more: str) -> None:
        """The httpbin checks pass inside."""
        ran = self.namespace.run(
            "env", f"PYTHONPATH={ROOT}", sys.executable, "-m", "tests.functional.httpbin_checks", "--client", client, "--site", site, *more
        )
        self.assertEqual(ran.returncode, 0, ran.stdout)

    def test_clients_pass_without_a_proxy_and_through_squid(self) -> None:
        """What fails with our proxy and not here is ours."""
        make_certificates(self.directory)
        self.addCleanup(start_dnsmasq(self.namespace, self.directory).kill)
        self.addCleanup(start_httpbin(self.namespace, self.directory).kill)
        servers = HTTPBIN_SERVERS.format(certificates=self.directory)
        self.addCleanup(start_nginx(self.directory, servers, 2080, 2443, namespace=self.namespace).kill)
        self.addCleanup(start_squid(self.directory, 3128, namespace=self.namespace).kill)
        self.check("curl", "http://httpbin.local")
        self.check("requests", "http://httpbin.local")
        self.check("curl", "https://httpbin.local:2443", "--ca", str(self.directory / "rootCA.pem"))
        self.check("requests", "http://httpbin.local", "--proxy", "http://127.0.0.1:3128")
        self.check("curl", "http://httpbin.local", "--proxy", "http://127.0.0.1:3128", "--tunnel")

    def test_recording_origin_inside(self) -> None:
        """It keeps what it was sent, byte for byte, and answers."""
        origin = RecordingOrigin(namespace=self.namespace, port=80)
        self.addCleanup(origin.close)
        with self.namespace.connect(("127.0.0.1", 80)) as client:
            client.sendall(b"GET / HTTP/1.1\r\nhOst:  a \r\n\r\n")
            self.assertEqual(client.recv(100)[:15], b"HTTP/1.1 200 OK")
        self.assertEqual(origin.everything, b"GET / HTTP/1.1\r\nhOst:  a \r\n\r\n")
