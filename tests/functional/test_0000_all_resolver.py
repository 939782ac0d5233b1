# SPDX-License-Identifier: Apache-2.0
"""Upstream's coverage case 0000_all_resolver: every resolver of a configuration answers a query from the control tool."""

from __future__ import annotations

from tests.functional.world import CaseTestCase


class AllResolverTests(CaseTestCase):
    """Each resolver that is built, asked for each host that the case's name server knows."""

    case = "0000_all_resolver"

    def query(self, resolver: str, *arguments: str) -> str:
        """What the control tool prints; it must succeed."""
        ran = self.world.daemon.ctl("resolver", resolver, "query", *arguments)
        self.assertEqual(ran.returncode, 0, ran.stdout + ran.stderr)
        return ran.stdout.strip()

    def check(self, resolver: str) -> None:
        for host in ("g3proxy.local", "httpbin.local"):
            self.assertEqual(self.query(resolver, host), "127.0.0.1")

    def test_fail_over(self) -> None:
        """Over two c_ares resolvers."""
        self.check("main")

    def test_c_ares_with_the_name_servers_of_the_machine(self) -> None:
        """No C{server}: those of /etc/resolv.conf."""
        self.check("cares1")

    def test_c_ares_with_a_server(self) -> None:
        """The one it is told."""
        self.check("cares2")

    def test_resolvers_not_built_are_left_out(self) -> None:
        """The list of resolvers is the derived configuration's."""
        ran = self.world.daemon.ctl("list", "resolver")
        self.assertEqual(sorted(ran.stdout.split()), sorted(node["name"] for node in self.world.derived.document["resolver"]))

    def test_z_the_daemon_ends_well(self) -> None:
        """As a user ends it."""
        self.end_case()
