# SPDX-License-Identifier: Apache-2.0
"""A host at the far end of a link that is as slow as a test likes: its half of TCP is written by hand, packet by packet."""

from __future__ import annotations

import fcntl
import os
import select
import socket
import struct
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.functional.namespaces import Namespace

#: TUNSETIFF; a device of IP packets without a header before them (linux/if_tun.h).
_SET, _TUN = 0x400454CA, 0x1001
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16


class SlowClient:
    """One connection from C{host} to a port at C{near}, the namespace's own end of the link. Nothing moves but by a call."""

    def __init__(self, namespace: Namespace, port: int, *, near: str = "198.51.100.1", host: str = "198.51.100.2", device: str = "slow") -> None:
        self._device = namespace.inside(lambda: _open(device))
        for line in (f"address add {near} peer {host} dev {device}", f"link set {device} up"):
            done = namespace.run("ip", *line.split())
            if done.returncode:
                raise AssertionError(f"ip {line}: {done.stdout}")
        self._ends = socket.inet_aton(host), socket.inet_aton(near)
        self._ports = 50000, port
        self._sent, self._heard = 1000, 0
        #: What came after the handshake, and whether a reset was among it.
        self.data = b""
        self.was_reset = self.ended = False

    def close(self) -> None:
        os.close(self._device)

    def begin(self) -> None:
        """SYN, and its answer."""
        self._send(SYN)
        self._sent += 1
        for flags, number, _ in self._packets(5.0):
            if flags & SYN:
                self._heard = number + 1
                return
        raise AssertionError("SYN was not answered")

    def finish(self) -> None:
        """The last packet of the handshake: for a client the connection is there when it sends it."""
        self._send(ACK)

    def say(self, data: bytes) -> None:
        self._send(PSH | ACK, data)
        self._sent += len(data)

    def listen(self, seconds: float = 10.0) -> None:
        """Take what comes until the other side ends or resets, or time is up."""
        for flags, number, data in self._packets(seconds):
            if flags & RST:
                self.was_reset = True
            elif number == self._heard & 0xFFFFFFFF:
                self.data += data
                self._heard += len(data) + bool(flags & FIN)
                self.ended = bool(flags & FIN)
                if data or self.ended:
                    self._send(ACK)
            if self.was_reset or self.ended:
                return

    def _packets(self, seconds: float) -> Iterator[tuple[int, int, bytes]]:
        """Flags, sequence number and data of each segment that comes."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if not select.select([self._device], [], [], left)[0]:
                return
            packet = os.read(self._device, 65536)
            if packet[0] >> 4 == 4 and packet[9] == socket.IPPROTO_TCP:
                segment = packet[(packet[0] & 15) * 4 : int.from_bytes(packet[2:4], "big")]
                yield segment[13], int.from_bytes(segment[4:8], "big"), segment[(segment[12] >> 4) * 4 :]

    def _send(self, flags: int, data: bytes = b"") -> None:
        """RFC 9293 section 3.1, over RFC 791 section 3.1."""
        source, to = self._ends
        tcp = struct.pack(">HHIIBBHHH", *self._ports, self._sent, self._heard & 0xFFFFFFFF, 5 << 4, flags, 65535, 0, 0)
        sum_ = _checksum(source + to + struct.pack(">HH", socket.IPPROTO_TCP, len(tcp) + len(data)) + tcp + data)
        tcp = tcp[:16] + sum_ + tcp[18:] + data
        ip = struct.pack(">BBHHHBB", 0x45, 0, 20 + len(tcp), 0, 0, 64, socket.IPPROTO_TCP)
        os.write(self._device, ip + _checksum(ip + source + to) + source + to + tcp)


def _open(device: str) -> int:
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    fcntl.ioctl(descriptor, _SET, struct.pack("16sH22x", device.encode(), _TUN))
    return descriptor


def _checksum(data: bytes) -> bytes:
    """RFC 1071."""
    total = sum(struct.unpack(f">{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack(">H", ~total & 0xFFFF)
