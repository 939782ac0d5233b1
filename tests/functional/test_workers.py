# SPDX-License-Identifier: Apache-2.0
"""A daemon of several processes: whoever of them is killed or stopped, clients are served, and nobody is left behind."""

from __future__ import annotations

import collections
import contextlib
import grp
import http.client
import os
import pwd
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.trial.unittest import SkipTest

from tests.functional import harness
from tests.functional.harness import COMMANDS
from tests.functional.leftover import descriptors, sockets
from tests.functional.processes import free_port
from tests.functional.rawhttp import RawClient
from tests.functional.test_daemon import PACKAGES, Answering, DaemonCase
from tests.functional.test_http_proxy import get

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.functional.harness import Daemon


def status(pid: int) -> dict[str, str]:
    """The status of a process; nothing when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return {}
    found = dict(line.split(":", 1) for line in lines)
    return {} if "Z" in found["State"] else {key: value.strip() for key, value in found.items()}


def children(pid: int) -> list[int]:
    """The processes that a process started."""
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def nursery(daemon: Daemon) -> int:
    """The process that forks the workers of a daemon."""
    (found,) = children(daemon.pid)
    return found


def workers(daemon: Daemon) -> list[int]:
    """The workers of a daemon."""
    return [pid for each in children(daemon.pid) for pid in children(each) if status(pid)]


def wait_for(condition: Any, what: str, seconds: float = 20.0) -> float:
    """Seconds until something was true."""
    start = time.monotonic()
    while not condition():
        if time.monotonic() - start > seconds:
            raise AssertionError(f"took more than {seconds} seconds: {what}")
        time.sleep(0.01)
    return time.monotonic() - start


def low_port() -> int:
    """A free port below 1024."""
    for port in range(1023, 600, -1):
        with contextlib.closing(socket.socket()) as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port below 1024 is free")


class Load:
    """Clients that connect anew for each request, all the time."""

    def __init__(self, case: DaemonCase, clients: int = 4) -> None:
        self.case = case
        self.statuses: list[int] = []
        self.refused: list[BaseException] = []
        self.broken: list[BaseException] = []
        self.longest = 0.0
        self._done = threading.Event()
        self._threads = [threading.Thread(target=self._client) for _ in range(clients)]

    def _client(self) -> None:
        while not self._done.is_set():
            start = time.monotonic()
            try:
                self.statuses.append(self.case.get()[0])
            except ConnectionRefusedError as error:
                self.refused.append(error)
            except (OSError, http.client.HTTPException) as error:
                self.broken.append(error)
            else:
                self.longest = max(self.longest, time.monotonic() - start)

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join()


class WorkerCase(DaemonCase):
    """With two workers."""

    number = 2

    def config(self, **options: Any) -> str:
        text = super().config(**options)
        return text.replace("runtime: {", f"runtime: {{thread_number: {self.number}, ")

    def serving(self, **options: Any) -> Daemon:
        """A daemon whose workers all serve."""
        daemon = self.daemon(**options)
        self.assertEqual(daemon.ctl("version").returncode, 0)
        self.assertEqual(len(workers(daemon)), self.number)
        return daemon

    def total(self, daemon: Daemon, what: str = "total task") -> int:
        """A line of the server's status."""
        lines = dict(line.split(": ") for line in daemon.ctl("server", "web", "status").stdout.splitlines())
        return int(lines[what])

    @contextlib.contextmanager
    def tunnels(self, number: int, apart: float = 0.0) -> Iterator[list[socket.socket]]:
        """Open CONNECT tunnels, a time apart; none waits for the answer to the one before."""
        target = f"127.0.0.1:{self.origin.server_port}"
        with contextlib.ExitStack() as stack:
            opened = []
            for _ in range(number):
                client = stack.enter_context(socket.create_connection(("127.0.0.1", self.port), timeout=20))
                client.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
                opened.append(client)
                time.sleep(apart)
            for client in opened:
                self.assertIn(b" 200 ", client.recv(4096))
            yield opened

    @contextlib.contextmanager
    def kept(self, number: int) -> Iterator[list[RawClient]]:
        """Connections that have had one answer."""
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(RawClient(self.port)) for _ in range(number)]
            self.assertTrue(all(map(self.answered, clients)))
            yield clients

    def answered(self, client: RawClient) -> bool:
        """Whether a connection carries another request."""
        try:
            return client.ask(get(self.origin.server_port)).body == b"hello"
        except (OSError, http.client.HTTPException):
            return False

    def held_by(self, pid: int, clients: Iterable[socket.socket]) -> set[socket.socket]:
        """Those of our connections whose other end a process has."""
        held = set(descriptors(pid))
        ends = {}
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            fields = line.split()
            local, remote = (int(field.rpartition(":")[2], 16) for field in fields[1:3])
            ends[local, remote] = f"socket:[{fields[9]}]"
        return {client for client in clients if ends[self.port, client.getsockname()[1]] in held}

    def speaks(self, tunnel: socket.socket) -> bool:
        """Whether a tunnel works."""
        try:
            tunnel.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            data = b""
            while not data.endswith(b"hello"):
                more = tunnel.recv(4096)
                if not more:
                    return False
                data += more
            return True
        except OSError:
            return False


