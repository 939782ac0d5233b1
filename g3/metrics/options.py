# SPDX-License-Identifier: Apache-2.0
"""Where metrics go: what the C{stat} section comes down to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from g3.task import SocketAddress


@dataclass(frozen=True, slots=True)
class StatsdOptions:
    """A statsd server: a unix datagram socket at C{unix}, or a UDP address. Sizes in bytes, C{emit_interval} in seconds."""

    udp: SocketAddress = ("127.0.0.1", 8125)
    bind_ip: str = ""
    unix: str = ""
    prefix: str = "g3proxy"
    cache_size: int = 256 * 1024
    max_segment_size: int | None = None
    emit_interval: float = 0.2

    @property
    def segment_size(self) -> int:
        """The datagram limit: 1400 for UDP and 4096 for a unix socket unless set."""
        return self.max_segment_size or (4096 if self.unix else 1400)
