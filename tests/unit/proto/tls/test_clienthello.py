# SPDX-License-Identifier: Apache-2.0
"""Client hellos: whatever pieces they come in, what they ask for; and what is no hello anybody should answer."""

from __future__ import annotations

import ssl

from twisted.trial.unittest import SynchronousTestCase

from g3.proto.tls.clienthello import ClientHello, HelloReader, TLSError
from tests.hellos import hello_with, openssl_hello, record, server_name, split_records


def read(data: bytes, limit: int = 65536) -> ClientHello:
    """The hello in C{data}, all of which is needed."""
    hello = HelloReader(limit).feed(data)
    assert hello is not None
    return hello


class ReadTests(SynchronousTestCase):
    def test_openssl_s_hello_is_read(self) -> None:
        """Name, protocols, versions."""
        hello = read(openssl_hello("Example.NET", ("h2", "http/1.1")))
        self.assertEqual((hello.server_name, hello.alpn), ("example.net", (b"h2", b"http/1.1")))
        self.assertIn(0x0304, hello.supported_versions)
        self.assertEqual((hello.version, len(hello.random)), (0x0303, 32))
        self.assertIn(0x1301, hello.cipher_suites)

    def test_an_old_hello_says_so(self) -> None:
        """TLS 1.1 has no supported_versions."""
        hello = read(openssl_hello(maximum=ssl.TLSVersion.TLSv1_1))
        self.assertEqual((hello.version, hello.supported_versions), (0x0302, (0x0302,)))

    def test_one_without_a_name_has_none(self) -> None:
        """So has one without any extension."""
        self.assertEqual(read(openssl_hello(None)).server_name, "")
        body = b"\x03\x03" + bytes(32) + b"\0\0\x02\x13\x01\x01\0"
        self.assertEqual(read(record(b"\x01" + len(body).to_bytes(3, "big") + body)).server_name, "")

    def test_it_may_be_split_at_every_byte(self) -> None:
        """In two pieces, and in single ones."""
        data = openssl_hello()
        for at in range(1, len(data)):
            reader = HelloReader()
            self.assertIs(reader.feed(data[:at]), None)
            hello = reader.feed(data[at:])
            assert hello is not None
            self.assertEqual(hello.server_name, "example.net")
        reader = HelloReader()
        for byte in data[:-1]:
            self.assertIs(reader.feed(bytes([byte])), None)
        self.assertIsNot(reader.feed(data[-1:]), None)

    def test_it_may_be_split_into_records_of_any_size(self) -> None:
        """Of one byte, too, whole or byte by byte."""
        data = openssl_hello()
        for size in (1, 2, 3, 4, 5, 100):
            cut = split_records(data, size)
            self.assertEqual(read(cut).server_name, "example.net")
            reader = HelloReader()
            for byte in cut[:-1]:
                self.assertIs(reader.feed(bytes([byte])), None)
            self.assertIsNot(reader.feed(cut[-1:]), None)

    def test_60_kilobytes_are_a_hello(self) -> None:
        """In records of 16 kB and of one byte; at the limit and not above."""
        data = hello_with(server_name(b"example.net"), padding=60000)
        self.assertEqual(read(data).server_name, "example.net")
        message = b"".join(data[at + 5 : at + 5 + 16384] for at in range(0, len(data), 16389))
        ones = b"".join(record(message[at : at + 1]) for at in range(len(message)))
        self.assertEqual(read(ones).server_name, "example.net")
        self.assertIsNot(HelloReader(len(message) - 4).feed(data), None)
        with self.assertRaisesRegex(TLSError, "too long"):
            HelloReader(len(message) - 5).feed(data)


