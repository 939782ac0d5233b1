# SPDX-License-Identifier: Apache-2.0
"""Syslog records of named values: RFC 3164 and RFC 5424 headers, as text, structured data or CEE JSON (upstream: log/driver/syslog)."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from g3.proto.escape import MAX_VALUE, cut, escape, escape_bracket
from g3.proto.record import Templates

if TYPE_CHECKING:
    from g3.proto.record import Fields

FACILITY_USER = 1
FACILITY_DAEMON = 3

#: RFC 5424 severities.
CRITICAL, ERROR, WARNING, NOTICE, INFORMATIONAL, DEBUG = 2, 3, 4, 5, 6, 7

CEE_FLAG = "@cee:"

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_PRINTABLE = frozenset(chr(code) for code in range(33, 127))


def month(number: int) -> str:
    """C{Jan} for 1, in no language but English."""
    return _MONTHS[number - 1]


def header_word(text: str, limit: int) -> str:
    """A header field: printable ASCII without spaces, at most C{limit} characters, C{-} when nothing is left (RFC 5424 section 6)."""
    return "".join([char if char in _PRINTABLE else "_" for char in text[:limit]]) or "-"


class Header:
    """What stands before the content. C{now} is seconds since the epoch; the text is made once a second, or once a microsecond."""

    def __init__(self, ident: str, pid: int, *, facility: int = FACILITY_DAEMON, hostname: str = "") -> None:
        self.ident = header_word(ident, 48)
        self.pid = pid
        self.facility = facility
        self.hostname = header_word(hostname, 255) if hostname else ""

    def text(self, now: float, severity: int) -> str:
        """The header, with a space at its end."""
        raise NotImplementedError


class Header3164(Header):
    """C{<29>Dec  1 10:20:30 [host ]ident[pid]: }, local time (RFC 3164 section 4.1)."""

    _second = -1
    _severity = -1
    _text = ""

    def text(self, now: float, severity: int) -> str:
        second = int(now)
        if second != self._second or severity != self._severity:
            local = time.localtime(second)
            clock = f"{local.tm_hour:02}:{local.tm_min:02}:{local.tm_sec:02}"
            host = f" {self.hostname}" if self.hostname else ""
            start = f"<{self.facility << 3 | severity}>{month(local.tm_mon)} {local.tm_mday:2}"
            self._text = f"{start} {clock}{host} {self.ident}[{self.pid}]: "
            self._second, self._severity = second, severity
        return self._text


class Header5424(Header):
    """C{<29>1 2021-12-01T10:20:30.123456Z host ident pid msgid }, UTC (RFC 5424 section 6.2)."""

    _second = -1
    _time = ""

    def __init__(self, ident: str, pid: int, *, facility: int = FACILITY_DAEMON, hostname: str = "", message_id: str = "") -> None:
        super().__init__(ident, pid, facility=facility, hostname=hostname)
        self.message_id = header_word(message_id, 32)

    def text(self, now: float, severity: int) -> str:
        micros = int(now * 1_000_000)
        second, fraction = divmod(micros, 1_000_000)
        if second != self._second:
            self._time = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._second = second
        tail = f"{self.hostname or '-'} {self.ident} {self.pid} {self.message_id} "
        return f"<{self.facility << 3 | severity}>1 {self._time}.{fraction:06}Z {tail}"


def _number(value: float) -> str:
    if value is True:
        return "true"
    return "false" if value is False else str(value)


class Format:
    """A record: header, constants formatted once by L{constants}, fields. None values are left out."""

    def __init__(self, header: Header, *, report_ts: bool = False) -> None:
        self.header = header
        self.report_ts = report_ts
        self._templates = Templates(self._pair)

    @staticmethod
    def _pair(name: str, kind: type, /) -> str:
        """See L{g3.proto.record.Pair}."""
        raise NotImplementedError

    def _pairs(self, fields: Fields, limit: int) -> bytes:
        """The same of any values, one by one."""
        raise NotImplementedError

    def constants(self, fields: Fields) -> bytes:
        """Fields that stand in every record, ready made."""
        return self._pairs(fields, MAX_VALUE)

    def encode(self, constants: bytes, message: str, fields: Fields, now: float, severity: int = NOTICE, limit: int = MAX_VALUE) -> bytes:
        """One record without line end; each string value at most C{limit} characters."""
        raise NotImplementedError


class Text3164(Format):
    """C{MESSAGE, key="value", key=1}: strings quoted and escaped, numbers bare."""

    @staticmethod
    def _pair(name: str, kind: type) -> str:
        return f', {name}="%s"' if kind is str else f", {name}=%s"

    def _pairs(self, fields: Fields, limit: int) -> bytes:
        pairs = [
            f', {key}="{escape(value, limit)}"' if type(value) is str else f", {key}={_number(value)}"  # type: ignore[arg-type]
            for key, value in fields
            if value is not None
        ]
        return "".join(pairs).encode("utf-8", "replace")

    def encode(self, constants: bytes, message: str, fields: Fields, now: float, severity: int = NOTICE, limit: int = MAX_VALUE) -> bytes:
        pairs = self._templates.fill(fields, message, limit)
        if pairs is None:
            message, pairs = escape(message, limit), self._pairs(fields, limit)
        record = f"{self.header.text(now, severity)}{message}".encode("utf-8", "replace") + constants + pairs
        return record + b", report_ts=%d" % now if self.report_ts else record


class Structured5424(Format):
    """C{[g3proxy@ID key="value"] MESSAGE}: every value is a quoted string."""

    def __init__(self, header: Header5424, *, enterprise_id: int = 0, report_ts: bool = False) -> None:
        super().__init__(header, report_ts=report_ts)
        self._open = f"[g3proxy@{enterprise_id}"

    @staticmethod
    def _pair(name: str, _: type) -> str:
        return f' {name}="%s"'

    def _pairs(self, fields: Fields, limit: int) -> bytes:
        pairs = [
            f' {key}="{escape_bracket(value, limit) if type(value) is str else _number(value)}"'  # type: ignore[arg-type]
            for key, value in fields
            if value is not None
        ]
        return "".join(pairs).encode("utf-8", "replace")

    def encode(self, constants: bytes, message: str, fields: Fields, now: float, severity: int = NOTICE, limit: int = MAX_VALUE) -> bytes:
        pairs = self._templates.fill(fields, message, limit)
        if pairs is None:
            message, pairs = escape_bracket(message, limit), self._pairs(fields, limit)
        start = f"{self.header.text(now, severity)}{self._open}".encode()
        report = b' report_ts="%d"' % now if self.report_ts else b""
        return b"".join((start, constants, pairs, report, b"] ", message.encode("utf-8", "replace")))


class CEE(Format):
    """C{@cee:{"key":"value","msg":"MESSAGE"}} after either header (CEE Log Syntax 1.0)."""

    def __init__(self, header: Header, *, flag: str = CEE_FLAG, report_ts: bool = False) -> None:
        super().__init__(header, report_ts=report_ts)
        self._flag = flag
        self._dump = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode

    @staticmethod
    def _pair(name: str, kind: type) -> str:
        return f'"{name}":"%s",' if kind is str else f'"{name}":%s,'

    def _pairs(self, fields: Fields, limit: int) -> bytes:
        text = self._dump({key: cut(value, limit) if type(value) is str else value for key, value in fields if value is not None})
        return f"{text[1:-1]},".encode("utf-8", "replace") if len(text) > 2 else b""

    def encode(self, constants: bytes, message: str, fields: Fields, now: float, severity: int = NOTICE, limit: int = MAX_VALUE) -> bytes:
        pairs, quoted = self._templates.fill(fields, message, limit), f'"{message}"'
        if pairs is None:
            pairs, quoted = self._pairs(fields, limit), self._dump(cut(message, limit))
        start = f"{self.header.text(now, severity)}{self._flag}{{".encode("utf-8", "replace")
        report = b'"report_ts":%d,' % now if self.report_ts else b""
        return b"".join((start, constants, pairs, report, b'"msg":', quoted.encode("utf-8", "replace"), b"}"))
