# SPDX-License-Identifier: Apache-2.0
"""Syslog records of named values: RFC 3164 and RFC 5424 headers, as text, structured data or CEE JSON (upstream: log/driver/syslog)."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from g3.proto.escape import MAX_VALUE, cut, escape, escape_bracket, plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    Value = str | int | float | bool | None
    Fields = Sequence[tuple[str, Value]]

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
    _time = ""

    def text(self, now: float, severity: int) -> str:
        second = int(now)
        if second != self._second:
            local = time.localtime(second)
            clock = f"{local.tm_hour:02}:{local.tm_min:02}:{local.tm_sec:02}"
            host = f" {self.hostname}" if self.hostname else ""
            self._time = f"{month(local.tm_mon)} {local.tm_mday:2} {clock}{host} {self.ident}[{self.pid}]: "
            self._second = second
        return f"<{self.facility << 3 | severity}>{self._time}"


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


def _plain(fields: Fields, limit: int) -> bool:
    """Whether no text among the values needs to be escaped or cut."""
    return plain([value for _, value in fields if type(value) is str], limit)


class Format:
    """A record: header, constants formatted once by L{constants}, fields. None values are left out."""

    def __init__(self, header: Header, *, report_ts: bool = False) -> None:
        self.header = header
        self.report_ts = report_ts

    def constants(self, fields: Fields) -> str:
        """Fields that stand in every record, ready made."""
        raise NotImplementedError

    def encode(self, constants: str, message: str, fields: Fields, now: float, severity: int = NOTICE, limit: int = MAX_VALUE) -> bytes:
        """One record without line end; each string value at most C{limit} characters."""
        raise NotImplementedError


class Text3164(Format):
    """C{MESSAGE, key="value", key=1}: strings quoted and escaped, numbers bare."""

    def constants(self, fields: Fields) -> str:
        return "".join(self._parts(fields, MAX_VALUE))

    @staticmethod
    def _parts(fields: Fields, limit: int) -> list[str]:
        if _plain(fields, limit):
            return [
                f', {key}="{value}"' if type(value) is str else f", {key}={value if type(value) is int else _number(value)}"  # type: ignore[arg-type]
                for key, value in fields
                if value is not None
            ]
        return [
            f', {key}="{escape(value, limit)}"' if type(value) is str else f", {key}={_number(value)}"  # type: ignore[arg-type]
            for key, value in fields
            if value is not None
        ]

    def encode(self, constants: str, message: str, fields: Fields, now: float, severity: int = NOTICE, limit: int = MAX_VALUE) -> bytes:
        parts = [self.header.text(now, severity), escape(message, limit), constants]
        parts += self._parts(fields, limit)
        if self.report_ts:
            parts.append(f", report_ts={int(now)}")
        return "".join(parts).encode("utf-8", "replace")


class Structured5424(Format):
    """C{[g3proxy@ID key="value"] MESSAGE}: every value is a quoted string."""

    def __init__(self, header: Header5424, *, enterprise_id: int = 0, report_ts: bool = False) -> None:
        super().__init__(header, report_ts=report_ts)
        self._open = f"[g3proxy@{enterprise_id}"

    def constants(self, fields: Fields) -> str:
        return "".join(self._parts(fields, MAX_VALUE))

    @staticmethod
    def _parts(fields: Fields, limit: int) -> list[str]:
        if _plain(fields, limit):
            return [f' {key}="{value if type(value) is str else _number(value)}"' for key, value in fields if value is not None]  # type: ignore[arg-type]
        return [
            f' {key}="{escape_bracket(value, limit) if type(value) is str else _number(value)}"'  # type: ignore[arg-type]
            for key, value in fields
            if value is not None
        ]

    def encode(self, constants: str, message: str, fields: Fields, now: float, severity: int = NOTICE, limit: int = MAX_VALUE) -> bytes:
        parts = [self.header.text(now, severity), self._open, constants]
        parts += self._parts(fields, limit)
        if self.report_ts:
            parts.append(f' report_ts="{int(now)}"')
        parts += ("] ", escape_bracket(message, limit))
        return "".join(parts).encode("utf-8", "replace")


class CEE(Format):
    """C{@cee:{"key":"value","msg":"MESSAGE"}} after either header (CEE Log Syntax 1.0)."""

    def __init__(self, header: Header, *, flag: str = CEE_FLAG, report_ts: bool = False) -> None:
        super().__init__(header, report_ts=report_ts)
        self._flag = flag
        self._dump = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode

    def constants(self, fields: Fields) -> str:
        text = self._dump({key: value for key, value in fields if value is not None})
        return text[1:-1]

    def encode(self, constants: str, message: str, fields: Fields, now: float, severity: int = NOTICE, limit: int = MAX_VALUE) -> bytes:
        values = {key: cut(value, limit) if type(value) is str else value for key, value in fields if value is not None}
        if self.report_ts:
            values["report_ts"] = int(now)
        values["msg"] = cut(message, limit)
        start = f"{{{constants}," if constants else "{"
        text = f"{self.header.text(now, severity)}{self._flag}{start}{self._dump(values)[1:]}"
        return text.encode("utf-8", "replace")
