# SPDX-License-Identifier: Apache-2.0
"""Upstream's own configurations load unchanged: each main file goes through C{--test-config} the way an operator would try it.

What names a type that is not built yet is refused, and the refusal names each such type once, with its place. Nothing else is ever said of
a file that upstream itself serves from.
"""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from jsonschema import Draft202012Validator
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from g3.apps import answers
from g3.config.document import read_file
from g3.config.main import load
from g3.config.problems import Problems
from g3.config.upstream_types import canonical_type
from tests.functional.harness import run_g3proxy
from tests.functional.upstream import Named, copied, main_files, types_named
from tests.upstream import upstream_dir

if TYPE_CHECKING:
    from collections.abc import Callable

UNAVAILABLE = re.compile(
    r"^(\S+):\d+:\d+: .*?(?:(\w+) type \"([\w-]+)\"|section \"(auditor)\") is a known upstream type that is not available yet", re.MULTILINE
)
ERROR_LINE = re.compile(r"^\S+\.yaml:\d+(?::\d+)?: (?!warning)", re.MULTILINE)
#: There are this many main files; fewer found means that the search is wrong.
MAIN_FILES = 60


class Copy:
    """The files as they are tried, one copy for all tests of a process."""

    def __init__(self) -> None:
        self.scratch = tempfile.TemporaryDirectory(prefix="g3upstream")
        self.root = copied(Path(self.scratch.name).resolve())


@cache
def copy() -> Copy:
    return Copy()


class UpstreamConfigTests(SynchronousTestCase):
    """One test for each main file, named after its folder."""

    def test_all_main_files_are_found(self) -> None:
        """Every folder of upstream's examples and coverage cases is tried."""
        self.assertTrue(len(main_files(upstream_dir())) >= MAIN_FILES)

    def test_what_loads_fits_the_schema_and_its_dump_is_the_same_again(self) -> None:
        """C{--json-schema} accepts the file and its dump, and the dump has the same effect."""
        layout, components, validator = answers.layout(), answers.components(), Draft202012Validator(answers.schema())
        loaded = 0
        for path in main_files(copy().root):
            if not all(named.built for named in types_named(path)):
                continue
            loaded += 1
            first = load(path, components, Problems(), layout)
            assert first is not None
            dumped = path.parent / "dumped.of"
            dumped.write_text(answers.effective(first))
            problems = Problems()
            again = load(dumped, components, problems, layout)
            assert again is not None, (path, list(problems))
            self.assertEqual(again.sections, first.sections, path)
            for kind in layout.kinds:
                self.assertEqual(again.configs(kind), first.configs(kind), path)
            for each in (path, dumped):
                for document in read_file(each, Problems()):
                    self.assertEqual([error.message for error in validator.iter_errors(document.to_python())], [], each)
        self.assertGreater(loaded, 20)

    def check(self, name: str) -> None:
        """The exit status fits what the file names, and each type that is missing is named once."""
        path = copy().root / name
        result = run_g3proxy("--test-config", "--config", str(path))
        said = result.stdout + result.stderr
        missing = Counter(named for named in types_named(path) if not named.built)
        named = Counter(
            Named(kind or auditor, canonical_type(kind or auditor, word or auditor) or word) for _, kind, word, auditor in UNAVAILABLE.findall(said)
        )
        self.assertNotIn("Traceback", said)
        self.assertEqual(named, missing, said)
        self.assertEqual(result.returncode, 1 if missing else 0, said)
        self.assertEqual(len(ERROR_LINE.findall(said)), sum(missing.values()), said)


def add_tests() -> None:
    """A method for each file, so that each has a name of its own in the report."""
    try:
        root = upstream_dir()
        names = [str(path.relative_to(root)) for path in main_files(root)]
    except SkipTest:
        return

    def rule(name: str) -> Callable[[UpstreamConfigTests], None]:
        def test(self: UpstreamConfigTests) -> None:
            self.check(name)

        test.__doc__ = f"{name} is judged rightly."
        return test

    for name in names:
        setattr(UpstreamConfigTests, "test_" + re.sub(r"\W+", "_", name.removesuffix(".yaml")), rule(name))


add_tests()
