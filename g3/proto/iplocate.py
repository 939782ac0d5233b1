# SPDX-License-Identifier: Apache-2.0
"""The protocol of IP location: one MessagePack object in each datagram (upstream: protocol/helper/ip_locate). A request for what nobody knows gets
no reply; a reply without an address was not asked for and is kept by its network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from g3.proto.country import CONTINENTS, country_of
from g3.proto.packed import PackedError, Pairs, address, decode, encode, fields, network, number, text

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

#: The largest request that is read, and reply.
MAX_REQUEST: Final = 1024
MAX_REPLY: Final = 16384
#: Characters of the name or domain of a provider.
MAX_NAME: Final = 1024

IP, TTL, NETWORK, COUNTRY, CONTINENT, AS_NUMBER, ISP_NAME, ISP_DOMAIN = range(1, 9)
_NAMES: Final = {
    "ip": IP,
    "ttl": TTL,
    "network": NETWORK,
    "country": COUNTRY,
    "continent": CONTINENT,
    "as_number": AS_NUMBER,
    "isp_name": ISP_NAME,
    "isp_domain": ISP_DOMAIN,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """What is known of a network. C{country} is ISO 3166 alpha-2, C{continent} one of AF AN AS EU NA OC SA."""

    network: IPv4Network | IPv6Network
    country: str | None = None
    continent: str | None = None
    as_number: int | None = None
    isp_name: str | None = None
    isp_domain: str | None = None


class LocationReply(NamedTuple):
    """C{ip} is None when nobody asked, C{location} when there is no network in it, C{ttl} (seconds) when it was not said."""

    ip: IPv4Address | IPv6Address | None
    location: Location | None
    ttl: int | None


def encode_request(ip: IPv4Address | IPv6Address) -> bytes:
    """A request as g3proxy sends it: the bare address."""
    return encode(str(ip))


def decode_request(data: bytes) -> IPv4Address | IPv6Address:
    """The address asked for. Raises PackedError."""
    message = decode(data)
    if isinstance(message, Pairs):
        message = fields(message, {"ip": IP}, strict=True).get(IP)
    return address(message, "the ip")


def encode_reply(ip: IPv4Address | IPv6Address | None, location: Location, ttl: int | None) -> bytes:
    """A reply, its keys in upstream's order."""
    message: dict[int, Any] = {} if ip is None else {IP: str(ip)}
    message[NETWORK] = str(location.network)
    message[TTL] = ttl
    message[COUNTRY] = location.country
    message[CONTINENT] = location.continent
    message[AS_NUMBER] = location.as_number
    message[ISP_NAME] = location.isp_name
    message[ISP_DOMAIN] = location.isp_domain
    return encode({key: value for key, value in message.items() if value is not None})


def decode_reply(data: bytes) -> LocationReply:
    """A reply; keys that are not known are ignored. Raises PackedError."""
    message = decode(data)
    if not isinstance(message, Pairs):
        raise PackedError("a reply must be a map")
    found = fields(message, _NAMES, strict=False)
    ip = address(found[IP], "the ip") if IP in found else None
    ttl = number(found[TTL], "the ttl") if TTL in found else None
    return LocationReply(ip, _location(found), ttl)


def _location(found: dict[int, Any]) -> Location | None:
    country = continent = None
    if COUNTRY in found:
        known = country_of(text(found[COUNTRY], "the country"))
        if known is None:
            raise PackedError("unknown country")
        country = known.alpha2
    if CONTINENT in found:
        continent = text(found[CONTINENT], "the continent").upper()
        if continent not in CONTINENTS:
            raise PackedError("unknown continent")
    as_number = number(found[AS_NUMBER], "the as number") if AS_NUMBER in found else None
    names = [_name(found[key]) if key in found else None for key in (ISP_NAME, ISP_DOMAIN)]
    if NETWORK not in found:
        return None
    return Location(
        network=network(found[NETWORK], "the network"),
        country=country,
        continent=continent,
        as_number=as_number,
        isp_name=names[0],
        isp_domain=names[1],
    )


def _name(value: Any) -> str:
    name = text(value, "the provider")
    if len(name) > MAX_NAME:
        raise PackedError("the provider's name is too long")
    return name
