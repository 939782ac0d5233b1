# SPDX-License-Identifier: Apache-2.0
"""The server level destination rules: which upstreams its clients may ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from g3.acl import Action

if TYPE_CHECKING:
    from g3.acl import HostFilterSet, PortFilter
    from g3.task import Upstream

#: Verdicts remembered; rules are pure, so a verdict never ages. Beyond it all are forgotten at once.
REMEMBERED = 4096


class DestinationFilter:
    """C{dst_port_filter}, then C{dst_host_filter_set}: a rule found to forbid ends it, else the strictest of the missed defaults holds."""

    __slots__ = ("_hosts", "_known", "_ports")

    def __init__(self, hosts: HostFilterSet[Action] | None, ports: PortFilter[Action] | None) -> None:
        self._hosts, self._ports = hosts, ports
        self._known: dict[Upstream, bool] = {}

    def forbids(self, upstream: Upstream) -> bool:
        """Whether the rules keep clients from C{upstream}. One dict look-up for an upstream seen before."""
        known = self._known.get(upstream)
        if known is None:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            known = self._known[upstream] = self._evaluate(upstream)
        return known

    def _evaluate(self, upstream: Upstream) -> bool:
        verdict = Action.PERMIT if upstream.host else Action.FORBID
        if self._ports is not None:
            found, action = self._ports.check(upstream.port)
            if found and action.forbids:
                return True
            verdict = verdict.restrict(action)
        if self._hosts is not None:
            found, action = self._hosts.check(upstream.host, upstream.ip)
            if found and action.forbids:
                return True
            verdict = verdict.restrict(action)
        return verdict.forbids
