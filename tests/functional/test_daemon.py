# SPDX-License-Identifier: Apache-2.0
"""The daemon as its operator meets it: command line, start, signals, reload, control, end."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

import g3
from tests.functional.harness import BIN, COMMANDS, FunctionalTestCase, environment, run_g3proxy
from tests.functional.needs import ROOT
from tests.functional.processes import Process, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.functional.harness import Daemon

PACKAGES = ROOT / "tests" / "packages"

CONFIG = """
runtime: {{server_offline_delay: {delay}, task_wait_delay: 0.1, task_wait_timeout: 20, task_quit_timeout: 2}}
resolver:
  - {{name: names, type: deny_all}}
escaper:
  - name: out
    type: direct_fixed
    resolver: names
    egress_network_filter: {{default: allow, allow: 127.0.0.1}}
server:
  - name: web
    type: http_proxy
    listen: 127.0.0.1:{port}
    escaper: out
"""


class Answering(http.server.BaseHTTPRequestHandler):
    """Says hello; C{/slow} when it is let."""

    protocol_version = "HTTP/1.1"
    gate = threading.Event()

    def do_GET(self) -> None:
        if self.path == "/slow":
            self.gate.wait(20)
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Nothing."""


class Origin(http.server.ThreadingHTTPServer):
    """Clients of it may go away as they like."""

    daemon_threads = True
    #: More than a test opens at once: past it the kernel drops handshakes.
    request_queue_size = 1024

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing."""


class DaemonCase(FunctionalTestCase):
    """With an origin on loopback."""

    def setUp(self) -> None:
        super().setUp()
        self.port = free_port()
        Answering.gate.clear()
        self.origin = Origin(("127.0.0.1", 0), Answering)
        thread = threading.Thread(target=self.origin.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        self.addCleanup(self.origin.server_close)
        self.addCleanup(self.origin.shutdown)
        self.addCleanup(Answering.gate.set)

    def config(self, *, delay: float = 0.1, port: int = 0, **changes: str) -> str:
        text = CONFIG.format(delay=delay, port=port or self.port)
        for old, new in changes.items():
            text = text.replace(old.replace("__", " "), new)
        return text

    def daemon(self, config: str | None = None, **options: Any) -> Daemon:
        return self.start_daemon(config or self.config(), ports=options.pop("ports", (self.port,)), **options)

    def get(self, path: str = "/", port: int = 0) -> tuple[int, bytes]:
        """Ask the origin through the proxy."""
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=20)
        with contextlib.closing(connection):
            connection.request("GET", f"http://127.0.0.1:{self.origin.server_port}{path}")
            response = connection.getresponse()
            return response.status, response.read()

    def refused(self) -> bool:
        """Whether nobody listens on the proxy's port."""
        with contextlib.closing(socket.socket()) as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) != 0

    def rewrite(self, text: str) -> None:
        (self.directory / "g3proxy.yaml").write_text(text)

    def waits_for(self, daemon: Daemon, text: str) -> None:
        daemon.wait_until(lambda: text in daemon.output(), f"its log has {text!r}")


