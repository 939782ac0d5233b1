# SPDX-License-Identifier: Apache-2.0
"""A test with a namespace of its own, whose peers look like the web: example.com at an address that no rule forbids."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from tests.functional.certificates import Authority, pem
from tests.functional.harness import BIN, FunctionalTestCase, environment
from tests.functional.namespaces import Namespace
from tests.functional.needs import ROOT, need, need_namespaces
from tests.functional.peers import start_dnsmasq, start_nginx

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from tests.functional.processes import Process

#: The web server's address (TEST-NET-1, RFC 5737), put on loopback inside.
ORIGIN = "192.0.2.80"
HELLO = "hello from example.com"
SERVERS = """
    server {{
        listen {origin}:80;
        listen 127.0.0.1:8000;
        listen {origin}:443 ssl;
        ssl_certificate {directory}/example.com.pem;
        ssl_certificate_key {directory}/example.com-key.pem;
        location / {{ return 200 "{hello}\\n"; }}
    }}
"""


class StageTestCase(FunctionalTestCase):
    """Skips where namespaces cannot be made. C{self.namespace} is ready in each test."""

    def setUp(self) -> None:
        super().setUp()
        need_namespaces()
        self.namespace = Namespace(self.directory)
        self.addCleanup(self.namespace.close)

    def keep(self, process: Process) -> Process:
        """A peer, ended after the test."""
        self.addCleanup(process.kill)
        return process

    def start_web(self, **names: str) -> Path:
        """A name server, and a web server for example.com with and without TLS; the root certificate's file. C{names} are known too."""
        need("nginx", "dnsmasq", "curl")
        self.namespace.run("ip", "address", "add", f"{ORIGIN}/32", "dev", "lo")
        self.keep(start_dnsmasq(self.namespace, self.directory, **{"example.com": ORIGIN, **names}))
        authority = Authority()
        authority.write(self.directory / "example.com.pem", self.directory / "example.com-key.pem", "example.com")
        ca = self.directory / "ca.pem"
        ca.write_bytes(pem(authority.certificate))
        servers = SERVERS.format(origin=ORIGIN, directory=self.directory, hello=HELLO)
        self.keep(start_nginx(self.directory, servers, 80, 443, 8000, namespace=self.namespace))
        return ca

    def curl(self, *arguments: str) -> str:
        """What curl prints inside; it must succeed."""
        ran = self.namespace.run("curl", "-sS", "--max-time", "20", *arguments)
        self.assertEqual(ran.returncode, 0, ran.stdout)
        return ran.stdout

    def status(self, *arguments: str) -> int:
        """The status of the answer curl gets inside."""
        return int(self.curl("-o", "/dev/null", "-w", "%{http_code}", *arguments))

    def python(self, module: str, *arguments: str, seconds: float = 180.0) -> subprocess.CompletedProcess[str]:
        """Run a module of this tree inside."""
        return self.namespace.run("env", f"PYTHONPATH={ROOT}", sys.executable, "-m", module, *arguments, seconds=seconds)

    def shell(self, command: str, *packages: Path, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a shell command inside, in the test's directory, with our commands on PATH and C{packages} as if installed."""
        settings = {**environment(*packages), **variables, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
        words = [f"{name}={value}" for name, value in settings.items()]
        return self.namespace.run("env", "-C", str(self.directory), *words, "bash", "-c", command)
