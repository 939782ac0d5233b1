# SPDX-License-Identifier: Apache-2.0
"""Access rules: frozen filters made from the configuration and asked on the way of every request."""

from __future__ import annotations

from g3.acl.action import Action, Ordered
from g3.acl.host import ChildDomainFilter, ExactHostFilter
from g3.acl.network import NetworkFilter, egress_filter, ingress_filter
from g3.acl.port import PortFilter, RequestFilter
from g3.acl.regex import RegexDomainFilter, RegexSetFilter
from g3.acl.ruleset import HostFilterSet
from g3.acl.useragent import UserAgentFilter

__all__ = [
    "Action",
    "ChildDomainFilter",
    "ExactHostFilter",
    "HostFilterSet",
    "NetworkFilter",
    "Ordered",
    "PortFilter",
    "RegexDomainFilter",
    "RegexSetFilter",
    "RequestFilter",
    "UserAgentFilter",
    "egress_filter",
    "ingress_filter",
]
