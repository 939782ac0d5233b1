# SPDX-License-Identifier: Apache-2.0
"""Syslog records, byte by byte."""

from __future__ import annotations

import json
import os
import time

from twisted.trial.unittest import SynchronousTestCase

from g3.proto.syslog import CEE, DEBUG, FACILITY_DAEMON, FACILITY_USER, NOTICE, Header3164, Header5424, Structured5424, Text3164

#: 2021-12-01T10:20:30.123456Z
WHEN = 1638354030.123456
FIELDS = [("a", 'x"y'), ("n", 8), ("f", 1.5), ("t", True), ("o", False), ("none", None), ("tab", "a\tb"), ("br", "]")]


class InUTC(SynchronousTestCase):
    """Local time is UTC."""

    def setUp(self) -> None:
        old = os.environ.get("TZ")
        os.environ["TZ"] = "UTC"
        time.tzset()

        def restore() -> None:
            del os.environ["TZ"]
            if old is not None:
                os.environ["TZ"] = old
            time.tzset()

        self.addCleanup(restore)


class HeaderTest(InUTC):
    """What stands before the content."""

    def test_rfc3164(self) -> None:
        """Priority, local time with a space-padded day, tag."""
        self.assertEqual(Header3164("test", 1024).text(WHEN, NOTICE), "<29>Dec  1 10:20:30 test[1024]: ")
        self.assertEqual(Header3164("t", 1, facility=FACILITY_USER, hostname="h").text(WHEN, DEBUG), "<15>Dec  1 10:20:30 h t[1]: ")

    def test_rfc3164_is_local_time(self) -> None:
        """An hour east of here it is an hour later."""
        os.environ["TZ"] = "UTC-1"
        time.tzset()
        self.assertIn("Dec  1 11:20:30", Header3164("test", 1024).text(WHEN, NOTICE))

    def test_rfc5424(self) -> None:
        """UTC with microseconds; absent fields are a dash."""
        self.assertEqual(Header5424("test", 1024).text(WHEN, NOTICE), "<29>1 2021-12-01T10:20:30.123456Z - test 1024 - ")
        full = Header5424("test", 1024, facility=FACILITY_DAEMON, hostname="h", message_id="ID47")
        self.assertEqual(full.text(WHEN + 1, NOTICE), "<29>1 2021-12-01T10:20:31.123456Z h test 1024 ID47 ")

    def test_header_words_are_printable_ascii_without_spaces(self) -> None:
        """A host name from the system cannot break the header; names are bounded."""
        text = Header5424("a b\nc", 1, hostname="höst " + "x" * 300, message_id="m d").text(WHEN, NOTICE)
        self.assertEqual(len(text.split(" ")), 7)
        self.assertTrue(text.isascii() and text.isprintable())

    def test_the_cached_second_does_not_stick(self) -> None:
        """Each record has its own time."""
        header = Header3164("t", 1)
        self.assertNotEqual(header.text(WHEN, NOTICE), header.text(WHEN + 1, NOTICE))


class ContentTest(InUTC):
    """Fields in the three forms."""

    def test_text_has_the_message_first_and_bare_numbers(self) -> None:
        """Strings are quoted and escaped; None is left out."""
        made = Text3164(Header3164("t", 1), report_ts=True)
        record = made.encode(made.constants([("pid", 7)]), "it's done", FIELDS, WHEN)
        self.assertEqual(
            record.decode(),
            r"""<29>Dec  1 10:20:30 t[1]: it\'s done, pid=7, a="x\"y", n=8, f=1.5, t=true, o=false, tab="a\tb", br="]", report_ts=1638354030""",
        )

    def test_structured_data_quotes_everything(self) -> None:
        """RFC 5424 section 6.3: each PARAM-VALUE is quoted and C{]} escaped."""
        made = Structured5424(Header5424("t", 1), enterprise_id=32473, report_ts=True)
        record = made.encode(made.constants([("pid", 7)]), "", FIELDS, WHEN)
        self.assertEqual(
            record.decode(),
            "<29>1 2021-12-01T10:20:30.123456Z - t 1 - "
            r"""[g3proxy@32473 pid="7" a="x\"y" n="8" f="1.5" t="true" o="false" tab="a\tb" br="\]" report_ts="1638354030"] """,
        )

    def test_cee_is_json_after_a_flag(self) -> None:
        """One object, constants included, message last."""
        for header, start in (
            (Header3164("t", 1), "<29>Dec  1 10:20:30 t[1]: @x:"),
            (Header5424("t", 1), "<29>1 2021-12-01T10:20:30.123456Z - t 1 - @x:"),
        ):
            made = CEE(header, flag="@x:", report_ts=True)
            record = made.encode(made.constants([("pid", 7), ("no", None)]), "m\nn", FIELDS, WHEN).decode()
            self.assertTrue(record.startswith(start))
            self.assertEqual(
                json.loads(record[len(start) :]),
                {"pid": 7, "a": 'x"y', "n": 8, "f": 1.5, "t": True, "o": False, "tab": "a\tb", "br": "]", "report_ts": 1638354030, "msg": "m\nn"},
            )
            self.assertNotIn("\n", record)

    def test_cee_without_constants_is_json_too(self) -> None:
        """No comma too many."""
        made = CEE(Header3164("t", 1))
        record = made.encode(made.constants([]), "m", [], WHEN).decode()
        self.assertEqual(json.loads(record.partition("@cee:")[2]), {"msg": "m"})

    def test_string_values_are_bounded(self) -> None:
        """In every form, a cut value shows that it was cut."""
        for made in (Text3164(Header3164("t", 1)), Structured5424(Header5424("t", 1)), CEE(Header3164("t", 1))):
            record = made.encode(made.constants([]), "m" * 100, [("a", "x" * 100)], WHEN, limit=10)
            self.assertIn(b"x" * 7 + b"...", record)
            self.assertIn(b"m" * 7 + b"...", record)
            self.assertNotIn(b"x" * 8, record)
            self.assertNotIn(b"m" * 8, record)

    def test_lone_surrogates_do_not_fail(self) -> None:
        """What was no UTF-8 on the wire is still logged."""
        for made in (Text3164(Header3164("t", 1)), Structured5424(Header5424("t", 1)), CEE(Header3164("t", 1))):
            made.encode(made.constants([]), "\ud800", [("a", "\udcff")], WHEN).decode("utf-8")
