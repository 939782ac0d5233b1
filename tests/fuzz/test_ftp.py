# SPDX-License-Identifier: Apache-2.0
"""FTP: the standard library's client and werkzeug read the same as we do; nothing but FTPError comes of anything else, and nothing grows."""

from __future__ import annotations

import contextlib
import ftplib
import io
from base64 import b64encode
from urllib.parse import quote_from_bytes

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from werkzeug.http import parse_range_header

from g3.proto.ftp import answers
from g3.proto.ftp.listing import ListingReader
from g3.proto.ftp.path import Kind, Login, parse_login, parse_path
from g3.proto.ftp.reply import FTPError, Reply, ReplyReader, command
from g3.proto.http1.ranges import UnsatisfiableRange, byte_range

MANY = settings(max_examples=1000, deadline=None, database=None)

CODE = st.integers(100, 599)
TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40).map(lambda text: text.rstrip().encode())
CUTS = st.lists(st.integers(1, 20), max_size=30)
#: Beginnings that get far.
WIRE = st.lists(
    st.one_of(st.sampled_from([b"220 ", b"220-", b"220", b"211-\r\n", b"\r\n", b"\n", b"\r", b" ", b"999"]), st.binary(max_size=12)), max_size=12
).map(b"".join)
NAME = st.binary(min_size=1, max_size=40).filter(lambda name: not set(b"\r\n\0") & set(name))


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    """C{data} cut up."""
    found = []
    for cut in cuts:
        found.append(data[:cut])
        data = data[cut:]
    return [*found, data]


def replies(data: bytes, cuts: list[int], max_line: int = 200, max_lines: int = 20) -> tuple[list[Reply], bool, int]:
    """What a reader makes of bytes: replies, whether it then refused, and the most that ever waited after it was asked."""
    reader, found, most = ReplyReader(max_line, max_lines), [], 0
    for piece in pieces(data, cuts):
        reader.feed(piece)
        try:
            while (reply := reader.next()) is not None:
                found.append(reply)
        except FTPError:
            return found, True, most
        most = max(most, reader.waiting)
    return found, False, most


class ReplyTests(SynchronousTestCase):
    @MANY
    @given(WIRE, CUTS)
    def test_how_bytes_are_cut_up_changes_nothing(self, data: bytes, cuts: list[int]) -> None:
        """And what waits for its end is less than a line."""
        found, refused, most = replies(data, cuts)
        self.assertEqual((found, refused), replies(data, [])[:2])
        self.assertLess(most, 200)

    @MANY
    @given(st.lists(st.tuples(CODE, st.lists(TEXT, min_size=1, max_size=6)), min_size=1, max_size=4), CUTS)
    def test_ftplib_reads_the_same(self, said: list[tuple[int, list[bytes]]], cuts: list[int]) -> None:
        """Replies of one line and of several, where a line in the middle does not look like the last."""
        wire, wanted = b"", []
        for code, lines in said:
            inner = [b" " + line for line in lines[1:-1]]
            if len(lines) == 1:
                wire += b"%d %b\r\n" % (code, lines[0])
                wanted.append(Reply(code, (lines[0],)))
            else:
                wire += b"\r\n".join([b"%d-%b" % (code, lines[0]), *inner, b"%d %b" % (code, lines[-1]), b""])
                wanted.append(Reply(code, (lines[0], *inner, lines[-1])))
        self.assertEqual(replies(wire, cuts)[:2], (wanted, False))
        theirs = ftplib.FTP()
        theirs.file = io.StringIO(wire.decode(), newline="\n")
        for reply in wanted:
            self.assertEqual(theirs.getmultiline().encode().replace(b"\n", b"\r\n") + b"\r\n", self.written(reply))

    @staticmethod
    def written(reply: Reply) -> bytes:
        if len(reply.lines) == 1:
            return b"%d %b\r\n" % (reply.code, reply.lines[0])
        return b"\r\n".join([b"%d-%b" % (reply.code, reply.lines[0]), *reply.lines[1:-1], b"%d %b" % (reply.code, reply.lines[-1]), b""])

    @MANY
    @given(st.binary(max_size=30), st.one_of(st.none(), st.binary(max_size=60)))
    def test_a_command_is_one_line_or_none(self, word: bytes, argument: bytes | None) -> None:
        word = b"X" + bytes(byte for byte in word if 65 <= byte <= 90)
        try:
            line = command(word, argument)
        except FTPError as error:
            self.assertEqual(error.status, 400)
            self.assertTrue(argument is not None and set(b"\r\n\0") & set(argument))
        else:
            self.assertEqual(line.count(b"\n"), 1)
            self.assertEqual(line, word + (b"" if argument is None else b" " + argument) + b"\r\n")


