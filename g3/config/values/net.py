# SPDX-License-Identifier: Apache-2.0
"""Addresses, hosts, upstreams, ports, interfaces. Upstream: configuration/values/network."""

from __future__ import annotations

import re
import socket
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, Any, TypeVar

import idna

from g3.acl.match import Fact, FactKind
from g3.acl.tables import plain_network
from g3.config.problems import did_you_mean, quote
from g3.config.schema import config_class, key, normalize
from g3.config.value import Value, ValueProblem, wrong_type
from g3.config.values.basic import U16, Enum, Float, Int, OneOrMany, int_of, only_string
from g3.config.values.options import Options
from g3.config.values.size import Size
from g3.net.options import PortRange, SocketBuffer
from g3.pick import PickPolicy, Weighted
from g3.task import Upstream, format_address

if TYPE_CHECKING:
    from collections.abc import Iterable

    from g3.acl.tables import IPNetwork
    from g3.config.document import Node
    from g3.config.value import ParseContext, Reference
    from g3.task import IPAddress, SocketAddress

W = TypeVar("W")

_STRING = {"type": "string", "minLength": 1}
_PORT_SCHEMA = {"type": "integer", "minimum": 0, "maximum": U16}
#: What no host name of a URL may have (WHATWG URL, forbidden host code points).
_NO_HOST = re.compile(r"[\x00-\x20#%/:<>?@\[\\\]^|\x7f]")
_DOTS = re.compile("[.\u3002\uff0e\uff61]")
_DIGITS = re.compile(r"[0-9]{1,10}\Z", re.ASCII)


def to_address(text: str) -> IPAddress | None:
    """The address a text is, a v4-mapped one as IPv4; None when it is none. Zones (C{fe80::1%eth0}) are not taken."""
    if "%" in text or len(text) > 64:
        return None
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def to_domain(text: str) -> str:
    """A name as lower-case A-labels without a root dot. Lenient about ASCII, since real names have underscores.

    @raise ValueError: it can be no name; the message says why.
    """
    name = ".".join(_to_label(label) for label in _DOTS.split(text)).removesuffix(".")
    labels = name.split(".")
    if not name:
        raise ValueError("a host must not be empty")
    if bad := _NO_HOST.search(name):
        raise ValueError(f"character {quote(bad[0])} is not allowed in a host")
    if "" in labels:
        raise ValueError("a name must have something between its dots")
    if len(name) > 253 or any(len(label) > 63 for label in labels):
        raise ValueError("a name has at most 253 characters, and 63 between dots")
    return name


def _to_label(label: str) -> str:
    if label.isascii() or len(label) > 255:
        return label.lower()
    try:
        mapped = idna.uts46_remap(label, False, False)
        return mapped.lower() if mapped.isascii() else ".".join(idna.alabel(part).decode("ascii") for part in mapped.split("."))
    except (idna.IDNAError, UnicodeError, IndexError) as error:
        raise ValueError(f"{quote(label)} cannot be a part of a name: {error}") from None


def to_host(text: str) -> str:
    """A host in the one spelling of g3.task.Upstream: an address as the kernel prints it, or a name as L{to_domain} makes it.

    @raise ValueError: it is neither.
    """
    if text[:1] == "[" and text[-1:] == "]":
        address = to_address(text[1:-1])
        if address is None or ":" not in text:
            raise ValueError(f"{quote(text)} has no IPv6 address in its brackets")
        return str(address)
    address = to_address(text)
    if address is not None:
        return str(address)
    if ":" in text:
        raise ValueError(f"{quote(text)} is neither an IPv6 address nor a name")
    return to_domain(text)


def to_port(text: str) -> int:
    """A port from 0 to 65535. @raise ValueError: it is none."""
    if not _DIGITS.match(text) or int(text) > U16:
        raise ValueError(f"{quote(text)} is not a port (0 to {U16})")
    return int(text)


def split_port(text: str) -> tuple[str, str | None]:
    """Host and port of C{host}, C{host:port}, C{[v6]}, C{[v6]:port} or a bare IPv6 address; the port None when there is none."""
    if text[:1] == "[":
        end = text.find("]") + 1
        if end and text[end : end + 1] in ("", ":"):
            return text[:end], text[end + 1 :] if text[end:] else None
        return text, None
    if text.count(":") != 1:
        return text, None
    host, _, port = text.partition(":")
    return host, port