class AnswerTests(FunctionalTestCase):
    """What the command says without running."""

    def run_both(self, *arguments: str, **options: Any) -> Iterator[subprocess.CompletedProcess[str]]:
        """By twistd and by our own command; no answer takes a reactor, so that it is the same with each."""
        for command in ("twistd", "g3proxy"):
            yield run_g3proxy(*arguments, directory=self.directory, command=command, **options)

    def test_list_types_says_who_brings_what(self) -> None:
        """Kind, type, package, version; nothing else is on standard output."""
        for command in COMMANDS:
            done = run_g3proxy("--list-types", directory=self.directory, command=command)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn(["escaper", "direct_fixed", "g3", g3.__version__], [line.split() for line in done.stdout.splitlines()])
            self.assertEqual({len(line.split()) for line in done.stdout.splitlines()}, {4})

    def test_json_schema_is_json(self) -> None:
        """Of the whole configuration, with every key of every type."""
        for done in self.run_both("--json-schema"):
            self.assertEqual(done.returncode, 0, done.stderr)
            schema = json.loads(done.stdout)
            self.assertIn("bind_ip", schema["$defs"]["escaper.direct_fixed"]["properties"])

    def test_explain_tells_a_key_and_refuses_what_is_none(self) -> None:
        """Status 0 and 1."""
        for done in self.run_both("--explain", "escaper.direct_fixed.bind_ip"):
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn("escaper.direct_fixed.bind_ip", done.stdout)
        for done in self.run_both("--explain", "escaper.direct_fixed.bind_iq"):
            self.assertEqual((done.returncode, done.stdout), (1, ""))
            self.assertIn('did you mean "bind_ip"', done.stderr)

    def test_the_version_is_ours(self) -> None:
        """Not Twisted's."""
        for done in self.run_both("--version"):
            self.assertEqual((done.returncode, done.stdout), (0, f"g3proxy {g3.__version__}\n"))
        for done in self.run_both("-vv", "--version"):
            words = [line.partition(":")[0] for line in done.stdout.splitlines()]
            self.assertEqual(words, [f"g3proxy {g3.__version__}", "", "TLS library", "TLS library of the host", "Python", "Twisted", "Host"])

    def test_a_good_configuration_is_told_dumped_and_drawn(self) -> None:
        """-t, --dump-config and -g exit with 0."""
        path = self.write("g3proxy.yaml", CONFIG.format(delay=1, port=1))
        for done in self.run_both("--config-file", str(path), "-t", "--panic-quit"):
            self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "format ok\n", ""))
        for done in self.run_both("-c", str(path), "--dump-config"):
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn("no_ipv6: false  # default", done.stdout)
        for words, start in (("-g",), "strict"), (("-g", "mermaid"), "flowchart"), (("--dep-graph=plantuml",), "@startuml"):
            for done in self.run_both("-c", str(path), *words):
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertEqual(done.stdout.split()[0], start)

    def test_an_answer_takes_no_reactor_and_leaves_nothing_behind(self) -> None:
        """Neither is a reactor imported, nor is there a log or a pid file afterwards."""
        path = self.write("conf/g3proxy.yaml", CONFIG.format(delay=1, port=1))
        empty = self.directory / "empty"
        empty.mkdir()
        for words in (("--json-schema",), ("-c", str(path), "--dump-config")):
            done = subprocess.run(
                [sys.executable, "-X", "importtime", str(BIN / "twistd"), "g3proxy", *words],
                cwd=empty,
                env={**os.environ, **environment()},
                capture_output=True,
                text=True,
                check=False,
            )
            self.assertEqual(done.returncode, 0, done.stderr)
            imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
            self.assertIn("g3.apps.proxy", imported)
            self.assertEqual({name for name in imported if name.endswith("reactor")}, set(), words)
            self.assertEqual(list(empty.iterdir()), [])

    def test_a_bad_configuration_is_told_whole(self) -> None:
        """Every mistake with its place, status 1, no traceback, nothing on standard output."""
        text = CONFIG.format(delay=1, port=1).replace("resolver: names", "resolvr: names").replace("type: http_proxy", "type: http_prxy")
        path = self.write("g3proxy.yaml", text)
        for done in self.run_both("-c", str(path), "-t"):
            self.assertEqual((done.returncode, done.stdout), (1, ""))
            self.assertIn(f"{path}:8:5: ", done.stderr)
            self.assertIn('did you mean "resolver"', done.stderr)
            self.assertIn('did you mean "http_proxy"', done.stderr)
            self.assertNotIn("Traceback", done.stderr)

    def test_a_directory_is_searched_for_the_main_file(self) -> None:
        """main.* or g3proxy.*."""
        self.write("conf/main.yml", CONFIG.format(delay=1, port=1))
        for done in self.run_both("-c", str(self.directory / "conf"), "-t"):
            self.assertEqual(done.returncode, 0, done.stderr)
        self.write("empty/other.yml", "")
        for done in self.run_both("-c", str(self.directory / "empty"), "-t"):
            self.assertEqual(done.returncode, 1)

    def test_a_wrong_command_line_is_told(self) -> None:
        """No --config, an unknown graph, an unknown option."""
        path = str(self.write("g3proxy.yaml", CONFIG.format(delay=1, port=1)))
        for words in ((), ("-c", path, "--dep-graph=pencil"), ("--no-such-option",), ("-c", path, "-C", "relative"), ("-c", path, "-G", "../x")):
            for done in self.run_both(*words):
                self.assertNotEqual(done.returncode, 0)
                self.assertNotIn("Traceback", done.stderr + done.stdout)

    def test_completion_is_shell(self) -> None:
        """bash takes it, from every command."""
        scripts = {point.name for point in entry_points(group="console_scripts") if point.value.startswith("g3.")}
        self.assertGreater(len(scripts), 6)
        for command in sorted(scripts):
            script = subprocess.run(
                [str(BIN / command), "--completion", "bash"], env={**os.environ, **environment()}, capture_output=True, text=True, check=True
            ).stdout
            probe = f'{script}\nCOMP_WORDS=({command} --c); COMP_CWORD=1; _{command.replace("-", "_")}; printf "%s\\n" "${{COMPREPLY[@]}}"'
            done = subprocess.run(["bash", "-c", probe], capture_output=True, text=True, check=False)
            self.assertIn("--completion", done.stdout.split(), done.stderr)


