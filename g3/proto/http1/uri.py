# SPDX-License-Identifier: Apache-2.0
"""Request targets (RFC 9112 section 3.2, RFC 3986) and the well-known URIs that name a target (upstream: protocol/client/http).

Hosts come out in one spelling: a lower-case A-label name without a last dot, or an address as the kernel prints it, without brackets.
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import Final
from urllib.parse import unquote_to_bytes

from g3.proto.http1.headers import HTTPError

#: Forms of a target.
ORIGIN, ABSOLUTE, AUTHORITY, ASTERISK, DATAGRAM = range(5)

PORTS: Final = {"http": 80, "https": 443, "ftp": 21}

_MAX_AUTHORITY: Final = 512
_NAME: Final = re.compile(r"(?=.{1,253}\Z)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*", re.ASCII)
_NUMERIC: Final = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)", re.ASCII)
_SCHEME: Final = re.compile(rb"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)")
_USERINFO: Final = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+,;=:-]|%[0-9A-Fa-f]{2})*")
_BAD_PERCENT: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")


class Target:
    """Where a request wants to go. C{host} is "" and C{port} 0 when the form does not say (origin, asterisk)."""

    __slots__ = ("form", "host", "path_query", "port", "scheme", "userinfo")

    def __init__(self, form: int, scheme: str, host: str, port: int, path_query: bytes, userinfo: bytes | None = None) -> None:
        self.form = form
        #: "http", "https", "ftp", or "" for CONNECT and local targets.
        self.scheme = scheme
        self.host = host
        self.port = port
        #: What an origin gets as its target: begins with "/", or is "*"; empty for CONNECT.
        self.path_query = path_query
        #: As written, percent-encoded.
        self.userinfo = userinfo

    def absolute(self) -> bytes:
        """The target for a next proxy: absolute-form with a port, and without userinfo, but for ftp, whose login it is."""
        path = b"" if self.path_query == b"*" else self.path_query
        login = self.userinfo + b"@" if self.userinfo and self.scheme == "ftp" else b""
        return b"%b://%b%b%b" % (self.scheme.encode(), login, authority(self.host, self.port), path)

    def __repr__(self) -> str:
        return f"Target({self.form}, {self.scheme!r}, {self.host!r}, {self.port}, {self.path_query!r})"


@lru_cache(maxsize=4096)
def authority(host: str, port: int) -> bytes:
    """C{host:port}, an IPv6 address in brackets and without its zone, which is our own business (RFC 4007 section 11.2)."""
    return f"[{host.partition('%')[0]}]:{port}".encode() if ":" in host else f"{host}:{port}".encode()


def parse_host(data: bytes) -> str:
    """The one spelling of a host: a registered name (letters, digits, C{-}, C{_}), an IPv4 address or an IPv6 address in brackets.

    @raise HTTPError: 400 for anything else, such as percent-encoding, a zone, or a name whose last label is a number (another
        spelling of an address to some resolvers).
    """
    if data[:1] == b"[":
        return _parse_ipv6(data)
    try:
        name = data.decode("ascii").lower()
    except UnicodeDecodeError:
        name = _to_a_label(data)
    if name[-1:] == ".":
        name = name[:-1]
    if not _NAME.fullmatch(name):
        raise HTTPError("bad host")
    if _NUMERIC.fullmatch(name):
        try:
            return str(IPv4Address(name))
        except ValueError:
            raise HTTPError("bad IPv4 address") from None
    return name


def _parse_ipv6(data: bytes) -> str:
    text = data[1:-1].decode("latin-1")
    if data[-1:] != b"]" or "%" in text:
        raise HTTPError("bad IPv6 address")
    try:
        address = IPv6Address(text)
    except ValueError:
        raise HTTPError("bad IPv6 address") from None
    return str(address.ipv4_mapped or address)


def _to_a_label(data: bytes) -> str:
    import idna  # rare: clients send A-labels

    try:
        return idna.encode(data.decode(), uts46=True, std3_rules=False).decode("ascii")
    except (UnicodeError, idna.IDNAError):
        raise HTTPError("bad internationalised host name") from None


@lru_cache(maxsize=4096)
def parse_authority(data: bytes, default_port: int) -> tuple[str, int]:
    """Host and port of C{host[:port]}; no userinfo. Answers are cached (4096 of at most 512 bytes).

    @raise HTTPError: 400 when it is none.
    """
    if len(data) > _MAX_AUTHORITY:  # and never remembered
        raise HTTPError("host too long")
    end = data.find(b"]") + 1
    colon = data.find(b":", end)
    if colon < 0:
        return parse_host(data), default_port
    port = data[colon + 1 :]
    if not port:
        return parse_host(data[:colon]), default_port
    if not port.isdigit() or len(port) > 5 or not 0 < int(port) < 65536:
        raise HTTPError("bad port")
    return parse_host(data[:colon]), int(port)


def valid_host(value: bytes) -> bool:
    """Whether C{value} may be the value of Host: empty, or host and maybe port."""
    if not value:
        return True
    try:
        parse_authority(value, 0)
    except HTTPError:
        return False
    return True


def parse_target(method: bytes, target: bytes) -> Target:
    """The target of a request, C{target} being free of SP and control bytes as L{g3.proto.http1.request.Request.target} is.

    CONNECT takes authority-form only (port 443 unless given), OPTIONS also C{*}. A fragment, which no target may have, is dropped as
    upstream does.

    @raise HTTPError: 400 when it is none, 501 for a scheme other than http, https and ftp.
    """
    if method == b"CONNECT":
        host, port = parse_authority(target, 443)
        return Target(AUTHORITY, "", host, port, b"")
    if target[:7] == b"http://":
        slash = target.find(b"/", 7)
        if 7 < slash < _MAX_AUTHORITY and target.find(b"#", slash) < 0:  # find: see headers
            site = _parse_site(target[7:slash])
            if site is not None:
                return Target(ABSOLUTE, "http", site[0], site[1], target[slash:])
    elif target[:1] == b"/":
        return Target(ORIGIN, "", "", 0, target.partition(b"#")[0])
    elif target == b"*":
        if method != b"OPTIONS":
            raise HTTPError("asterisk-form is for OPTIONS")
        return Target(ASTERISK, "", "", 0, target)
    return _parse_absolute(method, target)


@lru_cache(maxsize=4096)
def _parse_site(name: bytes) -> tuple[str, int] | None:
    """Host and port of what stands between C{http://} and the next slash; None where there is more to it than an authority."""
    return None if any(byte in b"@?#" for byte in name) else parse_authority(name, 80)


def _parse_absolute(method: bytes, target: bytes) -> Target:
    match = _SCHEME.match(target)
    if match is None:
        raise HTTPError("bad request target")
    scheme = match[1].decode().lower()
    default_port = PORTS.get(scheme)
    if default_port is None:
        raise HTTPError("scheme not supported", 501)
    userinfo, at, name = match[2].rpartition(b"@")
    if not _USERINFO.fullmatch(userinfo):
        raise HTTPError("bad userinfo")
    host, port = parse_authority(name, default_port)
    path = target[match.end() :].partition(b"#")[0]
    if not path and method == b"OPTIONS":
        path = b"*"
    elif path[:1] != b"/":
        path = b"/" + path
    return Target(ABSOLUTE, scheme, host, port, path, userinfo if at else None)


def parse_well_known(method: bytes, path_query: bytes) -> Target:
    """The target that a well-known URI names, in absolute form.

    C{/.well-known/easy-proxy/SCHEME/HOST/PORT/path?query}, an IPv6 HOST with or without brackets, and
    C{/.well-known/masque/http/URI} with URI percent-encoded.

    @raise HTTPError: 501 for every other path and for what does not fit, 400 for a masque URI that is no absolute URI.
    """
    parts = _segments(path_query, 3)
    if len(parts) >= 3 and parts[0] == b".well-known":
        if parts[1] == b"easy-proxy":
            return _easy_proxy(path_query)
        if parts[1] == b"masque" and parts[2] == b"http":
            return _masque_http(method, path_query)
    raise HTTPError("local request not supported", 501)


def parse_masque_udp(path_query: bytes) -> Target:
    """The upstream that a URI for CONNECT-UDP names: C{/.well-known/masque/udp/HOST/PORT/}, HOST percent-encoded (RFC 9298 section 3).

    @raise HTTPError: 501 when it is no such URI, 400 when it names nobody.
    """
    parts = _segments(path_query, 6)
    if parts[:3] != [b".well-known", b"masque", b"udp"] or len(parts) != 5:
        raise HTTPError("not a URI for UDP", 501)
    host, port = (unquote_to_bytes(part) for part in parts[3:])
    if _BAD_PERCENT.search(parts[3]) or not host or not port.isdigit():
        raise HTTPError("bad URI for UDP")
    name, number = parse_authority(b"[%b]:%b" % (host, port) if b":" in host else b"%b:%b" % (host, port), 0)
    return Target(DATAGRAM, "", name, number, b"")


def _segments(path_query: bytes, count: int) -> list[bytes]:
    path = path_query.partition(b"?")[0]
    return [part for part in path.split(b"/") if part][:count]


def _easy_proxy(path_query: bytes) -> Target:
    parts = _segments(path_query, 5)
    if len(parts) < 5 or parts[2].decode("latin-1") not in PORTS:
        raise HTTPError("bad easy-proxy URI", 501)
    scheme = parts[2].decode()
    try:
        name = unquote_to_bytes(parts[3])
        host, port = parse_authority(b"[%b]:%b" % (name, parts[4]) if b":" in name and name[:1] != b"[" else b"%b:%b" % (name, parts[4]), 0)
    except HTTPError as error:
        raise HTTPError(f"bad easy-proxy URI: {error}", 501) from None
    path, question, query = path_query.partition(b"?")
    rest = _after_segments(path, 5)
    return Target(ABSOLUTE, scheme, host, port, (rest or b"/") + question + query)


def _after_segments(path: bytes, count: int) -> bytes:
    """What follows the first C{count} non-empty segments, its slash included."""
    at = 0
    for _ in range(count):
        while path[at : at + 1] == b"/":
            at += 1
        at = path.find(b"/", at)
        if at < 0:
            return b""
    return path[at:]


def _masque_http(method: bytes, path_query: bytes) -> Target:
    parts = _segments(path_query, 4)
    if len(parts) < 4 or _BAD_PERCENT.search(parts[3]):
        raise HTTPError("bad masque URI", 501)
    uri = unquote_to_bytes(parts[3])
    if any(byte <= 0x20 or byte == 0x7F for byte in uri):
        raise HTTPError("bad masque URI", 501)
    return _parse_absolute(method, uri)
