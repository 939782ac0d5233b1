# SPDX-License-Identifier: Apache-2.0
"""Access rules. Upstream: configuration/values/acl.

All rules are written alike: a value or a list of values is what the rule finds (permitted, everything else forbidden; for user agents
forbidden, everything else permitted); a map has actions for keys, and C{default} for what is not found.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from g3.acl.action import Action
from g3.acl.host import ChildDomainFilter, ExactHostFilter
from g3.acl.network import NetworkFilter, egress_filter, ingress_filter
from g3.acl.port import PortFilter, RequestFilter
from g3.acl.regex import RegexDomainFilter, RegexSetFilter
from g3.acl.ruleset import HostFilterSet
from g3.acl.useragent import UserAgentFilter
from g3.config.problems import did_you_mean, quote
from g3.config.schema import config_class, key, normalize
from g3.config.value import Reported, Value, ValueProblem
from g3.config.values.basic import OneOrMany, only_string, string_of, values_of
from g3.config.values.net import Domain, HostValue, IPNet, Ports
from g3.config.values.options import Options
from g3.config.values.regex import Regex

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from g3.acl.rule import Filter
    from g3.config.document import Node
    from g3.config.value import ParseContext

I = TypeVar("I")  # noqa: E741 - what an item of a rule is
F = TypeVar("F", bound="Filter[Action]")

#: The first word of each action is the one shown.
ACTION_WORDS: dict[str, Action] = {
    word: action
    for words, action in (
        (("permit", "allow", "accept"), Action.PERMIT),
        (("forbid", "deny", "reject"), Action.FORBID),
        (("permit_log", "allow_log", "accept_log"), Action.PERMIT_LOG),
        (("forbid_log", "deny_log", "reject_log"), Action.FORBID_LOG),
    )
    for word in words
}


class Rules(Value[F], Generic[I, F]):
    """Rules whose items are of one kind of value, made into a filter. Reusable for other actions than permit and forbid (see C{words})."""

    def __init__(
        self,
        type_name: str,
        item: Value[I],
        make: Callable[[Iterable[Any], Any], F],
        *,
        found: Any = Action.PERMIT,
        missed: Any = Action.FORBID,
        spread: Callable[[I], Iterable[Any]] = lambda item: (item,),
        gather: Callable[[Any], Any] | None = None,
        words: Mapping[str, Any] = ACTION_WORDS,
    ) -> None:
        """C{spread} makes the rules of one item; C{gather} dumps one rule, by default as the item does."""
        self.type_name = type_name
        self.item, self.make, self.found, self.missed = item, make, found, missed
        self.spread, self.words = spread, dict(words)
        #: Each action once, by its first word.
        self.shown: dict[Any, str] = {}
        for word, action in self.words.items():
            self.shown.setdefault(action, word)
        self.gather: Callable[[Any], Any] = gather or item.dump
        shown = "Everything found is permitted, all else forbidden" if found is Action.PERMIT else f"Everything found is {found.name.lower()}"
        self.doc = f"One {item.type_name} or a list. {shown}; or a map with actions ({', '.join(self.words)}) for keys, and default."

    def parse(self, node: Node, context: ParseContext) -> F:
        rules: list[tuple[Any, Any]] = []
        missed = self.missed
        if node.kind == "map":
            good, missed = self._actions(node, context, rules)
        else:
            good = self._collect(node, self.found, context, rules)
        if not good:
            raise Reported
        return self.make(rules, missed)

    def _actions(self, node: Node, context: ParseContext, rules: list[tuple[Any, Any]]) -> tuple[bool, Any]:
        good, missed = True, self.missed
        for key_node, value_node in node.items:
            word = normalize(key_node.text) if key_node.kind == "scalar" else ""
            if word == "default":
                default = self.words.get(normalize(value_node.text)) if value_node.is_string else None
                if default is None:
                    context.problems.error(value_node, f"default must be an action ({', '.join(self.shown.values())}), not {value_node.describe()}")
                good, missed = good and default is not None, default
            elif word in self.words:
                good = self._collect(value_node, self.words[word], context, rules) and good
            else:
                hint = did_you_mean(word, (*self.words, "default")) or f"; known are default, {', '.join(self.shown.values())}"
                context.problems.error(key_node, f"unknown action {quote(key_node.text or key_node.describe())}{hint}")
                good = False
        return good, missed

    def _collect(self, node: Node, action: Any, context: ParseContext, rules: list[tuple[Any, Any]]) -> bool:
        good = True
        for element in node.elements if node.kind == "seq" else [node]:
            ok, item = self.item.attempt(element, context)
            if ok:
                rules.extend((rule, action) for rule in self.spread(item))  # type: ignore[arg-type]
            good = good and ok
        return good

    def json_schema(self) -> dict[str, Any]:
        item = self.item.json_schema()
        one_or_many = {"anyOf": [item, {"type": "array", "items": item}]}
        words = {spelling for word in self.words for spelling in (word, word.replace("_", "-"))}
        properties = {"default": {"type": "string"}, **dict.fromkeys(sorted(words), one_or_many)}
        return {"anyOf": [*one_or_many["anyOf"], {"type": "object", "properties": properties}]}

    def dump(self, value: F) -> Any:
        dumped: dict[str, Any] = {"default": self.shown[value.missed]}
        for rule, action in value.rules:
            dumped.setdefault(self.shown[action], []).append(self.gather(rule))
        return dumped


def _ports_text(run: tuple[int, int]) -> str:
    return f"{run[0]}-{run[1]}" if run[1] > run[0] else str(run[0])


class IngressFilter(Rules[Any, NetworkFilter[Action]]):
    """Who may come in, by address. 127.0.0.1 and ::1 may unless a rule says otherwise."""

    def __init__(self) -> None:
        super().__init__("ingress network filter", IPNet(), ingress_filter)


class EgressFilter(Rules[Any, NetworkFilter[Action]]):
    """Which addresses may be connected to. Loopback, link-local and the like may not unless a rule says otherwise of them."""

    def __init__(self) -> None:
        super().__init__("egress network filter", IPNet(), egress_filter)


class DestSubnetFilter(EgressFilter):
    """Which addresses may be asked for; as an egress filter."""


class PortFilterValue(Rules[frozenset[int], PortFilter[Action]]):
    """Which ports may be asked for."""

    def __init__(self) -> None:
        super().__init__("port filter", Ports(), PortFilter, spread=lambda ports: ports, gather=_ports_text)


class ExactHostFilterValue(Rules[str, ExactHostFilter[Action]]):
    """Which hosts may be asked for."""

    def __init__(self) -> None:
        super().__init__("exact host filter", HostValue(), ExactHostFilter)


class ChildDomainFilterValue(Rules[str, ChildDomainFilter[Action]]):
    """Which domains, with all below them, may be asked for."""

    def __init__(self) -> None:
        super().__init__("child domain filter", Domain(), ChildDomainFilter)


class RegexPattern(Value[str]):
    """A pattern, in Python's syntax once parsed."""

    type_name = "regular expression"
    _regex = Regex()

    def parse(self, node: Node, context: ParseContext) -> str:
        return self._regex.parse(node, context).pattern

    def json_schema(self) -> dict[str, Any]:
        return self._regex.json_schema()


