# SPDX-License-Identifier: Apache-2.0
"""Where a daemon's configuration comes from: its main file, read at start and at every reload."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from twisted.logger import Logger

from g3.config.main import MainConfig, load, load_one
from g3.config.problems import Problems
from g3.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from g3.component import Components
    from g3.config.main import Layout
    from g3.tree.root import IConfiguration

log = Logger()


class FileSource:
    """Reads C{path} (a file, or a directory with a main file)."""

    def __init__(self, path: Path, components: Components, layout: Layout) -> None:
        self.path = path
        self.components = components
        self.layout = layout
        self._first: MainConfig | None = None

    def read(self, problems: Problems) -> MainConfig | None:
        """The configuration, or None when C{problems} has an error."""
        main = load(self.path, self.components, problems, self.layout)
        if self._first is None:
            self._first = main
        return main

    def load(self) -> MainConfig:
        """For a reload: warnings are logged.

        @raise ConfigError: with all that is wrong.
        """
        problems = Problems()
        main = self._checked(self.read(problems), problems)
        self._tell_fixed(main)
        return main

    def load_one(self, configuration: IConfiguration, kind: str, name: str) -> MainConfig:
        """One node's document again. Raises ConfigError."""
        problems = Problems()
        return self._checked(load_one(cast("MainConfig", configuration), kind, name, self.components, problems), problems)

    @staticmethod
    def _checked(main: MainConfig | None, problems: Problems) -> MainConfig:
        for warning in problems.warnings:
            log.warn("{warning}", warning=warning)
        if main is None:
            raise ConfigError(problems.errors or "the configuration cannot be used")
        return main

    def _tell_fixed(self, main: MainConfig) -> None:
        """Sections are read at start only."""
        first = self._first
        changed = [name for name in self.layout.sections if first is not None and first.sections.get(name) != main.sections.get(name)]
        if changed:
            log.warn("{sections}: changed, which takes a restart", sections=", ".join(changed))
