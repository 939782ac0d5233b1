# SPDX-License-Identifier: Apache-2.0
"""What a relayed datagram costs: CPU of a real daemon with one socks_proxy, and how many datagrams arrive.

    python -m tests.bench.udp [--associate] [--rate 20000] [--size 512] [--seconds 5] [--echo]

One client sends C{rate} datagrams a second through one session to a sink, or with C{--echo} to an upstream that returns each. Prints
microseconds of CPU for each datagram the daemon received, and the share that was lost.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from tests.functional.harness import COMMANDS, environment
from tests.functional.processes import free_port
from tests.functional.socks_client import UDPSession, header

CONFIG = """
log: discard
runtime: {{thread_number: 1}}
resolver:
  - {{name: r, type: deny_all}}
escaper:
  - name: e
    type: direct_fixed
    resolver: r
    egress_network_filter: {{default: allow, allow: 127.0.0.1}}
server:
  - name: socks
    type: socks_proxy
    listen: 127.0.0.1:{port}
    escaper: e
    use_udp_associate: {associate}
    udp_socket_buffer: 4M
"""


def family(pid: int) -> list[int]:
    """A process and all it started."""
    children = [int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()]
    return [pid, *(process for child in children for process in family(child))]


def cpu(pid: int) -> float:
    """User and system seconds of a process and all it started."""
    ticks = 0
    for process in family(pid):
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


class Sink(threading.Thread):
    """Counts what arrives, and returns it when it is to echo."""

    def __init__(self, echo: bool) -> None:
        super().__init__(daemon=True)
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 24)
        self.sock.bind(("127.0.0.1", 0))
        self.port: int = self.sock.getsockname()[1]
        self.echo, self.count = echo, 0

    def run(self) -> None:
        buffer = bytearray(65536)
        while True:
            size, sender = self.sock.recvfrom_into(buffer)
            self.count += 1
            if self.echo:
                self.sock.sendto(memoryview(buffer)[:size], sender)


def send(sock: socket.socket, data: bytes, rate: int, seconds: float) -> int:
    """Datagrams sent, in bursts of a millisecond's worth."""
    began, sent = time.monotonic(), 0
    while (now := time.monotonic() - began) < seconds:
        due = int(now * rate)
        while sent < due:
            sock.send(data)
            sent += 1
        time.sleep(0.001)
    return sent


def measure(options: argparse.Namespace, pid: int, port: int) -> None:
    """One session."""
    sink = Sink(options.echo)
    sink.start()
    session = UDPSession(port)
    session.udp.connect(session.relay)
    session.udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 24)
    data = header("127.0.0.1", sink.port) + bytes(options.size)
    session.udp.send(data)
    time.sleep(0.5)
    before, spent = sink.count, cpu(pid)
    sent = send(session.udp, data, options.rate, options.seconds)
    time.sleep(0.5)
    spent = cpu(pid) - spent
    arrived = sink.count - before
    handled = arrived * (2 if options.echo else 1)
    print(f"sent {sent} ({sent / options.seconds:.0f}/s), arrived {arrived}, lost {sent - arrived} ({(sent - arrived) / sent:.6f})")
    print(f"CPU {spent:.2f} s, {spent / handled * 1e6:.2f} us a datagram")
    session.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--associate", action="store_true")
    parser.add_argument("--echo", action="store_true")
    parser.add_argument("--rate", type=int, default=20000)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args()
    port = free_port()
    with tempfile.TemporaryDirectory() as place:
        config = Path(place, "g3proxy.yaml")
        config.write_text(CONFIG.format(port=port, associate=str(options.associate).lower()))
        argv = [*COMMANDS["twistd"], "--config", str(config), "--control-dir", place]
        daemon = subprocess.Popen(argv, env={**os.environ, **environment()}, cwd=place, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        try:
            for _ in range(200):
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.05)
            measure(options, daemon.pid, port)
        finally:
            daemon.send_signal(signal.SIGINT)
            daemon.wait(20)


if __name__ == "__main__":
    sys.exit(main())
