# SPDX-License-Identifier: Apache-2.0
"""C{fail_over}: two resolvers, and the answer of the one that has a good one (upstream: configuration/resolvers/fail_over)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from g3.config.schema import config_class, key
from g3.config.values.basic import U32, Bool, Int, Reference
from g3.config.values.duration import Duration
from g3.resolvers.base import CachingResolver
from g3.resolvers.config import RuntimeConfig
from g3.resolvers.fail_over.driver import FailOverDriver

if TYPE_CHECKING:
    from g3.config.schema import Places
    from g3.proto.record import Fields
    from g3.resolvers.base import Driver

__all__ = ["FailOverConfig", "FailOverResolver"]


@config_class
class FailOverConfig(RuntimeConfig):
    """Asks two resolvers at once. A good answer of the primary one is taken before the delay is over; then the first good answer of either; if
    there is none, the last error. An answer is kept as long as the resolver that gave it keeps it."""

    type_word: ClassVar[str] = "fail_over"

    primary: str = key(Reference("resolver"), doc="The resolver to prefer.")
    standby: str = key(Reference("resolver"), doc="The other one.")
    fallback_delay: float = key(
        Duration(), default=0.1, aliases=("delay", "fallback_timeout", "timeout"), unit="seconds", doc="How long only the primary resolver counts."
    )
    negative_ttl: int = key(
        Int(0, U32), default=30, aliases=("protective_cache_ttl",), unit="seconds", doc="How long an error of this resolver itself is kept."
    )
    retry_empty_record: bool = key(Bool(), default=False, doc="Whether an answer without addresses is no good one.")

    def check(self, at: Places) -> None:
        if self.primary == self.standby:
            at.error("standby", "must be another resolver than the primary one")


class FailOverResolver(CachingResolver):
    """See L{FailOverConfig}."""

    schema = FailOverConfig
    config: FailOverConfig

    def make_driver(self) -> Driver:
        config, context = self.config, self.context
        return FailOverDriver(context.reactor, config, context.slot("resolver", config.primary), context.slot("resolver", config.standby))

    @property
    def negative_ttl(self) -> int:
        return self.config.negative_ttl

    def log_details(self) -> Fields:
        return (("next_primary", self.config.primary), ("next_standby", self.config.standby))
