# SPDX-License-Identifier: Apache-2.0
"""What the documentation shows, done: every YAML example is loaded, every console example marked C{run} is run, every page is built.

An example's commands run in a folder with the page's captioned files. A comment C{.. run-with: g3proxy.yaml} starts a daemon with that
file first (C{nothing}: none is needed); what it meets is a web server that calls itself example.com. Of a line of output, C{...} stands for
anything.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

from twisted.trial.unittest import SynchronousTestCase

from g3.component import KINDS, Components
from tests.functional.certificates import Authority, pem, pem_key
from tests.functional.harness import Daemon, FunctionalTestCase, run_g3proxy
from tests.functional.needs import ROOT
from tests.functional.stage import StageTestCase
from tests.functional.upstream import documents, make_named

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

DOCS = ROOT / "docs"
DIRECTIVE = re.compile(r"^(?P<indent> *)\.\. (?:code-block:: (?P<language>\w+)|run-with: (?P<with>\S+))\s*$")
OPTION = re.compile(r"^\s+:(\w+): (.*)$")
#: The daemons there are examples of, and the port those listen on. A YAML example is of another one than the first when that is its class;
#: what C{run-with} starts is the daemon its file is called after.
DAEMONS = {"g3proxy": 3128, "g3keymess": 1300}
#: Those that there are YAML examples of, too.
HELPERS = ("g3fcgen", "g3iploc")
#: The packages that the tutorial and a how-to make, used as if they were installed.
PACKAGES = (DOCS / "tutorial" / "acme_by_port", DOCS / "howto" / "acme_first")


@dataclass
class Block:
    """One code block: what kind, its options, its text, and the C{run-with} above it."""

    line: int
    language: str
    text: str
    run_with: str
    options: dict[str, str] = field(default_factory=dict)

    @property
    def classes(self) -> list[str]:
        return self.options.get("class", "").split()


def blocks(page: Path) -> Iterator[Block]:
    """The code blocks of a page, in order."""
    lines = page.read_text().splitlines()
    run_with, number = "nothing", 0
    while number < len(lines):
        found = DIRECTIVE.match(lines[number])
        number += 1
        if not found:
            continue
        if found["with"]:
            run_with = found["with"]
            continue
        options, start = {}, number
        while number < len(lines) and (option := OPTION.match(lines[number])):
            options[option[1]] = option[2]
            number += 1
        body = []
        indent = len(found["indent"])
        while number < len(lines) and (not lines[number].strip() or len(lines[number]) - len(lines[number].lstrip()) > indent):
            body.append(lines[number][indent + 3 :])
            number += 1
        yield Block(start, found["language"], "\n".join(body).strip("\n") + "\n", run_with, options)


def pages() -> list[Path]:
    return sorted(path for path in DOCS.rglob("*.rst") if "_build" not in path.parts)


@cache
def blocks_of(page: Path) -> tuple[Block, ...]:
    return tuple(blocks(page))


def method_name(page: Path) -> str:
    return "test_" + re.sub(r"\W+", "_", str(page.relative_to(DOCS).with_suffix("")))


class YAMLExampleTests(FunctionalTestCase):
    """Every YAML block is a whole configuration that loads; one of class C{mistaken} does not."""

    def check(self, page: Path) -> None:
        for block in blocks_of(page):
            if block.language != "yaml":
                continue
            name = block.options.get("caption", f"line-{block.line}.yaml")
            path = self.write(name, block.text)
            for document in documents(path):
                make_named(document, self.directory, Authority())
            (self.directory / "keys").mkdir(exist_ok=True)
            self.write_named(block.text)
            program = next((word for word in block.classes if word in (*DAEMONS, *HELPERS)), "g3proxy")
            result = run_g3proxy("--test-config", "--config", str(path), packages=PACKAGES, program=program)
            wanted = 1 if "mistaken" in block.classes else 0
            self.assertEqual(result.returncode, wanted, f"{page}:{block.line}:\n{result.stdout}{result.stderr}")

    def write_named(self, text: str) -> None:
        """The certificate authority and the databases that an example names."""
        authority = Authority()
        for word, content in (("ca_certificate", pem(authority.certificate)), ("ca_private_key", pem_key(authority.key))):
            for name in re.findall(rf"{word}: (\S+)", text):
                (self.directory / name).write_bytes(content)
        for name in re.findall(r"(?:country|asn): (\S+\.csv)", text):
            (self.directory / name).write_text("# nothing yet\n")

    def test_the_example_files(self) -> None:
        """What is in examples/ loads too."""
        for path in sorted((ROOT / "examples").glob("*.yaml")):
            result = run_g3proxy("--test-config", "--config", str(path), packages=PACKAGES)
            self.assertEqual(result.returncode, 0, f"{path}:\n{result.stdout}{result.stderr}")


class ConsoleExampleTests(StageTestCase):
    """Every console block of class C{run}, command by command."""

    daemon: Daemon | None = None

    def check(self, page: Path) -> None:
        self.start_web(**{"no-such-name.example.com": ""})
        running = ""
        for block in blocks_of(page):
            if block.language == "yaml" and "caption" in block.options:
                self.write(block.options["caption"], block.text)
            if block.language != "console" or "run" not in block.classes:
                continue
            if block.run_with not in {running, "nothing"}:
                self.start(block.run_with)
                running = block.run_with
            for command, wanted in self.commands(block.text):
                self.try_command(f"{page}:{block.line}", command, wanted, fails="fails" in block.classes)

    @staticmethod
    def commands(text: str) -> Iterator[tuple[str, list[str]]]:
        """(command, the lines it is to print)."""
        for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            yield command, output.splitlines()

    def start(self, config: str) -> None:
        if self.daemon is not None:
            self.daemon.quit()
        program = config.partition(".")[0] if config.partition(".")[0] in DAEMONS else "g3proxy"
        named = type("Named", (Daemon,), {"program": program})
        self.daemon = named(self.directory / config, self.directory, ports=(DAEMONS[program],), namespace=self.namespace, packages=PACKAGES)
        self.addCleanup(self.daemon.quit)

    def try_command(self, where: str, command: str, wanted: list[str], *, fails: bool) -> None:
        # The tool finds a test's daemon only when it is told where it put its socket.
        pid = "" if self.daemon is None else f"{self.daemon.pid} -G {self.daemon.group} -C {self.daemon.control_dir}"
        ran = self.shell(command, *PACKAGES, PID=pid)
        self.assertEqual(ran.returncode != 0, fails, f"{where}: {command}\n{ran.stdout}")
        at = 0
        for line in wanted:
            pattern = re.compile(".*?".join(re.escape(piece) for piece in line.split("...")))
            found = pattern.search(ran.stdout, at)
            if found is None:
                self.fail(f"{where}: {command}\nshould print {line!r}, printed:\n{ran.stdout}")
            at = found.end()


def add_tests() -> None:
    """A method for each page, so that each has a name of its own in the report."""

    def rule(page: Path) -> Callable[[YAMLExampleTests | ConsoleExampleTests], None]:
        def test(self: YAMLExampleTests | ConsoleExampleTests) -> None:
            self.check(page)

        test.__doc__ = f"The examples of {page.relative_to(ROOT)}."
        return test

    for page in pages():
        if any(block.language == "yaml" for block in blocks_of(page)):
            setattr(YAMLExampleTests, method_name(page), rule(page))
        if any("run" in block.classes for block in blocks_of(page)):
            setattr(ConsoleExampleTests, method_name(page), rule(page))


add_tests()


class DocumentationTests(SynchronousTestCase):
    """The documentation as a whole."""

    def test_it_builds_without_a_warning(self) -> None:
        """What C{make docs} does."""
        with tempfile.TemporaryDirectory() as scratch:
            options = ["-q", "-W", "--keep-going", "-b", "html", "-d", f"{scratch}/doctrees"]
            argv = [sys.executable, "-m", "sphinx", *options, str(DOCS), f"{scratch}/html"]
            built = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
        self.assertEqual(built.returncode, 0, built.stderr[-8000:])

    def test_every_type_has_its_page(self) -> None:
        """docs/reference/KINDs/TYPE.rst, with the key table in it."""
        components = Components.discover()
        wrong = []
        for kind in KINDS:
            for info in components.types(kind):
                if info.package != "g3":
                    continue
                page = DOCS / "reference" / f"{kind}s" / f"{info.type}.rst"
                if not page.exists() or f".. g3-keys:: {kind} {info.type}" not in page.read_text():
                    wrong.append(str(page.relative_to(ROOT)))
        self.assertEqual(wrong, [])
