# SPDX-License-Identifier: Apache-2.0
"""Keys of the C{c_ares} resolver."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, Any, ClassVar

from g3.config.problems import quote
from g3.config.schema import config_class, key
from g3.config.value import Reported, Value, ValueProblem, wrong_type
from g3.config.values.basic import U32, Bool, Int
from g3.config.values.net import IPValue
from g3.resolvers.config import CachingConfig

if TYPE_CHECKING:
    from g3.config.document import Node
    from g3.config.value import ParseContext

DNS_PORT = 53
#: Milliseconds; c-ares takes 0 for its own defaults, which are these.
EACH_TIMEOUT, EACH_TRIES = 2000, 3
_I32 = 0x7FFF_FFFF
#: c-ares keeps a list of servers in memory and tries them in turn; a longer one is a mistake.
MAX_SERVERS = 256


class NameServers(Value[tuple[str, ...]]):
    """Name servers as C{ip:port}, each once."""

    type_name = "name servers"
    doc = "Addresses with or without a port (53), in one string separated by white space, or in a list."

    def parse(self, node: Node, context: ParseContext) -> tuple[str, ...]:
        if node.is_string:
            found = self._all([(node, word) for word in str(node.value).split()], context)
        elif node.kind == "seq":
            found = self._all([(item, item.value if item.is_string else None) for item in node.elements], context)
        else:
            raise wrong_type(node, "a string or a list of addresses")
        if len(found) > MAX_SERVERS:
            raise ValueProblem(node, f"more than {MAX_SERVERS} name servers")
        return found

    def _all(self, words: list[tuple[Node, Any]], context: ParseContext) -> tuple[str, ...]:
        found: dict[str, None] = {}
        bad = False
        for node, word in words:
            try:
                found[parse_server(node, word)] = None
            except ValueProblem as problem:
                context.problems.error(problem.node, problem.message)
                bad = True
        if bad:
            raise Reported
        return tuple(found)

    def json_schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}

    def dump(self, value: tuple[str, ...]) -> list[str]:
        return list(value)


def parse_server(node: Node, word: Any) -> str:
    """One name server in the form C{ip:port}.

    @raise ValueProblem: it is none.
    """
    if not isinstance(word, str):
        raise wrong_type(node, "an address as a string")
    host, port = word, str(DNS_PORT)
    if word.startswith("["):
        host, _, port = word[1:].partition("]:")
    elif word.count(":") == 1:
        host, _, port = word.partition(":")
    try:
        ip = ip_address(host)
    except ValueError:
        raise ValueProblem(node, f"{quote(word)} is not an address with or without a port") from None
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueProblem(node, f"{quote(word)} has no usable port")
    if ip.is_unspecified or ip.is_multicast:
        raise ValueProblem(node, f"a name server cannot be at {ip}")
    return f"[{ip}]:{port}" if ip.version == 6 else f"{ip}:{port}"


@config_class
class CAresConfig(CachingConfig):
    """Asks name servers over UDP, and TCP when an answer does not fit, with the c-ares library. Names in /etc/hosts are answered from there."""

    type_word: ClassVar[str] = "c_ares"

    server: tuple[str, ...] = key(NameServers(), default=(), doc="The name servers; without, those of /etc/resolv.conf.")
    each_timeout: int = key(
        Int(0, _I32),
        default=EACH_TIMEOUT,
        unit="milliseconds",
        doc="How long a server has to answer the first time; later tries have longer. 0 is the default.",
    )
    each_tries: int = key(Int(0, 1000), default=EACH_TRIES, doc="How often each server is tried; 0 is the default.")
    max_timeout: int = key(Int(-_I32, _I32), default=0, unit="milliseconds", doc="The longest wait of later tries; 0 means there is no such limit.")
    udp_max_quires: int = key(Int(-_I32, _I32), default=0, doc="Queries sent from one local UDP port before another is taken; 0 leaves it to us.")
    round_robin: bool = key(Bool(), default=False, doc="Whether the servers take turns; else the first is preferred.")
    socket_send_buffer_size: int | None = key(Int(0, U32), default=None, unit="bytes", doc="The send buffer of sockets.")
    socket_recv_buffer_size: int | None = key(Int(0, U32), default=None, unit="bytes", doc="The receive buffer of sockets.")
    bind_ipv4: IPv4Address | IPv6Address | None = key(IPValue(4), default=None, doc="The local address for IPv4 servers.")
    bind_ipv6: IPv4Address | IPv6Address | None = key(IPValue(6), default=None, doc="The local address for IPv6 servers.")
