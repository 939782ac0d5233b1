# SPDX-License-Identifier: Apache-2.0
"""Whatever a file holds, reading it as a configuration raises nothing, and every problem has a place that exists."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from twisted.trial.unittest import SynchronousTestCase

from g3.config.document import Node, read_bytes, read_text
from g3.config.dump import dump
from g3.config.graph import FORMATS
from g3.config.jsonschema import json_schema
from g3.config.main import load
from g3.config.problems import Problems, excerpt, format_report
from tests.unit.config.samples import COMPONENTS, LAYOUT

SCHEMA = Draft202012Validator(json_schema(LAYOUT, COMPONENTS))
FUZZ = settings(max_examples=1000, deadline=None, suppress_health_check=list(HealthCheck))

MARKS = (
    r"a|b: |: |- |\n|\n  |\t|[|]|{|}|,|&x |*x|<<: |!!int |!t |>-\n|'|\"|\\|#|---\n|...\n|%YAML 1.1\n|? |~|5|1e5|.inf|\r|\x85|\u2028|\0|\ufeff|é|\x1b"
)
PIECES = st.sampled_from([*MARKS.encode("latin-1").decode("unicode_escape").split("|"), "|\n", "\U0001f600"])
TEXTS = st.one_of(st.lists(PIECES, max_size=40).map("".join), st.text(max_size=60))

WORD_LIST = """name type listen escaper server resolver user auditor runtime worker log next idle address backlog tags old-idle STRICT strict bind
extra_listen user_group thread_number sched_affinity controller local recv_timeout <<"""
WORDS = st.sampled_from(WORD_LIST.split())
#: Numbers as people and machines write them: signs, zeros, units, and whatever counts as space around them.
SPACES = st.sampled_from(["", "", " ", "\t", "\n", "\x1f", "\x85", "\u3000"])
NUMBERS = st.tuples(
    SPACES,
    st.one_of(st.sampled_from(["0", "007", "+5", "-1", ".5", "5.", "1e5", "0x10"]), st.integers(0, 1 << 65).map(str)),
    SPACES,
    st.sampled_from(["", "", "ms", "s", "h", "KiB", "%", "\u212a"]),
    SPACES,
).map("".join)
SCALARS = st.one_of(
    st.sampled_from(
        ["web_proxy", "go_out", "pick", "socks_proxy", "basic", "a", "b", "out", ".", "..", "/dev/null", "x" * 5000, "1h 5m", "4 KiB", "0-3"]
    ),
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    NUMBERS,
)


def maps(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.dictionaries(st.one_of(WORDS, WORDS, st.text(max_size=5)), inner, max_size=6)


DATA = st.recursive(SCALARS, lambda inner: st.one_of(st.lists(inner, max_size=4), maps(inner)), max_leaves=25)
NODES = st.lists(
    st.one_of(
        st.fixed_dictionaries(
            {"name": st.sampled_from("abc"), "type": st.sampled_from(["web_proxy", "go_out", "pick"])},
            optional={
                "next": st.lists(st.sampled_from("abc"), max_size=3),
                "escaper": st.sampled_from("abcd"),
                **dict.fromkeys(["idle", "idle-timeout", "old_idle", "ancient", "strict"], SCALARS),
                "tags": st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
                "listen": DATA,
            },
        ),
        maps(DATA),
    ),
    max_size=5,
)


def some(**values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """A map of some of these, or anything."""
    return st.one_of(st.fixed_dictionaries({}, optional=values), DATA)


CONTROLLER = some(local=some(recv_timeout=SCALARS, send_timeout=SCALARS))
SECTIONS = {
    "runtime": some(thread_number=SCALARS, thread_stack_size=SCALARS, task_wait_delay=SCALARS),
    "worker": some(thread_number=SCALARS, sched_affinity=st.dictionaries(NUMBERS, DATA, max_size=3)),
    "controller": st.one_of(CONTROLLER, st.lists(CONTROLLER, max_size=3)),
}
MAINS = st.one_of(maps(DATA), st.fixed_dictionaries({}, optional={"server": NODES, "escaper": NODES, "user_group": NODES, **SECTIONS}))


def server(**keys: Any) -> dict[str, Any]:
    """A configuration of one server."""
    return {"server": [{"name": "a", "type": "web_proxy", **keys}]}


class ConfigFuzzTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())

    def check_problems(self, problems: Problems, text: str) -> None:
        format_report(problems).encode()
        for problem in problems:
            if problem.place.line and problem.place.file == "f":
                self.assertLessEqual(problem.place.line, len(text.splitlines()) + 1)
                self.assertLessEqual(problem.place.column, len(problem.source) + 1)
            self.assertIn(len(excerpt(problem)), (0, 2))

    @FUZZ
    @given(st.binary(max_size=80))
    def test_any_bytes(self, data: bytes) -> None:
        """Never a traceback."""
        problems = Problems()
        read_bytes(data, "f", problems)
        self.check_problems(problems, data.decode("utf-8", "replace"))

    @FUZZ
    @given(TEXTS)
    @example("a: &x\n  - *x\n")
    @example("? [a]\n: b\n")
    def test_any_text(self, text: str) -> None:
        """Nor for text that looks like YAML; as a whole configuration too."""
        problems = Problems()
        for node in read_text(text, "f", problems):
            repr(node)
            node.to_python()
        self.check_problems(problems, text)
        self.path.write_bytes(text.encode("utf-8", "surrogatepass"))
        problems = Problems()
        config = load(self.path, COMPONENTS, problems, LAYOUT)
        self.assertEqual(config is None, problems.error_count > 0)

    @FUZZ
    @given(MAINS)
    @example({"runtime": {"task_wait_delay": "5\t"}})
    @example({"worker": {"sched_affinity": {"0": []}}})
    @example({"controller": [5, None]})
    @example({"controller": {"local": {"recv_timeout": str(2**64 - 1)}}})
    @example(server(ancient=5))
    @example({"server": [{"name": "a", "type": "web_proxy", "idle": [], "idle-timeout": 5}]})
    @example(server(idle=5, old_idle=[]))
    @example({"wor\u212aer": {}})
    def test_any_data(self, data: Any) -> None:
        """A configuration comes out, or at least one error. What comes out fits the JSON Schema, can be drawn, and loads again when dumped."""
        self.path.write_text(json.dumps(data))
        problems = Problems()
        config = load(self.path, COMPONENTS, problems, LAYOUT)
        self.check_problems(problems, "")
        self.assertEqual(config is None, problems.error_count > 0)
        if config is None:
            return
        if "STRICT" not in json.dumps(data):
            self.assertEqual([error.message for error in SCHEMA.iter_errors(json.loads(json.dumps(data)))], [])
        for draw in FORMATS.values():
            draw(config)
        text = dump(config)
        if "********" not in text:
            self.path.write_text(text)
            again_problems = Problems()
            again = load(self.path, COMPONENTS, again_problems, LAYOUT)
            assert again is not None, (text, format_report(again_problems))
            self.assertEqual([again.configs(kind) for kind in LAYOUT.kinds], [config.configs(kind) for kind in LAYOUT.kinds])

    @FUZZ
    @given(DATA)
    def test_json_is_read_as_json_says(self, data: Any) -> None:
        """JSON is YAML: Python's own reader is the oracle."""
        text = json.dumps(data)
        problems = Problems()
        nodes = read_text(text, "f", problems)
        if problems.error_count:
            return
        expected = json.loads(text, parse_int=lambda digits: int(digits) if -(2**63) <= int(digits) < 2**63 else float(digits))
        self.assertEqual(repr(_plain(nodes[0])), repr(_nan_to_text(expected)))


def _plain(node: Node) -> Any:
    if node.kind == "map":
        return {key.text: _plain(value) for key, value in node.items}
    return [_plain(element) for element in node.elements] if node.kind == "seq" else node.value


def _nan_to_text(data: Any) -> Any:
    """JSON of Python writes NaN and Infinity, which YAML takes for words."""
    if isinstance(data, dict):
        return {key: _nan_to_text(value) for key, value in data.items()}
    if isinstance(data, list):
        return [_nan_to_text(value) for value in data]
    if isinstance(data, float) and data != data:
        return "NaN"
    if isinstance(data, float) and abs(data) == float("inf"):
        return "Infinity" if data > 0 else "-Infinity"
    return data