class StartTests(DaemonCase):
    """Starting, and not starting."""

    def fails_to_start(self, config: str, *words: str, command: str = "twistd", **options: Any) -> subprocess.CompletedProcess[str]:
        path = self.write("g3proxy.yaml", config)
        control = tempfile.mkdtemp(prefix="g3t")
        self.addCleanup(shutil.rmtree, control, ignore_errors=True)
        done = run_g3proxy("-c", str(path), "-C", control, *words, command=command, **options)
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        self.assertNotIn("Traceback", done.stdout + done.stderr)
        self.assertEqual(list(Path(control).iterdir()), [])
        return done

    def test_it_serves_and_says_so(self) -> None:
        """One line in the log when all listen."""
        for command in COMMANDS:
            self.port = free_port()
            daemon = self.daemon(command=command, arguments=("-v",), group=command)
            self.assertEqual(self.get(), (200, b"hello"))
            self.waits_for(daemon, f"g3proxy {g3.__version__} is ready")
            self.assertEqual(stat.S_IMODE(daemon.control_socket.stat().st_mode), 0o600)

    def test_a_port_in_use_is_told_with_server_address_and_place(self) -> None:
        """Status 1; no control socket stays behind."""
        with socket.create_server(("127.0.0.1", self.port)):
            for command in COMMANDS:
                done = self.fails_to_start(self.config(), command=command)
                self.assertIn(f'g3proxy.yaml:11:5: server "web" cannot listen on 127.0.0.1:{self.port}: Address already in use', done.stderr)

    def test_all_ports_in_use_are_told_at_once(self) -> None:
        """Not one a start."""
        other = free_port()
        config = self.config() + f"  - {{name: second, type: http_proxy, listen: '127.0.0.1:{other}', escaper: out}}\n"
        with socket.create_server(("127.0.0.1", self.port)), socket.create_server(("127.0.0.1", other)):
            done = self.fails_to_start(config)
        self.assertEqual(done.stderr.count("Address already in use"), 2)

    def test_two_servers_on_one_port_are_refused(self) -> None:
        """Both are named."""
        config = self.config() + f"  - {{name: second, type: http_proxy, listen: '127.0.0.1:{self.port}', escaper: out}}\n"
        self.assertIn('servers "second" and "web" both listen on', self.fails_to_start(config).stderr)

    def test_a_control_directory_of_others_is_refused(self) -> None:
        """A link, or one that others can write to; what only answers does not look at it."""
        unsafe = self.directory / "unsafe"
        unsafe.mkdir()
        unsafe.chmod(0o777)
        link = self.directory / "link"
        link.symlink_to(unsafe)
        path = str(self.write("g3proxy.yaml", self.config()))
        for directory in (unsafe, link):
            done = run_g3proxy("-c", path, "-C", str(directory))
            self.assertEqual(done.returncode, 1)
            self.assertIn(str(directory), done.stderr)
            self.assertNotIn("Traceback", done.stderr)
        self.assertEqual(run_g3proxy("-t", "-c", path, "-C", str(unsafe)).returncode, 0)

    def test_listening_for_everybody_without_users_is_warned_of(self) -> None:
        """Aloud, at start."""
        daemon = self.daemon(self.config(**{"127.0.0.1:" + str(self.port): f"0.0.0.0:{self.port}"}))
        self.waits_for(daemon, 'server "web" listens on 0.0.0.0')

    def test_listening_on_loopback_is_not(self) -> None:
        """Only local users reach it."""
        daemon = self.daemon()
        self.waits_for(daemon, "is ready")
        self.assertNotIn("everybody who can reach it", daemon.output())

    def test_a_pid_file_is_written_only_when_asked_for(self) -> None:
        """g3proxy -p."""
        pid_file = self.directory / "g3proxy.pid"
        daemon = self.daemon(command="g3proxy", arguments=("-p", str(pid_file)))
        self.assertEqual(int(pid_file.read_text()), daemon.pid)
        daemon.quit()
        self.assertFalse(pid_file.exists())
        self.assertEqual([path.name for path in self.directory.iterdir() if path.suffix == ".pid"], [])

    def test_in_the_background_it_answers_when_it_serves(self) -> None:
        """g3proxy -d returns 0 when the ports are open, and makes the shared socket; it goes by SIGTERM."""
        path = self.write("g3proxy.yaml", self.config())
        pid_file, control = self.directory / "pid", Path(tempfile.mkdtemp(prefix="g3t"))
        self.addCleanup(shutil.rmtree, control, ignore_errors=True)
        done = run_g3proxy("-d", "-p", str(pid_file), "-c", str(path), "-C", str(control))
        self.assertEqual(done.returncode, 0, done.stderr)
        pid = int(pid_file.read_text())
        try:
            self.assertEqual(self.get(), (200, b"hello"))
            self.assertEqual(sorted(path.name for path in control.iterdir()), ["_.sock", f"_{pid}.sock"])
        finally:
            os.kill(pid, signal.SIGTERM)
            gone = Process("wait", ["tail", f"--pid={pid}", "-f", "/dev/null"], self.directory / "wait.log")
            gone.wait()
        self.assertEqual(list(Path(control).iterdir()), [])
        self.assertFalse(pid_file.exists())

    def test_in_the_background_a_failed_start_is_told_to_who_started_it(self) -> None:
        """Status 1 and the reason, though the daemon has no terminal."""
        with socket.create_server(("127.0.0.1", self.port)):
            pid_file = self.directory / "pid"
            done = self.fails_to_start(self.config(), "-d", "-p", str(pid_file), command="g3proxy")
        self.assertIn("cannot listen on", done.stderr)
        self.assertFalse(pid_file.exists())

    def test_a_foreign_package_serves_from_yaml(self) -> None:
        """An escaper that g3 has never heard of; a broken package beside it does no harm."""
        config = self.acme_config(self.origin.server_port)
        acme, broken = self.installed("acme", "broken")
        done = run_g3proxy("-t", "-c", str(self.write("g3proxy.yaml", config)), packages=[acme, broken])
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "format ok\n", ""))
        daemon = self.daemon("worker: {thread_number: 1}\n" + config, packages=[acme, broken], command="g3proxy", arguments=["-v"])
        self.waits_for(daemon, "is ready")
        told = "plugin module twisted.plugins.broken_g3_plugin failed to load: RuntimeError: this package wants Python 4"
        self.assertEqual([told in line for line in daemon.output().splitlines() if "broken_g3" in line], [True], daemon.output())
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as client:
            client.sendall(b"CONNECT nowhere.test:80 HTTP/1.1\r\nHost: nowhere.test:80\r\n\r\n")
            self.assertIn(b" 200 ", client.recv(4096))
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            self.assertIn(b"200 OK", client.recv(4096))

    def test_a_broken_package_is_named_where_its_type_is_missed(self) -> None:
        """The configuration error says which plugin failed and why."""
        config = self.config(**{"type: direct_fixed": "type: tunnel_of_broken"})
        path = self.write("g3proxy.yaml", config)
        done = run_g3proxy("-t", "-c", str(path), packages=self.installed("broken"))
        self.assertEqual(done.returncode, 1)
        self.assertIn("plugin module twisted.plugins.broken_g3_plugin failed to load: RuntimeError: this package wants Python 4", done.stderr)

    def acme_config(self, port: int, more: str = "") -> str:
        config = self.config(**{"type: direct_fixed": f"type: acme-fixed-host\n    host: 127.0.0.1:{port}{more}"})
        return config.replace("    resolver: names\n", "").replace("    egress_network_filter: {default: allow, allow: 127.0.0.1}\n", "")

    def test_a_start_that_fails_late_is_told_as_well(self) -> None:
        """A node that must ask somebody first, and does not like the answer: status 1 and its reason, though the reactor ran already."""
        (acme,) = self.installed("acme")
        for command in COMMANDS:
            done = self.fails_to_start(self.acme_config(free_port(), "\n    ask_first: true"), packages=[acme], command=command)
            self.assertIn('escaper "out": connect failed: connection refused', done.stderr)
        self.daemon(self.acme_config(self.origin.server_port, "\n    ask_first: true"), packages=[acme])

    def test_a_reload_waits_for_those_who_take_their_time(self) -> None:
        """Nothing changes until the slowest has answered; a no changes nothing."""
        (acme,) = self.installed("acme")
        daemon = self.daemon(self.acme_config(self.origin.server_port), packages=[acme])
        self.rewrite(self.acme_config(free_port(), "\n    ask_first: true"))
        done = daemon.ctl("reload")
        self.assertEqual(done.returncode, 1)
        self.assertIn("connection refused", done.stderr)
        self.rewrite(self.acme_config(self.origin.server_port, "\n    ask_first: true"))
        self.assertEqual(daemon.ctl("reload").stdout, 'replace escaper "out" (acme_fixed_host)\nnotice: success\n')

    def installed(self, *names: str) -> list[Path]:
        """Copies of packages, as a scan for plugins writes beside them."""
        for name in names:
            shutil.copytree(PACKAGES / name, self.directory / "packages" / name)
        return [self.directory / "packages" / name for name in names]


