# SPDX-License-Identifier: Apache-2.0
"""The header lines that an HTTP server adds to responses on request of its configuration (upstream: C{X-BD-*})."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING

from g3.logs.fields import address, moment

if TYPE_CHECKING:
    from g3.proto.http1.response import Response
    from g3.task import ConnectNotes, EgressInfo

#: Headers that a chain of proxies sets once, the last one that knows first.
_ONCE = frozenset({b"x-bd-upstream-id", b"x-bd-upstream-addr", b"x-bd-outgoing-ip"})


class CustomHeaders:
    """What one server adds. Without C{server_id} only what C{echo_chained} asks for."""

    __slots__ = ("_echo_chained", "_mark_upstream", "_server_id")

    def __init__(self, server_id: str | None, *, mark_upstream: bool = False, echo_chained: bool = False) -> None:
        self._server_id = server_id
        self._mark_upstream = mark_upstream and server_id is not None
        self._echo_chained = echo_chained

    def connection_lines(self, notes: ConnectNotes) -> list[bytes]:
        """The lines about how the upstream was reached, for a locally made reply; without CRLF."""
        lines = []
        if self._server_id is not None:
            lines.append(f"X-BD-Remote-Connection-Info: {_remote(self._server_id, notes)}")
            if notes.egress is not None:
                lines.append(f"X-BD-Dynamic-Egress-Info: {_egress(self._server_id, notes.egress)}")
        if self._echo_chained:
            if notes.chained_target is not None:
                lines.append(f"X-BD-Upstream-Addr: {address(notes.chained_target)}")
            if notes.chained_outgoing is not None:
                lines.append(f"X-BD-Outgoing-IP: {notes.chained_outgoing[0]}")
        return [line.encode("ascii") for line in lines]

    def response_lines(self, notes: ConnectNotes, response: Response) -> list[bytes]:
        """The lines for a response from upstream: as L{connection_lines}, but one that names the last hop is left out if it is there already."""
        lines = self.connection_lines(notes)
        if self._mark_upstream:
            lines.append(f"X-BD-Upstream-Id: {self._server_id}".encode("ascii"))
        return [line for line in lines if (name := line.partition(b":")[0].lower()) not in _ONCE or response.get(name) is None]


def _remote(server_id: str, notes: ConnectNotes) -> str:
    pieces = [server_id]
    if notes.bind_ip is not None:
        pieces.append(f"bind={notes.bind_ip}")
    if notes.local is not None:
        pieces.append(f"local={address(notes.local)}")
    if notes.peer is not None:
        pieces.append(f"remote={address(notes.peer)}")
    if notes.egress is not None and notes.egress.expire is not None:
        pieces.append(f"expire={moment(notes.egress.expire)}")
    return "; ".join(pieces)


def _egress(server_id: str, egress: EgressInfo) -> str:
    pieces = [server_id]
    if egress.isp is not None:
        pieces.append(f"isp={b64encode(egress.isp.encode()).decode()}")
    if egress.eip is not None:
        pieces.append(f"ip={egress.eip}")
    if egress.area is not None:
        pieces.append(f"area={b64encode(egress.area.encode()).decode()}")
    return "; ".join(pieces)
