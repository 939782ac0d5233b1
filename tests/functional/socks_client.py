# SPDX-License-Identifier: Apache-2.0
"""A SOCKS 5 client for datagrams that shares nothing with the proxy, and an upstream that echoes them."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading

Address = tuple[str, int]


def header(host: str, port: int) -> bytes:
    """What stands before a datagram's payload."""
    if ":" in host:
        kind = b"\4" + socket.inet_pton(socket.AF_INET6, host)
    elif host.replace(".", "").isdigit():
        kind = b"\1" + socket.inet_aton(host)
    else:
        kind = b"\3" + bytes([len(host)]) + host.encode()
    return b"\0\0\0" + kind + struct.pack(">H", port)


def address(data: bytes) -> tuple[Address, bytes]:
    """The address at the beginning of C{data} (type, address, port), and what follows."""
    if data[0] == 1:
        return (socket.inet_ntoa(data[1:5]), struct.unpack(">H", data[5:7])[0]), data[7:]
    if data[0] == 4:
        return (socket.inet_ntop(socket.AF_INET6, data[1:17]), struct.unpack(">H", data[17:19])[0]), data[19:]
    end = 2 + data[1]
    return (data[2:end].decode(), struct.unpack(">H", data[end : end + 2])[0]), data[end + 2 :]


class UDPSession:
    """A UDP ASSOCIATE at a proxy on loopback. C{reply} is its code, C{relay} where datagrams go."""

    def __init__(self, port: int, *, host: str = "127.0.0.1", claim: bytes = b"\1" + bytes(6), udp_host: str | None = None) -> None:
        self.tcp = socket.create_connection((host, port), 10)
        self.tcp.sendall(b"\5\1\0")
        assert self.tcp.recv(2) == b"\5\0"
        self.tcp.sendall(b"\5\3\0" + claim)
        answer = self.tcp.recv(300)
        self.reply = answer[1] if answer else -1
        self.relay: Address = address(answer[3:])[0] if answer else ("", 0)
        family = socket.AF_INET6 if ":" in (udp_host or self.relay[0]) else socket.AF_INET
        self.udp = socket.socket(family, socket.SOCK_DGRAM)
        self.udp.settimeout(5)

    def send(self, payload: bytes, host: str, port: int, to: str | None = None) -> None:
        self.udp.sendto(header(host, port) + payload, (to or self.relay[0], self.relay[1]))

    def receive(self) -> tuple[Address, bytes]:
        """Who sent it, and the payload."""
        data = self.udp.recv(65536)
        assert data[:3] == b"\0\0\0", data
        return address(data[3:])

    def silent(self, seconds: float = 0.3) -> bool:
        """Whether nothing comes for so long."""
        self.udp.settimeout(seconds)
        try:
            self.udp.recv(65536)
        except TimeoutError:
            return True
        finally:
            self.udp.settimeout(5)
        return False

    def ended(self, seconds: float = 10.0) -> bool:
        """Whether the proxy closes the TCP connection."""
        self.tcp.settimeout(seconds)
        try:
            return self.tcp.recv(1) == b""
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False

    def close(self) -> None:
        self.tcp.close()
        self.udp.close()


class UDPEcho:
    """Sends every datagram back, C{prefix} before it. C{senders} has who sent."""

    def __init__(self, host: str = "127.0.0.1", prefix: bytes = b"") -> None:
        self.sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind((host, 0))
        self.port: int = self.sock.getsockname()[1]
        self.senders: list[Address] = []
        self._prefix = prefix
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                data, sender = self.sock.recvfrom(65536)
                if data == b"stop" and sender[0] == self.sock.getsockname()[0]:
                    return
                self.senders.append(sender[:2])
                self.sock.sendto(self._prefix + data, sender)

    def close(self) -> None:
        with contextlib.suppress(OSError), socket.socket(self.sock.family, socket.SOCK_DGRAM) as end:
            end.sendto(b"stop", self.sock.getsockname())
        self._thread.join(5)
        self.sock.close()
