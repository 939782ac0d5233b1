# SPDX-License-Identifier: Apache-2.0
"""C{username_params}: parameters after a user's name that choose the next proxy (upstream: configuration/auth/name_params)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from g3.config.schema import config_class, key
from g3.config.values.basic import Bool, List, Str
from g3.config.values.net import Port
from g3.errors import ProtocolError
from g3.proto.http1.uri import parse_host
from g3.task import PathUpstream, Upstream

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
    domain_suffix: str | None = key(Str(), default=None, aliases=("suffix",), doc="Stands after them; a leading dot is added if missing.")
    http_port: int = key(Port(), default=10000, doc="Port of the next proxy for HTTP clients.")
    socks5_port: int = key(Port(), default=10001, aliases=("socks_port",), doc="Port of the next proxy for SOCKS clients.")
    strip_suffix_for_auth: bool = key(Bool(), default=True, aliases=("auth_strip_suffix",), doc="Only the part before + is the user's name.")

    def check(self, at: Places) -> None:
        for floating in self.floating_keys:
            if floating not in self.keys_for_host:
                at.error("floating_keys", f'"{floating}" is not in keys_for_host')

    def user_name(self, given: str) -> str:
        """The name of the user who calls itself C{given}."""
        return given.partition("+")[0] if self.strip_suffix_for_auth else given

    def next_proxy(self, given: str, port: int) -> PathUpstream | None:
        """The next proxy that C{given} names, at C{port}; None where it names none.

        @raise ProtocolError: its parameters are none, or do not fit.
        """
        params = self._params(given)
        if self.require_hierarchy:
            self._check_hierarchy(params)
        host = self.separator.join(params[key] for key in self.keys_for_host if key in params)
        if not host:
            return None
        if self.domain_suffix:
            host += "." + self.domain_suffix.removeprefix(".")
        name = parse_host(host.encode())
        if name == "localhost" or name.endswith(".localhost"):  # RFC 6761 section 6.3: never asked of a resolver
            name = "127.0.0.1"
        return PathUpstream(Upstream(name, port), params.get(self.resolve_sticky_key or "", ""))

    def _params(self, given: str) -> dict[str, str]:
        """What stands after the name; one C{+} may be the last."""
        texts = given.split("+")[1:]
        if texts and not texts[-1]:
            texts.pop()
        params: dict[str, str] = {}
        for text in texts:
            name, equals, value = text.partition("=")
            if not (name and equals and value):
                raise ProtocolError(f"{text!r} is no parameter of a user name")
            if self.reject_unknown_keys and name not in self.keys_for_host and name != self.resolve_sticky_key:
                raise ProtocolError(f"unknown parameter {name!r} in a user name")
            if self.reject_duplicate_keys and name in params:
                raise ProtocolError(f"parameter {name!r} is twice in a user name")
            params[name] = value
        return params

    def _check_hierarchy(self, params: dict[str, str]) -> None:
        """Of the keys that do not float, those that are given come first."""
        given = [key in params for key in self.keys_for_host if key not in self.floating_keys]
        if params and given != sorted(given, reverse=True):
            raise ProtocolError("a parameter of a user name lacks the ones before it")
