# SPDX-License-Identifier: Apache-2.0
"""What a signature costs g3keymess: signatures per CPU second of the daemon, beside C{openssl speed} in the same run.

    python -m tests.bench.keyless [--seconds N] [--in-flight N] [--rounds N]

For each kind of key and each way to run (processes, signing threads) a daemon is started, and multiplexed connections keep 64 requests in
flight each. CPU is that of all processes of the daemon, user and system, from /proc. The client runs beside it and takes a share of what CPUs
there are; that, and what others on this host take, is told, too. Where others are busy, C{chrt -r 1} (as root) makes them wait.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import selectors
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from g3.net.libssl.keys import load_private_key
from g3.proto.keyless import Opcode, encode_request
from tests.functional.harness import command_line, environment
from tests.functional.processes import Process, free_port

KEYS = {
    "rsa2048": (["genpkey", "-algorithm", "rsa", "-pkeyopt", "rsa_keygen_bits:2048"], Opcode.RSA_SIGN_SHA256),
    "ecdsap256": (["genpkey", "-algorithm", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"], Opcode.ECDSA_SIGN_SHA256),
}
TICK = os.sysconf("SC_CLK_TCK")


class Shape(NamedTuple):
    """A way to run: worker processes (0: none), signing threads in each (0: none), connections."""

    label: str
    processes: int
    threads: int
    connections: int


SHAPES = (
    Shape("one process", 0, 0, 2),
    Shape("one worker", 1, 0, 2),
    Shape("two workers", 2, 0, 2),
    Shape("one signing thread", 0, 1, 1),
    Shape("two signing threads", 0, 2, 1),
    Shape("two of each, 1 client", 2, 2, 1),
    Shape("two of each, 4 clients", 2, 2, 4),
)


class Measured(NamedTuple):
    """Signatures a CPU second, signatures a second, and how much CPU the client and all that is not ours took."""

    per_cpu: float
    per_second: float
    client: float
    others: float


def speed(kind: str, seconds: int) -> float:
    """Signatures a CPU second of C{openssl speed}."""
    ran = subprocess.run(["openssl", "speed", "-seconds", str(seconds), kind], capture_output=True, text=True, check=True)
    line = next(line for line in ran.stdout.splitlines() if re.match(r"\s*(rsa 2048 bits|256 bits ecdsa \(nistp256\))", line))
    return float(re.findall(r"\d+\.\d+", line)[-2])


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    return found


def cpu(pids: list[int]) -> float:
    """Seconds that processes have worked, all their threads."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICK


def busy() -> float:
    """Seconds that all CPUs of this host have worked."""
    user, nice, system, _, _, irq, softirq, *_ = map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:])
    return (user + nice + system + irq + softirq) / TICK


class Client:
    """One connection, always as many requests in flight."""

    def __init__(self, port: int, request: bytes, in_flight: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._size = len(request)
        self._requests = memoryview(request * in_flight)
        self._rest = b""

    def begin(self) -> None:
        self.socket.sendall(self._requests)

    def turn(self) -> int:
        """Take what answers there are, ask for as many more; how many there were. Each was a signature."""
        data = self._rest + self.socket.recv(1 << 20)
        answers, at, end = 0, 0, len(data)
        while end - at >= 12:
            size = 8 + (data[at + 2] << 8) + data[at + 3]
            if end - at < size:
                break
            if data[at + 11] != Opcode.RESPONSE:
                raise SystemExit(f"answered {data[at : at + size].hex()}")
            at += size
            answers += 1
        self._rest = data[at:]
        self.socket.sendall(self._requests[: answers * self._size])
        return answers


def drive(clients: list[Client], seconds: float) -> int:
    """The number of answers."""
    done = 0
    with selectors.DefaultSelector() as selector:
        for client in clients:
            selector.register(client.socket, selectors.EVENT_READ, client)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for key, _ in selector.select(1.0):
                done += key.data.turn()
    return done


def measure(kind: str, shape: Shape, seconds: float, in_flight: int) -> Measured:
    """One daemon, one run."""
    directory = Path(tempfile.mkdtemp(prefix="g3k"))
    try:
        (directory / "keys").mkdir()
        key = directory / "keys" / "one.key"
        subprocess.run(["openssl", *KEYS[kind][0], "-out", str(key)], check=True, capture_output=True)
        key.chmod(0o600)
        port = free_port()
        threads = f"worker:\n  thread_number: {shape.threads}\n" if shape.threads else ""
        config = directory / "g3keymess.yaml"
        config.write_text(
            f"runtime:\n  thread_number: {shape.processes}\n{threads}"
            f"server:\n  - name: default\n    listen: 127.0.0.1:{port}\n    multiplex_queue_depth: 128\n"
            "store:\n  - name: local\n    type: local\n    dir: keys\n"
        )
        argv = [*command_line("g3keymess"), "--config", str(config), "--control-dir", str(directory / "control")]
        process = Process("g3keymess", argv, directory / "log", env=environment())
        try:
            process.wait_until(lambda: "is ready" in process.output(), "it serves")
            request = encode_request(1, KEYS[kind][1], load_private_key(key.read_bytes()).ski, hashlib.sha256(b"what is signed").digest())
            # One after the other, so that each worker has its share.
            clients = []
            for _ in range(shape.connections):
                clients.append(Client(port, request, in_flight))
                time.sleep(0.3)
            for client in clients:
                client.begin()
            drive(clients, 1.0)
            pids = family(process.pid)
            before, ours, all_before, began = cpu(pids), time.process_time(), busy(), time.monotonic()
            done = drive(clients, seconds)
            spent, client, whole, passed = cpu(pids) - before, time.process_time() - ours, busy() - all_before, time.monotonic() - began
            return Measured(done / spent, done / passed, client / passed, max(whole - spent - client, 0.0) / passed)
        finally:
            process.stop()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    for _ in range(options.rounds):
        for kind in KEYS:
            yard = speed(kind, max(int(options.seconds), 1))
            sys.stdout.write(f"{kind:10} {'openssl speed':22} {yard:9.0f}/CPU s   load {os.getloadavg()[0]:.1f}\n")
            for shape in SHAPES:
                found = measure(kind, shape, options.seconds, options.in_flight)
                sys.stdout.write(
                    f"{kind:10} {shape.label:22} {found.per_cpu:9.0f}/CPU s {found.per_second:9.0f}/s  "
                    f"{found.per_cpu / yard:5.2f} of openssl speed   CPU: client {found.client:4.2f}, others {found.others:4.2f}\n"
                )
                sys.stdout.flush()


if __name__ == "__main__":
    main()
