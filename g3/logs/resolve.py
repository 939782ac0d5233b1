# SPDX-License-Identifier: Apache-2.0
"""Resolve log records: names that got no answer (upstream: log/resolve). Only errors are logged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from g3.logs.fields import duration

if TYPE_CHECKING:
    from g3.errors import ResolveError
    from g3.logs.logger import Logger
    from g3.proto.record import Fields


def log_resolve_error(logger: Logger, details: Fields, query_type: str, spent: float, source: str, error: ResolveError, domain: str) -> None:
    """One failed query.

    @param details: the fields of the resolver's type; C{spent}: seconds from question to answer; C{source}: C{cache}, C{query} or C{trash}.
    """
    logger.log(
        str(error),
        [
            *details,
            ("query_type", query_type),
            ("duration", duration(spent)),
            ("rr_source", source),
            ("error_type", error.type),
            ("error_subtype", error.subtype),
            ("domain", domain),
        ],
    )
