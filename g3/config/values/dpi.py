# SPDX-License-Identifier: Apache-2.0
"""Telling protocols apart: limits of the inspection, and what to expect on which port. Upstream: configuration/values/dpi."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from g3.config.problems import did_you_mean, quote
from g3.config.schema import config_class, key
from g3.config.value import Value, ValueProblem, wrong_type
from g3.config.values.basic import U16, Int, int_of, only_string, values_of
from g3.config.values.duration import Duration
from g3.config.values.options import Options
from g3.config.values.size import Size
from g3.proto.inspection import EXPECTED, Expected, PortMap, ProtocolInspection, SizeLimits

if TYPE_CHECKING:
    from collections.abc import Iterator

    from g3.config.document import Node
    from g3.config.value import ParseContext

_INSPECTION, _SIZES = ProtocolInspection(), SizeLimits()
_MOST = 1 << 20
#: For each word as it is dumped: the longer of two that mean the same.
_WORD_SCHEMA: dict[str, Any] = {"type": "string", "minLength": 2}


@config_class
class SizeLimitKeys:
    """Bytes of what a protocol begins with; longer ones are taken for another protocol."""

    ftp_greeting_msg: int = key(Size(1, _MOST), default=_SIZES.ftp_greeting_msg, aliases=("ftp_server_greeting_msg",), unit="bytes", doc="FTP.")
    http_request_uri: int = key(Size(1, _MOST), default=_SIZES.http_request_uri, aliases=("http_client_request_uri",), unit="bytes", doc="HTTP.")
    imap_greeting_msg: int = key(Size(1, _MOST), default=_SIZES.imap_greeting_msg, aliases=("imap_server_greeting_msg",), unit="bytes", doc="IMAP.")
    nats_info_line: int = key(Size(1, _MOST), default=_SIZES.nats_info_line, aliases=("nats_server_info_line",), unit="bytes", doc="NATS.")
    ldap_request_msg: int = key(Size(1, _MOST), default=_SIZES.ldap_request_msg, unit="bytes", doc="LDAP.")
    smtp_greeting_msg: int | None = key(Size(), default=None, aliases=("smtp_server_greeting_msg",), deprecated="it has no effect")


class SizeLimitsValue(Options[SizeLimits]):
    """Bytes of what a protocol begins with."""

    type_name = "size limits"
    keys, made = SizeLimitKeys, SizeLimits


@config_class
class ProtocolInspectionKeys:
    """How protocols are told apart."""

    inspect_max_depth: int = key(Int(0, 1 << 10), default=_INSPECTION.inspect_max_depth, doc="Protocols inside one another that are looked into.")
    data0_buffer_size: int = key(Size(1, _MOST), default=_INSPECTION.data0_buffer_size, unit="bytes", doc="For the first bytes of a side.")
    data0_wait_timeout: float = key(Duration(), default=_INSPECTION.data0_wait_timeout, unit="seconds", doc="For the first byte of either side.")
    data0_read_timeout: float = key(Duration(), default=_INSPECTION.data0_read_timeout, unit="seconds", doc="From there until the protocol is clear.")
    data0_size_limit: SizeLimits = key(SizeLimitsValue(), default=_SIZES, doc="How much a protocol may begin with.")


class ProtocolInspectionValue(Options[ProtocolInspection]):
    """How protocols are told apart."""

    type_name = "protocol inspection"
    keys, made = ProtocolInspectionKeys, ProtocolInspection


class PortMapValue(Value[PortMap]):
    """Protocols to try first, by port; they are added to those of C{base}."""

    type_name = "port map"
    doc = "A map of ports to a protocol or a list of them, or a list of maps, each with port and protocol."

    def __init__(self, base: PortMap) -> None:
        self.base = base

    def parse(self, node: Node, context: ParseContext) -> PortMap:
        return self.base.adding(tuple(self._pairs(node)))

    def _pairs(self, node: Node) -> Iterator[tuple[int, Expected]]:
        if node.kind == "map":
            for port, protocols in node.items:
                yield self._port(port), _expected(protocols)
        elif node.kind == "seq":
            for element in node.elements:
                yield self._element(element)
        else:
            raise wrong_type(node, "a map or a list of maps")

    def _element(self, node: Node) -> tuple[int, Expected]:
        if node.kind != "map":
            raise wrong_type(node, "a map of port and protocol")
        port, protocols = values_of(node, "port", "protocol")
        return self._port(port), _expected(protocols)

    def _port(self, node: Node) -> int:
        port = int_of(node, "a port")
        if not 0 <= port <= U16:
            raise ValueProblem(node, f"{port} is not a port (0 to {U16})")
        return port

    def json_schema(self) -> dict[str, Any]:
        one = {"anyOf": [_WORD_SCHEMA, {"type": "array", "items": _WORD_SCHEMA}]}
        element = {"type": "object", "properties": {"port": {"type": ["integer", "string"]}, "protocol": one}, "required": ["port", "protocol"]}
        return {"anyOf": [{"type": "object", "additionalProperties": one}, {"type": "array", "items": element}]}

    def dump(self, value: PortMap) -> Any:
        return [{"port": port, "protocol": _words(expected)} for port, expected in value.given]


def _expected(node: Node) -> Expected:
    """What one word, or each of a list, stands for."""
    found = Expected()
    for element in node.elements if node.kind == "seq" else [node]:
        word = only_string(element, "protocol").lower()
        if word not in EXPECTED:
            raise ValueProblem(element, f"unknown protocol {quote(element.text)}{did_you_mean(word, EXPECTED)}")
        found = found.and_also(EXPECTED[word])
    return found


def _words(expected: Expected) -> list[str]:
    return [protocol.value for protocol in expected.protocols] + (["tls"] if expected.tls else [])
