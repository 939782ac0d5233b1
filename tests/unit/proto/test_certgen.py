# SPDX-License-Identifier: Apache-2.0
"""The certificate generator's datagrams; u-msgpack-python is the second reader."""

from __future__ import annotations

from typing import Any

import umsgpack  # type: ignore[import-untyped]
from twisted.trial.unittest import SynchronousTestCase

from g3.proto.certgen import (
    CertificateKey,
    CertificateReply,
    CertificateRequest,
    Service,
    Usage,
    decode_reply,
    decode_request,
    encode_reply,
    encode_request,
)
from g3.proto.packed import PackedError

PLAIN = CertificateKey(Service.HTTP, Usage.TLS_SERVER, "example.com")


def pack(value: Any) -> bytes:
    data: bytes = umsgpack.packb(value)
    return data


class RequestTests(SynchronousTestCase):
    def test_a_bare_host_is_a_request(self) -> None:
        """As text, bytes or number, as upstream reads texts; http and a TLS server are meant."""
        self.assertEqual(decode_request(pack("example.com")), CertificateRequest(PLAIN))
        self.assertEqual(decode_request(pack(b"example.com")), CertificateRequest(PLAIN))
        self.assertEqual(decode_request(pack(42)).key.host, "42")

    def test_keys_are_numbers_or_names(self) -> None:
        wanted = CertificateRequest(CertificateKey(Service.IMAP, Usage.TLCP_SERVER_ENCRYPTION, "h"), b"der")
        self.assertEqual(decode_request(pack({1: "h", 2: 2, 3: b"der", 4: 12})), wanted)
        self.assertEqual(decode_request(pack({"Host": "h", "service": "imap", "CERT": b"der", "usage": "tlcp_server_enc"})), wanted)
        self.assertEqual(decode_request(pack({1: "h", 2: b"IMAP", 3: b"der", 4: "TLCP-server-encryption"})), wanted)

    def test_a_certificate_is_pem_text_or_der_bytes(self) -> None:
        self.assertEqual(decode_request(pack({1: "h", 3: "pem"})).mimic, "pem")
        self.assertEqual(decode_request(pack({1: "h", 3: b"der"})).mimic, b"der")
        for value in (None, 5, [b"der"], True):
            self.assertRaises(PackedError, decode_request, pack({1: "h", 3: value}))

    def test_what_is_no_request_is_refused(self) -> None:
        for value in ({}, "", None, True, 1.5, [], ["h"], {1: ""}, {2: 0}, {1: "h", 9: 1}, {1: "h", "x": 1}, {1: "h", 6: 0}, {1: "h", -1: 0}):
            self.assertRaises(PackedError, decode_request, pack(value))
        for value in ({1: "h", 2: 3}, {1: "h", 2: "ftp"}, {1: "h", 4: 2}, {1: "h", 4: -1}, {1: "h", 2: None}, {1: "x" * 256}, {1.5: "h"}):
            self.assertRaises(PackedError, decode_request, pack(value))
        for data in (b"", b"\xc1", b"\xa5abc", b"\x81\x01", b"\xa2\xff\xfe"):
            self.assertRaises(PackedError, decode_request, data)

    def test_what_follows_the_object_is_ignored(self) -> None:
        self.assertEqual(decode_request(pack("example.com") + b"more"), CertificateRequest(PLAIN))

    def test_g3proxys_own_request_is_a_map_of_numbers(self) -> None:
        """The certificate only when there is one."""
        self.assertEqual(umsgpack.unpackb(encode_request(CertificateRequest(PLAIN))), {1: "example.com", 2: 0, 4: 0})
        self.assertEqual(umsgpack.unpackb(encode_request(CertificateRequest(PLAIN, b"der"))), {1: "example.com", 2: 0, 4: 0, 3: b"der"})


class ReplyTests(SynchronousTestCase):
    def test_its_keys_are_in_upstreams_order(self) -> None:
        """The usage has another number than in a request."""
        data = encode_reply(CertificateReply(CertificateKey(Service.SMTP, Usage.TLCP_SERVER_SIGNATURE, "h"), "PEM", b"key", 86400))
        self.assertEqual(
            list(umsgpack.unpackb(data, use_ordered_dict=True).items()), [(1, "h"), (2, 1), (6, 11), (3, "PEM"), (4, b"key"), (5, 86400)]
        )
        self.assertEqual(data[:1], b"\x86")

    def test_it_is_read_back(self) -> None:
        for ttl in (0, 86400, None):
            for private_key in (b"der", "pem"):
                reply = CertificateReply(PLAIN, "PEM", private_key, ttl)
                self.assertEqual(decode_reply(encode_reply(reply)), reply)

    def test_a_chain_may_be_a_list_and_unknown_keys_are_ignored(self) -> None:
        reply = decode_reply(pack({"host": "example.com", "cert": ["A", b"B"], "key": b"k", 99: {}, "new": 1}))
        self.assertEqual(reply, CertificateReply(PLAIN, "A\nB", b"k", None))

    def test_it_must_have_a_certificate_and_a_key(self) -> None:
        for value in ("h", {1: "h", 3: "c"}, {1: "h", 4: b"k"}, {1: "h", 3: [], 4: b"k"}, {1: "h", 3: 5, 4: b"k"}, {1: "h", 3: "c", 4: 1}):
            self.assertRaises(PackedError, decode_reply, pack(value))
        self.assertRaises(PackedError, decode_reply, pack({1: "h", 3: "c", 4: b"k", 5: 1 << 32}))
        self.assertRaises(PackedError, decode_reply, pack({1: "h", 3: ["c"] * 17, 4: b"k"}))
