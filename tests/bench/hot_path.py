# SPDX-License-Identifier: Apache-2.0
"""What one request costs a daemon: microseconds of CPU, and user-space instructions, which other load on the machine does not change.

    python -m tests.bench.hot_path [forward fresh connect socks5] [--count N] [--repeat N] [--save FILE] [--against FILE]

forward: a GET of 1 KiB over kept connections; fresh: the same, a new client connection each; connect: a CONNECT tunnel with one GET; socks5: the same
by SOCKS 5. CPU is that
of the daemon alone (user and system, the median of the repetitions). Instructions are counted by C{perf stat} where the processor can be
asked, else by valgrind's callgrind (slow; C{apt install valgrind}), else not. C{--save} keeps the figures, C{--against} puts them beside.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from tests.functional.harness import BIN
from tests.functional.processes import Process, free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CONFIG = """\
runtime: {{thread_number: 0}}
log: discard
resolver:
  - {{name: r, type: deny_all}}
escaper:
  - {{name: e, type: direct_fixed, resolver: r, egress_network_filter: {{default: allow, allow: 127.0.0.1}}}}
server:
  - {{name: s, type: {server}, listen: "127.0.0.1:{port}", escaper: e, dst_host_filter_set: {{exact_match: [127.0.0.1]}}}}
"""
BODY = b"x" * 1024
ANSWER = b"HTTP/1.1 200 OK\r\nServer: bench\r\nContent-Type: application/octet-stream\r\nContent-Length: 1024\r\n\r\n" + BODY
#: Requests under valgrind, which makes everything some fifty times slower.
FEW = 200
TICKS = os.sysconf("SC_CLK_TCK")


class Origin:
    """Answers every request of every connection with 1 KiB."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    @staticmethod
    def _serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while connection.recv(65536):
                connection.sendall(ANSWER)


def receive(sock: socket.socket, size: int) -> None:
    """Read an answer of C{size} bytes or more."""
    got = 0
    while got < size:
        data = sock.recv(65536)
        if not data:
            raise SystemExit(f"the daemon closed after {got} of {size} bytes")
        got += len(data)


def ask(sock: socket.socket, target: str, host: str, *, close: bool = False) -> None:
    last = "Connection: close" if close else "X: y"
    sock.sendall(f"GET {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: bench\r\nAccept: */*\r\n{last}\r\n\r\n".encode())
    receive(sock, 1024)


def forward(proxy: int, origin: int, count: int) -> None:
    with socket.create_connection(("127.0.0.1", proxy)) as sock:
        for _ in range(count):
            ask(sock, f"http://127.0.0.1:{origin}/1k", f"127.0.0.1:{origin}")


def fresh(proxy: int, origin: int, count: int) -> None:
    for _ in range(count):
        with socket.create_connection(("127.0.0.1", proxy)) as sock:
            ask(sock, f"http://127.0.0.1:{origin}/1k", f"127.0.0.1:{origin}", close=True)
            while sock.recv(65536):
                pass


def connect(proxy: int, origin: int, count: int) -> None:
    for _ in range(count):
        with socket.create_connection(("127.0.0.1", proxy)) as sock:
            sock.sendall(f"CONNECT 127.0.0.1:{origin} HTTP/1.1\r\nHost: 127.0.0.1:{origin}\r\n\r\n".encode())
            receive(sock, 19)
            ask(sock, "/1k", f"127.0.0.1:{origin}")


def socks5(proxy: int, origin: int, count: int) -> None:
    for _ in range(count):
        with socket.create_connection(("127.0.0.1", proxy)) as sock:
            sock.sendall(b"\5\1\0")
            receive(sock, 2)
            sock.sendall(b"\5\1\0\1\x7f\0\0\1" + origin.to_bytes(2, "big"))
            receive(sock, 10)
            ask(sock, "/1k", f"127.0.0.1:{origin}")


WORK: dict[str, Callable[[int, int, int], None]] = {"forward": forward, "fresh": fresh, "connect": connect, "socks5": socks5}