class DomainPatterns(Value[tuple[tuple[str | None, str], ...]]):
    """A pattern for full names, or a map: C{parent}, and C{regex} for what comes before it, one or a list."""

    type_name = "domain regular expression"
    _regex = RegexPattern()
    _many = OneOrMany(RegexPattern())
    _domain = Domain()

    def parse(self, node: Node, context: ParseContext) -> tuple[tuple[str | None, str], ...]:
        if node.kind != "map":
            return ((None, self._regex.parse(node, context)),)
        name, patterns = values_of(node, "parent", "regex")
        parent = self._domain.parse(name, context)
        return tuple((parent, pattern) for pattern in self._many.parse(patterns, context))

    def json_schema(self) -> dict[str, Any]:
        properties = {"parent": self._domain.json_schema(), "regex": self._many.json_schema()}
        return {"anyOf": [self._regex.json_schema(), {"type": "object", "properties": properties, "required": ["parent", "regex"]}]}


def _pattern_dump(rule: tuple[str | None, str]) -> Any:
    parent, pattern = rule
    return pattern if parent is None else {"parent": parent, "regex": pattern}


class RegexDomainFilterValue(Rules[Any, RegexDomainFilter[Action]]):
    """Which names may be asked for, by pattern."""

    def __init__(self) -> None:
        super().__init__("regex domain filter", DomainPatterns(), RegexDomainFilter, spread=lambda rules: rules, gather=_pattern_dump)


