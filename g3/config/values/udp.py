# SPDX-License-Identifier: Apache-2.0
"""How to listen for datagrams, set up UDP sockets and speak QUIC. Upstream: configuration/values/network, configuration/values/quic."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from g3.config.schema import config_class, key
from g3.config.values.duration import Duration
from g3.config.values.net import SocketBufferValue
from g3.config.values.options import Options
from g3.config.values.size import SizeU32
from g3.config.values.tcp import IPMiscKeys, ListenKeys, ListenValue, with_port
from g3.net.options import QUICTransport, SocketBuffer, UDPListen, UDPMisc

if TYPE_CHECKING:
    from g3.config.document import Node
    from g3.config.value import ParseContext

_QUIC = QUICTransport()


@config_class
class UDPMiscKeys(IPMiscKeys):
    """Options of UDP sockets."""


class UDPMiscValue(Options[UDPMisc]):
    """Options of UDP sockets."""

    type_name = "UDP socket options"
    keys, made = UDPMiscKeys, UDPMisc


@config_class
class UDPListenKeys(ListenKeys):
    """Where to receive datagrams."""

    socket_buffer: SocketBuffer = key(SocketBufferValue(), default=SocketBuffer(), doc="Kernel buffers.")
    socket_misc_opts: UDPMisc = key(UDPMiscValue(), default=UDPMisc(), doc="Options of the socket.")


class UDPListenValue(ListenValue[UDPListen]):
    """A port (all addresses, IPv4 and IPv6), a socket address or a map."""

    type_name = "UDP listen"
    keys, made = UDPListenKeys, UDPListen

    def build(self, given: Any, node: Node, context: ParseContext) -> UDPListen:
        address = with_port(node, given.address)
        return UDPListen(
            address=address,
            interface=given.interface,
            ipv6_only=given.ipv6_only if address[0] == str(ip_address("::")) else None,
            socket_buffer=given.socket_buffer,
            socket_misc_opts=given.socket_misc_opts,
            instance=max(given.instance, given.scale, 1),
        )


@config_class
class QUICTransportKeys:
    """QUIC transport parameters (RFC 9000 section 18.2)."""

    max_idle_timeout: float = key(Duration(0, 1 << 32), default=_QUIC.max_idle_timeout, doc="Idle before a connection ends.", unit="seconds")
    keep_alive_interval: float = key(
        Duration(), default=_QUIC.keep_alive_interval, doc="Between packets that keep it from being idle.", unit="seconds"
    )
    stream_receive_window: int | None = key(SizeU32(), default=None, doc="Bytes the peer may send ahead on one stream.", unit="bytes")
    receive_window: int | None = key(SizeU32(), default=None, doc="The same over all streams of a connection.", unit="bytes")
    send_window: int | None = key(SizeU32(), default=None, doc="Bytes kept until the peer has acknowledged them.", unit="bytes")


class QUICTransportValue(Options[QUICTransport]):
    """QUIC transport parameters."""

    type_name = "QUIC transport"
    keys, made = QUICTransportKeys, QUICTransport
