# SPDX-License-Identifier: Apache-2.0
"""Databases of networks: CSV as upstream reads it (plain or gzipped), and MaxMind's mmdb format directly."""

from __future__ import annotations

import gzip
import zlib
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import maxminddb
from zope.interface import implementer

from g3.errors import ConfigError
from g3.interfaces import ILocator
from g3.lookup.networks import NetworkMap
from g3.proto.country import CONTINENTS, country_of
from g3.proto.iplocate import MAX_NAME, Location

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from ipaddress import IPv4Address, IPv6Address
    from pathlib import Path

    Address = IPv4Address | IPv6Address

#: Networks of one CSV file, and bytes of one of its lines.
MOST_NETWORKS: Final = 1 << 24
LONGEST_LINE: Final = 4096
_U32: Final = (1 << 32) - 1


class Facts(NamedTuple):
    """What one database knows of a network."""

    country: str | None = None
    continent: str | None = None
    as_number: int | None = None
    isp_name: str | None = None
    isp_domain: str | None = None


class Database(Protocol):
    """One file."""

    def get(self, ip: Address) -> tuple[Facts, int] | None:
        """(facts, prefix length) of the smallest network around C{ip}, or None."""

    def __len__(self) -> int:
        """How many networks (CSV) or tree nodes (mmdb) there are."""


def open_country(path: Path) -> Database:
    """A database of countries. Raises ConfigError, for CSV with the number of the line."""
    return _MaxMind(path, _country_facts) if _is_mmdb(path) else _read_csv(path, _csv_country)


def open_asn(path: Path) -> Database:
    """A database of autonomous systems. Raises ConfigError, for CSV with the number of the line."""
    return _MaxMind(path, _asn_facts) if _is_mmdb(path) else _read_csv(path, _csv_asn)


def _is_mmdb(path: Path) -> bool:
    return path.suffix.lower() == ".mmdb"


# CSV


def _read_csv(path: Path, facts_of: Callable[[str], Facts]) -> NetworkMap[Facts]:
    """C{network/prefix,value} in each line; other lines are comments or headers."""
    table: NetworkMap[Facts] = NetworkMap()
    known: dict[str, Facts] = {}
    count = 0
    for number, line in _lines(path):
        address, comma, value = line.partition(",")
        host, slash, prefix = address.partition("/")
        if not comma or not slash or line[0] == "#":
            continue
        count += 1
        if count > MOST_NETWORKS:
            raise ConfigError(f"{path}:{number}: more than {MOST_NETWORKS} networks")
        try:
            facts = known.get(value)
            if facts is None:
                facts = known[value] = facts_of(value)
            _put(table, host, prefix, facts)
        except ValueError as error:
            raise ConfigError(f"{path}:{number}: {error}") from None
    return table


def _put(table: NetworkMap[Facts], host: str, prefix: str, facts: Facts) -> None:
    ip = ip_address(host)
    bits = ip.max_prefixlen
    if not (prefix.isascii() and prefix.isdecimal() and len(prefix) <= 3 and int(prefix) <= bits):
        raise ValueError(f"{prefix!a:.60} is no prefix length from 0 to {bits}")
    length = int(prefix)
    number = int(ip)
    if number & ((1 << bits - length) - 1):
        raise ValueError(f"{host}/{length} has bits set beyond its prefix")
    table.set(ip.version, number, length, facts)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """(number, text) of each line that is not empty."""
    try:
        with gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb") as stream:
            number = 0
            while line := stream.readline(LONGEST_LINE + 1):
                number += 1
                if len(line) > LONGEST_LINE:
                    raise ConfigError(f"{path}:{number}: longer than {LONGEST_LINE} bytes")
                text = line.rstrip(b"\r\n")
                if text:
                    yield number, text.decode("utf-8")
    except (OSError, EOFError, zlib.error) as error:
        raise ConfigError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}:{number}: is no UTF-8") from None


def _csv_country(value: str) -> Facts:
    country = country_of(value)
    if country is None:
        raise ValueError(f"{value!a:.60} is no country code")
    return Facts(country=country.alpha2, continent=country.continent)


