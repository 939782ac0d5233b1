# SPDX-License-Identifier: Apache-2.0
"""Several kinds of rules on a destination host as one filter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic

from g3.acl.action import A

if TYPE_CHECKING:
    from g3.acl.host import ChildDomainFilter, ExactHostFilter
    from g3.acl.network import NetworkFilter
    from g3.acl.regex import RegexDomainFilter
    from g3.acl.rule import Filter
    from g3.task import IPAddress


class HostFilterSet(Generic[A]):
    """C{check(host, ip)}: exact, then child and regex for names, subnet for addresses; the first rule found decides.

    Where none is, the strictest of the members' missed actions holds, whichever of them was asked.
    """

    __slots__ = ("_check_child", "_check_exact", "_check_regex", "_check_subnet", "child", "exact", "miss", "missed", "regex", "subnet")

    def __init__(
        self,
        exact: ExactHostFilter[A] | None = None,
        child: ChildDomainFilter[A] | None = None,
        regex: RegexDomainFilter[A] | None = None,
        subnet: NetworkFilter[A] | None = None,
        *,
        missed: A,
    ) -> None:
        """C{missed} is what a set without members says; members can only make it stricter."""
        self.exact, self.child, self.regex, self.subnet = exact, child, regex, subnet
        for member in self._members():
            missed = missed.restrict(member.missed)
        self.missed = missed
        self.miss = (False, missed)
        self._check_exact = exact.check if exact is not None else None
        self._check_child = child.check if child is not None else None
        self._check_regex = regex.check if regex is not None else None
        self._check_subnet = subnet.check if subnet is not None else None

    def _members(self) -> list[Filter[A]]:
        return [member for member in (self.exact, self.child, self.regex, self.subnet) if member is not None]

    def check(self, host: str, ip: IPAddress | None) -> tuple[bool, A]:
        """(whether a rule was found, what holds). C{ip} is the address C{host} spells, None when it is a name."""
        if self._check_exact is not None and (answer := self._check_exact(host))[0]:
            return answer
        if ip is not None:
            if self._check_subnet is not None and (answer := self._check_subnet(ip))[0]:
                return answer
            return self.miss
        if self._check_child is not None and (answer := self._check_child(host))[0]:
            return answer
        if self._check_regex is not None and (answer := self._check_regex(host))[0]:
            return answer
        return self.miss

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HostFilterSet) and self._said() == other._said()

    def __hash__(self) -> int:
        return hash(self._said())

    def _said(self) -> tuple[object, ...]:
        return self.exact, self.child, self.regex, self.subnet, self.missed

    def __repr__(self) -> str:
        return f"HostFilterSet(exact={self.exact}, child={self.child}, regex={self.regex}, subnet={self.subnet}, missed={self.missed.name})"
