# SPDX-License-Identifier: Apache-2.0
"""C{c_ares}: names from name servers, by the c-ares library on our reactor (upstream: configuration/resolvers/c_ares)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from g3.resolvers.base import CachingResolver
from g3.resolvers.c_ares.config import CAresConfig
from g3.resolvers.c_ares.driver import CAresDriver

if TYPE_CHECKING:
    from g3.proto.record import Fields
    from g3.resolvers.base import Driver

__all__ = ["CAresConfig", "CAresResolver"]


class CAresResolver(CachingResolver):
    """See L{CAresConfig}."""

    schema = CAresConfig
    config: CAresConfig

    def make_driver(self) -> Driver:
        return CAresDriver(self.context.reactor, self.config)

    @property
    def negative_ttl(self) -> int:
        return self.config.negative_min_ttl

    def log_details(self) -> Fields:
        config = self.config
        return (
            ("bind_ipv4", _text(config.bind_ipv4)),
            ("bind_ipv6", _text(config.bind_ipv6)),
            ("server", " ".join(config.server)),
        )


def _text(address: object) -> str | None:
    return None if address is None else str(address)
