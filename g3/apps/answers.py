# SPDX-License-Identifier: Apache-2.0
"""What a daemon can say without running: types, schema, explanations, and a configuration checked, dumped or drawn."""

from __future__ import annotations

import sys
from functools import cache
from typing import TYPE_CHECKING, Any

from g3.apps.configuration import FileSource
from g3.component import PROXY, Components
from g3.config import graph as graphs
from g3.config.dump import dump
from g3.config.explain import explain
from g3.config.jsonschema import json_schema
from g3.config.log import log_section
from g3.config.main import Layout, MainConfig, helper_layout, keymess_layout, proxy_layout
from g3.config.problems import Problems, format_report
from g3.config.stat import stat_section
from g3.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def _proxy_layout() -> Layout:
    return proxy_layout(log_section(), stat_section())


def _keymess_layout() -> Layout:
    from g3.keyless.config import sections

    return keymess_layout(sections())


def _fcgen_layout() -> Layout:
    from g3.fcgen.config import sections

    return helper_layout("g3fcgen", sections())


def _iploc_layout() -> Layout:
    from g3.iploc.config import sections

    return helper_layout("g3iploc", sections())


#: What the main configuration of each daemon consists of.
LAYOUTS: dict[str, Callable[[], Layout]] = {
    PROXY: _proxy_layout,
    "g3keymess": _keymess_layout,
    "g3fcgen": _fcgen_layout,
    "g3iploc": _iploc_layout,
}


@cache
def components(program: str = PROXY) -> Components:
    """What is installed for a daemon."""
    return Components.discover(program)


def layout(program: str = PROXY) -> Layout:
    """What the main configuration of a daemon consists of."""
    return LAYOUTS[program]()


def schema(program: str = PROXY) -> dict[str, Any]:
    """The JSON Schema of the main configuration."""
    return json_schema(layout(program), components(program))


def types(program: str = PROXY) -> str:
    """A line for each type: kind, type, package, version. What could not be loaded is told after them."""
    rows = [(info.kind, info.type, info.package, info.version or "-") for info in components(program).types()]
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(3)]
    lines = ["  ".join([*(word.ljust(width) for word, width in zip(row, widths, strict=False)), row[3]]) for row in rows]
    sys.stderr.writelines(f"{broken}\n" for broken in components(program).broken)
    return "".join(f"{line}\n" for line in lines)


def explanation(path: str, program: str = PROXY) -> str:
    """What a key is. Raises ConfigError."""
    return explain(path, layout(program), components(program))


def read(path: Path, program: str = PROXY) -> tuple[FileSource, MainConfig]:
    """The configuration in a file; warnings go to standard error.

    @raise ConfigError: as the whole report.
    """
    source = FileSource(path, components(program), layout(program))
    problems = Problems()
    main = source.read(problems)
    report = format_report(problems)
    if main is None:
        raise ConfigError(report)
    if report:
        sys.stderr.write(report)
    return source, main


def effective(main: MainConfig) -> str:
    """The configuration as it takes effect."""
    return dump(main)


def graph(main: MainConfig, language: str) -> str:
    """The dependency graph as C{graphviz}, C{mermaid} or C{plantuml}."""
    text: str = getattr(graphs, language)(main)
    return text if text.endswith("\n") else text + "\n"
