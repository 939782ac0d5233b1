# SPDX-License-Identifier: Apache-2.0
"""Log records: whatever a client sends, one request is one record, and what was sent can be read back from it."""

from __future__ import annotations

import json
import re
import struct
from types import SimpleNamespace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from g3.errors import TaskError
from g3.logs.drivers import JournalEncoder, LineEncoder
from g3.logs.task import (
    FTPNotes,
    HTTPForwardNotes,
    TaskEvent,
    UDPNotes,
    log_ftp_over_http,
    log_http_forward,
    log_tcp_connect,
    log_udp,
)
from g3.proto.escape import escape, unescape
from g3.proto.record import Filled, Layout, Part
from g3.proto.statsd import encode_line, encode_tags
from g3.proto.syslog import CEE, Header3164, Header5424, Structured5424, Text3164
from g3.task import ClientInfo, Task, Upstream

MANY = settings(max_examples=1000, deadline=None, database=None)
SOME = settings(MANY, max_examples=100)
WHEN = 1638354030.5

#: All code points, also lone surrogates, with what is special seen often.
TEXT = st.text(st.one_of(st.sampled_from("\"'\\]=, \n\r\t\0\x1b\u2028\x85[{}@"), st.characters(codec=None, categories=None)), max_size=60)
KEY = st.from_regex(r"[a-z][a-z0-9_]{0,20}", fullmatch=True).filter(lambda key: key not in ("msg", "message", "priority", "syslog_identifier"))
VALUE = st.one_of(TEXT, st.integers(-(2**63), 2**64), st.booleans(), st.none())
FIELDS = st.dictionaries(KEY, VALUE, max_size=8)

#: Values as most records have them, nothing in them to be escaped, and now and then one that has.
PLAIN = st.one_of(st.text(st.sampled_from("abc/:.-_ %\u00b5[]"), max_size=20), st.integers(0, 2**64), st.booleans(), st.none())
CALM = st.one_of(PLAIN, PLAIN, PLAIN, VALUE, st.floats())

# Oracles: parsers written from the formats, none of them ours.
_PAIR_3164 = re.compile(r', ([a-z0-9_]+)=(?:"((?:[^"\\]|\\.)*)"|(true|false|-?[0-9]+))')
_PARAM_5424 = re.compile(r' ([a-z0-9_]+)="((?:[^"\\\]]|\\.)*)"')


def known(fields: dict[str, Any]) -> dict[str, Any]:
    """What a record should hold."""
    return {key: value for key, value in fields.items() if value is not None}


def as_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def one_line(test: SynchronousTestCase, record: bytes) -> str:
    """The text of a record, in which nothing ends a line or moves a cursor."""
    text = record.decode("utf-8")
    test.assertEqual(len(text.splitlines()), 1)
    test.assertTrue(all(char.isprintable() for char in text), text)
    return text