class IPValue(Value["IPAddress"]):
    """An IP address; a v4-mapped one is the IPv4 address it means. C{version} 4 or 6 wants that family."""

    type_name = "IP address"

    def __init__(self, version: int | None = None) -> None:
        self.version = version
        self.type_name = f"IPv{version} address" if version else "IP address"

    def parse(self, node: Node, context: ParseContext) -> IPAddress:
        text = only_string(node, self.type_name)
        address = to_address(text)
        if address is None or self.version not in (None, address.version):
            raise ValueProblem(node, f"{quote(text)} is not an {self.type_name}")
        return address

    def json_schema(self) -> dict[str, Any]:
        return _STRING

    def dump(self, value: IPAddress) -> Any:
        return str(value)


class IPList(OneOrMany["IPAddress"]):
    """One IP address or a list of them."""

    def __init__(self, version: int | None = None) -> None:
        super().__init__(IPValue(version))


class IPNet(Value["IPNetwork"]):
    """A network in CIDR form; an address is a network of one. Bits right of the prefix must be zero."""

    type_name = "IP network"
    doc = 'Such as "10.0.0.0/8", "2001:db8::/32" or "192.0.2.1".'

    def parse(self, node: Node, context: ParseContext) -> IPNetwork:
        return parse_network(only_string(node, self.type_name), node)

    def json_schema(self) -> dict[str, Any]:
        return _STRING

    def dump(self, value: IPNetwork) -> Any:
        return str(value)


def parse_network(text: str, node: Node) -> IPNetwork:
    """@raise ValueProblem: C{text} is no network."""
    address, slash, length = text.partition("/")
    try:
        if "%" in address or (slash and not _DIGITS.match(length)):
            raise ValueError
        loose: IPv4Network | IPv6Network = ip_network(text, strict=False)
    except ValueError:
        raise ValueProblem(node, f'{quote(text)} is not an IP network such as "10.0.0.0/8"') from None
    if loose.network_address != ip_address(address):
        raise ValueProblem(node, f'{quote(text)} has bits set right of its prefix; did you mean "{loose}"?')
    return plain_network(loose)


class SocketAddr(Value["SocketAddress"]):
    """C{ip:port}, C{[ipv6]:port}; with C{indirect} also C{$NAME}, an environment variable that has one, and C{@domain:port}.

    A domain is resolved while the configuration is read and must have exactly one address.
    """

    type_name = "socket address"
    doc = 'An address with a port, "127.0.0.1:80" or "[::1]:80".'

    def __init__(self, *, indirect: bool = False, default_port: int | None = None) -> None:
        self.indirect, self.default_port = indirect, default_port
        if indirect:
            self.doc += ' Also "$NAME" for the value of an environment variable, and "@domain:port" for the one address of a domain.'

    def parse(self, node: Node, context: ParseContext) -> SocketAddress:
        text = only_string(node, self.type_name)
        if self.indirect and text[:1] == "$":
            return self.from_env(node, text[1:], context)
        if self.indirect and text[:1] == "@":
            return _resolved(node, text[1:])
        return self.literal(node, text, "")

    def from_env(self, node: Node, name: str, context: ParseContext) -> SocketAddress:
        text = context.env.get(name) if name else None
        if text is None:
            raise ValueProblem(node, f"environment variable {quote(name)} is not set")
        return self.literal(node, text, f" in environment variable {quote(name)}")

    def literal(self, node: Node, text: str, where: str) -> SocketAddress:
        host, port = split_port(text)
        bracketed = host[:1] == "["
        address = to_address(host[1:-1] if bracketed else host)
        if address is None or (":" in host and not bracketed and port is None and self.default_port is None):
            raise ValueProblem(node, f'{quote(text)}{where} is not a socket address such as "127.0.0.1:80" or "[::1]:80"')
        if port is None and self.default_port is None:
            raise ValueProblem(node, f"{quote(text)}{where} has no port")
        try:
            return str(address), to_port(port) if port is not None else self.default_port or 0
        except ValueError as error:
            raise ValueProblem(node, f"{error}{where}") from None

    def json_schema(self) -> dict[str, Any]:
        return _STRING

    def dump(self, value: SocketAddress) -> Any:
        return format_address(value)


def _resolved(node: Node, text: str) -> SocketAddress:
    host, port = split_port(text)
    if not port:
        raise ValueProblem(node, f'{quote(text)} has no port: write "@domain:port"')
    try:
        number = to_port(port)
        found = socket.getaddrinfo(host.strip("[]"), number, type=socket.SOCK_STREAM)
    except (OSError, ValueError) as error:
        raise ValueProblem(node, f"{quote(text)} cannot be resolved: {getattr(error, 'strerror', None) or error}") from None
    addresses = {str(address) for family, *_, where in found if (address := to_address(str(where[0]))) is not None}
    if len(addresses) != 1:
        raise ValueProblem(node, f"{quote(text)} must have exactly one address, it has {', '.join(sorted(addresses)) or 'none'}")
    return addresses.pop(), number


