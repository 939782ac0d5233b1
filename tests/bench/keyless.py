# SPDX-License-Identifier: Apache-2.0
"""What a signature costs g3keymess: signatures per CPU second of the daemon, beside C{openssl speed} in the same run.

    python -m tests.bench.keyless [--seconds N] [--in-flight N] [--threads N ...]

For each kind of key and number of signing threads (0: the main thread signs) a daemon is started, and one multiplexed connection keeps 64
requests in flight. CPU is that of the daemon's process, user and system, from /proc. The client runs beside it, so rates per second of
wall time need a CPU for the client, too.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from g3.net.libssl.keys import load_private_key
from g3.proto.keyless import Opcode, encode_request
from tests.functional.harness import command_line, environment
from tests.functional.processes import Process, free_port

KEYS = {
    "rsa2048": (["genpkey", "-algorithm", "rsa", "-pkeyopt", "rsa_keygen_bits:2048"], Opcode.RSA_SIGN_SHA256, 271),
    "ecdsap256": (["genpkey", "-algorithm", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"], Opcode.ECDSA_SIGN_SHA256, 0),
}
TICK = os.sysconf("SC_CLK_TCK")


def speed(kind: str, seconds: int) -> float:
    """Signatures a CPU second of C{openssl speed}."""
    ran = subprocess.run(["openssl", "speed", "-seconds", str(seconds), kind], capture_output=True, text=True, check=True)
    line = next(line for line in ran.stdout.splitlines() if re.match(r"\s*(rsa 2048 bits|256 bits ecdsa \(nistp256\))", line))
    return float(re.findall(r"\d+\.\d+", line)[-2])


def cpu(pid: int) -> float:
    """Seconds a process has worked, all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def drive(port: int, requests: list[bytes], seconds: float) -> int:
    """Keep as many requests in flight; the number of answers, all of which were signatures."""
    done = 0
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(b"".join(requests))
        buffer, index = b"", 0
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            buffer += sock.recv(1 << 20)
            answers, at = 0, 0
            while len(buffer) - at >= 8:
                size = 8 + int.from_bytes(buffer[at + 2 : at + 4], "big")
                if len(buffer) - at < size:
                    break
                if buffer[at + 11] != Opcode.RESPONSE:
                    raise SystemExit(f"answered {buffer[at : at + size].hex()}")
                at += size
                answers += 1
            buffer = buffer[at:]
            done += answers
            # Whole runs of the same list: the ids are those that were just answered, give or take the order.
            batch = [requests[(index + number) % len(requests)] for number in range(answers)]
            index += answers
            sock.sendall(b"".join(batch))
    return done


def measure(kind: str, threads: int, seconds: float, in_flight: int) -> tuple[float, float]:
    """(signatures a CPU second, signatures a second)."""
    directory = Path(tempfile.mkdtemp(prefix="g3k"))
    try:
        (directory / "keys").mkdir()
        key = directory / "keys" / "one.key"
        subprocess.run(["openssl", *KEYS[kind][0], "-out", str(key)], check=True, capture_output=True)
        key.chmod(0o600)
        port = free_port()
        worker = f"worker:\n  thread_number: {threads}\n" if threads else ""
        config = directory / "g3keymess.yaml"
        config.write_text(
            f"{worker}server:\n  - name: default\n    listen: 127.0.0.1:{port}\n    multiplex_queue_depth: 128\n"
            "store:\n  - name: local\n    type: local\n    dir: keys\n"
        )
        argv = [*command_line("g3keymess"), "--config", str(config), "--control-dir", str(directory / "control")]
        process = Process("g3keymess", argv, directory / "log", env=environment())
        try:
            process.wait_listening(port)
            ski = load_private_key(key.read_bytes()).ski
            digest = hashlib.sha256(b"what is signed").digest()
            requests = [encode_request(number, KEYS[kind][1], ski, digest) for number in range(in_flight)]
            drive(port, requests, 1.0)
            before, began = cpu(process.pid), time.monotonic()
            done = drive(port, requests, seconds)
            return done / (cpu(process.pid) - before), done / (time.monotonic() - began)
        finally:
            process.stop()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--threads", type=int, nargs="*", default=[0, 1, 2])
    options = parser.parse_args()
    for kind in KEYS:
        yard = speed(kind, max(int(options.seconds), 1))
        sys.stdout.write(f"{kind:10} openssl speed {yard:9.0f}/CPU s\n")
        for threads in options.threads:
            rate, wall = measure(kind, threads, options.seconds, options.in_flight)
            sys.stdout.write(f"{kind:10} threads {threads}  {rate:12.0f}/CPU s  {wall:9.0f}/s  {rate / yard:5.2f} of openssl speed\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