class CountTests(WorkerCase):
    """How many there are."""

    def test_zero_serves_in_the_process_itself(self) -> None:
        """No child."""
        self.number = 0
        daemon = self.serving()
        self.assertEqual(children(daemon.pid), [])
        self.assertEqual(self.get(), (200, b"hello"))

    def test_without_a_word_there_is_one_for_each_cpu(self) -> None:
        """As many as there are CPUs we may run on, and on whichever of them is free."""
        daemon = self.daemon(super().config().replace("thread_number: 2, ", ""))
        daemon.ctl("version")
        self.assertEqual([os.sched_getaffinity(pid) for pid in workers(daemon)], [os.sched_getaffinity(0)] * len(os.sched_getaffinity(0)))

    def test_the_worker_section_says_how_many_and_where(self) -> None:
        """thread_number divided by thread_number_per_runtime; each on its CPUs, and shown by its slot."""
        cpu = max(os.sched_getaffinity(0))
        text = self.config() + f"worker: {{thread_number: 6, thread_number_per_runtime: 2, sched_affinity: {{1: {cpu}}}}}\n"
        daemon = self.daemon(text)
        daemon.ctl("version")
        self.assertEqual([status(pid)["Name"] for pid in (nursery(daemon), *workers(daemon))], ["g3-nursery", *(f"g3proxy:{n}" for n in range(3))])
        found = [os.sched_getaffinity(pid) for pid in workers(daemon)]
        self.assertEqual(len(found), 3)
        self.assertEqual(found[1], {cpu})
        self.assertEqual(found[0], os.sched_getaffinity(0))


class StartTests(WorkerCase):
    """From nothing to serving."""

    def test_an_open_port_is_served(self) -> None:
        """It stays closed until there is a nursery that forks at once: it takes its name when it has imported everything."""
        daemon = self.daemon(ports=())
        wait_for(lambda: not self.refused(), "its port is open")
        self.assertEqual(status(nursery(daemon))["Name"], "g3-nursery")
        self.assertEqual(self.get(), (200, b"hello"))