class RecordTest(SynchronousTestCase):
    """One record in, one record out."""

    @MANY
    @given(TEXT)
    def test_escaping_can_be_undone(self, text: str) -> None:
        """Nothing is lost, and nothing that does not print is left."""
        escaped = escape(text)
        self.assertTrue(escaped.isprintable())
        self.assertEqual(unescape(escaped), text)

    @MANY
    @given(TEXT, FIELDS)
    def test_rfc3164_text(self, message: str, fields: dict[str, Any]) -> None:
        """One line; the fields and the message as they were."""
        made = Text3164(Header3164("g3", 1))
        text = one_line(self, made.encode(made.constants([("log_type", "Task")]), message, list(fields.items()), WHEN))
        body = text.partition("g3[1]: ")[2]
        head, mark, rest = body.partition(', log_type="Task"')
        while unescape(head) != message and mark:
            more, mark, rest = rest.partition(', log_type="Task"')
            head += ', log_type="Task"' + more
        found, end = {}, 0
        for match in _PAIR_3164.finditer(rest):
            self.assertEqual(match.start(), end, "nothing stands between the pairs")
            found[match[1]] = unescape(match[2]) if match[3] is None else match[3]
            end = match.end()
        self.assertEqual(end, len(rest))
        self.assertEqual(found, {key: as_text(value) for key, value in known(fields).items()})

    @MANY
    @given(TEXT, FIELDS)
    def test_rfc5424_structured_data(self, message: str, fields: dict[str, Any]) -> None:
        """One line; one element of structured data, then the message."""
        made = Structured5424(Header5424("g3", 1))
        text = one_line(self, made.encode(made.constants([]), message, list(fields.items()), WHEN))
        rest = text.partition("[g3proxy@0")[2]
        found, end = {}, 0
        while match := _PARAM_5424.match(rest, end):
            found[match[1]], end = unescape(match[2]), match.end()
        self.assertEqual(found, {key: as_text(value) for key, value in known(fields).items()})
        self.assertEqual(rest[end : end + 2], "] ")
        self.assertEqual(unescape(rest[end + 2 :]), message)

    @MANY
    @given(TEXT, FIELDS)
    def test_cee_is_json(self, message: str, fields: dict[str, Any]) -> None:
        """One line to a syslog daemon: no line feed and no other control character; the json module reads it back."""
        made = CEE(Header3164("g3", 1))
        record = made.encode(made.constants([("pid", 1)]), message, list(fields.items()), WHEN)
        self.assertFalse(set(record) & set(range(32)))
        wanted = known(fields) | {"msg": message}
        wanted.setdefault("pid", 1)
        replaced = {key: value.encode("utf-8", "replace").decode() if isinstance(value, str) else value for key, value in wanted.items()}
        self.assertEqual(json.loads(record.decode().partition("@cee:")[2]), replaced)

    @MANY
    @given(TEXT, FIELDS)
    def test_stdout_lines(self, message: str, fields: dict[str, Any]) -> None:
        """One line with its end; the fields by name."""
        made = LineEncoder()
        record = made.encode(made.constants([]), message, list(fields.items()), WHEN)
        self.assertTrue(record.endswith(b"\n"))
        text = one_line(self, record[:-1])
        wanted = [f"{key}: {escape(as_text(value)) if isinstance(value, str) else as_text(value)}," for key, value in sorted(known(fields).items())]
        self.assertTrue(text.endswith(" ".join(["INFO", *wanted, escape(message) if message else "()"])))

    @MANY
    @given(TEXT, FIELDS)
    def test_journal_fields(self, message: str, fields: dict[str, Any]) -> None:
        """As journald reads it: no value makes a field of its own."""
        made = JournalEncoder("g3")
        data = made.encode(made.constants([]), message, list(fields.items()), WHEN)
        found = {}
        while data:
            line, _, rest = data.partition(b"\n")
            name, mark, value = line.partition(b"=")
            if not mark:
                (size,) = struct.unpack("<Q", rest[:8])
                value, rest = rest[8 : 8 + size], rest[8 + size :]
                self.assertEqual(rest[:1], b"\n")
                rest = rest[1:]
            self.assertNotIn(name, found)
            found[name.decode()], data = value, rest
        wanted = {"PRIORITY": b"5", "SYSLOG_IDENTIFIER": b"g3", "MESSAGE": message.encode("utf-8", "replace")}
        wanted |= {key.upper(): as_text(value).encode("utf-8", "replace") for key, value in known(fields).items()}
        self.assertEqual(found, wanted)

    @MANY
    @given(st.lists(st.tuples(KEY, TEXT), max_size=5), st.integers(0, 2**63))
    def test_metric_lines(self, tags: list[tuple[str, str]], value: int) -> None:
        """One line with as many tags as were given."""
        line = encode_line("g3proxy.x", "c", value, encode_tags(tags))
        self.assertEqual(line.count(b"\n"), 1)
        head, _, tail = line[:-1].decode().partition("|#")
        self.assertEqual(head, f"g3proxy.x:{value}|c")
        self.assertEqual([tag.partition(":")[0] for tag in tail.split(",") if tag], [key for key, _ in tags])

    @SOME
    @given(st.one_of(st.just("finished"), TEXT), st.dictionaries(KEY, st.lists(CALM, min_size=3, max_size=3), max_size=12), st.booleans())
    def test_records_by_a_layout_are_those_written_pair_by_pair(self, message: str, columns: dict[str, list[Any]], reported: bool) -> None:
        """In every format, whatever is in them: the template that one record made does for the next only where that has the same types."""
        names = list(columns)
        layout = Layout(" ".join(names))
        inner = Layout(" ".join(names[2:6]))
        parted = Layout(" ".join(names[:2]), inner, " ".join(names[6:]))
        constants: Any = [("daemon_name", "50%"), ("kind", "T'\u4e2d" if reported else "Task"), ("pid", 1)]
        header = Header5424("g3", 1)
        formats: list[Any] = [Text3164(Header3164("g3", 1), report_ts=reported), Structured5424(header, report_ts=reported)]
        formats += [CEE(header, report_ts=reported), JournalEncoder("g3"), LineEncoder()]
        for made in formats:
            ready = made.constants(constants)
            for values in zip(*columns.values(), strict=True):
                record = Filled(layout, values)
                in_parts = Filled(parted, (*values[:2], Part(inner, values[2:6]), *values[6:])) if len(names) > 2 else record
                for limit in (16384, 12):
                    wanted = made.encode(ready, message, list(record), WHEN, limit=limit)
                    self.assertEqual(made.encode(ready, message, record, WHEN, limit=limit), wanted)
                    self.assertEqual(made.encode(ready, message, in_parts, WHEN, limit=limit), wanted)

    @SOME
    @given(st.lists(st.one_of(st.just("plain"), TEXT), min_size=8, max_size=8), st.sampled_from(TaskEvent), st.floats(0, 1e6), st.booleans())
    def test_task_records_are_those_written_pair_by_pair(self, texts: list[str], event: TaskEvent, seconds: float, twice: bool) -> None:
        """Whatever a client or a configuration has said, also where it was written before."""
        name, host, escaper, local, uri, agent, method, text = texts
        client = ClientInfo((local, 1234), ("2001:db8::1", 3128), ("192.0.2.7", 1234))
        records: list[tuple[str, Any]] = []
        logger: Any = SimpleNamespace(log=lambda message, fields: records.append((message, fields)))
        for _ in range(2 if twice else 1):
            task = Task("UdpConnect", "http_proxy", "s", client, Upstream(host, 443), 1.0)
            task.user, task.wait, task.ready = SimpleNamespace(name=name), seconds, seconds / 1000
            notes = task.connect
            notes.escaper, notes.local, notes.peer, notes.spend = escaper, (local, 1), (host, 2), seconds / 10000
            http = HTTPForwardNotes(method, uri, 50, user_agent=agent, rsp_status=200)
            error = TaskError(text) if event is TaskEvent.FINISHED else None
            log_http_forward(logger, task, http, event, seconds + 1, error=error)
            log_tcp_connect(logger, task, event, seconds + 1, error=error)
            log_udp(logger, task, UDPNotes(client=(local, 5)), event, seconds + 1, error=error)
            ftp = FTPNotes(method, uri, 50, notes)
            ftp.user_agent = agent
            log_ftp_over_http(logger, task, ftp, event, seconds + 1, error=error)
        formats: list[Any] = [Text3164(Header3164("g3", 1)), Structured5424(Header5424("g3", 1)), CEE(Header3164("g3", 1))]
        for made in (*formats, JournalEncoder("g3"), LineEncoder()):
            ready = made.constants([("pid", 1)])
            for message, fields in records:
                self.assertEqual(made.encode(ready, message, fields, WHEN), made.encode(ready, message, list(fields), WHEN))
