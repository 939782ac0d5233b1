# SPDX-License-Identifier: Apache-2.0
"""The C{log} section: which driver each kind of event log has (upstream: configuration/log)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from g3.config.main import Section
from g3.config.problems import did_you_mean, quote
from g3.config.schema import config_class, key, normalize
from g3.config.targets import AnyTarget, Target, UDPTarget, UnixTarget, last_of
from g3.config.value import ValueProblem, wrong_type
from g3.config.values.basic import Ascii, Bool, Int, Str, word_schema
from g3.config.values.duration import Duration
from g3.config.values.net import HostValue, IPValue, SocketAddr
from g3.config.values.options import Options
from g3.config.values.tcp import KeepaliveValue
from g3.config.values.tls import ClientTLSValue
from g3.logs.options import (
    CEE_FLAG,
    RFC5424,
    Discard,
    Driver,
    Fluentd,
    Journal,
    LoggerOptions,
    LogOptions,
    Stdout,
    Syslog,
)
from g3.net.options import Keepalive
from g3.proto.syslog import FACILITY_USER
from g3.task import parse_ip

if TYPE_CHECKING:
    from g3.config.document import Node
    from g3.config.schema import Key, Places
    from g3.config.value import ParseContext
    from g3.net.tls.options import ClientTLSOptions
    from g3.task import IPAddress, SocketAddress

_I32 = 0x7FFF_FFFF
D = TypeVar("D")
_TARGETS = ("target", "target_udp", "target_unix")
_DRIVERS = ("journal", "syslog", "fluentd", "stdout")

_FLUENTD = Fluentd(tcp_keepalive=Keepalive(enable=True))

#: Drivers by the word that names them alone; syslog by its word alone has the facility "user", upstream too.
WORDS: dict[str, Driver] = {
    "discard": Discard(),
    "journal": Journal(),
    "syslog": Syslog(facility=FACILITY_USER),
    "fluentd": _FLUENTD,
    "stdout": Stdout(),
}


@config_class
class RFC5424Keys:
    """The RFC 5424 format."""

    enterprise_id: int = key(Int(-_I32 - 1, _I32), default=0, doc="The private enterprise number in the name of the structured data.")
    message_id: str = key(Str(max_length=32), default="", doc="The MSGID of the header.")


class RFC5424Value(Options[RFC5424]):
    """An enterprise id, a message id, or a map of both."""

    type_name = "RFC 5424 format"
    doc = "An integer is the enterprise_id, a string the message_id."
    keys, made = RFC5424Keys, RFC5424
    _number, _word = Int(-_I32 - 1, _I32), Str(max_length=32)

    def short(self, node: Node, context: ParseContext) -> RFC5424:
        if node.is_string:
            return RFC5424(message_id=self._word.parse(node, context))
        return RFC5424(enterprise_id=self._number.parse(node, context))

    def short_schemas(self) -> list[dict[str, Any]]:
        return [{"type": "integer"}, {"type": "string"}]


@config_class
class SyslogKeys:
    """Records go to a syslog daemon, as one datagram each, with the facility "daemon"."""

    target: Target | None = key(AnyTarget(), default=None, aliases=("backend",), doc="The daemon; the unix socket /dev/log when none is given.")
    target_udp: Target | None = key(UDPTarget(), default=None, aliases=("backend_udp",), doc="The same, for a UDP server.")
    target_unix: Target | None = key(UnixTarget(), default=None, aliases=("backend_unix",), doc="The same, for a unix datagram socket.")
    format_rfc5424: RFC5424 | None = key(RFC5424Value(), default=None, doc="Use the format of RFC 5424; that of RFC 3164 when not given.")
    use_cee_log_syntax: bool = key(
        Bool(), default=False, aliases=("use_cls",), doc="Write the fields as JSON after a flag, as mmjsonparse reads them."
    )
    cee_event_flag: str = key(Ascii(max_length=64), default=CEE_FLAG, aliases=("cee_cookie",), doc="That flag.")
    emit_hostname: bool = key(Bool(), default=False, doc="Whether the header has our hostname.")
    append_report_ts: bool = key(Bool(), default=False, doc="Whether records end with the time they were made, report_ts, in seconds.")

    def check(self, at: Places) -> None:
        if self.use_cee_log_syntax and not self.cee_event_flag:
            at.error("cee_event_flag", "must not be empty")


class SyslogValue(Options[Syslog]):
    """A map; null for nothing but defaults."""

    type_name = "syslog driver"
    keys = SyslogKeys
    expected = "a map of syslog keys"

    def short(self, node: Node, context: ParseContext) -> Syslog:
        if node.is_null:
            return Syslog()
        raise wrong_type(node, self.expected)

    def short_schemas(self) -> list[dict[str, Any]]:
        return [{"type": "null"}]

    def build(self, given: SyslogKeys, node: Node, context: ParseContext) -> Syslog:
        target: Target = last_of(given, node, context, _TARGETS, "targets") or Target(path=Path(Syslog().unix))
        return Syslog(
            unix=Syslog().unix if target.path is None else str(target.path),
            udp=target.address,
            bind_ip="" if target.bind_ip is None else str(target.bind_ip),
            rfc5424=given.format_rfc5424,
            cee_flag=given.cee_event_flag if given.use_cee_log_syntax else "",
            emit_hostname=given.emit_hostname,
            append_report_ts=given.append_report_ts,
        )

    def key_value(self, value: Syslog, key: Key) -> Any:
        if key.name == "target":
            return Target(path=Path(value.unix)) if value.udp is None else Target(address=value.udp, bind_ip=parse_ip(value.bind_ip))
        own = {
            "target_udp": None,
            "target_unix": None,
            "format_rfc5424": value.rfc5424,
            "use_cee_log_syntax": bool(value.cee_flag),
            "cee_event_flag": value.cee_flag or None,
        }
        return own[key.name] if key.name in own else getattr(value, key.name)


@config_class
class FluentdKeys:
    """Records go to a fluentd server by the forward protocol, with tags such as g3proxy.Task."""

    address: SocketAddress = key(SocketAddr(indirect=True), default=Fluentd().address, aliases=("addr",), doc="The server.")
    bind_ip: IPAddress | None = key(IPValue(), default=None, aliases=("bind",), doc="The local address.")
    shared_key: str = key(Str(secret=True), default="", doc="The key both sides share; without, there is no handshake.")
    username: str = key(Str(), default="", doc="The user, if the server wants one.")
    password: str = key(Str(secret=True), default="", doc="The password of that user.")
    hostname: str | None = key(Str(min_length=1), default=None, doc="Our name in the handshake; the hostname when not given.")
    tcp_keepalive: Keepalive | None = key(KeepaliveValue(), default=Keepalive(enable=True), doc="TCP keepalive of the connection.")
    tls_client: ClientTLSOptions | None = key(ClientTLSValue(), default=None, aliases=("tls",), doc="Speak TLS.")
    tls_name: str = key(HostValue(), default="", doc="The name the server's certificate must have.")
    connect_timeout: float = key(Duration(), default=10.0, unit="seconds", doc="For connecting, TLS and the handshake together.")
    connect_delay: float = key(Duration(), default=10.0, unit="seconds", doc="How long to wait after a failure to connect.")
    write_timeout: float = key(Duration(), default=1.0, unit="seconds", doc="For one message, which is dropped then.")
    flush_interval: float = key(Duration(), default=0.1, unit="seconds", doc="When what was written is flushed.")
    retry_queue_len: int = key(Int(0, 1 << 20), default=10, doc="How many records are kept to be sent again after a failure.")


class FluentdValue(Options[Fluentd]):
    """An address, a map, or null for nothing but defaults."""

    type_name = "fluentd driver"
    doc = "A string is the address."
    keys, made = FluentdKeys, Fluentd
    expected = "an address or a map of fluentd keys"
    _address = SocketAddr(indirect=True)

    def short(self, node: Node, context: ParseContext) -> Fluentd:
        if node.is_null:
            return _FLUENTD
        if not node.is_string:
            raise wrong_type(node, self.expected)
        return replace(_FLUENTD, address=self._address.parse(node, context))

    def short_schemas(self) -> list[dict[str, Any]]:
        return [{"type": "null"}, self._address.json_schema()]

    def build(self, given: FluentdKeys, node: Node, context: ParseContext) -> Fluentd:
        made: Fluentd = super().build(given, node, context)
        made = replace(made, bind_ip="" if given.bind_ip is None else str(given.bind_ip))
        return made if given.hostname is not None else replace(made, hostname=Fluentd().hostname)

    def key_value(self, value: Fluentd, key: Key) -> Any:
        if key.name == "bind_ip":
            return parse_ip(value.bind_ip) if value.bind_ip else None
        return getattr(value, key.name) or None


class _Bare(Options[D]):
    """An empty map, or null."""

    def short(self, node: Node, context: ParseContext) -> D:
        if node.is_null:
            made: D = self.made()
            return made
        raise wrong_type(node, "an empty map")

    def short_schemas(self) -> list[dict[str, Any]]:
        return [{"type": "null"}]


@config_class
class JournalKeys:
    """Records go to systemd-journald. There are no keys."""


class JournalValue(_Bare[Journal]):
    """The driver journal."""

    type_name = "journal driver"
    keys, made = JournalKeys, Journal


@config_class
class StdoutKeys:
    """Records go to standard output. There are no keys."""


class StdoutValue(_Bare[Stdout]):
    """The driver stdout."""

    type_name = "stdout driver"
    keys, made = StdoutKeys, Stdout


@config_class
class LoggerKeys:
    """One log config value."""

    journal: Journal | None = key(JournalValue(), default=None, doc="Send records to journald.")
    syslog: Syslog | None = key(SyslogValue(), default=None, doc="Send records to a syslog daemon.")
    fluentd: Fluentd | None = key(FluentdValue(), default=None, doc="Send records to a fluentd server.")
    stdout: Stdout | None = key(StdoutValue(), default=None, doc="Write records to standard output.")
    async_channel_size: int = key(Int(1, 1 << 24), default=4096, aliases=("channel_size",), doc="How many records may wait; more are dropped.")
    async_thread_number: int = key(Int(0, 1 << 16), default=1, aliases=("thread_number",), doc="Accepted; there are no logging threads.")
    io_error_sampling_offset: int = key(Int(0, 16), default=10, doc="Of write errors, each 2 to the power of this is reported.")


class LoggerValue(Options[LoggerOptions]):
    """The name of a driver, or a map."""

    type_name = "log config"
    doc = "discard, journal, syslog, fluentd or stdout; or a map with a driver and the size of its queue."
    keys = LoggerKeys

    def short(self, node: Node, context: ParseContext) -> LoggerOptions:
        if not node.is_string:
            raise wrong_type(node, "the name of a log driver or a map")
        word = normalize(str(node.value))
        if word not in WORDS:
            raise ValueProblem(node, f"unknown log driver {quote(node.value)}{did_you_mean(word, WORDS) or '; known are ' + ', '.join(WORDS)}")
        return LoggerOptions(WORDS[word])

    def short_schemas(self) -> list[dict[str, Any]]:
        return [word_schema(WORDS)]

    def build(self, given: LoggerKeys, node: Node, context: ParseContext) -> LoggerOptions:
        driver: Driver = last_of(given, node, context, _DRIVERS, "drivers") or Discard()
        return LoggerOptions(driver, given.async_channel_size, given.async_thread_number, given.io_error_sampling_offset)

    def dump(self, value: LoggerOptions) -> Any:
        word = next((word for word, driver in WORDS.items() if LoggerOptions(driver) == value), None)
        return word if word is not None else super().dump(value)

    def key_value(self, value: LoggerOptions, key: Key) -> Any:
        if key.name in _DRIVERS:
            return value.driver if isinstance(value.driver, type(WORDS[key.name])) else None
        own = {"async_channel_size": "channel_size", "async_thread_number": "thread_number"}
        return getattr(value, own.get(key.name, key.name))


@config_class
class LogKeys:
    """Drivers by kind of log; a kind without one has the default. Cannot be changed by a reload."""

    default: LoggerOptions | None = key(LoggerValue(), default=None, doc="For all kinds that have none.")
    syslog: Syslog | None = key(SyslogValue(), default=None, doc="The same, as a syslog driver.")
    fluentd: Fluentd | None = key(FluentdValue(), default=None, doc="The same, as a fluentd driver.")
    task: LoggerOptions | None = key(LoggerValue(), default=None, doc="For task logs.")
    escape: LoggerOptions | None = key(LoggerValue(), default=None, doc="For escape logs.")
    resolve: LoggerOptions | None = key(LoggerValue(), default=None, doc="For resolve logs.")
    audit: LoggerOptions | None = key(LoggerValue(), default=None, doc="For inspect and intercept logs.")


class LogSection(Options[LogOptions]):
    """The name of a driver for all kinds, or a map."""

    type_name = "log section"
    doc = "discard, journal, syslog, fluentd or stdout for all kinds of log; or a map."
    keys = LogKeys

    def short(self, node: Node, context: ParseContext) -> LogOptions:
        return LogOptions() if node.is_null else LogOptions(LoggerValue().short(node, context))

    def short_schemas(self) -> list[dict[str, Any]]:
        return [{"type": "null"}, *LoggerValue().short_schemas()]

    def build(self, given: LogKeys, node: Node, context: ParseContext) -> LogOptions:
        found = last_of(given, node, context, ("default", "syslog", "fluentd"), "defaults") or LoggerOptions()
        default = found if isinstance(found, LoggerOptions) else LoggerOptions(found)
        return LogOptions(default, given.task, given.escape, given.resolve, given.audit)

    def key_value(self, value: LogOptions, key: Key) -> Any:
        return None if key.name in ("syslog", "fluentd") else getattr(value, key.name)


def log_section() -> Section:
    """The section of a daemon's main configuration."""
    return Section(LogSection(), LogOptions(), "Event logs.")