class DeathTests(WorkerCase):
    """Whoever dies or hangs."""

    def test_a_killed_worker_is_replaced_and_nobody_is_refused(self) -> None:
        """Only what it held breaks, and all else goes on: tunnels, kept connections, new ones. The replacement is there within a second."""
        daemon = self.serving()
        victim, other = workers(daemon)
        before = sockets(other)
        with self.tunnels(20) as tunnels, self.kept(20) as kept, Load(self) as load:
            wait_for(lambda: len(load.statuses) > 50, "load")
            lasting = self.held_by(other, tunnels), self.held_by(other, [client.sock for client in kept])
            os.kill(victim, signal.SIGKILL)
            self.assertLess(wait_for(lambda: ") serves" in daemon.output(), "the replacement serves"), 1.0)
            self.assertEqual(len(workers(daemon)), 2)
            self.assertNotIn(victim, workers(daemon))
            before = len(load.statuses)
            wait_for(lambda: len(load.statuses) > before + 50, "load goes on")
            alive = {tunnel for tunnel in tunnels if self.speaks(tunnel)}, {client.sock for client in kept if self.answered(client)}
        self.assertEqual(load.refused, [])
        self.assertLessEqual(len(load.broken), 4)
        self.assertEqual(set(load.statuses), {200})
        self.assertEqual(alive, lasting)
        self.assertTrue(all(4 <= len(each) <= 16 for each in lasting), lasting)
        self.assertIn(other, workers(daemon))
        wait_for(lambda: self.total(daemon, "alive tasks") == 0 and sockets(other) <= before, "nothing is left in the other")
        daemon.quit(signal.SIGINT)

    def test_counts_never_go_back(self) -> None:
        """Every request that was answered stays counted, whoever of the workers dies and whenever it is asked; nothing is counted twice."""
        daemon = self.serving()
        seen = [0]
        with Load(self, 2) as load:
            for _ in range(3):
                wait_for(lambda: workers(daemon), "one is there")
                os.kill(workers(daemon)[0], signal.SIGKILL)
                for _ in range(4):
                    answered = len(load.statuses)
                    seen.append(self.total(daemon))
                    self.assertGreaterEqual(seen[-1], max(seen[-2], answered))
        attempts = len(load.statuses) + len(load.broken)
        self.assertTrue(len(load.statuses) <= self.total(daemon) <= attempts)
        wait_for(lambda: len(workers(daemon)) == 2, "replaced")
        wait_for(lambda: self.total(daemon, "alive tasks") == 0, "nobody is alive")

    def test_a_stopped_worker_is_killed_and_replaced(self) -> None:
        """While it hangs nobody waits for it but those it had accepted, also where the other has far more than its share."""
        daemon = self.serving()
        usual = max(self.burst(30) for _ in range(5))
        victim, other = workers(daemon)
        held = sockets(other)
        os.kill(victim, signal.SIGSTOP)
        # Whom it has accepted it keeps: what it took in its last turn is let go.
        time.sleep(0.1)
        start, longest = time.monotonic(), []
        with self.tunnels(60):
            while status(victim):
                longest.append(self.burst(30))
                self.assertLess(time.monotonic() - start, 12)
                time.sleep(0.02)
        self.assertLess(max(longest), max(0.2, 3 * usual), longest)
        wait_for(lambda: len(workers(daemon)) == 2, "replaced")
        self.waits_for(daemon, "does not answer any more")
        wait_for(lambda: self.total(daemon, "alive tasks") == 0 and sockets(other) <= held, "nothing is left in the other")

    def burst(self, number: int) -> float:
        """Many clients at once that the proxy answers by itself; the longest that one waited from its connect to its answer."""
        start = time.monotonic()
        with contextlib.ExitStack() as stack, selectors.DefaultSelector() as waiting:
            for _ in range(number):
                client = stack.enter_context(socket.create_connection(("127.0.0.1", self.port)))
                client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                waiting.register(client, selectors.EVENT_READ)
            while waiting.get_map():
                ready = waiting.select(20)
                self.assertTrue(ready, "nobody answers")
                for key, _ in ready:
                    self.assertTrue(key.fileobj.recv(4096).startswith(b"HTTP/1.1 "))  # type: ignore[union-attr]
                    waiting.unregister(key.fileobj)
        return time.monotonic() - start

    def test_one_that_keeps_dying_is_replaced_ever_more_slowly(self) -> None:
        """The other serves on."""
        daemon = self.serving()
        keep = workers(daemon)[1]
        replaced = 0
        end = time.monotonic() + 4
        while time.monotonic() < end:
            for pid in workers(daemon):
                if pid != keep:
                    replaced += 1
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
            self.assertEqual(self.get()[0], 200)
        self.assertLess(replaced, 9)
        wait_for(lambda: len(workers(daemon)) == 2, "replaced in the end")
        self.assertIn(keep, workers(daemon))

    def test_the_nursery_is_replaced_and_workers_do_not_notice(self) -> None:
        """Tunnels go on, and a worker that dies later is replaced by the new one."""
        daemon = self.serving()
        old = nursery(daemon)
        first = workers(daemon)
        with self.tunnels(4) as tunnels:
            os.kill(old, signal.SIGKILL)
            wait_for(lambda: [pid for pid in children(daemon.pid) if pid not in (old, *first) and status(pid)], "another nursery")
            self.assertTrue(all(map(self.speaks, tunnels)))
        os.kill(first[0], signal.SIGKILL)
        wait_for(lambda: len(workers(daemon)) == 1, "replaced by the new nursery")
        self.assertEqual(self.get(), (200, b"hello"))

    def test_a_stopped_nursery_is_replaced_when_a_worker_is_wanted(self) -> None:
        """Else nobody who dies would be."""
        daemon = self.serving()
        old, first = nursery(daemon), workers(daemon)
        os.kill(old, signal.SIGSTOP)
        os.kill(first[0], signal.SIGKILL)
        wait_for(lambda: old not in children(daemon.pid) and len(workers(daemon)) == 1, "replaced by a new nursery")
        self.assertEqual(self.get(), (200, b"hello"))

    def test_without_a_nursery_a_start_fails(self) -> None:
        """With status 1 and the reason: where it cannot be started at all, at once; where it always ends, after some tries. Nothing is left."""
        path = self.write("g3proxy.yaml", self.config())
        control = Path(tempfile.mkdtemp(prefix="g3t"))
        self.addCleanup(shutil.rmtree, control, ignore_errors=True)
        for interpreter, reason in (("/nonexistent", "cannot be started: No such file"), ("/bin/false", "ends before it has forked one")):
            start = f"import sys; sys.executable = {interpreter!r}; from g3.apps.g3proxy import main; sys.exit(main())"
            done = subprocess.run(
                [sys.executable, "-c", start, "--config", str(path), "--control-dir", str(control)],
                env={**os.environ, **harness.environment()},
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            self.assertEqual(done.returncode, 1, done.stderr)
            self.assertIn(reason, done.stderr)
            self.assertNotIn("Traceback", done.stdout + done.stderr)
            self.assertEqual(list(control.glob("*")), [])

    def test_workers_end_with_their_supervisor(self) -> None:
        """They take nobody new, finish what they have, and leave; a new daemon starts at once on the same port, and removes the sockets of the
        killed one."""
        daemon = self.serving(arguments=("-m",))
        everybody = [nursery(daemon), *workers(daemon)]
        with self.tunnels(4) as tunnels:
            os.kill(daemon.pid, signal.SIGKILL)
            daemon.process.wait()
            wait_for(self.refused, "no new clients", 1.0)
            self.assertTrue(all(map(self.speaks, tunnels)))
            second = self.daemon(arguments=("-m",), beside=daemon)
            self.waits_for(second, f"pid {second.pid}")
            self.assertEqual(self.get(), (200, b"hello"))
            self.assertTrue(all(map(self.speaks, tunnels)))
        wait_for(lambda: not any(map(status, everybody)), "all are gone")
        self.assertEqual(sorted(path.name for path in daemon.control_dir.iterdir()), ["test.sock", f"test_{second.pid}.sock"])
        second.quit()
        self.reset(daemon)

    def test_a_stopped_worker_ends_with_its_supervisor_too(self) -> None:
        """It holds the listening socket and cannot notice: the nursery kills it. The other waits for its tasks no longer than it would at any end."""
        text = self.config(**{"task_wait_timeout:__20, task_quit_timeout:__2": "task_wait_timeout: 2, task_quit_timeout: 1"})
        daemon = self.serving(config=text)
        everybody = [nursery(daemon), *workers(daemon)]
        stopped, other = everybody[1:]
        with self.tunnels(20) as tunnels:
            lasting = self.held_by(other, tunnels)
            os.kill(stopped, signal.SIGSTOP)
            os.kill(daemon.pid, signal.SIGKILL)
            daemon.process.wait()
            took = wait_for(lambda: not status(other), "the other has ended", 8)
            self.assertGreater(took, 1.9)
            self.assertFalse(any(map(self.speaks, lasting)))
            wait_for(lambda: not any(map(status, everybody)), "all are gone", 12)
        self.assertTrue(lasting)
        self.assertTrue(self.refused())
        shutil.rmtree(daemon.control_dir)
        self.reset(daemon)

    def test_one_that_was_ending_leaves_them_their_tasks(self) -> None:
        """Workers that take nobody new any more finish what they have, also when their supervisor is killed in the middle of it."""
        daemon = self.serving()
        everybody = [nursery(daemon), *workers(daemon)]
        with self.tunnels(4) as tunnels:
            daemon.send_signal(signal.SIGTERM)
            wait_for(self.refused, "no new clients")
            os.kill(daemon.pid, signal.SIGKILL)
            daemon.process.wait()
            time.sleep(1)
            self.assertTrue(all(map(self.speaks, tunnels)))
        wait_for(lambda: not any(map(status, everybody)), "all are gone")
        shutil.rmtree(daemon.control_dir)
        self.reset(daemon)

    def reset(self, daemon: Daemon) -> None:
        """It was killed by us: its end is as it has to be."""
        daemon.quit = lambda *_: None  # type: ignore[method-assign]
        self._cleanups = [each for each in self._cleanups if getattr(each[0], "__self__", None) is not daemon]

    def test_a_clean_end_leaves_nobody(self) -> None:
        """Status 0, no process, no socket."""
        daemon = self.serving()
        everybody = [nursery(daemon), *workers(daemon)]
        with self.tunnels(2):
            daemon.quit()
        self.assertEqual([pid for pid in everybody if status(pid)], [])
        self.assertTrue(self.refused())


class QuitTests(WorkerCase):
    """A graceful end."""

    def test_it_is_bounded_whatever_clients_do(self) -> None:
        """Idle kept connections, half a head, half a body, tunnels, a request that is being answered: who can finish in time does, tunnels go on
        until the time is up, and then all ends with status 0 and nobody left."""
        text = self.config(**{"task_wait_timeout:__20, task_quit_timeout:__2": "task_wait_timeout: 3, task_quit_timeout: 1"})
        daemon = self.serving(config=text)
        everybody = [nursery(daemon), *workers(daemon)]
        post = get(self.origin.server_port, "/", "Content-Length: 10", method="POST")
        with self.tunnels(10) as tunnels, self.kept(10) as idle, contextlib.ExitStack() as stack:
            heads, bodies, slow = ([stack.enter_context(RawClient(self.port)) for _ in range(10)] for _ in range(3))
            for head, body, one in zip(heads, bodies, slow, strict=True):
                head.send(b"GET http://half/")
                body.send(post + b"half ")
                one.send(get(self.origin.server_port, "/slow"))
            wait_for(lambda: self.total(daemon, "alive tasks") == 30, "all are there")
            daemon.send_signal(signal.SIGTERM)
            start = time.monotonic()
            self.waits_for(daemon, "waiting for tasks to end")
            wait_for(self.refused, "no new clients")
            Answering.gate.set()
            for body, one in zip(bodies, slow, strict=True):
                body.send(b"body.")
                self.assertEqual((body.answer().status, one.answer().body), (200, b"hello"))
            self.assertTrue(all(map(self.speaks, tunnels)))
            self.assertEqual(daemon.wait(), 0)
            # 0.1 + 0.1 + 3 + 1 seconds are configured.
            self.assertTrue(3 < time.monotonic() - start < 8, time.monotonic() - start)
            self.assertTrue(all(client.ended() for client in [*idle, *heads]))
            self.assertFalse(any(map(self.speaks, tunnels)))
        self.assertEqual([pid for pid in everybody if status(pid)], [])
        daemon.check_log()


class ReloadTests(WorkerCase):
    """All workers go over, or none."""

    def package(self) -> Path:
        shutil.copytree(PACKAGES / "moody", self.directory / "packages" / "moody", dirs_exist_ok=True)
        return self.directory / "packages" / "moody"

    def with_moody(self, **keys: str) -> str:
        more = "".join(f", {key}: '{value}'" for key, value in keys.items())
        return self.config().replace("escaper:\n", f"escaper:\n  - {{name: mood, type: moody{more}}}\n", 1)

    def test_a_worker_that_cannot_prepare_rolls_all_back(self) -> None:
        """The report is told; the new port is not open, no node is there, and the next reload finds all as it was."""
        daemon = self.serving(packages=[self.package()])
        other = free_port()
        more = f"  - {{name: more, type: http_proxy, listen: '127.0.0.1:{other}', escaper: out}}\n"
        self.rewrite(self.with_moody(not_in="1") + more)
        done = daemon.ctl("reload")
        self.assertEqual(done.returncode, 1)
        self.assertIn("not in process 1", done.stderr)
        self.assertEqual(daemon.ctl("list", "escaper").stdout, "out\n")
        with contextlib.closing(socket.socket()) as probe:
            self.assertNotEqual(probe.connect_ex(("127.0.0.1", other)), 0)
        self.assertEqual(self.get(), (200, b"hello"))
        self.rewrite(self.with_moody() + more)
        self.assertEqual(daemon.ctl("reload").returncode, 0)
        self.assertEqual(self.get(port=other), (200, b"hello"))

    def test_a_worker_that_cannot_start_what_it_prepared_rolls_all_back(self) -> None:
        """The first one tries; the others have not begun."""
        daemon = self.serving(packages=[self.package()])
        before = workers(daemon)
        self.rewrite(self.with_moody(dies_in="0"))
        done = daemon.ctl("reload")
        self.assertEqual(done.returncode, 1)
        self.assertIn("no start here", done.stderr)
        self.assertEqual(daemon.ctl("list", "escaper").stdout, "out\n")
        self.assertEqual(workers(daemon), before)
        for _ in range(10):
            self.assertEqual(self.get(), (200, b"hello"))
        self.assertIn("ZeroDivisionError", daemon.output())
        daemon.check_log = lambda: None  # type: ignore[method-assign]

    def test_a_replacement_gets_what_was_committed_not_what_is_in_the_file(self) -> None:
        """The file is broken when it is made, and the server it serves was added by a reload; what was published is there, too."""
        daemon = self.serving(packages=[self.package()])
        other = free_port()
        self.rewrite(self.with_moody() + f"  - {{name: more, type: http_proxy, listen: '127.0.0.1:{other}', escaper: out}}\n")
        self.assertEqual(daemon.ctl("reload").returncode, 0)
        self.assertEqual(daemon.ctl("escaper", "mood", "publish", '{"a": 1}').returncode, 0)
        self.rewrite("nonsense: [\n")
        first = workers(daemon)
        for pid in first:
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: len(workers(daemon)) == 2 and not set(first) & set(workers(daemon)), "replaced")
        for _ in range(10):
            self.assertEqual(self.get(port=other), (200, b"hello"))
        wait_for(lambda: daemon.output().count(") serves") == 2, "both serve")
        self.assertEqual(daemon.ctl("escaper", "mood", "get").stdout, '{"a": 1}\n')
        # Each of them knows it.
        os.kill(workers(daemon)[0], signal.SIGKILL)
        self.assertEqual(daemon.ctl("escaper", "mood", "get").stdout, '{"a": 1}\n')

    def test_a_worker_that_dies_during_reloads_ends_with_the_newest(self) -> None:
        """Replacements that start while others go over catch up."""
        daemon = self.serving()
        ports = [free_port() for _ in range(6)]
        for port in ports:
            self.rewrite(self.config() + f"  - {{name: more, type: http_proxy, listen: '127.0.0.1:{port}', escaper: out}}\n")
            wait_for(lambda: workers(daemon), "one is there")
            os.kill(workers(daemon)[0], signal.SIGKILL)
            self.assertEqual(daemon.ctl("reload").returncode, 0)
        wait_for(lambda: len(workers(daemon)) == 2, "all are there", 30)
        wait_for(lambda: all(f"(pid {pid}) serves" in daemon.output() for pid in workers(daemon)), "all serve")
        # Each of the two alone serves the last port.
        for pid in workers(daemon):
            os.kill(pid, signal.SIGSTOP)
            for _ in range(5):
                self.assertEqual(self.get(port=ports[-1]), (200, b"hello"))
            os.kill(pid, signal.SIGCONT)