@contextlib.contextmanager
def daemon(work: str, directory: Path, *wrapper: str) -> Iterator[tuple[int, int]]:
    """A daemon that does C{work}, under C{wrapper}: its port and process id."""
    port = free_port()
    server = "socks_proxy" if work == "socks5" else "http_proxy"
    config = directory / f"g3proxy-{port}.yaml"
    config.write_text(CONFIG.format(port=port, server=server))
    log = directory / f"g3proxy-{port}.log"
    process = Process("g3proxy", [*wrapper, sys.executable, str(BIN / "twistd"), "-n", "--pidfile=", "g3proxy", "--config", str(config)], log)
    try:
        process.wait_listening(port, seconds=300)
        yield port, process.pid
    finally:
        process.kill()


def cpu(pid: int) -> float:
    """Seconds of CPU a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def microseconds(work: str, directory: Path, origin: int, count: int, repeat: int) -> float:
    """CPU for one unit of C{work}."""
    figures = []
    with daemon(work, directory) as (port, pid):
        WORK[work](port, origin, count // 10 + 1)
        for _ in range(repeat):
            before = cpu(pid)
            WORK[work](port, origin, count)
            figures.append(1e6 * (cpu(pid) - before) / count)
    return statistics.median(figures)


def perf_counts() -> bool:
    """Whether the processor's counters can be read here."""
    if shutil.which("perf") is None:
        return False
    told = subprocess.run(["perf", "stat", "-x,", "-e", "instructions:u", "true"], capture_output=True, text=True, check=False)
    return told.returncode == 0 and "not supported" not in told.stderr


def by_perf(work: str, directory: Path, origin: int, count: int) -> float:
    with daemon(work, directory) as (port, pid):
        WORK[work](port, origin, count // 10 + 1)
        perf = subprocess.Popen(["perf", "stat", "-x,", "-e", "instructions:u", "-p", str(pid)], stderr=subprocess.PIPE, text=True)
        WORK[work](port, origin, count)
        perf.send_signal(2)
        told = perf.communicate()[1]
    return float(told.partition(",")[0]) / count


def by_callgrind(work: str, directory: Path, origin: int) -> float:
    output = directory / "callgrind.out"
    wrapper = ("valgrind", "--tool=callgrind", "-q", f"--callgrind-out-file={output}")
    with daemon(work, directory, *wrapper) as (port, pid):
        WORK[work](port, origin, FEW // 10)
        subprocess.run(["callgrind_control", "-z", str(pid)], check=True, capture_output=True)
        WORK[work](port, origin, FEW)
        subprocess.run(["callgrind_control", "-d", str(pid)], check=True, capture_output=True)
        dump = max(directory.glob("callgrind.out*"), key=lambda path: path.stat().st_mtime)
        total = re.search(r"^(?:summary|totals): (\d+)", dump.read_text(), re.MULTILINE)
    for path in directory.glob("callgrind.out*"):
        path.unlink()
    return int(total[1]) / FEW if total else 0.0


def instructions(work: str, directory: Path, origin: int, count: int) -> float | None:
    """User-space instructions for one unit of C{work}; None where nothing here can count them."""
    if perf_counts():
        return by_perf(work, directory, origin, count)
    if shutil.which("valgrind") is not None:
        return by_callgrind(work, directory, origin)
    return None


def line(work: str, figures: dict[str, float | None], before: dict[str, float | None] | None) -> str:
    """One line of the table."""
    told = [f"{work:8}"]
    for name, unit in (("cpu", "us"), ("instructions", "instructions")):
        now = figures[name]
        was = None if before is None else before.get(name)
        told.append("      -" if now is None else f"{now:10.1f} {unit}" + (f" ({now / was:.3f} of before)" if was else ""))
    return "  ".join(told)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", nargs="*", choices=[*WORK, []], help="what to measure; everything without")
    parser.add_argument("--count", type=int, default=3000, help="requests of one repetition")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--no-instructions", action="store_true", help="CPU only")
    parser.add_argument("--save", type=Path)
    parser.add_argument("--against", type=Path)
    options = parser.parse_args()
    before = json.loads(options.against.read_text()) if options.against else {}
    found: dict[str, dict[str, float | None]] = {}
    origin = Origin().port
    with tempfile.TemporaryDirectory(prefix="g3bench") as scratch:
        for work in options.work or WORK:
            found[work] = {
                "cpu": microseconds(work, Path(scratch), origin, options.count, options.repeat),
                "instructions": None if options.no_instructions else instructions(work, Path(scratch), origin, options.count),
            }
            print(line(work, found[work], before.get(work)), flush=True)
    if options.save:
        options.save.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
