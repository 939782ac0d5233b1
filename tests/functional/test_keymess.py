# SPDX-License-Identifier: Apache-2.0
"""g3keymess as a user runs it: upstream's coverage with its configuration files unchanged, TLS, keys that come later, and none that leaves."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.trial.unittest import SkipTest

from g3.net.libssl.keys import load_private_key
from g3.proto.keyless import Opcode, encode_request
from tests.functional.certificates import Authority, pem
from tests.functional.harness import BIN, Daemon, FunctionalTestCase, command_line, environment
from tests.functional.needs import ROOT, need
from tests.functional.processes import Process, free_port
from tests.functional.redis_server import RedisServer
from tests.functional.stage import StageTestCase
from tests.functional.test_workers import children
from tests.upstream import upstream_dir

if TYPE_CHECKING:
    from collections.abc import Sequence

#: What keyless_checks counts.
CHECKS = 17
GENERATE = {
    "rsa2048": ("-algorithm", "rsa", "-pkeyopt", "rsa_keygen_bits:2048"),
    "ec256": ("-algorithm", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
    "ed25519": ("-algorithm", "ed25519"),
}


class Keymess(Daemon):
    """g3keymess running."""

    program = "g3keymess"


def make_key(path: Path, kind: str, mode: int = 0o600) -> str:
    """A new key by the openssl command; its identifier."""
    subprocess.run(["openssl", "genpkey", *GENERATE[kind], "-out", str(path)], check=True, capture_output=True)
    path.chmod(mode)
    return load_private_key(path.read_bytes()).ski.hex()


def run(*arguments: str, command: str = "g3keymess", directory: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run g3keymess to its end."""
    words = [*command_line("g3keymess", "twistd" if command == "twistd" else "g3proxy"), *arguments]
    env = {**os.environ, **environment()}
    return subprocess.run(words, cwd=directory, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)


class CoverageTests(StageTestCase):
    """Upstream's coverage: each of its configurations, each step of its script, on its port."""

    def setUp(self) -> None:
        super().setUp()
        need("openssl")
        shutil.copytree(upstream_dir() / "coverage" / "g3keymess", self.directory / "case")
        keys = self.directory / "case" / "keys"
        keys.mkdir(exist_ok=True)
        for kind in GENERATE:
            make_key(keys / f"{kind}.key", kind)

    def cover(self, name: str, command: str) -> None:
        case = self.directory / "case"
        config = case / name / "g3keymess.yaml"
        unchanged = config.read_bytes() == (upstream_dir() / "coverage" / "g3keymess" / name / "g3keymess.yaml").read_bytes()
        self.assertTrue(unchanged)
        daemon = Keymess(config, self.directory, ports=(1300,), command=command, namespace=self.namespace, group="test_g3keymess")
        self.addCleanup(daemon.forget)
        self.addCleanup(daemon.kill)
        keys = [f"--rsa={case}/keys/rsa2048.key", f"--ec={case}/keys/ec256.key"]
        for host in ("127.0.0.1", "::1")[: 2 if name == "simple" else 1]:
            ran = self.python("tests.functional.keyless_checks", f"--host={host}", "--port=1300", *keys, "--statsd=8125")
            self.assertEqual((ran.returncode, ran.stdout.strip().splitlines()[-1:]), (0, [f"{CHECKS} checks passed"]), ran.stdout)
        self.assertEqual(daemon.ctl("offline").stdout, "notice: success\n")
        self.assertEqual(daemon.wait(), 0)
        daemon.check_log()

    def test_simple(self) -> None:
        """One request at a time."""
        self.cover("simple", "g3proxy")

    def test_worker(self) -> None:
        """Multiplexed, with two signing threads."""
        self.cover("worker", "twistd")

    def test_async_job_local(self) -> None:
        """Multiplexed, the main thread signs."""
        self.cover("async-job-local", "twistd")

    def test_async_job_worker(self) -> None:
        """Multiplexed, with the other backend's name."""
        self.cover("async-job-worker", "g3proxy")


