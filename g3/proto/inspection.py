# SPDX-License-Identifier: Apache-2.0
"""What an operator may say about telling protocols apart by their first bytes: limits, and which protocols to expect on which port.

Upstream: configuration/values/dpi.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class MaybeProtocol(Enum):
    """A protocol that may be spoken; the value is its word."""

    HTTP = "http"
    SMTP = "smtp"
    ODMR = "odmr"
    SSH = "ssh"
    FTP = "ftp"
    DNS = "dns"
    LDAP = "ldap"
    POP3 = "pop3"
    NNTP = "nntp"
    NNSP = "nnsp"
    IMAP = "imap"
    RTSP = "rtsp"
    MQTT = "mqtt"
    STOMP = "stomp"
    SMPP = "smpp"
    RTMP = "rtmp"
    NATS = "nats"
    BITTORRENT = "bittorrent"


@dataclass(frozen=True, slots=True)
class Expected:
    """What to expect on a port: these protocols in this order, and whether TLS is to be looked for first."""

    protocols: tuple[MaybeProtocol, ...] = ()
    tls: bool = False

    def and_also(self, other: Expected) -> Expected:
        """Both, this one first."""
        return Expected(tuple(dict.fromkeys(self.protocols + other.protocols)), self.tls or other.tls)


_TLS: Final = Expected(tls=True)
#: Every word of a configuration. The TLS form of a protocol is the protocol with TLS looked for first.
EXPECTED: Final[Mapping[str, Expected]] = {
    **{protocol.value: Expected((protocol,)) for protocol in MaybeProtocol},
    "bt": Expected((MaybeProtocol.BITTORRENT,)),
    **dict.fromkeys(("https", "http+tls"), Expected((MaybeProtocol.HTTP,), True)),
    **dict.fromkeys(("submissions", "smtps"), Expected((MaybeProtocol.SMTP,), True)),
    **dict.fromkeys(("pop3s", "pop3+tls"), Expected((MaybeProtocol.POP3,), True)),
    **dict.fromkeys(("nntps", "nntp+tls", "snntp"), Expected((MaybeProtocol.NNTP,), True)),
    **dict.fromkeys(("imaps", "imap+tls"), Expected((MaybeProtocol.IMAP,), True)),
    **dict.fromkeys(("rtsps", "rtsp+tls"), Expected((MaybeProtocol.RTSP,), True)),
    "secure-mqtt": Expected((MaybeProtocol.MQTT,), True),
    **dict.fromkeys(("ssmpp", "smpps", "secure smpp"), Expected((MaybeProtocol.SMPP,), True)),
    **dict.fromkeys(("rtmps", "rtmp+tls"), Expected((MaybeProtocol.RTMP,), True)),
    **dict.fromkeys(("dot", "dnsovertls", "dns-over-tls"), Expected((MaybeProtocol.DNS,), True)),
    "ldaps": Expected((MaybeProtocol.LDAP,), True),
    **dict.fromkeys(("ssl", "tls"), _TLS),
}

_SERVER_PORTS: Final = {
    21: "ftp",
    22: "ssh",
    25: "smtp",
    53: "dns",
    80: "http",
    110: "pop3",
    119: "nntp",
    143: "imap",
    322: "rtsps",
    366: "odmr",
    389: "ldap",
    433: "nnsp",
    443: "https",
    465: "submissions",
    554: "rtsp",
    563: "nntps",
    587: "smtp",
    636: "ldaps",
    853: "dot",
    993: "imaps",
    995: "pop3s",
    1883: "mqtt",
    1935: "rtmp",
    2775: "smpp",
    3550: "ssmpp",
    4222: "nats",
    6881: "bittorrent",
    8080: "http",
    8554: "rtsp",
    8883: "secure-mqtt",
}


@dataclass(frozen=True, slots=True)
class PortMap:
    """Which protocols to try first on a port; the rest is tried after. C{given} is what the configuration adds to the built-in C{base}."""

    base: tuple[tuple[int, Expected], ...] = ()
    given: tuple[tuple[int, Expected], ...] = ()
    _table: Mapping[int, Expected] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        table: dict[int, Expected] = {}
        for port, expected in (*self.base, *self.given):
            table[port] = table.get(port, Expected()).and_also(expected)
        object.__setattr__(self, "_table", table)

    def get(self, port: int) -> Expected:
        """What to expect on a port; nothing where it is not in the map."""
        return self._table.get(port, Expected())

    def adding(self, given: Iterable[tuple[int, Expected]]) -> PortMap:
        """The same with more."""
        return PortMap(self.base, (*self.given, *given))


SERVER_PORTS: Final = PortMap(tuple((port, EXPECTED[word]) for port, word in _SERVER_PORTS.items()))
CLIENT_PORTS: Final = PortMap(((6881, EXPECTED["bittorrent"]),))


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeLimits:
    """Bytes of what a protocol begins with; longer ones are taken for another protocol."""

    ftp_greeting_msg: int = 512
    http_request_uri: int = 4096
    imap_greeting_msg: int = 512
    nats_info_line: int = 1024
    ldap_request_msg: int = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtocolInspection:
    """How to look. Times in seconds: for the first byte from either side, and then for enough of them."""

    inspect_max_depth: int = 4
    data0_buffer_size: int = 4096
    data0_wait_timeout: float = 60.0
    data0_read_timeout: float = 4.0
    data0_size_limit: SizeLimits = field(default_factory=SizeLimits)
