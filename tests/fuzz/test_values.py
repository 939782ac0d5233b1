# SPDX-License-Identifier: Apache-2.0
"""Whatever a value is given, it is taken or refused with a place, never with a traceback; what is taken reads the same after a dump."""

from __future__ import annotations

import json
import math
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from twisted.trial.unittest import SynchronousTestCase

from g3.config.document import Node
from g3.config.log import LogSection
from g3.config.problems import Problems
from g3.config.runtime import ControllerValue, SchedAffinity
from g3.config.schema import Nested, config_class, key
from g3.config.stat import StatSection
from g3.config.value import ParseContext, Value
from g3.config.values import acl, http, limit, metrics, net, resolve, route, tcp, tls, udp
from g3.config.values.basic import U64, Bool, Float, Int, NodeName
from g3.config.values.duration import Duration
from g3.config.values.ratio import Ratio
from g3.config.values.size import Size
from g3.keyless.config import BackendValue, PreRegisterValue, RedisURLValue

MANY = settings(max_examples=250, deadline=None, database=None, suppress_health_check=list(HealthCheck))


@config_class
class Thing:
    """Something to be matched."""

    size: int = key(Int(), default=0)


VALUES: list[Value[Any]] = [
    *(kind() for kind in (net.IPValue, net.IPList, net.IPNet, net.HostValue, net.Domain, net.UpstreamAddr, net.WeightedUpstream)),
    *(kind() for kind in (net.WeightedSocketAddr, net.PickPolicyValue, net.Interface, net.Port, net.Ports, net.PortRangeValue)),
    *(kind() for kind in (net.SocketBufferValue, net.ProxyProtocolVersion, net.FactValue)),
    net.SocketAddr(default_port=53),
    *(kind() for kind in (tcp.KeepaliveValue, tcp.TCPConnectValue, tcp.HappyEyeballsValue, tcp.TCPMiscValue, tcp.Scale, tcp.TCPListenValue)),
    *(kind() for kind in (udp.UDPMiscValue, udp.UDPListenValue, udp.QUICTransportValue)),
    *(kind() for kind in (http.HTTPKeepaliveValue, http.UpstreamKeepaliveValue, http.ConnectionPoolValue, http.HTTPForwardCapabilityValue)),
    *(kind() for kind in (http.ForwardedHeaderValue, http.ServerID, http.HeaderName, http.HeaderValue, http.PathAndQuery)),
    *(kind() for kind in (limit.StreamSpeedValue, limit.DatagramSpeedValue, limit.GlobalStreamSpeedValue, limit.GlobalDatagramSpeedValue)),
    limit.RateQuotaValue(),
    *(kind() for kind in (resolve.ResolveStrategyValue, resolve.ResolveRedirectionValue)),
    *(kind() for kind in (metrics.MetricTags, metrics.Quantiles, metrics.HistogramValue, metrics.WeightedNodeName)),
    *(kind() for kind in (tls.CertificateList, tls.CertificatePairValue, tls.TLCPCertificatePairValue, tls.TLSVersionValue, tls.Ciphers)),
    *(kind() for kind in (tls.ClientTLSValue, tls.RustlsClientTLSValue, tls.ServerTLSValue, tls.RedisValue, tls.TicketerValue)),
    tls.DNSEncryptionValue(),
    *(kind() for kind in (acl.IngressFilter, acl.EgressFilter, acl.PortFilterValue, acl.ExactHostFilterValue, acl.ChildDomainFilterValue)),
    *(kind() for kind in (acl.RegexDomainFilterValue, acl.RegexSetFilterValue, acl.UserAgentFilterValue, acl.RequestFilterValue)),
    acl.HostFilterSetValue(),
    route.HostMatched(Nested(Thing)),
    route.AlpnMatched(NodeName(), "backend"),
    route.PathMatched(Nested(Thing)),
    *(kind() for kind in (Bool, Float, Duration, Size, Ratio, SchedAffinity, ControllerValue, LogSection, StatSection)),
    *(kind() for kind in (BackendValue, PreRegisterValue, RedisURLValue)),
    Int(high=U64),
]
#: A dump shows these by what they mean now, or only to people.
NOT_READ_BACK = (tcp.Scale,)
SCHEMAS = {id(value): Draft202012Validator(value.json_schema()) for value in VALUES}