class WholeTests(WorkerCase):
    """One daemon to its operator."""

    def test_counts_are_of_all_workers(self) -> None:
        """Tasks of both are summed, also those that are alive."""
        daemon = self.serving()
        for _ in range(30):
            self.get()
        with self.tunnels(20):
            self.assertEqual(self.total(daemon, "alive tasks"), 20)
        self.assertEqual(self.total(daemon), 50)
        self.assertEqual(self.total(daemon, "total conn"), 50)

    def test_statsd_lines_have_the_slot_of_their_worker(self) -> None:
        """stat_id is 0 and 1, and stays so after a worker was replaced."""
        with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sink:
            sink.bind(("127.0.0.1", 0))
            sink.settimeout(20)
            target = f"stat: {{target: {{udp: '127.0.0.1:{sink.getsockname()[1]}'}}, emit_duration: 200ms}}\n"
            daemon = self.daemon(self.config() + target)
            daemon.ctl("version")
            self.assertEqual(self.stat_ids(sink), {"0", "1"})
            os.kill(workers(daemon)[0], signal.SIGKILL)
            self.waits_for(daemon, ") serves")
            self.assertEqual(self.stat_ids(sink), {"0", "1"})

    def test_statsd_gets_every_count_once(self) -> None:
        """Also what a worker had counted and not sent when it died, and what it had: of servers, escapers and loggers."""
        with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sink:
            sink.bind(("127.0.0.1", 0))
            sink.settimeout(3)
            target = f"stat: {{target: {{udp: '127.0.0.1:{sink.getsockname()[1]}'}}, emit_duration: 500ms}}\n"
            daemon = self.daemon(self.config() + target + "log: {task: stdout}\n")
            daemon.ctl("version")
            sent: dict[str, int] = collections.defaultdict(int)

            def collect(number: int) -> None:
                deadline = time.monotonic() + 20
                while min(sent["server.task.total"], sent["escaper.task.total"]) < number and time.monotonic() < deadline:
                    self.add_counts(sink, sent)

            for number in (20, 40, 60):
                for _ in range(20):
                    self.get()
                if number == 40:
                    collect(number)
                wait_for(lambda: len(workers(daemon)) == 2, "both are there")
                os.kill(workers(daemon)[0], signal.SIGKILL)
                wait_for(lambda: len(workers(daemon)) == 2, "replaced")
            self.assertEqual(self.total(daemon), 60)
            collect(60)
            deadline = time.monotonic() + 1.5
            while time.monotonic() < deadline:
                self.add_counts(sink, sent)
            self.assertEqual((sent["server.task.total"], sent["escaper.task.total"]), (60, 60))
            # The record of a task is written after its answer: a worker may die in between.
            self.assertTrue(54 <= sent["logger.message.total"] <= 60, sent)

    def add_counts(self, sink: socket.socket, sent: dict[str, int]) -> None:
        """Add what the next datagram counts; nothing when there is none for three seconds."""
        with contextlib.suppress(TimeoutError):
            for line in sink.recv(65536).decode().splitlines():
                name, _, rest = line.partition(":")
                value, _, kind = rest.partition("|")
                if kind.startswith("c"):
                    sent[name.removeprefix("g3proxy.")] += int(value)

    def stat_ids(self, sink: socket.socket) -> set[str]:
        found: set[str] = set()
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline:
            for line in sink.recv(65536).decode().splitlines():
                found |= {tag.partition(":")[2] for tag in line.partition("#")[2].split(",") if tag.startswith("stat_id:")}
        return found