class RegexSetFilterValue(Rules[str, RegexSetFilter[Action]]):
    """Texts, by pattern."""

    def __init__(self) -> None:
        super().__init__("regex filter", RegexPattern(), RegexSetFilter)


class UserAgentName(Value[str]):
    """A word of a User-Agent header."""

    type_name = "user agent name"

    def parse(self, node: Node, context: ParseContext) -> str:
        name = string_of(node, self.type_name)
        if not name or not name.isascii() or len(name) > 255:
            raise ValueProblem(node, f"{quote(name)} is not the ASCII name of a user agent")
        return name.lower()

    def json_schema(self) -> dict[str, Any]:
        return {"type": ["string", "number"]}


class UserAgentFilterValue(Rules[str, UserAgentFilter[Action]]):
    """Which programs may ask."""

    def __init__(self) -> None:
        super().__init__("user agent filter", UserAgentName(), UserAgentFilter, found=Action.FORBID, missed=Action.PERMIT)


#: Kinds of proxy requests: the words of the configuration and the C{type} a task has.
REQUEST_TYPES = ("HttpForward", "HttpsForward", "FtpOverHttp", "HttpConnect", "SocksTcpConnect", "SocksUdpAssociate")
_REQUESTS = {word.lower(): word for word in REQUEST_TYPES}


class RequestType(Value[str]):
    """A kind of proxy request."""

    type_name = "proxy request type"
    doc = f"One of {', '.join(REQUEST_TYPES)}, also with underscores."

    def parse(self, node: Node, context: ParseContext) -> str:
        word = only_string(node, self.type_name)
        found = _REQUESTS.get(normalize(word).replace("_", ""))
        if found is None:
            raise ValueProblem(node, f"unknown proxy request type {quote(word)}; known are {', '.join(REQUEST_TYPES)}")
        return found

    def json_schema(self) -> dict[str, Any]:
        return {"type": "string"}


class RequestFilterValue(Rules[str, RequestFilter[Action]]):
    """Which kinds of requests may be made."""

    def __init__(self) -> None:
        super().__init__("proxy request filter", RequestType(), RequestFilter)


@config_class
class HostFilterSetKeys:
    """Rules on destination hosts, asked in this order; the first found decides."""

    exact: ExactHostFilter[Action] | None = key(ExactHostFilterValue(), default=None, aliases=("exact_match",), doc="The very host.")
    child: ChildDomainFilter[Action] | None = key(
        ChildDomainFilterValue(), default=None, aliases=("child_match",), doc="A domain with everything below it."
    )
    regex: RegexDomainFilter[Action] | None = key(RegexDomainFilterValue(), default=None, aliases=("regex_match",), doc="Names by pattern.")
    subnet: NetworkFilter[Action] | None = key(DestSubnetFilter(), default=None, aliases=("subnet_match",), doc="Addresses, as an egress filter.")


class HostFilterSetValue(Options[HostFilterSet[Action]]):
    """Rules on destination hosts. Where none of them finds the host, the strictest default of those given holds."""

    type_name = "destination host filter set"
    doc = "A map of exact, child, regex and subnet rules."
    keys = HostFilterSetKeys

    def build(self, given: Any, node: Node, context: ParseContext) -> HostFilterSet[Action]:
        return HostFilterSet(given.exact, given.child, given.regex, given.subnet, missed=Action.PERMIT)
