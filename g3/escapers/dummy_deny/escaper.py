# SPDX-License-Identifier: Apache-2.0
"""The dummy_deny escaper."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from zope.interface import implementer

from g3.errors import MethodUnavailable
from g3.escapers.base import Escaper
from g3.escapers.capability import DIRECT
from g3.escapers.dummy_deny.config import DummyDenyConfig
from g3.interfaces import IFTPConnect, IHTTPForward, ITCPConnect, ITLSConnect, IUDPConnect, IUDPRelay

if TYPE_CHECKING:
    from g3.net.tls.provider import ClientTLS
    from g3.task import Task


@implementer(ITCPConnect, ITLSConnect, IHTTPForward, IFTPConnect, IUDPConnect, IUDPRelay)
class DummyDenyEscaper(Escaper):
    """Offers every way and refuses each with MethodUnavailable, so that the task is counted and names the escaper it met."""

    schema: ClassVar[Any] = DummyDenyConfig
    http_capability = DIRECT

    def _refuse(self, task: Task) -> NoReturn:
        self.stats.task_total += 1
        task.connect.escaper = self.config.name
        raise MethodUnavailable

    async def tcp_connect(self, task: Task) -> NoReturn:
        """ITCPConnect."""
        self._refuse(task)

    async def tls_connect(self, task: Task, tls: ClientTLS, name: str) -> NoReturn:
        """ITLSConnect."""
        self._refuse(task)

    async def http_forward(self, task: Task) -> NoReturn:
        """IHTTPForward."""
        self._refuse(task)

    async def https_forward(self, task: Task, tls: ClientTLS, name: str) -> NoReturn:
        """IHTTPForward."""
        self._refuse(task)

    async def ftp_control(self, task: Task) -> NoReturn:
        """IFTPConnect."""
        self._refuse(task)

    async def ftp_data(self, task: Task, control: Any, port: int) -> NoReturn:
        """IFTPConnect."""
        self._refuse(task)

    async def udp_connect(self, task: Task) -> NoReturn:
        """IUDPConnect."""
        self._refuse(task)

    async def udp_relay(self, task: Task) -> NoReturn:
        """IUDPRelay."""
        self._refuse(task)
