# SPDX-License-Identifier: Apache-2.0
"""What servers that relay datagrams have in common: the way to a datagram path."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred

from g3.errors import MethodUnavailable
from g3.interfaces import IUDPConnect, IUDPRelay
from g3.route import final_escaper

if TYPE_CHECKING:
    from g3.task import Task


async def open_path(escaper: Any, task: Task, *, many: bool) -> Any:
    """An IDatagramPath for C{task} by C{escaper}, or by what routes lead to from it: to any number of upstreams if C{many}, else to its own.

    @raise MethodUnavailable: the escaper has none. @raise TaskError: it cannot be opened.
    """
    picked = final_escaper(escaper, task)
    if isinstance(picked, Deferred):
        picked = await picked
    if many:
        relay = IUDPRelay(picked, None)
        if relay is not None:
            return await relay.udp_relay(task)
    else:
        connect = IUDPConnect(picked, None)
        if connect is not None:
            return await connect.udp_connect(task)
    raise MethodUnavailable
