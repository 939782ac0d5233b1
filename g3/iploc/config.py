# SPDX-License-Identifier: Apache-2.0
"""What can be said in the configuration of g3iploc (upstream: g3iploc)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from g3.config.main import Section
from g3.config.schema import config_class, key
from g3.config.stat import stat_section
from g3.config.value import ValueProblem
from g3.config.values.basic import FilePath
from g3.config.values.options import Options
from g3.errors import ConfigError
from g3.iploc.database import Locator, open_asn, open_country

if TYPE_CHECKING:
    from pathlib import Path

    from g3.config.document import Node
    from g3.config.schema import Key
    from g3.config.value import ParseContext

PROGRAM = "g3iploc"


@dataclass(frozen=True, slots=True)
class Databases:
    """The files, and what answers from them."""

    country: Path | None
    asn: Path | None
    locator: Locator


@config_class
class DatabaseKeys:
    """The databases: CSV, CSV with gzip (.gz), or MaxMind's format (.mmdb)."""

    country: Path | None = key(FilePath(must_exist=True), default=None, doc="Countries: in CSV a network and a code of ISO 3166 in each line.")
    asn: Path | None = key(FilePath(must_exist=True), default=None, doc="Autonomous systems: in CSV a network and a number in each line.")


class DatabasesValue(Options[Databases]):
    """A map of files."""

    type_name = "location databases"
    keys = DatabaseKeys

    def build(self, given: Any, node: Node, context: ParseContext) -> Databases:
        try:
            country = None if given.country is None else open_country(given.country)
            asn = None if given.asn is None else open_asn(given.asn)
        except ConfigError as error:
            raise ValueProblem(node, str(error)) from None
        context.files.update(path for path in (given.country, given.asn) if path is not None)
        return Databases(given.country, given.asn, Locator(country, asn))

    def key_value(self, value: Databases, key: Key) -> Any:
        return getattr(value, key.name)


def sections() -> dict[str, Section]:
    """The sections of g3iploc beside those that every helper has."""
    return {
        "stat": stat_section(PROGRAM),
        "geoip_db": Section(DatabasesValue(), Databases(None, None, Locator()), "The databases."),
    }
