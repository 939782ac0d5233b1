# SPDX-License-Identifier: Apache-2.0
"""Every type word that upstream knows, by kind, with its aliases: what is not built here yet is told apart from what is mistyped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from g3.config.schema import normalize

if TYPE_CHECKING:
    from collections.abc import Mapping

#: What a node is when it says no C{type}; the other kinds must say one. Auditors have no types upstream.
DEFAULT_TYPES = {"user_group": "basic", "auditor": "auditor"}

#: kind -> type word -> aliases. A word is also known without its underscores.
UPSTREAM_TYPES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "resolver": {
        "c_ares": (),
        "hickory": ("hickory_dns", "trust_dns"),
        "deny_all": (),
        "fail_over": (),
    },
    "escaper": {
        "comply_audit": (),
        "direct_fixed": (),
        "direct_float": ("direct_dynamic",),
        "divert_tcp": (),
        "dummy_deny": (),
        "proxy_float": ("proxy_dynamic",),
        "proxy_http": (),
        "proxy_https": (),
        "proxy_socks5": (),
        "proxy_socks5s": (),
        "route_client": (),
        "route_failover": (),
        "route_geoip": ("route_geo_ip",),
        "route_mapping": (),
        "route_query": (),
        "route_resolved": ("route_dst_ip", "route_dstip"),
        "route_select": (),
        "route_upstream": (),
        "trick_float": (),
    },
    "user_group": {"basic": (), "facts": (), "ldap": ()},
    "auditor": {"auditor": ()},
    "server": {
        "dummy_close": (),
        "http_proxy": (),
        "http_rproxy": ("http_reverse_proxy", "http_gateway"),
        "intelli_proxy": ("ppdp_tcp_port", "ppdp_tcp"),
        "native_tls_port": ("native_tls",),
        "plain_quic_port": ("plain_quic",),
        "plain_tcp_port": ("plain_tcp",),
        "plain_tls_port": ("plain_tls",),
        "sni_proxy": (),
        "socks_proxy": (),
        "tcp_stream": (),
        "tcp_tproxy": (),
        "tls_stream": (),
    },
}

_BY_WORD = {
    (kind, spelling): word
    for kind, types in UPSTREAM_TYPES.items()
    for word, aliases in types.items()
    for known in (word, *aliases)
    for spelling in (known, known.replace("_", ""))
}


def canonical_type(kind: str, word: str) -> str | None:
    """The upstream type that a word stands for, in any spelling; None when upstream has no such type."""
    return _BY_WORD.get((kind, normalize(word)))


def upstream_words(kind: str) -> list[str]:
    """The types of a kind and their aliases."""
    return [known for word, aliases in UPSTREAM_TYPES.get(kind, {}).items() for known in (word, *aliases)]


def not_available(kind: str, word: str) -> str:
    """What to say about a type that upstream has and nobody offers here."""
    if kind == "auditor":
        return 'the section "auditor" is a known upstream type that is not available yet'
    return f'{kind} type "{word}" is a known upstream type that is not available yet'
