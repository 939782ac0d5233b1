# SPDX-License-Identifier: Apache-2.0
"""SOCKS: other implementations read what we write and write what we read; nothing but SocksError comes of anything else."""

from __future__ import annotations

import io
from ipaddress import ip_address
from typing import Any

import socks as pysocks
from hypothesis import given, settings
from hypothesis import strategies as st
from python_socks._protocols import socks4, socks5
from twisted.trial.unittest import SynchronousTestCase

from g3.proto.socks import MAX_MESSAGE, v4, v5
from g3.proto.socks.address import SocksError

MANY = settings(max_examples=1000, deadline=None, database=None)

PORT = st.integers(0, 65535)
LABEL = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=20)
NAME = st.lists(LABEL, min_size=1, max_size=4).map(".".join).map(lambda name: f"{name}.test")
IPV4 = st.ip_addresses(v=4).map(str)
IPV6 = st.ip_addresses(v=6).filter(lambda ip: ip.ipv4_mapped is None).map(str)
HOST = st.one_of(NAME, IPV4, IPV6)
TEXT = st.text(max_size=60)

V4 = (v4.parse_request, v4.parse_reply)
V5 = (v5.parse_methods, v5.parse_credentials, v5.parse_request, v5.parse_reply, v5.parse_method_reply, v5.parse_auth_reply)
#: Beginnings that get far.
HEADS = st.sampled_from(
    [b"", b"\4\1\0\x50\0\0\0\1", b"\4\1\0\x50\1\1\1\1", b"\5\1", b"\5\1\0\3", b"\5\1\0\1", b"\5\1\0\4", b"\1\3abc", b"\0\0\0\3", b"\0\0\0"]
)


class Wire:
    """A socket for PySocks: it reads what it is given, and keeps what it writes."""

    def __init__(self, data: bytes) -> None:
        self.input, self.sent = io.BytesIO(data), b""

    def makefile(self, mode: str, *_: Any, **__: Any) -> Any:
        return self.input if "r" in mode else self

    def write(self, data: bytes) -> None:
        self.sent += data

    sendall = write

    def flush(self) -> None:
        """All is here."""

    def close(self) -> None:
        """Nothing to close."""