class RefusalTests(SynchronousTestCase):
    def refused(self, data: bytes, why: str) -> None:
        with self.assertRaisesRegex(TLSError, why):
            HelloReader().feed(data)

    def test_what_is_no_hello_is_refused_at_its_first_wrong_byte(self) -> None:
        """Nothing more has to come."""
        for data, why in (
            (b"G", "not a TLS handshake"),
            (b"\x17", "not a TLS handshake"),
            (b"\x16\x02", "not a version"),
            (b"\x16\x03\x05\0\x05", "bad TLS record"),
            (b"\x16\x03\x01\0\0", "bad TLS record"),
            (b"\x16\x03\x01\x40\x01", "bad TLS record"),
            (b"\x16\x03\x01\0\x05\x02", "not a ClientHello"),
            (b"\x16\x03\x01\0\x05\x01\xff\xff\xff", "too long"),
            (record(b"\x01\0\0\x01") + b"\x15", "not a TLS handshake"),
        ):
            self.refused(data, why)

    def test_nothing_else_is_in_the_records_of_a_hello(self) -> None:
        """RFC 8446 section 5.1: the message ends with its record."""
        data = openssl_hello()
        self.refused(record(data[5:] + b"\x01\0\0\0"), "something else")
        self.refused(record(data[5:100]) + record(data[100:] + b"\0"), "something else")

    def test_a_hello_that_is_cut_or_padded_is_refused(self) -> None:
        """Every length inside it has to fit."""
        body = openssl_hello()[9:]
        for at in range(len(body)):
            if at != 41 + body[34] + int.from_bytes(body[35 + body[34] : 37 + body[34]], "big") - 2:  # there it is one without extensions
                with self.assertRaises(TLSError):
                    ClientHello(body[:at])
        with self.assertRaises(TLSError):
            ClientHello(body + b"\0")

    def test_an_extension_may_be_there_once(self) -> None:
        """RFC 8446 section 4.2; two names for two readers."""
        self.refused(hello_with(server_name(b"a.test"), server_name(b"b.test")), "twice")

    def test_session_ids_are_at_most_32_bytes(self) -> None:
        """And there is a cipher suite."""
        self.refused(hello_with(session_id=bytes(33)), "bad ClientHello")


class ServerNameTests(SynchronousTestCase):
    def name(self, *names: bytes, kind: int = 0) -> str:
        return read(hello_with(server_name(*names, kind=kind))).server_name

    def test_names_have_one_spelling(self) -> None:
        """Lower case, no last dot; underscores happen."""
        for given, expected in (
            (b"Example.NET", "example.net"),
            (b"example.net.", "example.net"),
            (b"_dmarc.example.net", "_dmarc.example.net"),
            (b"xn--bcher-kva.test", "xn--bcher-kva.test"),
            (b".".join([b"a" * 63] * 3 + [b"b" * 61]), ".".join(["a" * 63] * 3 + ["b" * 61])),
            (b"a", "a"),
        ):
            self.assertEqual(self.name(given), expected)

    def test_what_is_no_name_is_refused(self) -> None:
        """255 bytes, 254 too; addresses in any spelling; NUL, space, a slash, an empty label, other bytes than ASCII."""
        for bad in (
            b"a." * 127 + b"a",
            b".".join([b"a" * 63] * 4)[:254],
            b"a" * 64,
            b"a" * 256,
            b"192.0.2.1",
            b"127.1",
            b"0x7f000001",
            b"2001:db8::1",
            b"[2001:db8::1]",
            b"example.net\0.evil.test",
            b"\0",
            b"a b",
            b"a/b",
            b"a..b",
            b".a",
            b".",
            b"..",
            b"",
            "bücher.test".encode(),
            b"\xff",
            b"a:443",
            b"*.test",
        ):
            with self.assertRaises(TLSError, msg=bad):
                self.name(bad)

    def test_one_name_of_the_known_kind(self) -> None:
        """Two names are refused, as OpenSSL does; so is another kind, and an empty list."""
        for names, kind in (((b"a.test", b"b.test"), 0), ((b"a.test", b"a.test"), 0), ((b"a.test",), 1), ((), 0)):
            with self.assertRaises(TLSError):
                self.name(*names, kind=kind)
        with self.assertRaises(TLSError):
            read(hello_with((0, b""))).server_name  # noqa: B018 - it is read by reading the attribute

    def test_lists_of_protocols_and_versions_fit(self) -> None:
        """Lengths again."""
        for kind, data in ((16, b"\0\x03\x02h"), (16, b"\0\0"), (16, b"\0\x01\0"), (43, b"\x01\x03"), (43, b"\0")):
            hello = read(hello_with((kind, data)))
            with self.assertRaises(TLSError):
                _ = hello.alpn if kind == 16 else hello.supported_versions
