# SPDX-License-Identifier: Apache-2.0
"""Replies and what they say."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from g3.proto.ftp import answers
from g3.proto.ftp.reply import FTPError, Reply, ReplyReader


def read(data: bytes, max_line: int = 100, max_lines: int = 4) -> list[Reply]:
    reader, found = ReplyReader(max_line, max_lines), []
    reader.feed(data)
    while (reply := reader.next()) is not None:
        found.append(reply)
    return found


class ReplyReaderTests(SynchronousTestCase):
    def test_replies_of_one_line_and_of_several(self) -> None:
        """A bare code is one too; inner lines may begin with another code, or with theirs and a hyphen."""
        self.assertEqual(read(b"220 hello\r\n331\n"), [Reply(220, (b"hello",)), Reply(331, (b"",))])
        self.assertEqual(read(b"211-a\r\n220 b\r\n211-c\r\n211 d\r\n"), [Reply(211, (b"a", b"220 b", b"211-c", b"d"))])
        self.assertEqual(read(b"211-a\r\n b\r\n"), [])

    def test_bounds(self) -> None:
        """A line of so many bytes with its end, so many lines, and codes from 100 to 599."""
        self.assertEqual(len(read(b"220 " + b"x" * 94 + b"\r\n")), 1)
        self.assertRaises(FTPError, read, b"220 " + b"x" * 95 + b"\r\n")
        self.assertRaises(FTPError, read, b"x" * 100)
        self.assertEqual(len(read(b"220-a\r\nb\r\nc\r\n220 d\r\n")), 1)
        self.assertRaises(FTPError, read, b"220-a\r\nb\r\nc\r\nd\r\n220 e\r\n")
        for line in (b"099 x\r\n", b"600 x\r\n", b"22 x\r\n", b"2200\r\n", b"\r\n", b"hello\r\n"):
            self.assertRaises(FTPError, read, line)

    def test_a_reply_in_a_log_is_printable_and_short(self) -> None:
        self.assertEqual(Reply(500, (b"no\x1b[31m\xff" + b"x" * 200,)).text, "no?[31m\ufffd" + "x" * 72)


class AnswersTests(SynchronousTestCase):
    def test_ports(self) -> None:
        """With and without brackets; no port 0, no number above 255."""
        self.assertEqual(answers.passive_port(Reply(227, (b"Entering Passive Mode (10,9,8,7,4,1).",))), 1025)
        self.assertEqual(answers.passive_port(Reply(227, (b"=10,9,8,7,4,1",))), 1025)
        self.assertEqual(answers.extended_passive_port(Reply(229, (b"ok (|||6446|)",))), 6446)
        for text in (b"10,9,8,7,0,0", b"10,9,8,7,256,0", b"10,9,8,7,4", b""):
            self.assertRaises(FTPError, answers.passive_port, Reply(227, (text,)))
        for text in (b"(|||0|)", b"(|||65536|)", b"(||1.2.3.4|21|)", b"(|||21!)", b"|||21|"):
            self.assertRaises(FTPError, answers.extended_passive_port, Reply(229, (text,)))

    def test_features(self) -> None:
        """In any case, with what belongs to their name only."""
        lines = (b"Features:", b" EPSV", b" mlst type*;size*;", b" REST STREAM", b" ", b"x", b" Size", b"End")
        self.assertEqual(answers.features(Reply(211, lines)), {b"EPSV", b"MLST", b"REST STREAM", b"SIZE"})

    def test_facts(self) -> None:
        """In any case and order; a media type that is none does not go into a header."""
        facts = lambda line: answers.facts(Reply(250, (b"Listing", line, b"End")))  # noqa: E731
        self.assertEqual(facts(b" Type=file;Size=12;Media-Type=text/plain; a b"), (False, 12, b"text/plain"))
        self.assertEqual(facts(b" type=pdir;sizd=4096;modify=20210525083610; /"), (True, None, None))
        self.assertEqual(facts(b" size=-1;media-type=a/b\r;=;; x"), (False, None, None))
        self.assertEqual(answers.facts(Reply(250, (b"one line",))), (False, None, None))
