# SPDX-License-Identifier: Apache-2.0
"""Configuration of C{username_params}: parameters after a user's name that choose the next proxy (upstream: configuration/auth/name_params)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from g3.config.schema import config_class, key
from g3.config.values.basic import Bool, List, Str
from g3.config.values.net import Port

if TYPE_CHECKING:
    from g3.config.schema import Places


@config_class
class UsernameParams:
    """C{user+k1=v1+k2=v2}: the values of some keys form the host name of the next proxy."""

    keys_for_host: tuple[str, ...] = key(List(Str()), default=(), aliases=("keys",), doc="Keys whose values form the host, in this order.")
    resolve_sticky_key: str | None = key(Str(), default=None, doc="The key whose value picks among the addresses of the host.")
    require_hierarchy: bool = key(Bool(), default=True, doc="A later key needs all earlier ones.")
    floating_keys: tuple[str, ...] = key(List(Str()), default=(), aliases=("floating",), doc="Keys that need no earlier ones.")
    reject_unknown_keys: bool = key(Bool(), default=True, doc="Refuse a key that is not in keys_for_host.")
    reject_duplicate_keys: bool = key(Bool(), default=True, doc="Refuse a key that is given twice.")
    separator: str = key(Str(), default="-", doc="Stands between the values in the host.")
    domain_suffix: str | None = key(Str(), default=None, doc="Stands after them; a leading dot is added if missing.")
    http_port: int = key(Port(), default=10000, doc="Port of the next proxy for HTTP clients.")
    socks5_port: int = key(Port(), default=10001, aliases=("socks_port",), doc="Port of the next proxy for SOCKS clients.")
    strip_suffix_for_auth: bool = key(Bool(), default=True, aliases=("auth_strip_suffix",), doc="Only the part before + is the user's name.")

    def check(self, at: Places) -> None:
        for floating in self.floating_keys:
            if floating not in self.keys_for_host:
                at.error("floating_keys", f'"{floating}" is not in keys_for_host')
