# SPDX-License-Identifier: Apache-2.0
"""The location service's datagrams; u-msgpack-python is the second reader."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

import umsgpack  # type: ignore[import-untyped]
from twisted.trial.unittest import SynchronousTestCase

from g3.proto.country import CONTINENTS, country_of
from g3.proto.iplocate import Location, LocationReply, decode_reply, decode_request, encode_reply, encode_request
from g3.proto.packed import PackedError

IP = ip_address("192.0.2.7")
NET = ip_network("192.0.2.0/24")


def pack(value: Any) -> bytes:
    data: bytes = umsgpack.packb(value)
    return data


class RequestTests(SynchronousTestCase):
    def test_a_bare_address_is_what_g3proxy_sends(self) -> None:
        self.assertEqual(encode_request(IP), pack("192.0.2.7"))
        self.assertEqual(encode_request(ip_address("2001:DB8::1")), pack("2001:db8::1"))

    def test_an_address_or_a_map_of_one_is_read(self) -> None:
        for value in ("192.0.2.7", {1: "192.0.2.7"}, {"ip": "192.0.2.7"}, {"IP": "192.0.2.7"}):
            self.assertEqual(decode_request(pack(value)), IP)

    def test_what_is_no_address_is_refused(self) -> None:
        for value in ("", "example.com", "192.0.2.7/24", b"192.0.2.7", 5, None, {}, {2: "192.0.2.7"}, {"ip": 1}, "fe80::1%eth0", ["192.0.2.7"]):
            self.assertRaises(PackedError, decode_request, pack(value))


class ReplyTests(SynchronousTestCase):
    full = Location(network=NET, country="DE", continent="EU", as_number=64496, isp_name="Example", isp_domain="example.com")

    def test_its_keys_are_in_upstreams_order(self) -> None:
        data = umsgpack.unpackb(encode_reply(IP, self.full, 300), use_ordered_dict=True)
        wanted = [(1, "192.0.2.7"), (3, "192.0.2.0/24"), (2, 300), (4, "DE"), (5, "EU"), (6, 64496), (7, "Example"), (8, "example.com")]
        self.assertEqual(list(data.items()), wanted)

    def test_what_is_not_known_is_left_out(self) -> None:
        self.assertEqual(umsgpack.unpackb(encode_reply(IP, Location(network=NET), 300)), {1: "192.0.2.7", 3: "192.0.2.0/24", 2: 300})

    def test_it_is_read_back(self) -> None:
        for ip in (IP, None):
            self.assertEqual(decode_reply(encode_reply(ip, self.full, 300)), LocationReply(ip, self.full, 300))

    def test_names_long_codes_and_single_addresses_are_read(self) -> None:
        """What other implementations may send."""
        reply = decode_reply(pack({"network": "192.0.2.7", "country": "deu", "continent": "eu", "as-number": "7", "else": [1]}))
        location = Location(network=ip_network("192.0.2.7/32"), country="DE", continent="EU", as_number=7)
        self.assertEqual(reply, LocationReply(None, location, None))

    def test_without_a_network_there_is_no_location(self) -> None:
        self.assertEqual(decode_reply(pack({1: "192.0.2.7", 4: "DE"})), LocationReply(IP, None, None))

    def test_what_is_wrong_is_refused(self) -> None:
        for wrong in ({4: "XX"}, {5: "XX"}, {6: -1}, {6: 1 << 32}, {3: "192.0.2.1/24"}, {3: 5}, {2: "x"}, {1: "x"}, {7: "x" * 2000}, {None: 1}):
            self.assertRaises(PackedError, decode_reply, pack({3: "192.0.2.0/24", **wrong}))
        self.assertRaises(PackedError, decode_reply, pack("192.0.2.7"))


class CountryTests(SynchronousTestCase):
    def test_both_codes_name_the_same_country(self) -> None:
        for short, long, continent in (("CN", "CHN", "AS"), ("US", "USA", "NA"), ("BR", "BRA", "SA"), ("AQ", "ATA", "AN"), ("AU", "AUS", "OC")):
            found = country_of(short)
            self.assertEqual(found, country_of(long.lower()))
            self.assertEqual(found and found.continent, continent)

    def test_there_are_as_many_as_upstream_has(self) -> None:
        codes = [a + b for a in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" for b in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"]
        found = [country for code in codes if (country := country_of(code))]
        self.assertEqual(len(found), 252)
        self.assertEqual({country.continent for country in found}, CONTINENTS)

    def test_what_is_no_code_names_none(self) -> None:
        for code in ("", "X", "XX", "XXX", "GERMANY", "ÄÖ"):
            self.assertIs(country_of(code), None)