class HostValue(Value[str]):
    """A name or an address, in one spelling: lower-case A-labels, addresses as the kernel prints them."""

    type_name = "host"

    def parse(self, node: Node, context: ParseContext) -> str:
        text = only_string(node, self.type_name)
        try:
            return to_host(text)
        except ValueError as error:
            raise ValueProblem(node, str(error)) from None

    def json_schema(self) -> dict[str, Any]:
        return _STRING


class Domain(Value[str]):
    """A name as lower-case A-labels. A leading dot, as in C{.example.net}, makes no difference."""

    type_name = "domain"

    def parse(self, node: Node, context: ParseContext) -> str:
        return parse_domain(only_string(node, self.type_name), node)

    def json_schema(self) -> dict[str, Any]:
        return _STRING


def parse_domain(text: str, node: Node) -> str:
    """@raise ValueProblem: C{text} is no domain."""
    try:
        return to_domain(text.removeprefix("."))
    except ValueError as error:
        raise ValueProblem(node, str(error)) from None


class UpstreamAddr(Value[Upstream]):
    """C{host:port}. Without a port it is C{default_port}; with that None a port must be given, and 0 stands for none."""

    type_name = "upstream address"
    doc = 'A name or an address, with a port: "proxy.example.net:3128", "[2001:db8::1]:80".'

    def __init__(self, default_port: int | None = None) -> None:
        self.default_port = default_port

    def parse(self, node: Node, context: ParseContext) -> Upstream:
        text = only_string(node, self.type_name)
        host, port = split_port(text)
        try:
            number = to_port(port) if port is not None else 0
            number = number or self.default_port or 0
            upstream = Upstream(to_host(host), number)
        except ValueError as error:
            raise ValueProblem(node, str(error)) from None
        if not number and self.default_port is None:
            raise ValueProblem(node, f"{quote(text)} has no port")
        return upstream

    def json_schema(self) -> dict[str, Any]:
        return _STRING

    def dump(self, value: Upstream) -> Any:
        return str(value) if value.port else value.host


class WeightedValue(Value[Weighted[W]]):
    """A value, or a map of it under C{word} and its C{weight}."""

    def __init__(self, value: Value[W], word: str = "addr", aliases: Iterable[str] = ("address",)) -> None:
        self.value, self.word = value, word
        self.words = (word, *aliases)
        self.weight = Float(0, 1e6)
        self.type_name = f"weighted {value.type_name}"
        self.doc = f"{value.type_name[:1].upper()}{value.type_name[1:]}, or a map of it ({word}) and its weight (1.0)."

    def parse(self, node: Node, context: ParseContext) -> Weighted[W]:
        if node.kind != "map":
            return Weighted(self.value.parse(node, context))
        values: list[W] = []
        weight = 1.0
        for k, v in node.items:
            word = normalize(k.value) if k.is_string else ""
            if word in self.words:
                values.append(self.value.parse(v, context))
            elif word == "weight":
                weight = self.weight.parse(v, context)
            else:
                raise ValueProblem(k, f"unknown key {quote(k.text)}{did_you_mean(k.text, (*self.words, 'weight'))}")
        if not values:
            raise ValueProblem(node, f'required key "{self.word}" is missing')
        return Weighted(values[-1], weight)

    def json_schema(self) -> dict[str, Any]:
        inner = self.value.json_schema()
        properties = {**dict.fromkeys(self.words, inner), "weight": self.weight.json_schema()}
        return {"anyOf": [inner, {"type": "object", "properties": properties, "additionalProperties": False}]}

    def dump(self, value: Weighted[W]) -> Any:
        dumped = self.value.dump(value.value)
        return dumped if value.weight == 1 else {self.word: dumped, "weight": value.weight}

    def references(self, value: Weighted[W]) -> Iterable[Reference]:
        return self.value.references(value.value)


class WeightedUpstream(WeightedValue[Upstream]):
    """An upstream address with a weight."""

    def __init__(self, default_port: int | None = None) -> None:
        super().__init__(UpstreamAddr(default_port))


class WeightedSocketAddr(WeightedValue["SocketAddress"]):
    """A socket address with a weight."""

    def __init__(self) -> None:
        super().__init__(SocketAddr())


