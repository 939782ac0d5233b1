# SPDX-License-Identifier: Apache-2.0
"""Tests of g3.servers.destination."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from g3.acl import Action, ExactHostFilter, HostFilterSet, PortFilter
from g3.servers import destination
from g3.servers.destination import DestinationFilter
from g3.task import Upstream


class DestinationFilterTests(SynchronousTestCase):
    """Port rules, then host rules; a rule that forbids ends it, else the strictest missed default holds."""

    def test_without_rules_everything_with_a_host_may_be_asked_for(self) -> None:
        rules = DestinationFilter(None, None)
        self.assertFalse(rules.forbids(Upstream("example.net", 80)))
        self.assertTrue(rules.forbids(Upstream("", 80)))

    def test_the_strictest_missed_default_holds(self) -> None:
        hosts = HostFilterSet(ExactHostFilter([("a.test", Action.PERMIT)], Action.FORBID), missed=Action.PERMIT)
        rules = DestinationFilter(hosts, None)
        self.assertFalse(rules.forbids(Upstream("a.test", 80)))
        self.assertTrue(rules.forbids(Upstream("b.test", 80)))

    def test_a_port_rule_that_forbids_ends_it(self) -> None:
        ports = PortFilter([(25, Action.FORBID)], Action.PERMIT)
        hosts = HostFilterSet(ExactHostFilter([("a.test", Action.PERMIT)], Action.PERMIT), missed=Action.PERMIT)
        rules = DestinationFilter(hosts, ports)
        self.assertTrue(rules.forbids(Upstream("a.test", 25)))
        self.assertFalse(rules.forbids(Upstream("a.test", 26)))

    def test_verdicts_remembered_are_bounded(self) -> None:
        rules = DestinationFilter(None, None)
        for port in range(1, destination.REMEMBERED + 10):
            rules.forbids(Upstream("example.net", port))
        self.assertLessEqual(len(rules._known), destination.REMEMBERED)
