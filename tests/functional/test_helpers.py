# SPDX-License-Identifier: Apache-2.0
"""g3fcgen and g3iploc as an operator runs them, on upstream's own configurations, asked over real sockets."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from typing import TYPE_CHECKING, Any

import umsgpack  # type: ignore[import-untyped]

from tests.functional.harness import BIN, COMPLAINTS, FunctionalTestCase, environment
from tests.functional.needs import need
from tests.functional.processes import Process, free_port
from tests.upstream import upstream_dir

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

CONFIGS = {"g3fcgen": "examples/g3fcgen/simple", "g3iploc": "examples/g3iploc/basic"}


class HelperCase(FunctionalTestCase):
    def run_command(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, **environment(), **variables}
        argv = [str(BIN / words[0]), *words[1:]]
        return subprocess.run(argv, cwd=self.directory, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)

    def config(self, program: str) -> Path:
        """Upstream's example, unchanged, beside what it names."""
        source = upstream_dir() / CONFIGS[program]
        path = self.directory / program
        shutil.copytree(source, path)
        if program == "g3fcgen":
            ran = self.run_command(
                "g3mkcert", "--root", "--common-name", "G3 test", "--output-cert", f"{path}/G3-test.crt", "--output-key", f"{path}/G3-test.key"
            )
            self.assertEqual(ran.returncode, 0, ran.stderr)
        return path

    def start(self, program: str, config: Path, *, twistd: bool = False, arguments: Sequence[str] = (), port: int = 0, **variables: str) -> Process:
        """It receives on C{port} when this returns; it must have nothing to complain of when the test ends."""
        argv = [str(BIN / "twistd"), "-n", "--pidfile=", program] if twistd else [str(BIN / program)]
        option = "--config" if twistd else "--config-file"
        process = Process(program, [*argv, option, str(config), *arguments], self.directory / f"{program}.log", env={**environment(), **variables})
        self.addCleanup(process.kill)
        process.wait_listening(port, kind="udp")
        return process

    def end(self, process: Process, number: signal.Signals = signal.SIGINT) -> None:
        self.assertEqual(process.stop(number), 0, process.output())
        self.assertFalse(any(complaint in process.output() for complaint in COMPLAINTS), process.output())

    def ask(self, port: int, message: Any, seconds: float = 5.0) -> Any:
        """What is answered; None when nothing is in time."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(seconds)
            client.connect(("127.0.0.1", port))
            client.send(message if isinstance(message, bytes) else umsgpack.packb(message))
            try:
                return umsgpack.unpackb(client.recv(65536))
            except TimeoutError:
                return None


class FcgenTests(HelperCase):
    def test_a_certificate_for_a_name(self) -> None:
        """By both commands; what comes verifies and its key fits."""
        need("openssl")
        config, port = self.config("g3fcgen"), free_port()
        for twistd in (False, True):
            process = self.start("g3fcgen", config, twistd=twistd, arguments=("-G", f"port{port}"), port=port)
            reply = self.ask(port, {"host": "www.example.com", "service": "smtp"})
            self.assertEqual((reply[1], reply[2], reply[6], reply[5]), ("www.example.com", 1, 0, 86400))
            (self.directory / "leaf.pem").write_text(reply[3])
            (self.directory / "leaf.key").write_bytes(reply[4])
            ran = self.run_openssl("verify", "-x509_strict", "-verify_hostname", "www.example.com", "-CAfile", "g3fcgen/G3-test.crt", "leaf.pem")
            self.assertIn("leaf.pem: OK", ran)
            public = self.run_openssl("pkey", "-inform", "DER", "-in", "leaf.key", "-pubout")
            self.assertEqual(public, self.run_openssl("x509", "-in", "leaf.pem", "-noout", "-pubkey"))
            self.end(process)

    def run_openssl(self, *words: str) -> str:
        ran = subprocess.run(["openssl", *words], cwd=self.directory, capture_output=True, text=True, check=False)
        self.assertEqual(ran.returncode, 0, ran.stderr)
        return ran.stdout

    def test_a_certificate_like_another_one(self) -> None:
        """And nothing for what is none; the daemon goes on."""
        need("openssl")
        config, port = self.config("g3fcgen"), free_port()
        process = self.start("g3fcgen", config, port=port, UDP_LISTEN_ADDR=f"127.0.0.1:{port}", arguments=("-v",))
        options = ("-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/O=Them/CN=their.example", "-days", "1", "-keyout", "k.pem", "-out", "c.pem")
        extensions = ("-addext", "keyUsage=digitalSignature", "-addext", "extendedKeyUsage=serverAuth", "-addext", "subjectAltName=DNS:their.example")
        self.run_openssl("req", *options, *extensions)
        self.assertIs(self.ask(port, {1: "their.example", 3: b"garbage"}, 0.5), None)
        self.assertIs(self.ask(port, b"\xc1", 0.2), None)
        reply = self.ask(port, {1: "their.example", 3: (self.directory / "c.pem").read_text()})
        (self.directory / "leaf.pem").write_text(reply[3])
        self.assertIn("subject=O = Them, CN = their.example", self.run_openssl("x509", "-in", "leaf.pem", "-noout", "-subject"))
        self.assertLessEqual(reply[5], 86400)
        self.assertIn("O=Them", process.output())
        self.end(process, signal.SIGTERM)

    def test_a_configuration_is_tested_and_its_mistakes_told(self) -> None:
        config = self.config("g3fcgen")
        ran = self.run_command("g3fcgen", "-t", "-c", str(config))
        self.assertEqual((ran.returncode, ran.stdout), (0, "format ok\n"), ran.stderr)
        (config / "g3fcgen.yaml").write_text("backend: {ca_certificate: G3-test.crt, ca_private_key: missing.key}\nlog: stdout\n")
        ran = self.run_command("g3fcgen", "-t", "-c", str(config))
        self.assertEqual(ran.returncode, 1)
        self.assertIn("missing.key", ran.stderr)
        self.assertIn('unknown key "log"', ran.stderr)
        self.assertRegex(self.run_command("g3fcgen", "-V").stdout, r"^g3fcgen \d")

    def test_an_address_taken_is_told(self) -> None:
        config = self.config("g3fcgen")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
            taken.bind(("127.0.0.1", 0))
            ran = self.run_command("g3fcgen", "-c", str(config), UDP_LISTEN_ADDR=f"127.0.0.1:{taken.getsockname()[1]}")
        self.assertEqual(ran.returncode, 1)
        self.assertIn("Address already in use", ran.stderr)
        self.assertNotIn("Traceback", ran.stderr)

    def test_metrics_have_upstreams_names(self) -> None:
        config, port = self.config("g3fcgen"), free_port()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as statsd:
            statsd.bind(("127.0.0.1", 0))
            statsd.settimeout(10)
            target = f"stat: {{target: {{udp: 127.0.0.1:{statsd.getsockname()[1]}}}}}\n"
            (config / "g3fcgen.yaml").write_text((config / "g3fcgen.yaml").read_text() + f"\n{target}")
            process = self.start("g3fcgen", config, arguments=("-G", f"port{port}"), port=port)
            self.assertIsNot(self.ask(port, "a.example"), None)
            seen = ""
            while "frontend.response_total" not in seen:
                seen += statsd.recv(65536).decode()
            self.end(process)
        for name in ("frontend.request_total", "frontend.response_total", "backend.refresh_ok", "backend.request_ok"):
            self.assertIn(f"g3fcgen.{name}:1|c|#stat_id:0", seen)
        self.assertNotIn("daemon_group", seen)


class IplocTests(HelperCase):
    def test_where_an_address_is(self) -> None:
        """By both commands; nothing for what nobody knows."""
        config, port = self.config("g3iploc"), free_port()
        for twistd in (False, True):
            process = self.start("g3iploc", config, twistd=twistd, arguments=("-G", f"port{port}"), port=port)
            self.assertEqual(self.ask(port, "1.1.1.7"), {1: "1.1.1.7", 3: "1.1.1.0/24", 2: 300, 4: "US", 5: "NA"})
            self.assertIs(self.ask(port, "192.0.2.1", 0.3), None)
            self.assertIs(self.ask(port, {"ip": "nowhere"}, 0.3), None)
            self.end(process, signal.SIGTERM if twistd else signal.SIGINT)

    def test_a_mistake_in_a_database_is_told_with_its_line(self) -> None:
        config = self.config("g3iploc")
        (config / "simple.csv").write_text("1.1.1.0/24,US\n1.1.1.1/24,US\n")
        ran = self.run_command("g3iploc", "-t", "-c", str(config))
        self.assertEqual(ran.returncode, 1)
        self.assertIn("simple.csv:2: 1.1.1.1/24 has bits set beyond its prefix", ran.stderr)

    def test_upstreams_acceptance_configuration_loads(self) -> None:
        folder = upstream_dir() / "coverage" / "g3proxy"
        shutil.copy(folder / "ip_location.csv", self.directory)
        shutil.copy(folder / "g3iploc.yaml", self.directory)
        ran = self.run_command("g3iploc", "-t", "-c", "g3iploc.yaml")
        self.assertEqual((ran.returncode, ran.stdout), (0, "format ok\n"), ran.stderr)
