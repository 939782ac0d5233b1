# SPDX-License-Identifier: Apache-2.0
"""What g3proxy answers without running, about real types."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonschema import Draft202012Validator
from twisted.trial.unittest import SynchronousTestCase

from g3.apps import answers
from g3.config.document import read_text
from g3.config.problems import Problems
from g3.config.schema import Key, keys_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from g3.config.main import MainConfig

CONFIG = """\
worker: {sched_affinity: true}
log: {fluentd: {shared_key: OPEN, username: u, password: SESAME}}
server:
  - name: web
    type: http_proxy
    escaper: out
    listen: {address: "127.0.0.1:80", scale: 3}
    tls_ticketer: {source: {type: redis, addr: 127.0.0.1, enc_key: a, dec_set: b, password: SESAME}}
escaper:
  - {name: out, type: direct_fixed, resolver: names, tcp_connect: {max_retry: 1}}
resolver:
  - {name: names, type: c_ares}
"""


def paths() -> Iterator[str]:
    """Every path that can be asked for: sections, types, keys, and the keys of their maps."""
    layout, components = answers.layout(), answers.components()
    for name, section in layout.sections.items():
        yield name
        yield from below(name, section.value.schema_class(), ())
    for kind in layout.kinds:
        yield kind
        for word in components.words(kind):
            yield f"{kind}.{word}"
            yield f"{kind}.{word}.type"
            yield from below(f"{kind}.{word}", components.schema(kind, word), ())


def below(path: str, cls: Any, seen: tuple[Any, ...]) -> Iterator[str]:
    known: Key
    for known in keys_of(cls) if cls is not None and cls not in seen else ():
        for word in known.words:
            yield f"{path}.{word}"
        yield from below(f"{path}.{known.name}", known.value.schema_class(), (*seen, cls))


class AnswerTests(SynchronousTestCase):
    def read(self, text: str) -> MainConfig:
        path = Path(self.mktemp())
        path.write_text(text)
        return answers.read(path)[1]

    def test_every_path_is_explained(self) -> None:
        """With text of its own for each key."""
        asked = list(paths())
        self.assertGreater(len(asked), 1000)
        for path in asked:
            text = answers.explanation(path)
            self.assertTrue(text.startswith(path.rpartition(".")[0]), path)
            if path.count(".") > 1:
                self.assertRegex(text, r"\A[^\n]*: \S|deprecated: ", path)

    def test_a_dump_marks_defaults_inside_of_maps_too(self) -> None:
        """Also of those that become option objects."""
        lines = answers.effective(self.read(CONFIG)).splitlines()
        at = lines.index("    tcp_connect:")
        self.assertEqual(lines[at + 1 : at + 3], ["      max_retry: 1", "      each_timeout: 30s  # default"])
        self.assertIn("      backlog: 4096  # default", lines)

    def test_a_dump_hides_secrets_of_drivers_and_sources(self) -> None:
        """Whatever their keys are called."""
        text = answers.effective(self.read(CONFIG))
        self.assertNotIn("OPEN", text)
        self.assertNotIn("SESAME", text)

    def test_a_dump_is_a_configuration_of_the_same_effect(self) -> None:
        """It loads as the same, fits the schema, and dumps as the same but for places."""
        given = CONFIG.replace("OPEN", "'********'").replace("SESAME", "'********'")
        first = self.read(given)
        text = answers.effective(first)
        again = self.read(text)
        self.assertEqual(again.sections, first.sections)
        for kind in first.layout.kinds:
            self.assertEqual(again.configs(kind), first.configs(kind))
        (node,) = read_text(text, "f", Problems())
        self.assertEqual([error.message for error in Draft202012Validator(answers.schema()).iter_errors(node.to_python())], [])