class LimitTests(WorkerCase):
    """A limit is that of the whole daemon."""

    number = 3

    def limited(self, alive: int = 10, speed: str = "1M") -> str:
        """With a server that has limits, on the port."""
        other = super().config(port=free_port())
        limits = f"alive: {alive}, rate: {{replenish_interval: 1h, max_burst: 30}}, speed: {speed}"
        return other + f"  - {{name: limited, type: metered, listen: '127.0.0.1:{self.port}', {limits}}}\n"

    def ask(self, what: bytes, number: int, keep: list[socket.socket]) -> int:
        """How many of so many clients were told that they may."""
        may = 0
        for _ in range(number):
            client = socket.create_connection(("127.0.0.1", self.port), timeout=20)
            self.addCleanup(client.close)
            keep.append(client)
            client.sendall(what)
            may += client.recv(1) == b"1"
        return may

    def test_alive_rate_and_speed_hold_over_all_workers(self) -> None:
        """As many alive as one worker less might add; exactly the rate; no more bytes than the bucket has. Also when a worker is killed, whose
        own are given back, and after a reload."""
        daemon = self.daemon(self.limited(), packages=[PACKAGES / "metered"])
        self.assertEqual(daemon.ctl("version").returncode, 0)
        clients: list[socket.socket] = []
        self.assertEqual(self.ask(b"r", 20, clients), 20)
        alive = self.ask(b"a", 40, clients)
        self.assertTrue(10 <= alive <= 12, alive)
        victim = workers(daemon)[1]
        os.kill(victim, signal.SIGKILL)
        wait_for(lambda: len(workers(daemon)) == 3 and victim not in workers(daemon), "replaced")
        self.waits_for(daemon, ") serves")
        self.assertEqual(self.ask(b"r", 20, clients), 10)
        lost = sum(self.ended(client) for client in clients[20:60])
        self.assertGreater(lost, 0)
        given_back = self.ask(b"a", 40, clients)
        self.assertLess(given_back, 10)
        self.rewrite(self.limited(alive=20, speed="2M"))
        self.assertEqual(daemon.ctl("reload").returncode, 0)
        self.assertTrue(10 <= self.ask(b"a", 40, clients) <= 12)
        for client in clients:
            client.close()
        wait_for(lambda: self.ask(b"a", 1, clients), "those who left are given back")
        self.assertTrue(3 <= self.received(4.0, 12) / 2_000_000 <= 6)

    def ended(self, client: socket.socket) -> bool:
        """Whether the connection is gone."""
        client.setblocking(False)
        try:
            return client.recv(1) == b""
        except BlockingIOError:
            return False
        except ConnectionResetError:
            return True

    def received(self, seconds: float, clients: int) -> int:
        """Bytes that so many clients get in that time, from the first."""
        total = 0
        with contextlib.ExitStack() as stack, selectors.DefaultSelector() as waiting:
            for _ in range(clients):
                client = stack.enter_context(socket.create_connection(("127.0.0.1", self.port), timeout=20))
                client.sendall(b"s")
                waiting.register(client, selectors.EVENT_READ)
            end = time.monotonic() + seconds
            while (left := end - time.monotonic()) > 0:
                for key, _ in waiting.select(left):
                    total += len(key.fileobj.recv(1 << 20))  # type: ignore[union-attr]
        return total


