# SPDX-License-Identifier: Apache-2.0
"""What a user's configuration says about the connections made for that user, for the escapers that connect directly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from g3.net.options import Keepalive, ResolveStrategy, TCPConnect, TCPMisc, UDPMisc
    from g3.net.redirection import ResolveRedirection


@dataclass(frozen=True, slots=True, kw_only=True)
class UserEgress:
    """Each None says nothing (upstream: configuration/auth/user)."""

    tcp_connect: TCPConnect | None = None
    resolve_strategy: ResolveStrategy | None = None
    resolve_redirection: ResolveRedirection | None = None
    tcp_remote_keepalive: Keepalive | None = None
    tcp_remote_misc_opts: TCPMisc | None = None
    udp_remote_misc_opts: UDPMisc | None = None