class EndTests(DaemonCase):
    """How it ends."""

    def test_interrupt_and_quit_end_at_once_with_status_0(self) -> None:
        """Also with a task alive."""
        for number in (signal.SIGINT, signal.SIGQUIT):
            self.port = free_port()
            daemon = self.daemon(group=number.name)
            with self.slow_client():
                daemon.quit(number)

    def test_terminate_lets_tasks_end(self) -> None:
        """No new client after the delay, the old one gets its answer, then status 0."""
        daemon = self.daemon()
        with self.slow_client() as client:
            daemon.send_signal(signal.SIGTERM)
            self.waits_for(daemon, "waiting for tasks to end")
            daemon.wait_until(self.refused, "it takes no new client")
            Answering.gate.set()
            self.assertIn(b"hello", client.makefile("rb").read())
        self.assertEqual(daemon.wait(), 0)

    def test_offline_by_control_can_be_cancelled_while_it_waits(self) -> None:
        """It serves on."""
        daemon = self.daemon(self.config(delay=30))
        self.assertEqual(daemon.ctl("offline").stdout, "notice: success\n")
        self.waits_for(daemon, "going offline")
        self.assertEqual(daemon.ctl("cancel-shutdown").stdout, "notice: success\n")
        self.assertEqual(self.get(), (200, b"hello"))

    def test_no_socket_stays_behind(self) -> None:
        """The control directory is empty."""
        daemon = self.daemon(arguments=("-m",))
        self.waits_for(daemon, "is ready")
        self.assertEqual(sorted(path.name for path in daemon.control_dir.iterdir()), ["test.sock", f"test_{daemon.pid}.sock"])
        self.assertEqual(daemon.stop(signal.SIGINT), 0)
        self.assertEqual(list(daemon.control_dir.iterdir()), [])

    @contextlib.contextmanager
    def slow_client(self) -> Iterator[socket.socket]:
        """A client whose request the origin holds."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as client:
            target = f"127.0.0.1:{self.origin.server_port}"
            client.sendall(f"GET http://{target}/slow HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n".encode())
            yield client


class ReloadTests(DaemonCase):
    """Another configuration without another process."""

    def test_a_hangup_reads_the_configuration_again(self) -> None:
        """A new server listens, a removed one does not."""
        daemon = self.daemon()
        other = free_port()
        self.rewrite(self.config(port=other, **{"name:__web": "name: site"}))
        daemon.send_signal(signal.SIGHUP)
        daemon.wait_listening(other)
        self.waits_for(daemon, 'reloaded: add server "site" (http_proxy); remove server "web" (http_proxy)')
        self.assertEqual(self.get(port=other), (200, b"hello"))
        with contextlib.closing(socket.socket()) as late:
            self.assertNotEqual(late.connect_ex(("127.0.0.1", self.port)), 0)

    def test_a_broken_configuration_changes_nothing(self) -> None:
        """By signal it is in the log, by control it is told with status 1; it serves on, also the parts that were good."""
        daemon = self.daemon()
        self.rewrite(self.config(port=free_port()) + "nonsense: [\n")
        daemon.send_signal(signal.SIGHUP)
        self.waits_for(daemon, "nothing was changed")
        done = daemon.ctl("reload")
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("g3proxy.yaml:", done.stderr)
        self.assertEqual(self.get(), (200, b"hello"))

    def test_a_port_in_use_changes_nothing(self) -> None:
        """Known only when it is bound: everything is rolled back."""
        daemon = self.daemon()
        with socket.create_server(("127.0.0.1", 0)) as other:
            self.rewrite(self.config(port=other.getsockname()[1], **{"name: out": "name: new"}))
            done = daemon.ctl("reload")
        self.assertEqual(done.returncode, 1)
        self.assertIn("cannot listen on", done.stderr)
        self.assertEqual(daemon.ctl("list", "escaper").stdout, "out\n")
        self.assertEqual(self.get(), (200, b"hello"))

    def test_a_dry_run_prints_what_would_change(self) -> None:
        """And changes nothing."""
        daemon = self.daemon()
        self.assertEqual(daemon.ctl("reload", "--dry-run").stdout, "nothing would change\n")
        self.rewrite(self.config(**{"name: names, type": "name: more, type", "resolver: names": "resolver: more"}))
        lines = ['add resolver "more" (deny_all)', 'replace escaper "out" (direct_fixed)', 'remove resolver "names" (deny_all)']
        self.assertEqual(daemon.ctl("reload", "--dry-run").stdout.splitlines(), lines)
        self.assertEqual(daemon.ctl("list", "resolver").stdout, "names\n")
        self.assertEqual(daemon.ctl("reload").stdout.splitlines(), [*lines, "notice: success"])
        self.assertEqual(daemon.ctl("list", "resolver").stdout, "more\n")

    def test_a_tunnel_lives_on_when_its_server_is_replaced(self) -> None:
        """The old server drains; force-quit ends it."""
        daemon = self.daemon()
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as tunnel:
            target = f"127.0.0.1:{self.origin.server_port}"
            tunnel.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
            self.assertIn(b" 200 ", tunnel.recv(4096))
            self.rewrite(self.config(**{"name: web": "name: site"}))
            self.assertEqual(daemon.ctl("reload").returncode, 0)
            tunnel.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = b""
            while b"hello" not in answer and (data := tunnel.recv(4096)):
                answer += data
            self.assertIn(b"hello", answer)
            self.assertEqual(daemon.ctl("force-quit", "web").stdout, "notice: success\n")
            with contextlib.suppress(ConnectionResetError):
                self.assertEqual(tunnel.recv(4096), b"")

    def test_one_node_in_a_file_of_its_own_is_reloaded_alone(self) -> None:
        """reload-escaper reads that document only; a new name there is refused."""
        one = "name: out\ntype: direct_fixed\nresolver: names\negress_network_filter: {default: allow, allow: 127.0.0.1}\n"
        self.write("escaper.d/out.yaml", one)
        text = self.config()
        start, end = text.index("escaper:\n"), text.index("server:\n")
        daemon = self.daemon(text[:start] + "escaper: escaper.d\n" + text[end:])
        self.write("escaper.d/out.yaml", one.replace("127.0.0.1", "192.0.2.1"))
        self.rewrite("nonsense")
        self.assertEqual(daemon.ctl("reload-escaper", "out").stdout, "notice: success\n")
        self.assertEqual(self.get()[0], 403)
        self.write("escaper.d/out.yaml", one.replace("name: out", "name: other"))
        done = daemon.ctl("reload-escaper", "out")
        self.assertEqual(done.returncode, 1)
        self.assertIn("expected escaper", done.stderr)

    def test_a_reference_to_nothing_refuses_until_it_is_defined(self) -> None:
        """The missing escaper is a dummy_deny; the real one takes its place at a reload."""
        daemon = self.daemon(self.config(**{"escaper: out": "escaper: later"}))
        self.assertEqual(self.get()[0], 403)
        self.rewrite(self.config(**{"escaper: out": "escaper: later", "name: out": "name: later"}))
        self.assertEqual(daemon.ctl("reload").returncode, 0)
        self.assertEqual(self.get(), (200, b"hello"))

    def test_sections_that_take_a_restart_are_told(self) -> None:
        """A changed log section is not applied, and said."""
        daemon = self.daemon()
        self.rewrite(self.config() + "log: stdout\n")
        daemon.ctl("reload")
        self.waits_for(daemon, "log: changed, which takes a restart")


class ControlTests(DaemonCase):
    """g3proxy-ctl, output for output."""

    def test_every_command_prints_what_upstreams_does(self) -> None:
        """Lists by line, notices, four lines of status, addresses or the error."""
        daemon = self.daemon()
        self.get()
        expected = {
            ("version",): f"{g3.__version__}\n",
            ("list", "server"): "web\n",
            ("list", "Escaper"): "out\n",
            ("list", "RESOLVER"): "names\n",
            ("list", "user-group"): "",
            ("list", "auditor"): "",
            ("server", "web", "status"): "online: true\nalive tasks: 0\ntotal conn: 1\ntotal task: 1\n",
            ("resolver", "names", "query", "a.test"): "LocalError: NoResolverSet\n",
            ("resolver", "names", "query", "a.test", "-s", "ipv6-only", "--resolution-delay", "10"): "LocalError: NoResolverSet\n",
            ("force-quit", "web"): "notice: success\n",
            ("force-quit-all",): "notice: success\n",
            ("cancel-shutdown",): "notice: success\n",
        }
        for words, output in expected.items():
            done = daemon.ctl(*words)
            self.assertEqual((done.stdout, done.stderr, done.returncode), (output, "", 0), words)

    def test_what_is_refused_has_upstreams_form_and_status_1(self) -> None:
        """api error, code -1, reason."""
        daemon = self.daemon()
        for words, reason in {
            ("server", "no", "status"): "no such server: no",
            ("resolver", "no", "query", "a.test"): "no such resolver: no",
            ("reload-escaper", "no"): "no such escaper: no",
            ("user-group", "no", "list-static-user"): "no such user group: no",
            ("user-group", "no", "list-dynamic-user"): "no such user group: no",
            ("escaper", "out", "publish", "{}"): "escaper out (type direct_fixed) takes no published data",
            ("escaper", "out", "get"): "escaper out (type direct_fixed) takes no published data",
        }.items():
            done = daemon.ctl(*words)
            self.assertEqual((done.returncode, done.stdout), (1, ""), words)
            self.assertEqual(done.stderr, f'Error: api error (code: -1, reason: "{reason}")\n')

    def test_what_the_user_gave_wrong_is_told_before_the_daemon_is_asked(self) -> None:
        """No JSON, no file, no such strategy, no such command."""
        daemon = self.daemon()
        for words, status in {
            ("escaper", "out", "publish", "{"): 1,
            ("escaper", "out", "publish", "-f", "/no/such/file"): 1,
            ("user-group", "g", "publish", "/no/such/file"): 1,
            ("resolver", "names", "query", "a.test", "-s", "both"): 1,
            ("escaper", "out", "publish"): 2,
            ("list", "everything"): 2,
            ("dance",): 2,
            (): 2,
        }.items():
            done = daemon.ctl(*words)
            self.assertEqual(done.returncode, status, words)
            self.assertNotIn("Traceback", done.stderr)

    def test_a_daemon_that_is_not_there_is_told_with_its_path(self) -> None:
        """Status 1."""
        done = subprocess.run(
            [str(BIN / "g3proxy-ctl"), "-C", str(self.directory), "-G", "x", "version"],
            env={**os.environ, **environment()},
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn(f"{self.directory}/x.sock", done.stderr)

    def test_the_shared_socket_of_a_group_without_a_name_is_found(self) -> None:
        """An empty group is _.sock for the daemon and for us."""
        daemon = self.daemon(arguments=("-m",), group="")
        self.waits_for(daemon, "is ready")
        done = subprocess.run(
            [str(BIN / "g3proxy-ctl"), "-C", str(daemon.control_dir), "-G", "", "version"],
            env={**os.environ, **environment()},
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual((done.returncode, done.stdout), (0, f"{g3.__version__}\n"), done.stderr)