class PickPolicyValue(Enum[PickPolicy]):
    """How to pick one of several weighted nodes."""

    def __init__(self) -> None:
        words = {policy.value: policy for policy in PickPolicy}
        more = {
            "sequence": PickPolicy.SERIAL,
            "roundrobin": PickPolicy.ROUND_ROBIN,
            "rr": PickPolicy.ROUND_ROBIN,
            "jump": PickPolicy.JUMP_HASH,
            "jumphash": PickPolicy.JUMP_HASH,
        }
        super().__init__(PickPolicy, {**words, **more}, type_name="pick policy")


class Interface(Value[str]):
    """The name of a network interface, or its number. One that is not there now gets a warning: it may come."""

    type_name = "network interface"

    def parse(self, node: Node, context: ParseContext) -> str:
        if not node.is_string:
            number = int_of(node, "the name or number of a network interface")
            try:
                return socket.if_indextoname(number)
            except (OSError, OverflowError):
                raise ValueProblem(node, f"there is no network interface with number {number}") from None
        name = only_string(node)
        if not name or len(name.encode("utf-8", "replace")) > 15 or "/" in name or any(c.isspace() or c == "\0" for c in name):
            raise ValueProblem(node, f"{quote(name)} cannot be the name of a network interface")
        try:
            socket.if_nametoindex(name)
        except OSError:
            context.problems.warn(node, f"there is no network interface {quote(name)}")
        return name

    def json_schema(self) -> dict[str, Any]:
        return {"type": ["string", "integer"]}


class Port(Int):
    """A port that can be connected to."""

    def __init__(self, low: int = 1) -> None:
        super().__init__(low, U16)
        self.type_name = "port"


class Ports(Value[frozenset[int]]):
    """A port, a range, several of them with commas between, or a list of any of these."""

    type_name = "ports"
    doc = '443, "8000-8999", "80,443,8000-8999" or a list of these.'

    def parse(self, node: Node, context: ParseContext) -> frozenset[int]:
        if node.kind != "seq":
            return frozenset(self.part(node))
        return frozenset(port for element in node.elements for port in self.part(element))

    def part(self, node: Node) -> set[int]:
        if not node.is_string:
            number = int_of(node, 'a port, or ports such as "1,2,5-9"')
            if not 0 <= number <= U16:
                raise ValueProblem(node, f"{number} is not a port (0 to {U16})")
            return {number}
        text = only_string(node)
        if text.count(",") > U16:
            raise ValueProblem(node, "names more ports than there are")
        try:
            return {port for piece in text.split(",") for port in _port_piece(piece)}
        except ValueError as error:
            raise ValueProblem(node, str(error)) from None

    def json_schema(self) -> dict[str, Any]:
        one = {"anyOf": [_PORT_SCHEMA, {"type": "string", "pattern": r"^[0-9,\s-]+$"}]}
        return {"anyOf": [*one["anyOf"], {"type": "array", "items": one}]}

    def dump(self, value: frozenset[int]) -> Any:
        return ",".join(f"{first}-{last}" if last > first else str(first) for first, last in port_runs(value)) or []


def _port_piece(piece: str) -> range:
    first, dash, last = piece.partition("-")
    start = to_port(first.strip())
    end = to_port(last.strip()) if dash else start
    if end < start:
        raise ValueError(f"{quote(piece.strip())} ends before it starts")
    return range(start, end + 1)


def port_runs(ports: Iterable[int]) -> list[tuple[int, int]]:
    """Ports as (first, last) of each run of neighbours."""
    runs: list[tuple[int, int]] = []
    for port in sorted(ports):
        if runs and runs[-1][1] == port - 1:
            runs[-1] = (runs[-1][0], port)
        else:
            runs.append((port, port))
    return runs


@config_class
class PortRangeKeys:
    """A range of ports, both ends included."""

    start: int = key(Port(), aliases=("from",), doc="The first port.")
    end: int = key(Port(), aliases=("to",), doc="The last port, above the first.")