WORD_LIST = """address addr interface weight start end recv send enable idle_time max_retry ttl mss no_delay backlog instance scale keepalive shift
upload download rate max_burst replenish_interval replenish_bytes replenish_packets query pick exact parent to certificate private_key cert_pairs
protocol ciphers tls_name source type allow deny default forbid-log child regex subnet exact_match child_match set_default prefix_match backend size
name ip net domain idle_expire shared quantile rotate enc_key dec_set min_tls_version insecure handshake_timeout"""
TEXT_LIST = """127.0.0.1 ::1 [::1]:80 127.0.0.1:80 10.0.0.0/8 ::/0 example.net *.example.net a..b xn-- xn--a bücher.example 80 1-9 1,2,5-9 30/s 10M
64KiB 1h true no classic ketama rr IPv4Only tls1.2 1.2 HttpConnect curl ^a (a+)+ ( ip:1.2.3.4 net:10.0.0.0/8 domain:x lo /etc/passwd /dev/zero
/nonexistent -----BEGIN $HOME @localhost:80 /a dot A:B redis GET é\u2488 \u0130 \u200d \ud7ff x\x01y 50% 1/2 0 1 -1 65536 1e400 .5 0x10 nan"""
WORDS, TEXTS = WORD_LIST.split(), TEXT_LIST.split()
SCALARS = st.one_of(
    st.sampled_from(TEXTS),
    st.none(),
    st.booleans(),
    st.integers(-(1 << 65), 1 << 65),
    st.integers(0, 300),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(["a" * 300, "1" * 400, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "-----BEGIN PRIVATE KEY-----"]),
)
KEYS = st.one_of(st.sampled_from(WORDS), st.sampled_from(WORDS), st.sampled_from(TEXTS), st.text(max_size=4))
DATA = st.recursive(SCALARS, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=5)), max_leaves=10)
ODD_KEYS = st.dictionaries(st.one_of(SCALARS, st.tuples(SCALARS)), SCALARS, max_size=3)


def node_of(data: Any) -> Node:
    """Data as a YAML node, whatever it is."""
    if isinstance(data, dict):
        return Node("map", [(node_of(name), node_of(content)) for name, content in data.items()], "t", 1, 1)
    if isinstance(data, (list, tuple)):
        return Node("seq", [node_of(element) for element in data], "t", 1, 1)
    return Node("scalar", data, "t", 1, 1, "" if data is None else str(data))


def attempt(value: Value[Any], node: Node) -> tuple[bool, Any, Problems]:
    problems = Problems()
    ok, made = value.attempt(node, ParseContext(problems, env={}))
    return ok, made, problems


class ValueTests(SynchronousTestCase):
    def judge(self, data: Any) -> None:
        for value in VALUES:
            ok, made, problems = attempt(value, node_of(data))
            self.assertEqual(ok, not problems.errors, (value, data))
            if ok:
                hash(made)
                repr(made)
                self.read_back(value, made)

    def read_back(self, value: Value[Any], made: Any) -> None:
        dumped = value.dump(made)
        plain = json.loads(json.dumps(dumped))
        if isinstance(value, NOT_READ_BACK):
            return
        ok, again, problems = attempt(value, node_of(plain))
        self.assertTrue(ok, (value, made, dumped, [str(problem) for problem in problems.errors]))
        self.assertEqual(again, made, (value, dumped))

    @given(DATA)
    @example({"0": []})
    @example("...")
    @MANY
    def test_every_value_takes_or_refuses(self, data: Any) -> None:
        """With a problem exactly when it refuses, and reads back what it dumps."""
        self.judge(data)

    @given(ODD_KEYS)
    @MANY
    def test_odd_keys_are_refused_like_any_other(self, data: Any) -> None:
        """Numbers, nulls and lists as keys."""
        self.judge(data)

    @given(DATA)
    @example("+1")
    @example("5\t")
    @example("80\t,443")
    @example("1\t/2")
    @example("STDOUT")
    @example({"exact-match": "a"})
    @example("async-job")
    @example("Redis://h")
    @example({"0": []})
    @example([5, {}])
    @MANY
    def test_the_schema_accepts_what_is_accepted(self, data: Any) -> None:
        """An editor complains of nothing that works."""
        plain = json.loads(json.dumps(data, default=str)) if _plain(data) else None
        for value in VALUES:
            if _plain(data) and attempt(value, node_of(plain))[0]:
                errors = [error.message for error in SCHEMAS[id(value)].iter_errors(plain)]
                self.assertEqual(errors, [], (value, plain))


def _plain(data: Any) -> bool:
    """Whether JSON can hold it."""
    if isinstance(data, dict):
        return all(_plain(content) for content in data.values())
    if isinstance(data, list):
        return all(_plain(content) for content in data)
    return not isinstance(data, float) or math.isfinite(data)
