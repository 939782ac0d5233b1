# SPDX-License-Identifier: Apache-2.0
"""The datagrams of the helpers: whatever arrives is a message or a PackedError, and what we write others read."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import umsgpack  # type: ignore[import-untyped]
from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from g3.proto import certgen, der, iplocate
from g3.proto.packed import PackedError

MANY = settings(max_examples=1000, deadline=None, database=None)

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(1 << 63), (1 << 64) - 1),
    st.floats(),
    st.text(max_size=20),
    st.binary(max_size=20),
    st.sampled_from(["host", "ip", "cert", "key", "192.0.2.1", "2001:db8::/32", "http", "tls_server", "DE", "EU"]),
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(SCALARS, inner, max_size=6), max_leaves=20)
FIELDS = st.dictionaries(st.integers(-1, 10) | SCALARS, VALUES, max_size=9)
DECODERS = (certgen.decode_request, certgen.decode_reply, iplocate.decode_request, iplocate.decode_reply)


def pack(value: Any) -> bytes:
    data: bytes = umsgpack.packb(value)
    return data


class DecoderTests(SynchronousTestCase):
    def check(self, data: bytes) -> None:
        for decode in DECODERS:
            try:
                decode(data)  # type: ignore[operator]
            except PackedError as error:
                self.assertLess(len(str(error)), 300)

    @MANY
    @given(st.binary(max_size=300))
    @example(b"\xdf\xff\xff\xff\xff")
    @example(b"\xc9\xff\xff\xff\xff\xff")
    @example(b"\x81" * 3000)
    @example(b"\x91" * 3000)
    @example(b"\xd6\xff\x00\x00\x00\x00")
    @example(b"\x81\xc0\xc0")
    def test_any_bytes_are_a_message_or_refused(self, data: bytes) -> None:
        self.check(data)

    @MANY
    @given(FIELDS | VALUES, st.binary(max_size=3))
    def test_any_object_is_a_message_or_refused(self, value: Any, tail: bytes) -> None:
        self.check(pack(value) + tail)

    @MANY
    @given(FIELDS, st.data())
    def test_a_message_that_is_cut_or_changed_is_a_message_or_refused(self, value: Any, data: st.DataObject) -> None:
        packed = bytearray(pack(value))
        at = data.draw(st.integers(0, len(packed) - 1))
        packed[at] = data.draw(st.integers(0, 255))
        self.check(bytes(packed))
        self.check(bytes(packed[:at]))


class RoundTests(SynchronousTestCase):
    @MANY
    @given(
        st.sampled_from(certgen.Service),
        st.sampled_from(certgen.Usage),
        st.text(min_size=1, max_size=255),
        st.none() | st.binary(max_size=100) | st.text(max_size=100),
    )
    def test_requests_for_certificates(self, service: certgen.Service, usage: certgen.Usage, host: str, mimic: str | bytes | None) -> None:
        request = certgen.CertificateRequest(certgen.CertificateKey(service, usage, host), mimic)
        data = certgen.encode_request(request)
        self.assertEqual(certgen.decode_request(data), request)
        self.assertEqual(umsgpack.unpackb(data), {1: host, 2: int(service), 4: int(usage), **({} if mimic is None else {3: mimic})})

    @MANY
    @given(st.ip_addresses(), st.integers(0, 128), st.none() | st.integers(0, (1 << 32) - 1), st.none() | st.text(min_size=1, max_size=50))
    def test_locations(self, ip: Any, prefix: int, number: int | None, name: str | None) -> None:
        network = ip_network(f"{ip}/{min(prefix, ip.max_prefixlen)}", strict=False)
        location = iplocate.Location(network=network, country="JP", as_number=number, isp_name=name)
        data = iplocate.encode_reply(ip, location, 300)
        self.assertEqual(iplocate.decode_reply(data), iplocate.LocationReply(ip, location, 300))


class DERTests(SynchronousTestCase):
    @MANY
    @given(st.binary(max_size=200))
    def test_any_bytes_are_der_or_refused(self, data: bytes) -> None:
        try:
            parts = list(der.read(data))
        except der.DERError:
            return
        self.assertEqual(b"".join(part.whole for part in parts), data)
