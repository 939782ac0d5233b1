# SPDX-License-Identifier: Apache-2.0
"""The shape of the house: which floor may import which, and what every file of it has."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import tokenize
import zipfile
from functools import cache
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase, TestCase

ROOT = Path(__file__).resolve().parent.parent.parent

#: From the ground up. A module imports its own floor and those below; two names on one floor do not know each other.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("errors",),
    ("proto", "pick", "ids"),
    ("task",),
    ("interfaces",),
    ("route",),
    ("acl", "limit", "metrics"),
    ("logs",),
    ("net",),
    ("relay", "lookup"),
    ("config",),
    ("component", "mkcert"),
    ("tree", "fcgen", "iploc"),
    ("auth",),
    ("resolvers", "escapers", "servers", "auditors"),
    ("keyless",),
    ("testing",),
    ("control",),
    ("workers",),
    ("tiles", "bench", "statsd"),
    ("apps",),
)
FLOOR_OF = {name: number for number, floor in enumerate(FLOORS) for name in floor}
#: Below everything: the version, and the hook for trial, which imports nothing of ours.
OUTSIDE = {"g3", "g3.test_suite"}
LONGEST_FUNCTION = 60
#: What a build reads, and what it must not.
METADATA = ("setup.cfg", "pyproject.toml", "MANIFEST.in", "README.rst", "CHANGELOG.rst", "LICENSE", "Makefile")
PACKED = (*METADATA, ".ci", "g3", "twisted", "tests", "tools", "examples", "docs")
LEFTOVERS = ("__pycache__", "dropin.cache", "*.egg-info", "docs/_build", "_trial_temp*")


def modules() -> dict[str, Path]:
    """Every module of g3 by its dotted name."""
    found = {}
    for path in sorted((ROOT / "g3").rglob("*.py")):
        parts = list(path.relative_to(ROOT).with_suffix("").parts)
        if parts[-1] == "__init__":
            parts.pop()
        found[".".join(parts)] = path
    return found


def python_files() -> list[Path]:
    """Every Python file we wrote that is kept."""
    listed = [path for folder in ("g3", "tests", "docs", "tools") for path in (ROOT / folder).rglob("*.py")]
    listed += (ROOT / "twisted" / "plugins").glob("g3_*.py")
    return sorted(path for path in listed if "_build" not in path.parts)


@cache
def parsed(path: Path) -> ast.Module:
    """A file's tree, for all tests that look at it."""
    return ast.parse(path.read_text(), str(path))


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}


def imported_names(node: ast.AST, module: str, is_package: bool) -> list[str]:
    """What one import statement names, relative ones made absolute; C{from a import b} gives a.b, the caller knows whether b is a module."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    base = node.module or ""
    if node.level:
        parts = module.split(".")
        keep = len(parts) - node.level + (1 if is_package else 0)
        base = ".".join([*parts[:keep], *([node.module] if node.module else [])])
    return [f"{base}.{alias.name}" for alias in node.names]


def walk_imports(tree: ast.AST, *, at_load: bool, for_types: bool = False) -> list[ast.AST]:
    """The import statements that run; C{at_load} leaves out those inside functions. Those for type checkers, which never run, C{for_types}."""
    found: list[ast.AST] = []
    stack: list[ast.AST] = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.Import | ast.ImportFrom):
            found.append(node)
        if is_type_checking(node) and not for_types:
            assert isinstance(node, ast.If)
            stack.extend(node.orelse)
            continue
        if at_load and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        stack.extend(ast.iter_child_nodes(node))
    return found


class Imports:
    """The import graph of g3, read from the source without running it."""

    def __init__(self) -> None:
        self.paths = modules()
        self.trees = {name: parsed(path) for name, path in self.paths.items()}

    def module_of(self, dotted: str) -> str:
        """The module that C{dotted} is or stands in."""
        while dotted and dotted not in self.paths:
            dotted = dotted.rpartition(".")[0]
        return dotted

    def outgoing(self, module: str, *, at_load: bool, for_types: bool = False) -> list[tuple[str, int]]:
        """(dotted name, line) of everything a module imports, ours and others'."""
        is_package = self.paths[module].name == "__init__.py"
        found = []
        for node in walk_imports(self.trees[module], at_load=at_load, for_types=for_types):
            found += [(name, getattr(node, "lineno", 0)) for name in imported_names(node, module, is_package)]
        return found

    def ours(self, module: str, *, at_load: bool, for_types: bool = False) -> set[str]:
        """The modules of g3 that a module imports, itself left out."""
        names = (name for name, _ in self.outgoing(module, at_load=at_load, for_types=for_types))
        found = {self.module_of(name) for name in names if name == "g3" or name.startswith("g3.")}
        return found - {module, "", "g3"}


