# SPDX-License-Identifier: Apache-2.0
"""What can be asked about a configuration: its graph, its effective form, its schema, what a key means."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from twisted.trial.unittest import SynchronousTestCase

from g3.config.document import read_text
from g3.config.dump import dump, mask
from g3.config.explain import explain
from g3.config.graph import FORMATS
from g3.config.jsonschema import json_schema
from g3.config.main import MainConfig, load
from g3.config.problems import Problems
from g3.errors import ConfigError

from .samples import COMPONENTS, LAYOUT, FakeComponents, OutConfig, PickConfig, WebConfig, load_files

CONFIG = """\
runtime: {thread_number: 2}
server:
  - name: web
    type: web-proxy
    escaper: a.b
    password: hunter2
    listen: {address: "[::]:80"}
    extra_listen: [{address: x}, {address: "y z", backlog: 5}]
    tags: {"on": "no", url: "redis://u:secret@h/1"}
escaper:
  - {name: a.b, type: pick, next: [a-b, gone]}
  - {name: a-b, type: go_out}
"""


class ViewCase(SynchronousTestCase):
    def load(self, text: str = CONFIG) -> MainConfig:
        config, problems = load_files(self.mktemp(), {"main.yaml": text})
        assert config is not None, list(problems)
        return config


class GraphTests(ViewCase):
    def test_every_format_has_each_node_and_edge(self) -> None:
        """Under ids of plain characters that differ where names do."""
        arrows = {"graphviz": "->", "mermaid": "-->", "plantuml": "-->"}
        for word, draw in FORMATS.items():
            text = draw(self.load())
            edges = set(re.findall(rf"(\w+) {arrows[word]} (\w+)", text))
            named = dict(re.findall(r'(\w+) ?\[?(?:label=|\[)"([^" ]+)', text)) or {
                v: k for k, v in re.findall(r'component "([^" ]+)[^"]*" as (\w+)', text)
            }
            seen = {(named[a], named[b]) for a, b in edges if a in named}
            self.assertEqual(seen, {("web", "a.b"), ("a.b", "a-b"), ("a.b", "gone")}, text)
            self.assertEqual(len(set(named)), 4)

    def test_a_stand_in_is_marked(self) -> None:
        """Dashed, or by a word."""
        config = self.load()
        self.assertIn('[label="gone"; color=red; style=dashed]', FORMATS["graphviz"](config))
        self.assertIn("gone (missing)", FORMATS["mermaid"](config))
        self.assertIn("gone (missing)", FORMATS["plantuml"](config))


class DumpTests(ViewCase):
    def test_the_dump_loads_as_the_same_configuration(self) -> None:
        """But for the secrets."""
        config = self.load(CONFIG.replace("redis://u:secret@h/1", "x: #y"))
        text = dump(config).replace("********", "hunter2")
        path = Path(self.mktemp())
        path.write_text(text)
        again = load(path, COMPONENTS, Problems(), LAYOUT)
        assert again is not None
        for kind in LAYOUT.kinds:
            self.assertEqual(again.configs(kind), config.configs(kind))
        self.assertEqual(again.sections, config.sections)

    def test_whatever_can_be_read_is_written_so_that_it_reads_back(self) -> None:
        """Characters beyond 16 bits, keys too long to stand before their colon, integers of 64 bits without sign, deprecated keys."""
        config = self.load(
            'server: [{name: "\U00010400", type: web_proxy, ancient: 5, tags: {"\U0001f600 \\\\ud83d \\x7f": x}}]\n'
            f"log:\n  ? {'k' * 1500}\n  : {{a: [{{? {'l' * 1500} : 1}}]}}\n"
            "controller: {local: {recv_timeout: '18446744073709551615'}}\n"
        )
        path = Path(self.mktemp())
        path.write_text(dump(config))
        problems = Problems()
        again = load(path, COMPONENTS, problems, LAYOUT)
        assert again is not None, list(problems)
        self.assertEqual(again.configs("server"), config.configs("server"))
        self.assertEqual(again.sections, config.sections)

    def test_defaults_are_marked(self) -> None:
        """What was given is not."""
        lines = dump(self.load()).splitlines()
        self.assertIn("    idle: 1m  # default", lines)
        self.assertIn("      backlog: 4096  # default", lines)
        self.assertIn("    escaper: a.b", lines)
        self.assertIn("  thread_number: 2", lines)

    def test_secrets_are_masked(self) -> None:
        """Declared ones, passwords in URLs, private keys, words that mean a secret."""
        text = dump(self.load())
        self.assertNotIn("hunter2", text)
        self.assertNotIn(":secret@", text)
        self.assertIn('password: "********"', text)
        key = "-----BEGIN EC PRIVATE KEY-----\nx"
        masked: Any = mask({"a": [{"Password": "x"}, key], "token": ["y"], "private_key": "/path/key.pem", "n": 5})
        self.assertEqual(masked, {"a": [{"Password": "********"}, "********"], "token": "********", "private_key": "/path/key.pem", "n": 5})


class SchemaTests(ViewCase):
    def problems(self, text: str) -> list[str]:
        (node,) = read_text(text, "f", Problems())
        validator = Draft202012Validator(json_schema(LAYOUT, COMPONENTS))
        return [error.message for error in validator.iter_errors(node.to_python())]

    def test_it_is_a_schema_and_accepts_what_loads(self) -> None:
        """Aliases, dashes, other cases of words."""
        Draft202012Validator.check_schema(json_schema(LAYOUT, COMPONENTS))
        self.assertEqual(self.problems(CONFIG), [])
        more = (
            "user-group: d\nworker: {threads-total: 5}\nserver: [x.yaml, {name: a, type: WEB-proxy, idle-timeout: 1h 5m, strict: 'Yes', old-idle: 3}]"
        )
        self.assertEqual(self.problems(more), [])
        self.assertEqual(self.problems("log: stdout\ncontroller: {local: {recv-timeout: 5}}"), [])

    def test_it_refuses_what_does_not_load(self) -> None:
        """Unknown keys and types, wrong values, missing keys."""
        for text in [
            "logg: x",
            "server: [{name: a, type: web_proxy, idel: 5}]",
            "server: [{name: a, type: wab}]",
            "server: [{type: web_proxy}]",
            "server: [{name: a}]",
            "server: [{name: a, type: web_proxy, listen: {}}]",
            "server: [{name: a, type: web_proxy, idle: x}]",
            "runtime: {thread_number: -1}",
        ]:
            self.assertNotEqual(self.problems(text), [], text)

    def test_what_occurs_often_is_written_once(self) -> None:
        """And every reference leads somewhere."""
        schema = json_schema(LAYOUT, COMPONENTS)
        text = json.dumps(schema)
        self.assertEqual(set(re.findall(r'"\$ref": "#/\$defs/([^"]+)"', text)) - set(schema["$defs"]), set())
        self.assertEqual(text.count("Host and port."), 1)

    def test_a_type_that_cannot_be_loaded_is_left_out(self) -> None:
        """The others stay."""
        failing = FakeComponents(WebConfig, OutConfig, PickConfig, failing={"pick": "boom"})
        definitions = json_schema(LAYOUT, failing)["$defs"]
        self.assertIn("escaper.go_out", definitions)
        self.assertNotIn("escaper.pick", definitions)


class ExplainTests(ViewCase):
    def explain(self, path: str) -> str:
        return explain(path, LAYOUT, COMPONENTS)

    def test_a_key_tells_type_unit_default_and_aliases(self) -> None:
        """In any spelling, by alias too."""
        for path in ("server.web_proxy.idle", "Server.Web-Proxy.Idle-Timeout"):
            text = self.explain(path)
            for part in (
                "server.web_proxy.idle: How long nothing may happen.",
                "duration",
                "unit: seconds",
                'default: "1m"',
                "also written: idle_timeout",
            ):
                self.assertIn(part, text)
        self.assertIn("required", self.explain("server.web_proxy.listen.address"))
        self.assertIn('deprecated: use "idle"'.replace('"', ""), self.explain("server.web_proxy.old_idle"))

    def test_a_path_goes_into_maps_and_lists(self) -> None:
        """And lists the keys of one."""
        self.assertIn("default: 4096", self.explain("server.web_proxy.extra_listen.backlog"))
        self.assertIn("backlog", self.explain("server.web_proxy.listen"))
        self.assertIn("task_wait_delay", self.explain("runtime"))
        self.assertIn("default: 30", self.explain("controller.local.recv_timeout"))

    def test_the_type_of_a_node_is_a_key_too(self) -> None:
        """Required, but where upstream needs none."""
        self.assertRegex(self.explain("server.web_proxy"), "\n  type +Which type of server this is\\.\n")
        self.assertIn("default: none, the key is required", self.explain("server.web_proxy.type"))

    def test_types_and_sections_are_listed(self) -> None:
        """With their first sentence."""
        self.assertIn("go_out  Goes out.", self.explain("escaper"))
        self.assertIn("web_proxy  Serves the web.\n", self.explain("server"))
        self.assertIn("bind", self.explain("escaper.go_out"))
        self.assertIn("runtime", self.explain(""))

    def test_what_does_not_exist_has_a_hint(self) -> None:
        """At each level."""
        for path, message in {
            "serv": 'unknown section "serv"; did you mean "server"?',
            "server.web_prox": 'unknown server type "web_prox"; did you mean "web_proxy"?',
            "server.web_proxy.idel": 'server.web_proxy has no key "idel"; did you mean "idle"?',
            "server.web_proxy.listen.adress": 'server.web_proxy.listen has no key "adress"; did you mean "address"?',
            "server.web_proxy.typ": 'server.web_proxy has no key "typ"; did you mean "type"?',
            "server.web_proxy.idle.x": 'server.web_proxy.idle is a duration, it has no key "x"',
            "server.socksproxy": 'server type "socks_proxy" is a known upstream type that is not available yet',
        }.items():
            self.assertEqual(str(self.assertRaises(ConfigError, self.explain, path)), message)
