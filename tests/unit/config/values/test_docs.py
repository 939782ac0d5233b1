# SPDX-License-Identifier: Apache-2.0
"""The reference of values tells the truth: every example in it is taken."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from g3.config.document import read_text
from g3.config.problems import Problems
from g3.config.schema import Nested, config_class, key
from g3.config.value import ParseContext, Value
from g3.config.values import acl, duration, http, limit, metrics, net, ratio, regex, resolve, route, size, tcp, tls, udp
from g3.config.values.basic import Bool, Int
from tests.unit.config.samples import told

PAGE = Path(__file__).parents[4] / "docs" / "reference" / "values.rst"


@config_class
class Sized:
    """The value of the example of a match."""

    size: int = key(Int())


KINDS: dict[str, Value[Any]] = {
    "Bool": Bool(),
    "Duration": duration.Duration(),
    "Size": size.Size(),
    "Ratio": ratio.Ratio(),
    "Regular expression": regex.Regex(),
    "IP address": net.IPValue(),
    "IP network": net.IPNet(),
    "Socket address": net.SocketAddr(indirect=True),
    "Host": net.HostValue(),
    "Domain": net.Domain(),
    "Upstream address": net.UpstreamAddr(),
    "Weighted upstream address": net.WeightedUpstream(),
    "Pick policy": net.PickPolicyValue(),
    "Ports": net.Ports(),
    "Port range": net.PortRangeValue(),
    "Network interface": net.Interface(),
    "Socket buffer": net.SocketBufferValue(),
    "TCP listen": tcp.TCPListenValue(),
    "UDP listen": udp.UDPListenValue(),
    "TCP connect": tcp.TCPConnectValue(),
    "Happy eyeballs": tcp.HappyEyeballsValue(),
    "TCP keepalive": tcp.KeepaliveValue(),
    "TCP socket options": tcp.TCPMiscValue(),
    "UDP socket options": udp.UDPMiscValue(),
    "PROXY protocol version": net.ProxyProtocolVersion(),
    "HTTP keepalive": http.HTTPKeepaliveValue(),
    "Upstream HTTP keepalive": http.UpstreamKeepaliveValue(),
    "Connection pool": http.ConnectionPoolValue(),
    "Forwarded header type": http.ForwardedHeaderValue(),
    "HTTP server id": http.ServerID(),
    "TCP socket speed limit": limit.StreamSpeedValue(),
    "UDP socket speed limit": limit.DatagramSpeedValue(),
    "Global stream speed limit": limit.GlobalStreamSpeedValue(),
    "Global datagram speed limit": limit.GlobalDatagramSpeedValue(),
    "Rate limit": limit.RateQuotaValue(),
    "Network filter": acl.EgressFilter(),
    "Port filter": acl.PortFilterValue(),
    "Exact host filter": acl.ExactHostFilterValue(),
    "Child domain filter": acl.ChildDomainFilterValue(),
    "Regex domain filter": acl.RegexDomainFilterValue(),
    "Destination host filter set": acl.HostFilterSetValue(),
    "User agent filter": acl.UserAgentFilterValue(),
    "Proxy request filter": acl.RequestFilterValue(),
    "Resolve strategy": resolve.ResolveStrategyValue(),
    "Resolve redirection": resolve.ResolveRedirectionValue(),
    "DNS encryption": tls.DNSEncryptionValue(),
    "Host matched value": route.HostMatched(Nested(Sized)),
    "Fact": net.FactValue(),
    "TLS client": tls.ClientTLSValue(),
    "TLS server": tls.ServerTLSValue(),
    "TLS ticketer": tls.TicketerValue(),
    "Redis": tls.RedisValue(),
    "QUIC transport": udp.QUICTransportValue(),
    "Metric tags": metrics.MetricTags(),
    "Quantiles": metrics.Quantiles(),
    "Histogram": metrics.HistogramValue(),
}


class ReferenceTests(SynchronousTestCase):
    def test_every_example_is_taken(self) -> None:
        """Without a problem or a warning, and every kind has an entry."""
        pieces = re.split(r"(?m)^(.+)\n~+\n", PAGE.read_text(encoding="utf-8"))
        entries = dict(zip(pieces[1::2], pieces[2::2], strict=True))
        self.assertEqual(set(entries), set(KINDS))
        for title, body in entries.items():
            for example in [line.strip() for block in re.findall(r"::\n\n((?: {4}.+\n?)+)", body) for line in block.splitlines()]:
                problems = Problems()
                KINDS[title].attempt(read_text(example, "example", problems)[0], ParseContext(problems, env={}))
                self.assertEqual(told(problems), [], (title, example))