class Client(pysocks.socksocket):
    """PySocks on a wire of ours."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.wire = Wire(data)

    def makefile(self, *args: Any, **options: Any) -> Any:
        return self.wire.makefile(*args, **options)

    def sendall(self, data: bytes, *_: Any) -> None:
        self.wire.sendall(data)

    def recv(self, size: int, *_: Any) -> bytes:
        return self.wire.input.read(size)


def address(host: str) -> str:
    try:
        return str(ip_address(host))
    except ValueError:
        return host


class WeReadOthers(SynchronousTestCase):
    def requested(self, data: bytes, host: str, port: int) -> None:
        found = v5.parse_request(data)
        assert found is not None
        request, end = found
        self.assertEqual((request.command, address(request.host), request.port, end), (v5.CONNECT, address(host), port, len(data)))

    @MANY
    @given(HOST, PORT)
    def test_python_socks_requests(self, host: str, port: int) -> None:
        data = bytes(socks5.ConnectRequest(host, port).dumps())
        self.requested(data, host, port)
        self.assertEqual(v5.request(v5.CONNECT, host, port), data)

    @MANY
    @given(st.one_of(NAME, IPV4), PORT, st.text("abc-", max_size=20))
    def test_python_socks_4_requests(self, host: str, port: int, user: str) -> None:
        data = bytes(socks4.ConnectRequest(host, port, user).dumps())
        try:
            found = v4.parse_request(data)
        except SocksError:
            # 0.0.0.x is a name that follows, in 4a
            self.assertTrue(host.startswith("0.0.0."))
            return
        if found is None:
            self.assertTrue(host.startswith("0.0.0."))
        else:
            self.assertEqual(found, (v4.Request(v4.CONNECT, host, port, user), len(data)))

    @MANY
    @given(HOST, PORT, TEXT, TEXT)
    def test_pysocks_handshakes(self, host: str, port: int, name: str, password: str) -> None:
        """A whole negotiation of PySocks, with user name and password, answered by us."""
        client = Client(v5.method_reply(v5.USER) + v5.auth_reply(True) + v5.reply(v5.SUCCEEDED, ("192.0.2.1", 7)))
        self.addCleanup(client.close)
        # It writes lengths above 127 wrong, and offers a user only with a password.
        if not 0 < len(name.encode()) < 128 or not 0 < len(password.encode()) < 128:
            return
        client.set_proxy(pysocks.SOCKS5, "127.0.0.1", 1080, True, name, password)
        self.assertEqual(client._SOCKS5_request(client, b"\1", (host, port))[1], ("192.0.2.1", 7))
        data = client.wire.sent
        methods, end = v5.parse_methods(data)  # type: ignore[misc]
        self.assertIn(v5.USER, methods)
        data = data[end:]
        said = v5.parse_credentials(data)
        self.assertEqual(said and said[:2], (name, password))
        data = data[said[2] :]  # type: ignore[index]
        self.requested(data, host, port)


class OthersReadUs(SynchronousTestCase):
    @MANY
    @given(IPV4, PORT, st.integers(0, 8))
    def test_replies(self, host: str, port: int, code: int) -> None:
        """PySocks takes a success, and names every failure."""
        client = Client(v5.method_reply(v5.NO_AUTH) + v5.reply(code, (host, port)))
        self.addCleanup(client.close)
        client.set_proxy(pysocks.SOCKS5, "127.0.0.1", 1080)
        if code == 0:
            self.assertEqual(client._SOCKS5_request(client, b"\1", ("a.test", 1))[1], (host, port))
        else:
            error = self.assertRaises(pysocks.SOCKS5Error, client._SOCKS5_request, client, b"\1", ("a.test", 1))
            self.assertIn(f"0x{code:02x}", str(error))

    @MANY
    @given(HOST, PORT, st.binary(max_size=30))
    def test_datagrams(self, host: str, port: int, payload: bytes) -> None:
        """PySocks reads the header of ours, and we the one it would write."""
        header = v5.datagram_header(host, port)
        found = v5.parse_datagram(header + payload)
        self.assertEqual((address(found[0]), *found[1:]), (address(host), port, len(header)))
        client = Client(b"")
        self.addCleanup(client.close)
        client.set_proxy(pysocks.SOCKS5, "127.0.0.1", 1080)
        written = io.BytesIO()
        client._write_SOCKS5_address((host, port), written)
        self.assertEqual(b"\0\0\0" + written.getvalue(), header)
        read = client._read_SOCKS5_address(io.BytesIO(header[3:]))
        self.assertEqual((address(read[0].decode() if isinstance(read[0], bytes) else read[0]), read[1]), (address(host), port))


class Anything(SynchronousTestCase):
    @MANY
    @given(HEADS, st.binary(max_size=900))
    def test_only_socks_error_comes_of_it(self, head: bytes, data: bytes) -> None:
        """And more than the longest message is never asked for."""
        whole = head + data
        for parse in (*V4, *V5):
            try:
                found: Any = parse(whole)
            except SocksError:
                continue
            if found is None:
                self.assertLess(len(whole), MAX_MESSAGE)
            else:
                self.assertLessEqual(found[-1], len(whole))
        try:
            host, _, end = v5.parse_datagram(whole)
        except SocksError:
            return
        self.assertLessEqual(end, len(whole))
        self.assertTrue(host)

    @MANY
    @given(HEADS, st.binary(max_size=40))
    def test_a_verdict_never_changes_with_more_bytes(self, head: bytes, data: bytes) -> None:
        """Read byte by byte: once a message, or refused, always the same."""
        for parse in (*V4, *V5):
            verdict: Any = None
            whole = head + data
            for size in range(len(whole) + 1):
                try:
                    found: Any = parse(whole[:size])
                except SocksError:
                    found = "refused"
                if verdict is not None:
                    self.assertEqual(found, verdict)
                verdict = found
