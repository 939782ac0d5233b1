# SPDX-License-Identifier: Apache-2.0
"""Databases of networks, and what is answered from them."""

from __future__ import annotations

import gzip
import socket
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

from mmdb_writer import MMDBWriter
from netaddr import IPSet
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from g3.config.value import ValueProblem
from g3.errors import ConfigError
from g3.interfaces import ILocator
from g3.iploc.config import DatabasesValue
from g3.iploc.database import Facts, Locator, open_asn, open_country
from g3.iploc.frontend import Frontend
from g3.net.options import UDPListen
from g3.net.udp_listen import bind_udp
from g3.proto.iplocate import Location, decode_reply, encode_request
from tests.unit.config.samples import parse

COUNTRIES = """#network,country
192.0.2.0/24,DE

this line has no network
neither,this
192.0.2.128/25,fra
2001:db8::/32,JP
0.0.0.0/0,US
"""
NUMBERS = "192.0.2.0/24,64496\n192.0.0.0/8,1\n2001:db8::/32,4294967295\n".replace("192.0.0.0/8", "192.0.0.0/16")


class FileCase(SynchronousTestCase):
    def file(self, name: str, content: str | bytes) -> Path:
        folder = Path(self.mktemp())
        folder.mkdir(parents=True)
        path = folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def mmdb(self, records: dict[str, dict[str, Any]], version: int = 6) -> Path:
        writer = MMDBWriter(ip_version=version, ipv4_compatible=version == 6)
        for network, record in records.items():
            writer.insert_network(IPSet([network]), record)
        path = self.file("db.mmdb", b"")
        writer.to_db_file(str(path))
        return path


class CSVTests(FileCase):
    def test_the_smallest_network_is_found(self) -> None:
        """Comments, headers and lines without a network are passed over; codes have two or three letters in either case."""
        database = open_country(self.file("c.csv", COUNTRIES))
        for ip, country, continent, prefix in (
            ("192.0.2.1", "DE", "EU", 24),
            ("192.0.2.200", "FR", "EU", 25),
            ("198.51.100.1", "US", "NA", 0),
            ("2001:db8::1", "JP", "AS", 32),
        ):
            self.assertEqual(database.get(ip_address(ip)), (Facts(country=country, continent=continent), prefix))
        self.assertIs(database.get(ip_address("2001:db9::1")), None)
        self.assertEqual(len(database), 4)

    def test_numbers_of_autonomous_systems(self) -> None:
        database = open_asn(self.file("a.csv", NUMBERS))
        self.assertEqual(database.get(ip_address("192.0.2.1")), (Facts(as_number=64496), 24))
        self.assertEqual(database.get(ip_address("2001:db8::1")), (Facts(as_number=4294967295), 32))

    def test_a_compressed_file_is_the_same(self) -> None:
        database = open_country(self.file("c.csv.gz", gzip.compress(COUNTRIES.encode())))
        self.assertEqual(len(database), 4)

    def test_line_ends_of_windows_are_read(self) -> None:
        database = open_country(self.file("c.csv", COUNTRIES.replace("\n", "\r\n")))
        self.assertEqual(len(database), 4)

    def test_what_is_wrong_is_told_with_its_line(self) -> None:
        good = "192.0.2.0/24,DE\n"
        for line in ("x/24,DE", "192.0.2.0/33,DE", "192.0.2.0/x,DE", "192.0.2.1/24,DE", "192.0.2.0/24,XX", "2001:db8::/129,DE", "192.0.2.0/-1,DE"):
            path = self.file("c.csv", good + line)
            error = self.assertRaises(ConfigError, open_country, path)
            self.assertTrue(str(error).startswith(f"{path}:2: "), error)
        for line in ("192.0.2.0/24,x", "192.0.2.0/24,-1", "192.0.2.0/24,4294967296", "192.0.2.0/24,1,Name"):
            self.assertRaises(ConfigError, open_asn, self.file("a.csv", line))

    def test_what_is_no_text_or_not_there_is_refused(self) -> None:
        for name, content in (
            ("c.csv", b"1.1.1.0/24,\xff"),
            ("c.csv", b"x" * 5000),
            ("c.csv.gz", b"no gzip"),
            ("c.csv.gz", gzip.compress(b"x" * 99)[:-9]),
        ):
            self.assertRaises(ConfigError, open_country, self.file(name, content))
        self.assertRaises(ConfigError, open_country, Path("/nonexistent.csv"))


