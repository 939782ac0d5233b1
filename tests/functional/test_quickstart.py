# SPDX-License-Identifier: Apache-2.0
"""The quick start: what the README promises somebody in the first minute, with both commands."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.functional.harness import BIN
from tests.functional.needs import ROOT
from tests.functional.processes import Process, listening
from tests.functional.stage import HELLO, StageTestCase

QUICKSTART = ROOT / "examples" / "quickstart.yaml"
DEMO = ROOT / "examples" / "demo-loopback.yaml"
PROXY = "http://127.0.0.1:3128"


class QuickStartTestCase(StageTestCase):
    """What the README says must work."""

    ca: Path

    def check_curl_lines(self) -> None:
        """Each way of the README."""
        ca = str(self.ca)
        self.assertEqual(self.curl("-x", PROXY, "http://example.com/").strip(), HELLO)
        self.assertEqual(self.curl("--cacert", ca, "-x", PROXY, "https://example.com/").strip(), HELLO)
        self.assertEqual(self.curl("-p", "-x", PROXY, "http://example.com/").strip(), HELLO)
        self.assertEqual(self.curl(f"{PROXY}/.well-known/easy-proxy/http/example.com/80/").strip(), HELLO)


class QuickStartTests(QuickStartTestCase):
    """The files of examples/."""

    def check_safety(self) -> None:
        """Loopback is neither reached through it nor does it listen beyond it."""
        for site in ("http://127.0.0.1:8000/", "http://[::1]:8000/", "http://localhost:8000/"):
            self.assertIn(self.status("-x", PROXY, site), {403, 530}, site)
        refused = self.namespace.run("curl", "-sS", "--max-time", "5", "http://192.0.2.80:3128/")
        self.assertNotEqual(refused.returncode, 0, refused.stdout)

    def test_with_twistd(self) -> None:
        """C{twistd -n g3proxy --config examples/quickstart.yaml}"""
        self.ca = self.start_web()
        self.start_daemon(QUICKSTART, ports=(3128,), namespace=self.namespace, command="twistd")
        self.check_curl_lines()
        self.check_safety()

    def test_with_g3proxy(self) -> None:
        """C{g3proxy --config examples/quickstart.yaml}; no pid file is left behind."""
        self.ca = self.start_web()
        self.start_daemon(QUICKSTART, ports=(3128,), namespace=self.namespace, command="g3proxy")
        self.check_curl_lines()
        self.assertEqual([path for path in (*self.directory.rglob("*.pid"), *Path.cwd().glob("*.pid")) if path.name != "nginx.pid"], [])

    def test_demo_reaches_a_server_on_this_machine(self) -> None:
        """examples/demo-loopback.yaml opens loopback, and only it."""
        self.ca = self.start_web()
        self.start_daemon(DEMO, ports=(3128,), namespace=self.namespace)
        self.check_curl_lines()
        self.assertEqual(self.curl("-x", PROXY, "http://127.0.0.1:8000/").strip(), HELLO)
        self.assertEqual(self.status("-x", PROXY, "http://127.0.0.2:8000/"), 403)

    def test_sigterm_waits_for_a_tunnel_and_sigint_does_not(self) -> None:
        """A graceful end lets a task finish; the listener is gone at once after the configured delay."""
        self.start_web()
        config = "runtime: {server_offline_delay: 100ms, task_wait_delay: 100ms}\n" + DEMO.read_text()
        daemon = self.start_daemon(config, ports=(3128,), namespace=self.namespace)
        with self.namespace.connect(("127.0.0.1", 3128)) as client:
            client.sendall(b"CONNECT 127.0.0.1:8000 HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n\r\n")
            self.assertEqual(client.recv(4096)[:12], b"HTTP/1.1 200")
            daemon.send_signal(signal.SIGTERM)
            daemon.wait_until(lambda: ("tcp", 3128) not in listening(self.namespace.pid), "it stops to listen", 10)
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            answer = b""
            while data := client.recv(65536):
                answer += data
            self.assertTrue(answer.endswith(HELLO.encode() + b"\n"), answer)
        self.assertEqual(daemon.wait(15), 0)


class MakeRunTests(QuickStartTestCase):
    """The first command of the README."""

    def test_make_run_serves_and_says_what_to_try(self) -> None:
        """It prints the curl line and serves in the foreground; the environment the tests run in stands for the one it would make."""
        self.ca = self.start_web()
        venv = BIN.parent
        argv = ["make", "-C", str(ROOT), "--no-print-directory", "-o", f"{venv}/.installed", "run", f"VENV={venv}"]
        run = Process("make run", argv, self.directory / "make.log", namespace=self.namespace)
        self.addCleanup(run.kill)
        run.wait_listening(3128, seconds=60)
        self.assertIn(f"curl -x {PROXY} http://example.com/", run.output())
        self.check_curl_lines()