def _csv_asn(value: str) -> Facts:
    if not (value.isascii() and value.isdecimal() and len(value) <= 10 and int(value) <= _U32):
        raise ValueError(f"{value!a:.60} is no number of an autonomous system")
    return Facts(as_number=int(value))


# mmdb


class _MaxMind:
    """A MaxMind DB file. @raise ConfigError: it is none."""

    def __init__(self, path: Path, facts_of: Callable[[dict[str, Any]], Facts | None]) -> None:
        self._facts_of = facts_of
        try:
            self._reader = maxminddb.open_database(path)
            self._size = self._reader.metadata().node_count
        except (OSError, ValueError, maxminddb.InvalidDatabaseError) as error:
            raise ConfigError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None

    def __len__(self) -> int:
        return self._size

    def get(self, ip: Address) -> tuple[Facts, int] | None:
        """Database."""
        try:
            record, prefix = self._reader.get_with_prefix_len(ip)
        except (ValueError, maxminddb.InvalidDatabaseError):
            # An IPv6 address in a file of IPv4 networks, or a file that broke.
            return None
        facts = self._facts_of(record) if isinstance(record, dict) else None
        return None if facts is None else (facts, min(prefix, ip.max_prefixlen))


def _text(record: Any, *names: str) -> str | None:
    """What is at a path of names, if it is text."""
    for name in names:
        record = record.get(name) if isinstance(record, dict) else None
    return record[:MAX_NAME] if isinstance(record, str) and record else None


def _country_facts(record: dict[str, Any]) -> Facts | None:
    """Of a record of MaxMind's Country or City, or of IPinfo's."""
    code = _text(record, "country", "iso_code") or _text(record, "registered_country", "iso_code") or _text(record, "country_code")
    country = country_of(code or _text(record, "country") or "")
    continent = _text(record, "continent", "code") or _text(record, "continent_code") or _text(record, "continent")
    if continent not in CONTINENTS:
        continent = None
    if country is None and continent is None:
        return None
    if country is None:
        return Facts(continent=continent)
    return Facts(country=country.alpha2, continent=continent or country.continent)


def _asn_facts(record: dict[str, Any]) -> Facts | None:
    """Of a record of MaxMind's ASN, or of IPinfo's."""
    number = record.get("autonomous_system_number")
    if number is None:
        word = (_text(record, "asn") or "").upper().removeprefix("AS")
        number = int(word) if word.isascii() and word.isdecimal() and len(word) <= 10 else None
    if not isinstance(number, int) or not 0 <= number <= _U32:
        return None
    name = _text(record, "autonomous_system_organization") or _text(record, "as_name")
    return Facts(as_number=number, isp_name=name, isp_domain=_text(record, "as_domain"))


# Both together


@implementer(ILocator)
class Locator:
    """Answers from a database of countries, one of autonomous systems, or both; the network told is that of the latter if it knows one."""

    __slots__ = ("_asn", "_country")

    def __init__(self, country: Database | None = None, asn: Database | None = None) -> None:
        self._country, self._asn = country, asn

    def locate(self, ip: Address) -> Location | None:
        """ILocator; at once."""
        country = self._country.get(ip) if self._country is not None else None
        asn = self._asn.get(ip) if self._asn is not None else None
        found = asn or country
        if found is None:
            return None
        where = country[0] if country is not None else found[0]
        network = _network(ip, found[1])
        if asn is None:
            return Location(network=network, country=where.country, continent=where.continent)
        facts = asn[0]
        return Location(
            network=network,
            country=where.country if country is not None else None,
            continent=where.continent if country is not None else None,
            as_number=facts.as_number,
            isp_name=facts.isp_name,
            isp_domain=facts.isp_domain,
        )

    def stop(self) -> None:
        """ILocator."""


def _network(ip: Address, prefix: int) -> Any:
    """The network of a prefix length around an address."""
    from ipaddress import IPv4Network, IPv6Network

    shift = ip.max_prefixlen - prefix
    number = int(ip) >> shift << shift
    return IPv4Network((number, prefix)) if ip.version == 4 else IPv6Network((number, prefix))
