# SPDX-License-Identifier: Apache-2.0
"""The keys of an http_rproxy."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from g3.config.document import read_text
from g3.config.problems import Problems
from g3.config.schema import parse_map
from g3.config.value import ParseContext
from g3.net.options import ForwardedHeader
from g3.servers.http_rproxy.config import HTTPRProxyConfig


def parse(text: str) -> tuple[HTTPRProxyConfig | None, list[str], list[str]]:
    """The configuration, errors and warnings."""
    problems = Problems()
    node = read_text(f"{{name: s, type: http_rproxy, escaper: e, {text}}}", "test.yaml", problems)[0]
    config = parse_map(HTTPRProxyConfig, node, ParseContext(problems))
    return config, [str(problem) for problem in problems.errors], [str(problem) for problem in problems.warnings]


class KeyTests(SynchronousTestCase):
    def test_hosts_lead_to_upstreams(self) -> None:
        """Port 80 where none is given; sites is the same key."""
        config, errors, _ = parse("sites: [{exact_match: [a.test, b.test], upstream: '192.0.2.1'}, {child-match: c.test, upstream: 'x.test:81'}]")
        self.assertEqual(errors, [])
        assert config is not None
        for name, upstream in (("b.test", "192.0.2.1:80"), ("d.c.test", "x.test:81")):
            host = config.hosts.get(name)
            assert host is not None
            self.assertEqual(str(host.upstream), upstream)
        self.assertIs(config.hosts.get("d.test"), None)
        self.assertEqual((config.auth_realm, config.append_forwarded_for), ("g3proxy", ForwardedHeader.CLASSIC))

    def test_one_map_is_the_default(self) -> None:
        config, errors, _ = parse("hosts: {upstream: x.test}")
        self.assertEqual(errors, [])
        assert config is not None and config.hosts.default is not None

    def test_what_is_missing_or_too_much(self) -> None:
        """A level that upstream's documentation has and upstream does not read is an unknown key here too."""
        for text in ("", "hosts: [{exact_match: a.test}]", "hosts: {upstream: x.test, services: {}}", "hosts: {upstream: x.test}, tls_server: {}"):
            self.assertEqual(len(parse(text)[1]), 1, text)
        self.assertEqual(len(parse("hosts: {upstream: x.test}, enable_tls_server: true")[1]), 1)

    def test_what_does_nothing_is_warned_of(self) -> None:
        for text in ("hosts: {upstream: x.test, tls_name: y.test}", "hosts: {upstream: x.test}, server_id: edge 1"):
            _, errors, warnings = parse(text)
            self.assertEqual((len(errors), len(warnings)), (0, 1), text)