def room(module: str) -> str:
    """The room of g3 a module stands in: C{net} of g3.net.tls.stream."""
    return module.split(".")[1]


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """The strongly connected groups of more than one node (Tarjan), each sorted."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for target in graph.get(node, ()):
            if target not in index:
                visit(target)
                low[node] = min(low[node], low[target])
            elif target in stack:
                low[node] = min(low[node], index[target])
        if low[node] == index[node]:
            at = stack.index(node)
            group = stack[at:]
            del stack[at:]
            if len(group) > 1:
                found.append(sorted(group))

    for node in sorted(graph):
        if node not in index:
            visit(node)
    return found


@cache
def imports() -> Imports:
    """The graph, for all tests."""
    return Imports()


class FloorTests(SynchronousTestCase):
    """Who imports whom."""

    def setUp(self) -> None:
        self.imports = imports()
        self.inside = sorted(set(self.imports.paths) - OUTSIDE)

    def test_every_room_has_a_floor(self) -> None:
        """A room nobody placed would be one nobody checks."""
        self.assertEqual(sorted({room(name) for name in self.inside} - set(FLOOR_OF)), [])

    def test_no_import_runs_upstairs(self) -> None:
        """A module imports from its own room or from a lower floor, also inside functions."""
        wrong = []
        for module in self.inside:
            for target in sorted(self.imports.ours(module, at_load=False)):
                if room(module) != room(target) and FLOOR_OF[room(target)] >= FLOOR_OF[room(module)]:
                    wrong.append(f"{module} imports {target}")
        self.assertEqual(wrong, [])

    def test_no_circles(self) -> None:
        """Modules that know each other are one module in two files, inside a package too, and be it for their types only: a Protocol says less."""
        graph = {module: self.imports.ours(module, at_load=True, for_types=True) for module in self.imports.paths}
        self.assertEqual(circles(graph), [])

    def test_no_reactor_at_load(self) -> None:
        """Importing a module of ours must not choose the reactor."""
        wrong = []
        for module in self.imports.paths:
            for name, line in self.imports.outgoing(module, at_load=True):
                if name == "twisted.internet.reactor":
                    wrong.append(f"{module}:{line}")
        self.assertEqual(wrong, [])

    def test_proto_is_pure(self) -> None:
        """Codecs import the standard library, g3.errors, idna, which is tables, and msgpack, a codec: bytes in, events out, no loop."""
        allowed = {*sys.stdlib_module_names, "idna", "msgpack"}
        wrong = []
        for module in self.inside:
            if room(module) != "proto":
                continue
            for name, line in self.imports.outgoing(module, at_load=False):
                top = name.split(".")[0]
                if top not in allowed and not name.startswith(("g3.errors", "g3.proto")):
                    wrong.append(f"{module}:{line} imports {name}")
        self.assertEqual(wrong, [])

    def test_interfaces_stay_light(self) -> None:
        """A scan for plugins loads the interfaces; they load nothing but zope.interface."""
        wrong = [name for name, _ in self.imports.outgoing("g3.interfaces", at_load=False) if not name.startswith(("zope.interface", "__future__"))]
        self.assertEqual(wrong, [])


class HouseRuleTests(SynchronousTestCase):
    """What every file has."""

    def test_every_file_says_its_licence_and_its_one_thing(self) -> None:
        """The SPDX line is in the first two lines, and a docstring says what the module is about."""
        wrong = []
        for path in python_files():
            text = path.read_text()
            if "# SPDX-License-Identifier: Apache-2.0" not in "\n".join(text.splitlines()[:2]):
                wrong.append(f"{path.relative_to(ROOT)}: no SPDX line")
            if path.name != "__init__.py" and not ast.get_docstring(parsed(path)):
                wrong.append(f"{path.relative_to(ROOT)}: no docstring")
        self.assertEqual(wrong, [])

    def test_no_function_is_longer_than_sixty_lines_without_a_reason(self) -> None:
        """A longer one says why: a comment that begins C{# long:} in its head or on the line before."""
        wrong = []
        for path in python_files():
            lines = path.read_text().splitlines()
            for node in ast.walk(parsed(path)):
                if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or node.end_lineno is None:
                    continue
                length = node.end_lineno - node.lineno + 1
                first = node.decorator_list[0].lineno if node.decorator_list else node.lineno
                head = lines[max(0, first - 2) : node.body[0].lineno]
                if length > LONGEST_FUNCTION and not any("# long:" in line for line in head):
                    wrong.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name} has {length} lines")
        self.assertEqual(wrong, [])

    def test_nothing_is_left_for_later(self) -> None:
        """No unfinished work is kept as a comment: it is done, or it is an issue."""
        words = ("TO" + "DO", "FIX" + "ME", "X" * 3)
        wrong = []
        for path in python_files():
            with path.open("rb") as file:
                for token in tokenize.tokenize(file.readline):
                    if token.type == tokenize.COMMENT and any(word in token.string for word in words):
                        wrong.append(f"{path.relative_to(ROOT)}:{token.start[0]}")
        self.assertEqual(wrong, [])

    def test_every_test_folder_is_a_package(self) -> None:
        """A folder without __init__.py is one whose tests trial never sees."""
        folders = {path.parent for path in (ROOT / "tests").rglob("test_*.py") if "packages" not in path.relative_to(ROOT).parts}
        self.assertEqual([str(folder.relative_to(ROOT)) for folder in sorted(folders) if not (folder / "__init__.py").exists()], [])


