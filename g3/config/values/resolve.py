# SPDX-License-Identifier: Apache-2.0
"""How names are resolved, and which resolve to something else. Upstream: configuration/values/resolve."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from g3.config.problems import quote
from g3.config.schema import config_class, key, normalize
from g3.config.value import Reported, Value, ValueProblem, wrong_type
from g3.config.values.basic import Enum
from g3.config.values.net import Domain, HostValue, IPValue, parse_domain, to_address
from g3.config.values.options import Options
from g3.net.options import Pick, Query, ResolveStrategy
from g3.net.redirection import ResolveRedirection

if TYPE_CHECKING:
    from g3.config.document import Node
    from g3.config.value import ParseContext
    from g3.task import IPAddress

_QUERY = Enum(
    Query,
    {
        "ipv4only": Query.IPV4_ONLY,
        "ipv4_only": Query.IPV4_ONLY,
        "ipv6only": Query.IPV6_ONLY,
        "ipv6_only": Query.IPV6_ONLY,
        "ipv4first": Query.IPV4_FIRST,
        "ipv4_first": Query.IPV4_FIRST,
        "ipv6first": Query.IPV6_FIRST,
        "ipv6_first": Query.IPV6_FIRST,
    },
    type_name="query strategy",
)
_PICK = Enum(Pick, {"random": Pick.RANDOM, "serial": Pick.SERIAL, "first": Pick.SERIAL}, type_name="pick strategy")


@config_class
class ResolveStrategyKeys:
    """How a name becomes an address."""

    query: Query = key(_QUERY, default=Query.IPV4_FIRST, doc="Address families to ask for, and which to use first.")
    pick: Pick = key(_PICK, default=Pick.RANDOM, doc="Which of several addresses to use.")


class ResolveStrategyValue(Options[ResolveStrategy]):
    """The query strategy as a word, or a map."""

    type_name = "resolve strategy"
    doc = "Ipv4Only, Ipv6Only, Ipv4First or Ipv6First, or a map of query and pick."
    keys, made, expected = ResolveStrategyKeys, ResolveStrategy, "a query strategy such as Ipv4First, or a map"

    def short(self, node: Node, context: ParseContext) -> ResolveStrategy:
        if not node.is_string:
            raise wrong_type(node, self.expected)
        return ResolveStrategy(_QUERY.parse(node, context))

    def short_schemas(self) -> list[dict[str, Any]]:
        return [_QUERY.json_schema()]


class ResolveRedirectionValue(Value[ResolveRedirection]):
    """A map of names to what they resolve to (a host, or a list of addresses); or a list of maps of C{exact} or C{parent}, and C{to}."""

    type_name = "resolve redirection"
    doc = "A map of names to a host or a list of addresses; or a list of maps with exact or parent, and to."
    _host, _ip, _domain = HostValue(), IPValue(), Domain()

    def parse(self, node: Node, context: ParseContext) -> ResolveRedirection:
        if node.kind == "map":
            made = [self._guarded(node, context, "exact", name, to) for name, to in node.items]
        elif node.kind == "seq":
            made = [self._element(element, context) for element in node.elements]
        else:
            raise wrong_type(node, "a map or a list of maps")
        rules = [rule for rule in made if rule is not None]
        if len(rules) < len(made):
            raise Reported
        exact = [(name, to) for word, name, to in rules if word == "exact"]
        return ResolveRedirection(exact, [(name, cast("str", to)) for word, name, to in rules if word == "parent"])

    def _element(self, node: Node, context: ParseContext) -> tuple[str, str, Any] | None:
        known = {normalize(k.value): v for k, v in node.items if k.is_string}
        word = "exact" if "exact" in known else "parent"
        if node.kind != "map":
            context.problems.error(node, f"expected a map with exact or parent, and to, not {node.describe()}")
        elif "to" not in known or word not in known:
            context.problems.error(node, f'required key "{"exact" if "to" in known else "to"}" is missing')
        elif extra := [k for k, _ in node.items if not k.is_string or normalize(k.value) not in ("exact", "parent", "to")]:
            context.problems.error(extra[0], f"unknown key {quote(extra[0].text)}")
        else:
            return self._guarded(node, context, word, known[word], known["to"])
        return None

    def _guarded(self, node: Node, context: ParseContext, word: str, name: Node, to: Node) -> tuple[str, str, Any] | None:
        """One rule, or None with its problem reported."""
        try:
            if not name.is_string:
                raise wrong_type(name, "a domain")
            if to_address(name.value) is not None:
                raise ValueProblem(name, f"{quote(name.value)} is an address and never resolved")
            domain = parse_domain(name.value, name)
            return word, domain, self._domain.parse(to, context) if word == "parent" else self._target(to, context)
        except ValueProblem as problem:
            context.problems.error(problem.node, problem.message)
        except Reported:
            pass
        return None

    def _target(self, node: Node, context: ParseContext) -> str | tuple[IPAddress, ...]:
        if node.kind == "seq":
            if not node.elements:
                raise ValueProblem(node, "must not be empty")
            return tuple(self._ip.parse(element, context) for element in node.elements)
        host = self._host.parse(node, context)
        address = to_address(host)
        return host if address is None else (address,)

    def json_schema(self) -> dict[str, Any]:
        to = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
        rule = {"type": "object", "properties": {"exact": {"type": "string"}, "parent": {"type": "string"}, "to": to}, "required": ["to"]}
        return {"anyOf": [{"type": "object", "additionalProperties": to}, {"type": "array", "items": rule}]}

    def dump(self, value: ResolveRedirection) -> Any:
        exact = [{"exact": name, "to": to if isinstance(to, str) else [str(ip) for ip in to]} for name, to in value.exact]
        return [*exact, *({"parent": name, "to": to} for name, to in value.parents)]