class PortRangeValue(Options[PortRange]):
    """C{"start-end"} or a map; start is not 0 and end is above it."""

    type_name = "port range"
    doc = '"10000-10999", or a map of start and end.'
    keys, made, expected = PortRangeKeys, PortRange, 'a range of ports such as "10000-10999"'

    def build(self, given: Any, node: Node, context: ParseContext) -> PortRange:
        return self.checked(node, given.start, given.end)

    def short(self, node: Node, context: ParseContext) -> PortRange:
        start, dash, end = only_string(node, self.type_name).partition("-")
        if not dash:
            raise wrong_type(node, self.expected)
        try:
            return self.checked(node, to_port(start.strip()), to_port(end.strip()))
        except ValueError as error:
            raise ValueProblem(node, str(error)) from None

    def checked(self, node: Node, start: int, end: int) -> PortRange:
        if start == 0:
            raise ValueProblem(node, "a range of ports must not start with 0")
        if end <= start:
            raise ValueProblem(node, "the last port must be above the first")
        return PortRange(start, end)

    def short_schemas(self) -> list[dict[str, Any]]:
        return [{"type": "string", "pattern": r"^\s*[0-9]+\s*-\s*[0-9]+\s*$"}]

    def dump(self, value: PortRange) -> Any:
        return f"{value.start}-{value.end}"


@config_class
class SocketBufferKeys:
    """Kernel buffers of a socket."""

    recv: int | None = key(Size(0, (1 << 31) - 1), default=None, aliases=("receive", "read"), doc="For received bytes.", unit="bytes")
    send: int | None = key(Size(0, (1 << 31) - 1), default=None, aliases=("write",), doc="For bytes to send.", unit="bytes")


class SocketBufferValue(Options[SocketBuffer]):
    """One size for both directions, or a map."""

    type_name = "socket buffer"
    doc = "A size for both directions, or a map of recv and send."
    keys, made = SocketBufferKeys, SocketBuffer
    _size = Size(0, (1 << 31) - 1)

    def short(self, node: Node, context: ParseContext) -> SocketBuffer:
        size = self._size.parse(node, context)
        return SocketBuffer(recv=size, send=size)

    def short_schemas(self) -> list[dict[str, Any]]:
        return [self._size.json_schema()]


class ProxyProtocolVersion(Value[int]):
    """1 or 2."""

    type_name = "PROXY protocol version"

    def parse(self, node: Node, context: ParseContext) -> int:
        version = int_of(node, "a PROXY protocol version (1 or 2)")
        if version not in (1, 2):
            raise ValueProblem(node, f"there is no version {version} of the PROXY protocol, only 1 and 2")
        return version

    def json_schema(self) -> dict[str, Any]:
        return {"anyOf": [{"enum": [1, 2]}, {"type": "string", "pattern": r"^\+?0*[12]$"}]}


_FACT_WORDS = {
    "ip": FactKind.IP,
    "net": FactKind.NETWORK,
    "domain": FactKind.EXACT_DOMAIN,
    "exact_domain": FactKind.EXACT_DOMAIN,
    "child_domain": FactKind.CHILD_DOMAIN,
}


class FactValue(Value[Fact]):
    """C{"ip:192.0.2.1"}, C{"net:10.0.0.0/8"}, C{"domain:x"} (or exact_domain), C{"child_domain:x"}; or a map of one such key. A network of
    one address is that address."""

    type_name = "fact"
    doc = 'What makes out a user: "ip:192.0.2.1", "net:10.0.0.0/8", "domain:x.example" or "child_domain:example"; or a map of one such key.'

    def parse(self, node: Node, context: ParseContext) -> Fact:
        if node.kind == "map" and len(node.items) == 1 and all(part.is_string for part in node.items[0]):
            word, text = node.items[0][0].value, node.items[0][1].value
        elif node.is_string and ":" in node.value:
            word, _, text = node.value.partition(":")
        else:
            raise wrong_type(node, 'a fact such as "ip:192.0.2.1", "net:10.0.0.0/8" or "domain:example.net"')
        kind = _FACT_WORDS.get(normalize(word.strip()))
        if kind is None:
            raise ValueProblem(node, f"unknown kind of fact {quote(word)}{did_you_mean(word, _FACT_WORDS)}")
        return _fact(kind, text.strip(), node)

    def json_schema(self) -> dict[str, Any]:
        return {"anyOf": [_STRING, {"type": "object", "minProperties": 1, "maxProperties": 1}]}

    def dump(self, value: Fact) -> Any:
        return f"{value.kind.value}:{value.value}"


def _fact(kind: FactKind, text: str, node: Node) -> Fact:
    if kind in (FactKind.EXACT_DOMAIN, FactKind.CHILD_DOMAIN):
        return Fact(kind, parse_domain(text, node))
    if kind is FactKind.IP:
        address = to_address(text)
        if address is None:
            raise ValueProblem(node, f"{quote(text)} is not an IP address")
        return Fact(kind, address)
    network = parse_network(text, node)
    return Fact(FactKind.IP, network.network_address) if network.num_addresses == 1 else Fact(kind, network)
