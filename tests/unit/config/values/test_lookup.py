# SPDX-License-Identifier: Apache-2.0
"""How helpers are asked, as it is written."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from g3.config.value import Reported, ValueProblem
from g3.config.values.lookup import CertAgentValue, IPLocateValue
from g3.lookup.options import CertAgentOptions, IPLocateOptions
from g3.net.options import SocketBuffer
from tests.unit.config.samples import parse


class LookupValueTests(SynchronousTestCase):
    def test_an_empty_map_is_all_defaults(self) -> None:
        self.assertEqual(parse(CertAgentValue(), "{}"), CertAgentOptions())
        self.assertEqual(parse(IPLocateValue(), "{}"), IPLocateOptions())
        self.assertEqual(CertAgentOptions().query_peer_addr, ("127.0.0.1", 2999))
        self.assertEqual(IPLocateOptions().query_peer_addr, ("127.0.0.1", 2888))

    def test_an_address_alone_is_enough(self) -> None:
        self.assertEqual(parse(CertAgentValue(), "192.0.2.1:5353"), CertAgentOptions(query_peer_addr=("192.0.2.1", 5353)))
        made = parse(IPLocateValue(), "$LOCATOR", env={"LOCATOR": "[::1]:9"})
        self.assertEqual(made, IPLocateOptions(query_peer_addr=("::1", 9)))

    def test_every_key_of_upstream_is_read(self) -> None:
        text = """
            cache-request-batch-count: 20
            cache_request_timeout: 15s
            vanish_after_expire: 10m
            query_peer_addr: 127.0.0.1:5353
            query_socket_buffer: {recv: 64KB, send: 32KB}
            query_wait_timeout: 5s
            protective_cache_ttl: 30
            maximum_cache_ttl: 3600
        """
        wanted = CertAgentOptions(
            cache_request_batch_count=20,
            cache_request_timeout=15.0,
            cache_vanish_wait=600.0,
            query_peer_addr=("127.0.0.1", 5353),
            query_socket_buffer=SocketBuffer(recv=64000, send=32000),
            query_wait_timeout=5.0,
            protective_cache_ttl=30,
            maximum_cache_ttl=3600,
        )
        self.assertEqual(parse(CertAgentValue(), text), wanted)
        made = parse(IPLocateValue(), "{default_expire_ttl: 30, maximum_expire_ttl: 600, query_wait_timeout: 2s, cache_request_timeout: 5s}")
        options = IPLocateOptions(default_expire_ttl=30, maximum_expire_ttl=600, query_wait_timeout=2.0, cache_request_timeout=5.0)
        self.assertEqual(made, options)

    def test_what_is_written_back_reads_the_same(self) -> None:
        for value, options in ((CertAgentValue(), CertAgentOptions()), (IPLocateValue(), IPLocateOptions(maximum_expire_ttl=1))):
            dumped = value.dump(options)
            self.assertEqual(parse(value, str(dumped).replace("'", '"')), options)

    def test_what_is_wrong_is_refused(self) -> None:
        for text in ("true", "[]", "null", "5", "no-address", "1.2.3.4"):
            self.assertRaises(ValueProblem, parse, CertAgentValue(), text)
        for text in ("{x: 1}", "{protective_cache_ttl: -5}", "{query_peer_addr: '12345'}", "{query_socket_buffer: no}", "{cache_request_timeout: x}"):
            self.assertRaises(Reported, parse, CertAgentValue(), text)