class MMDBTests(FileCase):
    def test_maxminds_own_records(self) -> None:
        path = self.mmdb(
            {"192.0.2.0/24": {"country": {"iso_code": "DE"}, "continent": {"code": "EU"}}, "2001:db8::/32": {"continent": {"code": "AS"}}}
        )
        database = open_country(path)
        self.assertEqual(database.get(ip_address("192.0.2.9")), (Facts(country="DE", continent="EU"), 24))
        self.assertEqual(database.get(ip_address("2001:db8::1")), (Facts(continent="AS"), 32))
        self.assertIs(database.get(ip_address("198.51.100.1")), None)
        path = self.mmdb({"192.0.2.0/24": {"autonomous_system_number": 64496, "autonomous_system_organization": "Example"}})
        self.assertEqual(open_asn(path).get(ip_address("192.0.2.9")), (Facts(as_number=64496, isp_name="Example"), 24))

    def test_ipinfos_records(self) -> None:
        """One file for both."""
        record = {"country": "Germany", "country_code": "DE", "continent_code": "EU", "asn": "AS64496", "as_name": "Ex", "as_domain": "example.com"}
        path = self.mmdb({"192.0.2.0/24": record})
        self.assertEqual(open_country(path).get(ip_address("192.0.2.9")), (Facts(country="DE", continent="EU"), 24))
        facts = Facts(as_number=64496, isp_name="Ex", isp_domain="example.com")
        self.assertEqual(open_asn(path).get(ip_address("192.0.2.9")), (facts, 24))

    def test_a_file_of_one_family_knows_nothing_of_the_other(self) -> None:
        database = open_country(self.mmdb({"192.0.2.0/24": {"country": {"iso_code": "DE"}}}, version=4))
        self.assertEqual(database.get(ip_address("192.0.2.9")), (Facts(country="DE", continent="EU"), 24))
        self.assertIs(database.get(ip_address("2001:db8::1")), None)

    def test_records_that_say_nothing_are_none(self) -> None:
        for record in ({}, {"country": {"iso_code": "ZZ"}}, {"country": 5}, {"continent": {"code": "XX"}}):
            database = open_country(self.mmdb({"192.0.2.0/24": {**record, "filler": 1}}))
            self.assertIs(database.get(ip_address("192.0.2.9")), None)
        self.assertIs(open_asn(self.mmdb({"192.0.2.0/24": {"asn": "x"}})).get(ip_address("192.0.2.9")), None)

    def test_what_is_no_database_is_refused(self) -> None:
        self.assertRaises(ConfigError, open_country, self.file("x.mmdb", b"garbage"))
        self.assertRaises(ConfigError, open_country, Path("/nonexistent.mmdb"))


class LocatorTests(FileCase):
    def test_both_databases_make_one_answer(self) -> None:
        """The network is the autonomous system's, even if the country's is smaller."""
        locator = Locator(open_country(self.file("c.csv", COUNTRIES)), open_asn(self.file("a.csv", NUMBERS)))
        verifyObject(ILocator, locator)
        network = ip_network("192.0.2.0/24")
        self.assertEqual(locator.locate(ip_address("192.0.2.200")), Location(network=network, country="FR", continent="EU", as_number=64496))
        self.assertEqual(locator.locate(ip_address("1.1.1.1")), Location(network=ip_network("0.0.0.0/0"), country="US", continent="NA"))

    def test_one_alone_is_enough(self) -> None:
        locator = Locator(None, open_asn(self.file("a.csv", NUMBERS)))
        self.assertEqual(locator.locate(ip_address("192.0.2.200")), Location(network=ip_network("192.0.2.0/24"), as_number=64496))
        self.assertIs(locator.locate(ip_address("1.1.1.1")), None)
        self.assertIs(Locator().locate(ip_address("1.1.1.1")), None)

    def test_a_mapped_address_is_an_ipv6_address(self) -> None:
        locator = Locator(open_country(self.file("c.csv", COUNTRIES)), None)
        self.assertIs(locator.locate(ip_address("::ffff:192.0.2.1")), None)


class ConfigTests(FileCase):
    def test_files_are_relative_to_the_configuration(self) -> None:
        path = self.file("c.csv", COUNTRIES)
        made = parse(DatabasesValue(), "country: c.csv", path.parent)
        self.assertEqual(made.locator.locate(ip_address("192.0.2.1")).country, "DE")

    def test_a_file_with_a_mistake_is_refused(self) -> None:
        path = self.file("c.csv", "192.0.2.0/24,XX")
        error = self.assertRaises(ValueProblem, parse, DatabasesValue(), "country: c.csv", path.parent)
        self.assertIn("c.csv:1: ", str(error))


class FrontendTests(TestCase):
    async def test_addresses_are_answered_and_counted(self) -> None:
        """What nobody knows is not answered, nor is what is no request."""
        from twisted.internet import reactor

        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "c.csv").write_text("192.0.2.0/24,DE\n")
        locator = Locator(open_country(folder / "c.csv"), None)
        frontend = Frontend(reactor, bind_udp(UDPListen(address=("127.0.0.1", 0))), locator)
        self.addCleanup(frontend.stop)
        frontend.start()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.setblocking(False)
            client.connect(frontend.address)
            for data in (encode_request(ip_address("192.0.2.1")), encode_request(ip_address("1.1.1.1")), b"\xc1"):
                client.send(data)
            await deferLater(reactor, 0.2, lambda: None)
            reply = decode_reply(client.recv(1024))
            self.assertEqual((str(reply.ip), reply.ttl), ("192.0.2.1", 300))
            self.assertRaises(BlockingIOError, client.recv, 1024)
        totals = {sample.name: sample.value for sample in frontend.stats.samples()}
        self.assertEqual(totals, {"frontend.request_total": 3, "frontend.request_invalid": 1, "frontend.response_total": 1})
