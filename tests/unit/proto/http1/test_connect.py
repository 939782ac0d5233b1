# SPDX-License-Identifier: Apache-2.0
"""CONNECT to a next proxy."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from g3.proto.http1.connect import ConnectReader, basic_credentials, connect_request
from g3.proto.http1.headers import HTTPError


class Requests(SynchronousTestCase):
    def test_the_request(self) -> None:
        line = basic_credentials("us\u00e9r", "pass")
        self.assertEqual(line, b"Proxy-Authorization: Basic dXPDqXI6cGFzcw==")
        self.assertEqual(
            connect_request("::1", 443, [line]),
            b"CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]:443\r\nConnection: keep-alive\r\n" + line + b"\r\n\r\n",
        )
        self.assertTrue(connect_request("fe80::1%2", 1).startswith(b"CONNECT [fe80::1]:1 HTTP/1.1\r\nHost: [fe80::1]:1\r\n"))
        self.assertEqual(connect_request("a", 1), b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nConnection: keep-alive\r\n\r\n")


class Answers(SynchronousTestCase):
    def test_early_data_is_kept(self) -> None:
        reader = ConnectReader()
        self.assertTrue(reader.feed(b"HTTP/1.1 200 Connection established\r\n\r\nSSH-2.0\r\n\r\n"))
        self.assertTrue(reader.accepted)
        self.assertEqual(reader.rest, b"SSH-2.0\r\n\r\n")

    def test_byte_by_byte(self) -> None:
        data = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 200 OK\r\nContent-Length: 9\r\n\r\n"
        reader = ConnectReader()
        self.assertEqual([reader.feed(data[at : at + 1]) for at in range(len(data))], [False] * (len(data) - 1) + [True])
        self.assertTrue(reader.accepted)

    def test_another_2xx_is_a_yes_and_the_rest_a_no(self) -> None:
        for status, accepted in ((204, True), (299, True), (301, False), (403, False), (407, False), (504, False)):
            reader = ConnectReader()
            self.assertTrue(reader.feed(b"HTTP/1.1 %d x\r\n\r\n" % status))
            self.assertEqual(reader.accepted, accepted)

    def test_the_answer_is_bounded(self) -> None:
        reader = ConnectReader(100)
        self.assertRaises(HTTPError, reader.feed, b"HTTP/1.1 200 OK\r\nA: " + b"b" * 100)
        reader = ConnectReader(1000)
        self.assertRaises(HTTPError, reader.feed, b"HTTP/1.1 100 Continue\r\n\r\n" * 9)
        reader = ConnectReader(100)
        self.assertRaises(HTTPError, reader.feed, b"HTTP/1.1 102 x\r\nA: bbbbbbbbbbbbbb\r\n\r\n" * 4)

    def test_what_is_no_answer(self) -> None:
        for data in (b"SSH-2.0-x", b"HTTP/1.1 101 x\r\n\r\n", b"\x15\x03\x01", b"HTTP/1.1 200 OK\n\n", b"HTTP/1.1 200 OK\r\nA b\r\n\r\n"):
            with self.assertRaises(HTTPError) as caught:
                reader = ConnectReader()
                if not reader.feed(data):
                    reader.feed(b"\r\n\r\n")
            self.assertEqual(caught.exception.status, 502)
