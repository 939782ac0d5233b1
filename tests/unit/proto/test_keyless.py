# SPDX-License-Identifier: Apache-2.0
"""The keyless wire format, byte by byte."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from g3.proto.keyless import (
    DIGEST_LENGTHS,
    ERROR_TEXTS,
    MAX_CONTENT,
    ErrorCode,
    KeylessError,
    Opcode,
    Request,
    Response,
    Splitter,
    encode_error,
    encode_pong,
    encode_request,
    encode_response,
    parse_request,
    parse_response,
)

SKI = bytes(range(20))


def one(data: bytes) -> Request:
    """The one request in some bytes."""
    splitter = Splitter()
    splitter.feed(data)
    message = splitter.take()
    assert message is not None
    return parse_request(*message)


class RequestTests(SynchronousTestCase):
    """Requests, read and written."""

    def test_a_request_is_key_opcode_payload_and_padding(self) -> None:
        """In this order, 1024 bytes together; the header's length does not count the header."""
        data = encode_request(0x01020304, Opcode.RSA_SIGN_SHA256, SKI, b"d" * 32)
        self.assertEqual(data[:8], bytes.fromhex("010003f801020304"))
        self.assertEqual(data[8:31], b"\x04\x00\x14" + SKI)
        self.assertEqual(data[31:35], b"\x11\x00\x01\x05")
        self.assertEqual(data[35:70], b"\x12\x00\x20" + b"d" * 32)
        self.assertEqual(data[70:73], b"\x20" + (1024 - 73).to_bytes(2, "big"))
        self.assertEqual(data[73:], bytes(1024 - 73))

    def test_padding_that_has_no_room_is_empty(self) -> None:
        """One to three bytes short of 1024: an item header of three, which may stand over; nothing when it is long already."""
        fixed = 8 + 23 + 4 + 3
        for short, length in ((4, 1024), (3, 1024), (2, 1025), (1, 1026), (0, 1024), (-1, 1025)):
            data = encode_request(1, 1, SKI, bytes(1024 - fixed - short))
            self.assertEqual(len(data), length, short)
            self.assertEqual(one(data).payload, bytes(1024 - fixed - short))

    def test_items_come_in_any_order_and_the_last_wins(self) -> None:
        """Items that are not ours are passed over: certificate digest, names, addresses, padding, unknown tags."""
        items = bytes.fromhex("120001aa 010002ffff 110001f1 020001 41 030001 42 050001 43 ee0000 20000100 040001bb 120002ccdd 11000105")
        data = b"\x01\x00" + len(items).to_bytes(2, "big") + b"\0\0\0\x09" + items
        self.assertEqual(one(data), Request(9, 5, b"\xbb", b"\xcc\xdd"))

    def test_what_is_not_said_is_empty(self) -> None:
        """No item at all: opcode 0, which no one serves."""
        self.assertEqual(one(bytes.fromhex("01000000ffffffff")), Request(0xFFFFFFFF, 0, b"", b""))

    def test_what_is_cut_off_is_an_error(self) -> None:
        """An item header without its three bytes, and a value that is longer than what is left."""
        for items in ("11", "1100", "110002f1", "12ffff00"):
            raw = bytes.fromhex(items)
            with self.assertRaises(KeylessError) as caught:
                one(b"\x01\x00" + len(raw).to_bytes(2, "big") + bytes(4) + raw)
            self.assertEqual(str(caught.exception), "corrupted message")

    def test_an_opcode_is_one_byte(self) -> None:
        """None and two are no opcode."""
        for items in ("110000", "1100020101"):
            raw = bytes.fromhex(items)
            with self.assertRaises(KeylessError) as caught:
                one(b"\x01\x00" + len(raw).to_bytes(2, "big") + bytes(4) + raw)
            self.assertEqual(str(caught.exception), "invalid length for item 17")

    def test_too_long_for_a_message_is_not_sent(self) -> None:
        """The longest fits exactly."""
        data = encode_request(1, 1, SKI, bytes(MAX_CONTENT - 20))
        self.assertEqual(len(data), 8 + 0xFFFF)
        self.assertEqual(len(one(data).payload), MAX_CONTENT - 20)
        self.assertRaises(ValueError, encode_request, 1, 1, SKI, bytes(MAX_CONTENT - 19))


class ResponseTests(SynchronousTestCase):
    """Responses, written and read."""

    def parse(self, data: bytes) -> Response:
        splitter = Splitter()
        splitter.feed(data)
        message = splitter.take()
        assert message is not None
        self.assertEqual(splitter.held, 0)
        return parse_response(*message)

    def test_a_result(self) -> None:
        """Opcode F0, then the payload; no padding."""
        data = encode_response(7, b"abc")
        self.assertEqual(data, bytes.fromhex("0100000a00000007110001f0120003616263"))
        self.assertEqual(self.parse(data), Response(7, Opcode.RESPONSE, b"abc"))

    def test_a_pong(self) -> None:
        """Opcode F2 with what was sent, be it nothing."""
        self.assertEqual(encode_pong(0xFFFFFFFF, b""), bytes.fromhex("01000007ffffffff110001f2120000"))
        self.assertEqual(self.parse(encode_pong(1, b"x" * 0xFFF8)).payload, b"x" * 0xFFF8)

    def test_an_error_is_sixteen_bytes(self) -> None:
        """Opcode FF with the code."""
        for code in ErrorCode:
            data = encode_error(3, code)
            self.assertEqual(data, bytes.fromhex(f"0100000800000003110001ff120001{code:02x}"))
            self.assertEqual(self.parse(data).error, code)
            self.assertTrue(ERROR_TEXTS[code])

    def test_what_is_no_response_is_refused(self) -> None:
        """A request; an error without its one byte."""
        for data in (encode_request(1, Opcode.PING), bytes.fromhex("0100000700000003110001ff120000")):
            self.assertRaises(KeylessError, self.parse, data)

    def test_every_sign_opcode_but_ed25519_has_a_digest(self) -> None:
        """By their names."""
        signs = {opcode for opcode in Opcode if "_SIGN_" in opcode.name}
        self.assertEqual(set(DIGEST_LENGTHS), signs)


class SplitterTests(SynchronousTestCase):
    """Messages out of a stream."""

    def test_messages_come_whole_however_they_arrive(self) -> None:
        """Byte by byte, and several at once."""
        stream = b"".join(encode_request(number, Opcode.PING, payload=bytes([number]) * number, padded=0) for number in range(30))
        for size in (1, 7, 64, len(stream)):
            splitter, found = Splitter(), []
            for start in range(0, len(stream), size):
                splitter.feed(stream[start : start + size])
                while (message := splitter.take()) is not None:
                    found.append(parse_request(*message).id)
            self.assertEqual(found, list(range(30)))
            self.assertEqual(splitter.held, 0)

    def test_another_version_is_told_with_its_header(self) -> None:
        """Before its body is there."""
        for version in ("0200", "0101", "0000"):
            splitter = Splitter()
            splitter.feed(bytes.fromhex(version + "ffff0000"))
            self.assertIsNone(splitter.take())
            splitter.feed(b"\0\0")
            with self.assertRaises(KeylessError) as caught:
                splitter.take()
            self.assertEqual(str(caught.exception), f"unexpected version {int(version[:2], 16)}.{int(version[2:], 16)}")