class KeymessTestCase(FunctionalTestCase):
    """A directory with keys, and a daemon on a port of its own."""

    def setUp(self) -> None:
        super().setUp()
        need("openssl")
        self.keys = self.directory / "keys"
        self.keys.mkdir()
        # Short, since the name of a unix socket has room for 107 bytes only.
        self.control = Path(tempfile.mkdtemp(prefix="g3t"))
        self.addCleanup(shutil.rmtree, self.control, ignore_errors=True)
        self.skis = {kind: make_key(self.keys / f"{kind}.key", kind) for kind in ("rsa2048", "ec256")}
        self.port = free_port()

    def config(self, server: str = "", store: str = "    type: local\n    dir: keys\n", top: str = "", workers: int = 0) -> Path:
        listen = f"server:\n  - name: default\n    listen: 127.0.0.1:{self.port}\n"
        return self.write("g3keymess.yaml", f"runtime: {{thread_number: {workers}}}\n{top}{listen}{server}store:\n  - name: local\n{store}")

    def start(self, config: Path, *, ports: Sequence[int] | None = None, **options: Any) -> Keymess:
        daemon = Keymess(config, self.directory, ports=(self.port,) if ports is None else ports, **options)
        self.addCleanup(daemon.quit)
        return daemon

    def check(self, *more: str) -> subprocess.CompletedProcess[str]:
        words = [f"--port={self.port}", f"--rsa={self.keys}/rsa2048.key", f"--ec={self.keys}/ec256.key", *more]
        env = {**os.environ, **environment()}
        return subprocess.run(
            [sys.executable, "-m", "tests.functional.keyless_checks", *words],
            cwd=ROOT,
            env=env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def good(self, *more: str) -> None:
        ran = self.check(*more)
        self.assertEqual((ran.returncode, ran.stdout), (0, f"{CHECKS} checks passed\n"), ran.stderr)

    def ask(self, ski: str, opcode: int = Opcode.RSA_SIGN_SHA256) -> bytes:
        """The answer to one request, with plain sockets."""
        with socket.create_connection(("127.0.0.1", self.port), 10) as sock:
            sock.sendall(encode_request(1, opcode, bytes.fromhex(ski), bytes(32)))
            return sock.recv(65536)


class TLSTests(KeymessTestCase):
    """Key operations inside TLS."""

    def test_tls_and_client_certificates(self) -> None:
        """All checks pass with a client certificate; without one nobody is served."""
        authority = Authority()
        authority.write(self.directory / "server.pem", self.directory / "server-key.pem", "keys.example.net")
        (self.directory / "ca.pem").write_bytes(pem(authority.certificate))
        certificate, key = authority.issue("client", client=True)
        (self.directory / "client.pem").write_bytes(certificate)
        (self.directory / "client-key.pem").write_bytes(key)
        tls = (
            "    multiplex_queue_depth: 64\n    tls_server:\n      cert_pairs:\n"
            "        - certificate: server.pem\n          private_key: server-key.pem\n"
            "      enable_client_auth: true\n      ca_certificate: ca.pem\n"
        )
        self.start(self.config(tls))
        words = (f"--ca={self.directory}/ca.pem", "--name=keys.example.net")
        self.good(*words, "--pair", str(self.directory / "client.pem"), str(self.directory / "client-key.pem"))
        self.assertNotEqual(self.check(*words).returncode, 0)
        self.assertNotEqual(self.check(*words[:1], "--name=other.example.net").returncode, 0)

    def test_sessions_are_resumed_at_every_worker(self) -> None:
        """A ticket of one is good at the others: their keys are the same."""
        authority = Authority()
        authority.write(self.directory / "server.pem", self.directory / "server-key.pem", "keys.example.net")
        (self.directory / "ca.pem").write_bytes(pem(authority.certificate))
        pair = "    tls:\n      cert_pairs: {certificate: server.pem, private_key: server-key.pem}\n"
        daemon = self.start(self.config(pair, workers=2))
        daemon.wait_until(lambda: "is ready" in daemon.output(), "all workers serve")
        context = ssl.create_default_context(cafile=str(self.directory / "ca.pem"))
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        session, reused = None, []
        for _ in range(4):
            sock = context.wrap_socket(socket.create_connection(("127.0.0.1", self.port), 10), server_hostname="keys.example.net", session=session)
            self.addCleanup(sock.close)
            sock.sendall(encode_request(1, Opcode.RSA_SIGN_SHA256, bytes.fromhex(self.skis["rsa2048"]), bytes(32)))
            self.assertEqual(len(sock.recv(65536)), 271)
            reused.append(sock.session_reused)
            session = sock.session
        self.assertEqual(reused, [False, True, True, True])


class KeyTests(KeymessTestCase):
    """Where keys come from, and that they stay inside."""

    def test_keys_that_come_while_we_run(self) -> None:
        """Into a watched directory; published; and, into one that is not watched, with a reload."""
        daemon = self.start(self.config(store="    type: local\n    dir: keys\n    watch: true\n"))
        known = sorted(self.skis.values())
        self.assertEqual(daemon.ctl("list", "key").stdout.split(), known)
        fresh = make_key(self.directory / "fresh.key", "ed25519")
        self.assertEqual(daemon.ctl("check-key", str(self.directory / "fresh.key")).returncode, 1)
        shutil.copy(self.directory / "fresh.key", self.keys)
        daemon.wait_until(lambda: fresh in daemon.ctl("list", "key").stdout, "the new key is loaded")
        published = make_key(self.directory / "published.key", "rsa2048")
        self.assertEqual(self.ask(published)[-1], 2)
        self.assertEqual(daemon.ctl("publish-key", str(self.directory / "published.key")).stdout, "notice: success\n")
        self.assertEqual(len(self.ask(published)), 271)
        self.assertEqual(daemon.ctl("check-key", str(self.directory / "published.key")).stdout, "notice: success\n")
        self.assertEqual(daemon.ctl("list", "key").stdout.split(), sorted([*known, fresh, published]))

    def test_a_reload_looks_for_new_keys(self) -> None:
        """By SIGHUP and by command; nothing that was there is forgotten."""
        daemon = self.start(self.config())
        for name, reload in (("one", lambda: daemon.send_signal(signal.SIGHUP)), ("two", lambda: daemon.ctl("reload"))):
            ski = make_key(self.keys / f"{name}.key", "ec256")
            reload()
            daemon.wait_until(lambda ski=ski: ski in daemon.ctl("list", "key").stdout, "the new key is loaded")  # type: ignore[misc]
        (self.keys / "one.key").unlink()
        daemon.ctl("reload")
        self.assertEqual(len(daemon.ctl("list", "key").stdout.split()), 4)

    def test_a_file_that_others_may_read_is_named(self) -> None:
        """Loaded with a warning; refused where permissions are strict. Nothing of a key is in a log, whatever is logged."""
        (self.keys / "rsa2048.key").chmod(0o644)
        daemon = self.start(self.config(), arguments=("-v",))
        self.assertIn("rsa2048.key is not safe: others may read it (mode 0644)", daemon.output())
        self.assertEqual(len(self.ask(self.skis["rsa2048"])), 271)
        self.port = free_port()
        strict = self.start(self.config(store="    type: local\n    dir: keys\n    strict_key_permissions: true\n"), arguments=("-v",))
        self.assertEqual(self.ask(self.skis["rsa2048"])[-1], 2)
        for each in (daemon, strict):
            for path in self.keys.iterdir():
                for line in path.read_text().splitlines():
                    self.assertNotIn(line, each.output())
        self.assertEqual(run("--dump-config", "--config", str(self.directory / "g3keymess.yaml")).stdout.count("PRIVATE"), 0)

    def test_nobody_looks_into_the_process(self) -> None:
        """It is undumpable before a key is loaded, and so are its workers: the kernel gives their files in /proc to root, whoever they run as.
        Keys that only root may read are read before it is somebody else."""
        if os.geteuid() != 0:
            raise SkipTest("needs root, to run the daemon as somebody else")
        words = ["--config", str(self.config(workers=2)), "--control-dir", str(self.control), "--uid", "65534", "--gid", "65534"]
        twistd = [str(BIN / "twistd"), "-n", "--pidfile=", *words[4:], "g3keymess", *words[:4]]
        daemon = Process("g3keymess", twistd, self.directory / "log", env=environment())
        self.addCleanup(daemon.kill)
        daemon.wait_listening(self.port)
        daemon.wait_until(lambda: "Uid:\t65534" in Path(f"/proc/{daemon.pid}/status").read_text(), "it runs as nobody")
        daemon.wait_until(lambda: len(self.ask(self.skis["rsa2048"])) == 271, "it signs")
        other = subprocess.Popen(["setpriv", "--reuid=65534", "--clear-groups", "sleep", "60"])
        self.addCleanup(other.wait)
        self.addCleanup(other.kill)
        deadline = time.monotonic() + 10
        while Path(f"/proc/{other.pid}/environ").stat().st_uid != 65534 and time.monotonic() < deadline:
            time.sleep(0.02)
        self.assertEqual(Path(f"/proc/{other.pid}/environ").stat().st_uid, 65534)
        (nursery,) = children(daemon.pid)
        processes = [daemon.pid, *children(nursery)]
        self.assertEqual(len(processes), 3)
        for pid in processes:
            self.assertIn("Uid:\t65534", Path(f"/proc/{pid}/status").read_text())
            self.assertEqual(Path(f"/proc/{pid}/environ").stat().st_uid, 0)
        self.assertEqual(daemon.stop(), 0)

    def test_check_dup_needs_no_daemon(self) -> None:
        """A line for each file with a key that another has; what is no key is told."""
        shutil.copy(self.keys / "rsa2048.key", self.keys / "same.key")
        shutil.copy(self.keys / "rsa2048.key", self.keys / "same.pem")
        (self.keys / "junk.key").write_text("junk")
        for extension, files in (("key", ["same.key"]), (None, ["same.key", "same.pem"])):
            words = [str(BIN / "g3keymess-ctl"), "check-dup", str(self.keys), *(["--ext", extension] if extension else [])]
            ran = subprocess.run(words, env={**os.environ, **environment()}, capture_output=True, text=True, check=False)
            self.assertEqual([Path(line.split()[-1]).name for line in ran.stdout.splitlines()], files)
            self.assertTrue(all(line.startswith(f"dup SKI {self.skis['rsa2048']}: ") for line in ran.stdout.splitlines()))
            self.assertIn("junk.key", ran.stderr)


class WorkerTests(KeymessTestCase):
    """Several processes that sign."""

    def workers(self, daemon: Keymess, number: int) -> list[int]:
        """Its worker processes, once they serve."""
        daemon.wait_until(lambda: "is ready" in daemon.output(), "all workers serve")
        (nursery,) = children(daemon.pid)
        self.assertEqual(len(children(nursery)), number)
        return children(nursery)

    def clients(self, number: int = 4) -> list[socket.socket]:
        """As many connections, spread evenly over the workers."""
        made = []
        for _ in range(number):
            sock = socket.create_connection(("127.0.0.1", self.port), 10)
            self.addCleanup(sock.close)
            made.append(sock)
            self.ask_on(sock, "00" * 20)
        return made

    def ask_on(self, sock: socket.socket, ski: str) -> bytes:
        sock.sendall(encode_request(1, Opcode.RSA_SIGN_SHA256, bytes.fromhex(ski), bytes(32)))
        return sock.recv(65536)

    def all_sign(self, clients: list[socket.socket], ski: str) -> bool:
        return [len(self.ask_on(sock, ski)) for sock in clients] == [271] * len(clients)

    def test_a_successor_takes_over(self) -> None:
        """The same port, the same answers, another process; an idle client of the old one is told to come again."""
        first = self.start(self.config())
        self.assertEqual(first.ctl("version").returncode, 0)
        (old,) = self.clients(1)
        second = self.start(self.config(workers=2), beside=first)
        self.assertEqual(second.ctl("version").returncode, 0)
        self.workers(second, 2)
        self.assertTrue(self.all_sign(self.clients(), self.skis["rsa2048"]))
        self.assertEqual(old.recv(1), b"")
        self.assertEqual(first.wait(), 0)
        self.assertTrue(self.all_sign(self.clients(1), self.skis["rsa2048"]))

    def test_every_worker_has_every_key(self) -> None:
        """Those of the start, those that come later by file or command; the replacement of a worker too, when the files are gone. What was
        counted and the tags that were added stay."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink:
            sink.bind(("127.0.0.1", 0))
            sink.settimeout(20)
            stat = f"stat:\n  target:\n    udp: 127.0.0.1:{sink.getsockname()[1]}\n"
            daemon = self.start(self.config(store="    type: local\n    dir: keys\n    watch: true\n", top=stat, workers=2))
            workers = self.workers(daemon, 2)
            clients = self.clients()
            self.assertTrue(self.all_sign(clients, self.skis["rsa2048"]))
            published = make_key(self.directory / "published.key", "rsa2048")
            self.assertEqual(daemon.ctl("publish-key", str(self.directory / "published.key")).stdout, "notice: success\n")
            self.assertTrue(self.all_sign(clients, published))
            fresh = make_key(self.keys / "fresh.key", "rsa2048")
            daemon.wait_until(lambda: self.all_sign(clients, fresh), "all workers have the new key")
            self.assertEqual(daemon.ctl("list", "key").stdout.split(), sorted([*self.skis.values(), published, fresh]))
            daemon.ctl("add-metrics-tag", "--name", "rack", "--value", "7")
            for path in self.keys.iterdir():
                path.unlink()
            os.kill(workers[0], signal.SIGKILL)
            daemon.wait_until(lambda: "serves" in daemon.output(), "it is replaced")
            clients = self.clients()
            for ski in (self.skis["rsa2048"], published, fresh):
                self.assertTrue(self.all_sign(clients, ski))
            status = daemon.ctl("server", "default", "status").stdout
            self.assertIn("total task: 8\n", status)
            wanted = {b"stat_id:0", b"stat_id:1"}
            while wanted:
                data = sink.recv(65536)
                wanted -= {each for each in wanted if any(each in line and b"rack:7" in line for line in data.splitlines())}

    def test_a_limit_is_of_all_workers(self) -> None:
        """There are no more of them than may work at one time."""
        daemon = self.start(self.config("    concurrency_limit: 1\n", workers=2))
        self.workers(daemon, 1)
        self.assertEqual(len(self.ask(self.skis["rsa2048"])), 271)

    def test_an_upgrade_loses_no_request(self) -> None:
        """Another daemon of the group takes the socket over while clients come and go: each is answered."""
        config = self.config(workers=2)
        before = Keymess(config, self.directory, ports=(self.port,), arguments=("--monitored",))
        self.addCleanup(before.kill)
        before.wait_until(lambda: "is ready" in before.output(), "all workers serve")
        answers: list[int] = []
        done = threading.Event()

        def come_and_go() -> None:
            while not done.is_set():
                try:
                    answers.append(len(self.ask(self.skis["rsa2048"])))
                except OSError:
                    answers.append(-1)

        thread = threading.Thread(target=come_and_go)
        thread.start()
        try:
            after = self.start(config, arguments=("--monitored",), beside=before)
            self.assertEqual(before.wait(), 0)
        finally:
            done.set()
            thread.join()
        self.assertEqual(set(answers), {271}, len(answers))
        before.check_log()
        self.assertEqual(after.ctl("list", "key").stdout.split(), sorted(self.skis.values()))

    def test_a_reload_reaches_all_workers(self) -> None:
        """New key files are found, connections stay, and a configuration that is wrong changes nothing."""
        daemon = self.start(self.config(workers=2))
        self.workers(daemon, 2)
        clients = self.clients(2)
        ski = make_key(self.keys / "late.key", "rsa2048")
        self.config("    multiplex_queue_depth: 50\n", workers=2)
        self.assertEqual(daemon.ctl("reload").returncode, 0)
        daemon.wait_until(lambda: self.all_sign(clients, ski), "all workers have the new key")
        self.config("    multiplex_queue_depth: many\n", workers=2)
        self.assertEqual(daemon.ctl("reload").returncode, 1)
        self.assertTrue(self.all_sign(clients, self.skis["rsa2048"]))
        self.assertIn("alive tasks: 2\n", daemon.ctl("server", "default", "status").stdout)


class ControlTests(KeymessTestCase):
    """What an operator asks."""

    def test_servers(self) -> None:
        """Output as upstream's."""
        daemon = self.start(self.config())
        self.ask(self.skis["rsa2048"])
        self.assertEqual(daemon.ctl("list", "server").stdout, "default\n")
        self.assertEqual(daemon.ctl("server", "default", "get-listen-addr").stdout, f"addr: 127.0.0.1:{self.port}\n")
        daemon.wait_until(lambda: "alive tasks: 0\n" in daemon.ctl("server", "default", "status").stdout, "the client has left")
        self.assertEqual(daemon.ctl("server", "default", "status").stdout, "online: true\nalive tasks: 0\ntotal task: 1\n")
        self.assertEqual(daemon.ctl("server", "default", "add-metrics-tag", "--name", "rack", "--value", "7").stdout, "notice: success\n")
        for words in (
            ("server", "other", "status"),
            ("server", "default", "add-metrics-tag", "--name", "a b", "--value", "7"),
            ("add-metrics-tag", "--name", "", "--value", "x"),
        ):
            ran = daemon.ctl(*words)
            self.assertEqual((ran.returncode, ran.stdout), (1, ""))
            self.assertTrue(ran.stderr.startswith("Error: api error (code: -1, reason: "), ran.stderr)
        self.assertEqual(daemon.ctl("publish-key", "/dev/null").returncode, 1)

    def test_tags_are_in_the_metrics_from_then_on(self) -> None:
        """Of one server, or of all."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink:
            sink.bind(("127.0.0.1", 0))
            sink.settimeout(20)
            daemon = self.start(self.config(top=f"stat:\n  target:\n    udp: 127.0.0.1:{sink.getsockname()[1]}\n"))
            daemon.ctl("server", "default", "add-metrics-tag", "--name", "rack", "--value", "7")
            daemon.ctl("add-metrics-tag", "--name", "row", "--value", "b")
            while b"rack:7,row:b" not in (data := sink.recv(65536)):
                self.assertIn(b"g3keymess.", data)

    def test_a_reload_keeps_connections_where_it_can(self) -> None:
        """And uses the new configuration for the next."""
        daemon = self.start(self.config())
        with socket.create_connection(("127.0.0.1", self.port)) as sock:
            sock.settimeout(10)
            for number, depth in ((1, 0), (2, 50)):
                self.config(f"    multiplex_queue_depth: {depth}\n")
                self.assertEqual(daemon.ctl("reload").returncode, 0)
                sock.sendall(encode_request(number, Opcode.PING))
                self.assertEqual(sock.recv(100)[4:8], number.to_bytes(4, "big"))

    def test_a_group_called_core_runs_on_one_cpu(self) -> None:
        """As upstream."""
        path = self.config()
        path.write_text(path.read_text().replace("thread_number: 0", ""))
        daemon = self.start(path, group="core0")
        self.assertEqual(os.sched_getaffinity(daemon.pid), {0})
        self.assertEqual(len(self.ask(self.skis["rsa2048"])), 271)
        self.assertEqual(children(daemon.pid), [])


class StartTests(KeymessTestCase):
    """Starts that fail, in words."""

    def test_what_is_wrong_is_told(self) -> None:
        """With its place, and status 1."""
        for text, words in (
            ("store:\n  - name: a\n    type: local\n", 'required key "dir_path" is missing'),
            ("store:\n  - name: a\n    type: local\n    dir: nowhere\n", "does not exist"),
            ("store:\n  - name: a\n    type: vault\n", "unknown store type"),
            ("server:\n  - name: a\n", 'required key "listen" is missing'),
            ("server:\n  - name: a\n    listen: 127.0.0.1:1\n    escaper: x\n", 'unknown key "escaper"'),
            ("backend: quantum\n", "unsupported backend type"),
            ("escaper: []\n", 'unknown key "escaper" in the main configuration'),
            ("store:\n  - name: a\n    type: redis\n    url: http://localhost\n", "redis://"),
        ):
            ran = run("-c", str(self.write("bad.yaml", text)), "-t")
            self.assertEqual(ran.returncode, 1, text)
            self.assertIn(words, ran.stderr)
            self.assertRegex(ran.stderr, r"bad\.yaml:\d+:\d+: ")
            self.assertNotIn("Traceback", ran.stderr)

    def test_upstreams_examples_load(self) -> None:
        """Each of its example configurations, unchanged, by both commands."""
        shutil.copytree(upstream_dir() / "examples" / "g3keymess", self.directory / "examples")
        for folder in sorted((self.directory / "examples").iterdir()):
            (folder / "keys").mkdir(exist_ok=True)
            for command in ("twistd", "g3keymess"):
                ran = run("-c" if command == "g3keymess" else "--config", str(folder), "--test-config", command=command)
                self.assertEqual((ran.returncode, ran.stderr), (0, ""), folder)

    def test_a_taken_port_is_told(self) -> None:
        """Without a traceback; the process ends with status 1."""
        with socket.create_server(("127.0.0.1", self.port)):
            ran = run("--config", str(self.config()), "--control-dir", str(self.control), command="twistd")
        self.assertEqual(ran.returncode, 1)
        self.assertIn("cannot listen on 127.0.0.1", ran.stderr)
        self.assertNotIn("Traceback", ran.stderr + ran.stdout)


class RedisTests(KeymessTestCase):
    """Keys from Redis."""

    def setUp(self) -> None:
        super().setUp()
        self.redis_port = free_port()
        self.redis = self.start_redis()

    def start_redis(self) -> RedisServer:
        process = RedisServer(self.directory, self.redis_port, password="word")
        self.addCleanup(process.kill)
        return process

    def cli(self, *words: str) -> None:
        self.assertNotIn("ERR", self.redis.cli(*words, database=3))

    def put(self, path: Path, field: str) -> None:
        self.cli("HSET", "g3keymess:keys", field, path.read_text())

    def store(self, workers: int = 0, **more: str) -> Path:
        keys = "".join(f"    {key}: {value}\n" for key, value in more.items())
        store = f"    type: redis\n    url: redis://:word@127.0.0.1:{self.redis_port}/3\n    refresh_interval: 100ms\n{keys}"
        return self.config(store=store, workers=workers)

    def test_keys_are_there_before_the_server_is_and_follow(self) -> None:
        """Those that come are loaded, those that go are forgotten, those that lie about their identifier are refused. So it is in all workers."""
        self.put(self.keys / "rsa2048.key", self.skis["rsa2048"])
        self.put(self.keys / "ec256.key", "ab" * 20)
        self.cli("HSET", "g3keymess:keys", "junk", "junk")
        daemon = self.start(self.store(workers=2), arguments=("-v",))
        self.assertEqual(len(self.ask(self.skis["rsa2048"])), 271)
        self.assertEqual(daemon.ctl("list", "key").stdout.split(), [self.skis["rsa2048"]])
        self.assertIn(f"field {'ab' * 20} was not loaded: its key is {self.skis['ec256']}", daemon.output())
        self.put(self.keys / "ec256.key", self.skis["ec256"].upper())
        daemon.wait_until(lambda: self.skis["ec256"] in daemon.ctl("list", "key").stdout, "the new key is loaded")
        self.cli("HDEL", "g3keymess:keys", self.skis["rsa2048"])
        daemon.wait_until(lambda: self.skis["rsa2048"] not in daemon.ctl("list", "key").stdout, "the key is forgotten")
        daemon.wait_until(lambda: [self.ask(self.skis["rsa2048"])[-1] for _ in range(4)] == [2] * 4, "by all workers")
        self.assertNotIn(":word", daemon.output())

    def test_when_redis_fails_what_is_loaded_stays(self) -> None:
        """When it dies, and when the hash is gone; told once, and when it is back."""
        self.put(self.keys / "rsa2048.key", self.skis["rsa2048"])
        daemon = self.start(self.store(), arguments=("-v",))
        self.redis.stop()
        daemon.wait_until(lambda: "keys that are loaded stay" in daemon.output(), "the failure is told")
        self.assertEqual(len(self.ask(self.skis["rsa2048"])), 271)
        self.start_redis()
        daemon.wait_until(lambda: "there is no hash g3keymess:keys with keys" in daemon.output(), "the empty Redis is told")
        self.assertEqual(len(self.ask(self.skis["rsa2048"])), 271)
        self.put(self.keys / "rsa2048.key", self.skis["rsa2048"])
        self.put(self.keys / "ec256.key", self.skis["ec256"])
        daemon.wait_until(lambda: self.skis["ec256"] in daemon.ctl("list", "key").stdout, "it follows again")
        self.assertIn("answers again", daemon.output())
        self.assertLess(daemon.output().count("keys that are loaded stay"), 5)

    def test_no_redis_is_no_start(self) -> None:
        """In words, without the password."""
        self.redis.stop()
        ran = run("--config", str(self.store()), "--control-dir", str(self.control), command="twistd")
        self.assertEqual(ran.returncode, 1)
        self.assertIn(f"cannot load keys from redis://127.0.0.1:{self.redis_port}/3", ran.stderr)
        self.assertNotIn("Traceback", ran.stderr + ran.stdout)
        self.assertNotIn(":word", ran.stderr + ran.stdout)

    def test_the_password_is_not_dumped(self) -> None:
        """By --dump-config."""
        self.assertNotIn(":word@", run("--dump-config", "--config", str(self.store())).stdout)


class Registrar(HTTPServer):
    """A place to register at: what it was told, and how it answers."""

    def __init__(self, statuses: list[int]) -> None:
        self.statuses = statuses
        self.posts: list[tuple[str, dict[str, Any]]] = []
        self.pings: list[str] = []
        super().__init__(("127.0.0.1", 0), RegistrarHandler)
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def handle_error(self, request: object, client_address: object) -> None:
        """A daemon that ends resets its connection."""


class RegistrarHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Registrar

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.posts.append((self.path, body))
        self.answer(self.server.statuses.pop(0) if self.server.statuses else 200)

    def do_GET(self) -> None:
        self.server.pings.append(self.path)
        self.answer(200)

    def answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Quiet."""


class RegisterTests(KeymessTestCase):
    """Registering before serving."""

    def registrar(self, *statuses: int) -> Registrar:
        registrar = Registrar(list(statuses))
        self.addCleanup(registrar.server_close)
        self.addCleanup(registrar.shutdown)
        return registrar

    def section(self, registrar: Registrar, **more: object) -> str:
        keys = "".join(f"  {name}: {value}\n" for name, value in {"retry_interval": "100ms", "ping_interval": "100ms", **more}.items())
        return f"pre_register:\n  upstream: 127.0.0.1:{registrar.server_address[1]}\n{keys}"

    def test_servers_listen_once_we_are_registered(self) -> None:
        """Tried again after a no; our control socket and pid are told, and pings follow."""
        registrar = self.registrar(500, 404)
        daemon = self.start(self.config(top=self.section(registrar, extra_data="{zone: a}", register_path="/in?x=1")))
        self.assertEqual(len(registrar.posts), 3)
        path, body = registrar.posts[0]
        self.assertEqual((path, body), ("/in?x=1", {"ctl_local": str(daemon.control_socket), "pid": str(daemon.pid), "zone": "a"}))
        self.assertEqual(len(self.ask(self.skis["rsa2048"])), 271)
        daemon.wait_until(lambda: len(registrar.pings) > 2, "pings")
        self.assertEqual(set(registrar.pings), {"/ping"})

    def test_who_is_not_taken_does_not_serve(self) -> None:
        """After so many tries the daemon ends with status 1, in words."""
        registrar = self.registrar(*[500] * 10)
        config = self.config(top=self.section(registrar, startup_retry=1))
        ran = run("--config", str(config), "--control-dir", str(self.control), command="twistd")
        self.assertEqual((ran.returncode, len(registrar.posts)), (1, 2))
        self.assertIn("unexpected response: 500", ran.stderr)
        self.assertNotIn("Traceback", ran.stderr + ran.stdout)
