# SPDX-License-Identifier: Apache-2.0
"""C{deny_all}: no name has an answer. It stands in for a resolver that is not defined (upstream: configuration/resolvers/deny_all)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from zope.interface import implementer

from g3.config.node import ResolverConfig
from g3.config.schema import config_class
from g3.errors import ResolveError
from g3.interfaces import IResolver
from g3.resolvers.cache import Record, Source
from g3.tree.node import Node

if TYPE_CHECKING:
    from g3.resolvers.cache import Found


@config_class
class DenyAllConfig(ResolverConfig):
    """Refuses every name with a local error. It logs nothing and counts nothing."""

    type_word: ClassVar[str] = "deny_all"


@implementer(IResolver)
class DenyAllResolver(Node):
    """See L{DenyAllConfig}."""

    schema = DenyAllConfig

    def query(self, name: str, family: int) -> tuple[str, ...]:
        """IResolver: raises ResolveError, always."""
        raise ResolveError("LocalError", "NoResolverSet")

    def lookup(self, name: str, family: int) -> Found:
        """g3.resolvers.base.Lookup: the same as a record."""
        return Record.failed(self.context.reactor.seconds(), 0, ResolveError("LocalError", "NoResolverSet")), Source.QUERY