class AnswerTests(SynchronousTestCase):
    @MANY
    @given(st.lists(st.integers(0, 300), min_size=6, max_size=6), TEXT)
    def test_ftplib_finds_the_same_passive_port(self, numbers: list[int], text: bytes) -> None:
        """Ours refuses what is no address or no port; theirs does not look."""
        said = "Entering (" + ",".join(map(str, numbers)) + ")."
        try:
            port = answers.passive_port(Reply(227, (said.encode(),)))
        except FTPError:
            self.assertTrue(max(numbers) > 255 or numbers[4:] == [0, 0])
        else:
            self.assertEqual(ftplib.parse227("227 " + said)[1], port)
        with contextlib.suppress(FTPError):
            answers.passive_port(Reply(227, (text,)))

    @MANY
    @given(st.integers(0, 70000), st.characters(min_codepoint=33, max_codepoint=126).filter(lambda char: not char.isdigit()), TEXT)
    def test_ftplib_finds_the_same_extended_passive_port(self, number: int, bar: str, text: bytes) -> None:
        said = f"Entering ({bar * 3}{number}{bar})"
        try:
            port = answers.extended_passive_port(Reply(229, (said.encode(),)))
        except FTPError:
            self.assertFalse(0 < number < 65536)
        else:
            if bar not in "()":  # where theirs looks for other things
                self.assertEqual(ftplib.parse229("229 " + said, ("192.0.2.1", 21)), ("192.0.2.1", port))
        with contextlib.suppress(FTPError):
            answers.extended_passive_port(Reply(229, (text,)))

    @MANY
    @given(
        st.dictionaries(st.sampled_from(["Size", "size", "modify", "UNIX.mode", "Media-Type", "x"]), st.text("0123456789a/;= -", max_size=20)), NAME
    )
    def test_facts_are_what_a_plain_reading_finds(self, facts: dict[str, str], name: bytes) -> None:
        facts = {key: value.replace(";", "").replace(" ", "").replace("=", "") for key, value in facts.items()}
        line = "".join(f"{key}={value};" for key, value in facts.items()).encode() + b" " + name
        found = answers.facts(Reply(250, (b"Listing", b" " + line, b"End")))
        size = {key.lower(): value for key, value in facts.items()}.get("size", "")
        self.assertEqual(found.size, int(size) if size.isdigit() and len(size) <= 18 else None)
        self.assertFalse(found.directory)
        self.assertTrue(found.media_type is None or found.media_type.count(b"/") == 1)

    @MANY
    @given(st.lists(st.binary(max_size=40), min_size=1, max_size=5))
    def test_any_lines_are_some_answer(self, lines: list[bytes]) -> None:
        reply = Reply(211, tuple(lines))
        self.assertLessEqual(len(answers.features(reply)), len(lines))
        self.assertIsInstance(answers.facts(reply), answers.Facts)
        self.assertTrue(reply.text.isprintable())
        with contextlib.suppress(FTPError):
            self.assertGreaterEqual(answers.size(reply), 0)


class RequestTests(SynchronousTestCase):
    @MANY
    @given(NAME)
    def test_a_quoted_name_comes_out_as_it_went_in(self, name: bytes) -> None:
        """As a file, and below the root."""
        segment = quote_from_bytes(name, safe="").encode()
        kind, found = parse_path(b"/" + segment + b";type=i")
        if name != b"/":
            self.assertEqual((kind, found), (Kind.FILE, name))
            self.assertEqual(parse_path(b"/%2F/" + segment + b";type=i").name, b"/" + name)

    @MANY
    @given(st.binary(max_size=60), st.binary(max_size=60))
    def test_any_path_and_login_are_some_or_400(self, path: bytes, other: bytes) -> None:
        for parse in (lambda: parse_path(b"/" + path), lambda: parse_login(path, b"Basic " + other), lambda: parse_login(path, b64encode(other))):
            try:
                parse()
            except FTPError as error:
                self.assertEqual(error.status, 400)
        self.assertNotIn(b"\n", self.name_of(path))

    @staticmethod
    def name_of(path: bytes) -> bytes:
        with contextlib.suppress(FTPError):
            return parse_path(b"/" + path).name
        return b""

    @MANY
    @given(NAME, NAME)
    def test_a_login_comes_out_as_it_went_in(self, name: bytes, password: bytes) -> None:
        quoted = b":".join(quote_from_bytes(part, safe="").encode() for part in (name, password))
        self.assertEqual(parse_login(quoted, None), Login(name, password))
        name = name.replace(b":", b"") or b"x"
        self.assertEqual(parse_login(b"other:login", b"Basic " + b64encode(name + b":" + password)), Login(name, password))

    @MANY
    @given(st.lists(st.binary(max_size=30).map(lambda line: line.replace(b"\n", b"")), max_size=20), CUTS, st.integers(1, 40), st.integers(1, 20))
    def test_a_listing_is_bounded_by_its_lines(self, lines: list[bytes], cuts: list[int], max_line: int, max_entries: int) -> None:
        """However it is cut up."""
        reader = ListingReader(max_line, max_entries)
        fits = len(lines) <= max_entries and all(len(line) < max_line for line in lines)
        try:
            for piece in pieces(b"".join(line + b"\n" for line in lines), cuts):
                reader.feed(piece)
        except FTPError:
            self.assertFalse(fits)
        else:
            self.assertTrue(fits)

    @MANY
    @given(
        st.one_of(st.none(), st.integers(0, 50)), st.one_of(st.none(), st.integers(0, 50)), st.integers(0, 40), st.text("0123456789-,= ", max_size=12)
    )
    def test_werkzeug_finds_the_same_range(self, first: int | None, last: int | None, size: int, text: str) -> None:
        value = f"bytes={'' if first is None else first}-{'' if last is None else last}"
        theirs = parse_range_header(value)
        span = None if theirs is None else theirs.range_for_length(size)
        if first is None and last is not None and last >= size > 0:
            span = (0, size)  # RFC 9110 section 14.1.2: all of it; theirs has none
        try:
            found = byte_range(value.encode(), size)
        except UnsatisfiableRange:
            self.assertIsNone(span, value)
        else:
            if found is not None:
                self.assertEqual((found[0], found[1] + 1), span, value)
            else:
                self.assertIsNone(theirs, value)
        try:
            found = byte_range(b"bytes=" + text.encode(), size)
        except UnsatisfiableRange:
            return
        self.assertTrue(found is None or 0 <= found[0] <= found[1] < size)