class PackagingTests(TestCase):
    """What users install."""

    def build(self, kind: str) -> Path:
        """A freshly built C{kind}, wheel or sdist, gone after the test."""
        scratch = tempfile.mkdtemp(prefix="g3build")
        self.addCleanup(shutil.rmtree, scratch, ignore_errors=True)
        # A copy, so that no build leftovers of this tree are packed, and two builds at once do not meet.
        source, out = Path(scratch, "source"), Path(scratch, "out")
        source.mkdir()
        excludes = [f"--exclude={pattern}" for pattern in LEFTOVERS]
        kept = subprocess.run(["tar", "-c", *excludes, *PACKED], cwd=ROOT, check=True, capture_output=True)
        subprocess.run(["tar", "-x"], cwd=source, input=kept.stdout, check=True)
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        built = subprocess.run(
            [sys.executable, "-m", "build", "--no-isolation", f"--{kind}", "--outdir", str(out), str(source)],
            cwd=scratch,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        self.assertEqual(built.returncode, 0, built.stdout + built.stderr)
        return next(out.iterdir())

    @staticmethod
    def listing(archive: Path) -> list[str]:
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as wheel:
                return wheel.namelist()
        with tarfile.open(archive) as sdist:
            return ["/".join(name.split("/")[1:]) for name in sdist.getnames()]

    def check_twisted(self, names: list[str]) -> None:
        """Of the folder twisted/, exactly our plugin files."""
        ours = sorted(f"twisted/plugins/{path.name}" for path in (ROOT / "twisted" / "plugins").glob("*.py"))
        self.assertNotEqual(ours, [])
        self.assertTrue(all(name.startswith("twisted/plugins/g3_") for name in ours), ours)
        self.assertEqual(sorted(name for name in names if name.startswith("twisted/") and name.endswith(".py")), ours)

    def test_the_wheel_has_our_plugins_and_nothing_of_twisted(self) -> None:
        """An install adds our plugin files beside Twisted's and replaces none of Twisted's; an uninstall leaves Twisted whole."""
        names = self.listing(self.build("wheel"))
        self.check_twisted(names)
        self.assertIn("g3/py.typed", names)
        self.assertEqual([name for name in names if name.split("/")[0] not in {"g3", "twisted"} and ".dist-info/" not in name], [])

    def test_the_sdist_has_our_plugins_the_tests_and_nothing_of_twisted(self) -> None:
        """From the source package everything can be built and tested again."""
        names = self.listing(self.build("sdist"))
        self.check_twisted(names)
        for needed in (*METADATA, "tests/unit/test_floors.py", "tools/run_tests.py", "examples/quickstart.yaml", "docs/conf.py"):
            self.assertIn(needed, names)

    def test_the_wheel_alone_is_enough(self) -> None:
        """Installed where no source tree is on the path, twistd knows the command and the command knows its types."""
        wheel = self.build("wheel")
        target = wheel.parent / "installed"
        options = ["-q", "--no-compile", "--no-deps", "--no-index", "--disable-pip-version-check", "--target", str(target)]
        subprocess.run([sys.executable, "-m", "pip", "install", *options, str(wheel)], check=True, capture_output=True)
        # The base interpreter with our packages as plain folders: files like that of an editable install are not read there.
        python = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
        ran = subprocess.run(
            [str(python), "-c", "from twisted.scripts.twistd import run; run()", "g3proxy", "--list-types"],
            cwd=wheel.parent,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": f"{target}{os.pathsep}{sysconfig.get_path('purelib')}"},
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual(ran.returncode, 0, ran.stdout + ran.stderr)
        self.assertIn("direct_fixed", ran.stdout)
