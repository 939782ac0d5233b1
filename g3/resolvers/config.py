# SPDX-License-Identifier: Apache-2.0
"""Keys that several types of resolver share (upstream: configuration/resolvers)."""

from __future__ import annotations

from g3.config.node import ResolverConfig
from g3.config.schema import config_class, key
from g3.config.values.basic import U32, Int
from g3.config.values.duration import Duration


@config_class
class RuntimeConfig(ResolverConfig):
    """A resolver that asks others and keeps what they say."""

    graceful_stop_wait: float = key(
        Duration(), default=30.0, unit="seconds", doc="How long a stopped resolver goes on with the queries it has; it ends sooner without."
    )
    protective_query_timeout: float = key(
        Duration(), default=60.0, unit="seconds", doc="When a query to the driver is given up; should be longer than the driver's own timeouts."
    )


@config_class
class CachingConfig(RuntimeConfig):
    """A resolver with TTLs of its own."""

    positive_min_ttl: int = key(Int(0, U32), default=30, unit="seconds", doc="A record with a shorter TTL is kept this long.")
    positive_max_ttl: int = key(
        Int(0, U32),
        default=3600,
        aliases=("positive_ttl", "max_cache_ttl", "maximum_cache_ttl"),
        unit="seconds",
        doc="A record with a longer TTL is asked anew after this time, but can be used until its TTL ends. At least positive_min_ttl.",
    )
    negative_min_ttl: int = key(
        Int(0, U32), default=30, aliases=("negative_ttl", "protective_cache_ttl"), unit="seconds", doc="How long an error or an empty answer is kept."
    )

    @property
    def shortest_ttl(self) -> int:
        """How soon after it was asked for a name may be asked for anew."""
        return min(self.positive_min_ttl, self.max_ttl, self.negative_min_ttl)

    @property
    def max_ttl(self) -> int:
        """C{positive_max_ttl}, at least the minimum."""
        return max(self.positive_max_ttl, self.positive_min_ttl)