class UserTests(WorkerCase):
    """Started by root to run as somebody else."""

    def test_ports_below_1024_are_bound_before_and_after_the_change(self) -> None:
        """All processes are of that user and of its groups alone; a reload adds such a port; workers have no capability, the supervisor one."""
        if os.geteuid():
            raise SkipTest("only root can become somebody else")
        # A reload reads the configuration as that user.
        self.directory = Path(tempfile.mkdtemp(prefix="g3t"))
        self.addCleanup(shutil.rmtree, self.directory)
        self.directory.chmod(0o755)
        self.port = low_port()
        words = COMMANDS["twistd"]
        self.patch(harness, "COMMANDS", {"nobody": [*words[:-1], "--uid", "nobody", words[-1]]})
        daemon = self.serving(command="nobody")
        self.assertEqual(self.get(), (200, b"hello"))
        self.port = low_port()
        self.rewrite(self.config())
        self.assertEqual(daemon.ctl("reload").returncode, 0)
        self.assertEqual(self.get(), (200, b"hello"))
        nobody = pwd.getpwnam("nobody").pw_uid
        self.assertEqual(self.groups(daemon), {str(pwd.getpwnam("nobody").pw_gid)})
        for pid in (daemon.pid, nursery(daemon), *workers(daemon)):
            self.assertEqual(set(status(pid)["Uid"].split()), {str(nobody)})
            self.assertEqual(int(status(pid)["CapPrm"], 16), 1 << 10 if pid == daemon.pid else 0)
        os.kill(workers(daemon)[0], signal.SIGKILL)
        self.waits_for(daemon, ") serves")
        self.assertEqual(self.get(), (200, b"hello"))

    def groups(self, daemon: Daemon) -> set[str]:
        """Those of all its processes, by number."""
        pids = (daemon.pid, nursery(daemon), *workers(daemon))
        return {group for pid in pids for word in ("Gid", "Groups") for group in status(pid)[word].split()}

    def test_another_group_leaves_no_other(self) -> None:
        """With --gid alone root's own groups are left, too, wherever it got them."""
        if os.geteuid():
            raise SkipTest("only root can have another group")
        words = COMMANDS["twistd"]
        self.patch(harness, "COMMANDS", {"group": ["setpriv", "--groups", "0,4,24", *words[:-1], "--gid", "nogroup", words[-1]]})
        self.number = 1
        daemon = self.serving(command="group")
        self.assertEqual(self.groups(daemon), {str(grp.getgrnam("nogroup").gr_gid)})


class SpreadTests(WorkerCase):
    """Nobody has it all."""

    number = 4

    def test_tunnels_are_spread(self) -> None:
        """Of 800 opened a millisecond apart none of four workers has more than one and a half times its share."""
        daemon = self.serving()
        idle = [sockets(pid) for pid in workers(daemon)]
        with self.tunnels(800, apart=0.001):
            held = [sockets(pid) - before for pid, before in zip(workers(daemon), idle, strict=True)]
        self.assertEqual(len(held), 4)
        self.assertEqual(sum(held), 2 * 800)
        self.assertLessEqual(max(held), 2 * 300, held)
