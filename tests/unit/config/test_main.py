# SPDX-License-Identifier: Apache-2.0
"""A main configuration is read whole: documents, files, directories, names, references; every problem in one go."""

from __future__ import annotations

import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from g3.config.main import load, load_one
from g3.config.node import Position
from g3.config.problems import Problems, format_report
from g3.config.runtime import ControllerConfig, LocalControllerConfig, RuntimeConfig, WorkerConfig
from g3.config.upstream_types import canonical_type
from g3.config.value import Reference
from tests.upstream import upstream_dir

from .samples import COMPONENTS, LAYOUT, FakeComponents, OutConfig, WebConfig, load_files, told, write

OUT = "{name: out, type: go_out}"


class FileTests(SynchronousTestCase):
    def test_the_main_file_of_a_directory(self) -> None:
        """main.* goes before g3proxy.*."""
        root = self.mktemp()
        write(root, {"g3proxy.yaml": "log: a", "main.conf": "log: b", "other.yaml": "log: c"})
        config = load(root, COMPONENTS, Problems(), LAYOUT)
        assert config is not None
        self.assertEqual((config.log, config.path.name), ("b", "main.conf"))

    def test_no_main_file_is_an_error(self) -> None:
        """Of an empty directory, of a path that does not exist."""
        root = self.mktemp()
        Path(root).mkdir()
        for path in (root, f"{root}/x", "a\0b"):
            problems = Problems()
            self.assertIdentical(load(path, COMPONENTS, problems, LAYOUT), None)
            self.assertEqual(problems.error_count, 1)

    def test_a_section_that_is_nothing_adds_nothing(self) -> None:
        """Wherever it stands; upstream does so with runtime, log and controller."""
        full, empty = "runtime: {thread_number: 3}\ncontroller: [{local: {send_timeout: 7}}]\n", "runtime:\ncontroller: ~\n"
        for text in (f"{full}---\n{empty}", f"{empty}---\n{full}", f"{empty}---\n{full}---\n{empty}"):
            config, problems = load_files(self.mktemp(), {"main.yaml": text})
            assert config is not None, told(problems)
            self.assertEqual((config.runtime.thread_number, config.controller.local.send_timeout), (3, 7), text)
        config, _ = load_files(self.mktemp(), {"main.yaml": f"{empty}---\n{empty}"})
        self.assertEqual(config and (config.runtime, config.controller), (RuntimeConfig(), ControllerConfig()))

    def test_all_documents_are_one_map(self) -> None:
        """Nodes add up, sections are read as one map, a section that is no map is taken from the last."""
        text = "log: a\nruntime: {thread_number: 3}\nescaper: [{name: a, type: go_out}]\n---\nlog: b\nruntime: {task_wait_delay: 9s}\n"
        config, _ = load_files(self.mktemp(), {"main.yaml": text + "escaper: [{name: b, type: go_out}]"})
        assert config is not None
        self.assertEqual([c.name for c in config.configs("escaper")], ["a", "b"])
        self.assertEqual((config.log, config.runtime), ("b", RuntimeConfig(thread_number=3, task_wait_delay=9.0)))

    def test_an_empty_file_is_a_configuration(self) -> None:
        """Everything has its default."""
        config, problems = load_files(self.mktemp(), {"main.yaml": ""})
        assert config is not None
        self.assertEqual((told(problems), config.runtime, config.worker, config.log), ([], RuntimeConfig(), None, "discard"))
        self.assertEqual(config.controller, ControllerConfig())

    def test_sections_may_be_null_as_upstream(self) -> None:
        """runtime and controller, not worker."""
        _, problems = load_files(self.mktemp(), {"main.yaml": "runtime:\ncontroller:\nworker:\n"})
        self.assertEqual(told(problems), ["3:8: expected a map, not nothing"])

    def test_the_sections_of_the_process(self) -> None:
        """With the aliases of their keys."""
        text = "worker: {threads-total: 4, threads_per_runtime: 2}\ncontroller: {local: {recv_timeout: 3}}"
        config, _ = load_files(self.mktemp(), {"main.yaml": text})
        assert config is not None
        self.assertEqual(config.worker, WorkerConfig(thread_number_total=4, thread_number_per_runtime=2))
        self.assertEqual(config.controller.local, LocalControllerConfig(recv_timeout=3))

    def test_the_controller_may_be_a_list_as_documented_upstream(self) -> None:
        """Maps that are read as one."""
        config, problems = load_files(self.mktemp(), {"main.yaml": "controller: [{local: {recv_timeout: 3}}]"})
        assert config is not None
        self.assertEqual((config.controller.local, told(problems)), (LocalControllerConfig(recv_timeout=3), []))
        config, problems = load_files(self.mktemp(), {"main.yaml": "controller: [{local: {recv_timeout: 3}}, null]"})
        assert config is not None, list(problems)
        self.assertEqual(config.controller.local.recv_timeout, 3)
        for wrong in ("[5]", "[5, {}]", "[]"):
            self.assertEqual(load_files(self.mktemp(), {"main.yaml": f"controller: {wrong}"})[1].error_count, 1)
        _, problems = load_files(self.mktemp(), {"main.yaml": "controller: [5]"})
        self.assertEqual(told(problems), ["1:14: expected a map, not the number 5"])

    def test_controllers_of_several_documents_are_one(self) -> None:
        """As a map, as a list, as both; upstream sets each key of C{local} as it comes."""
        one, other = "{local: {recv_timeout: 3}}", "{local: {send_timeout: 7}}"
        together = "controller: {}\n---\ncontroller: {}\n"
        for text in (
            f"controller: [{one}, {other}]", together.format(one, other), together.format(f"[{one}]", other), together.format(one, f"[{other}]"),
            together.format(f"[{one}]", f"[null, {other}]"), together.format(f"[{one}]", "~") + f"---\nController: {other}\n",
        ):  # fmt: skip
            config, problems = load_files(self.mktemp(), {"main.yaml": text})
            self.assertEqual((told(problems), config and config.controller.local), ([], LocalControllerConfig(recv_timeout=3, send_timeout=7)), text)
        config, _ = load_files(self.mktemp(), {"main.yaml": together.format(one, "[{local: {recv_timeout: 4}}]")})
        self.assertEqual(config and config.controller.local.recv_timeout, 4)

    def test_what_another_document_overrides_is_looked_at(self) -> None:
        """And refused in its place; a section that is written in two right ways is taken from the last."""
        for first, wanted in (("controller: 5", "1:13: expected a map, not the number 5"), ("controller: []", "1:13: expected a map, not a list"),
                              ("controller: [5]", "1:14: expected a map, not the number 5")):  # fmt: skip
            _, problems = load_files(self.mktemp(), {"main.yaml": f"{first}\n---\ncontroller: {{local: {{send_timeout: 7}}}}\n"})
            self.assertEqual(told(problems), [wanted])
        _, problems = load_files(self.mktemp(), {"main.yaml": "runtime: {thread_number: 7}\n---\nruntime: []\n"})
        self.assertEqual(told(problems), ["3:10: expected a map, not a list"])

    def test_keys_of_the_main_map_in_any_spelling(self) -> None:
        """C{user} is C{user_group}; an unknown key is an error."""
        _, problems = load_files(self.mktemp(), {"main.yaml": "Escaper: []\nUser: []\nuser-group: []\nescapers: []\n5: x\n"})
        self.assertEqual(
            told(problems),
            [
                '4:1: unknown key "escapers" in the main configuration; did you mean "escaper"?',
                "5:1: a key must be a string, not the number 5",
            ],
        )

    def test_a_document_that_is_no_map_is_an_error(self) -> None:
        """A null document too, as upstream."""
        _, problems = load_files(self.mktemp(), {"main.yaml": "log: a\n---\n---\n[a]\n"})
        self.assertEqual([p.message for p in problems], [f"a main configuration must be a map, not {what}" for what in ("nothing", "a list")])


class HybridTests(SynchronousTestCase):
    def test_maps_files_and_directories_in_one_list(self) -> None:
        """Documents of a file one by one; of a directory the files with the main file's ending, by name, no deeper; symlinks to files count."""
        root = self.mktemp()
        files = {
            "main.yaml": "escaper:\n- {name: inline, type: go_out}\n- more/two.yaml\n- d\n",
            "more/two.yaml": "{name: two-a, type: go_out}\n---\n{name: two-b, type: go_out}\n",
            "d/b.yaml": "{name: b, type: go_out}",
            "d/a.yaml": "{name: a, type: go_out}",
            "d/c.yml": "not read",
            "d/deep/e.yaml": "not read",
            "elsewhere": "{name: linked, type: go_out}",
        }
        write(root, files)
        Path(root, "d/z.yaml").symlink_to("../elsewhere")
        Path(root, "d/y.yaml").symlink_to("deep")
        config, problems = load_files(root, files)
        assert config is not None, told(problems)
        self.assertEqual([c.name for c in config.configs("escaper")], ["inline", "two-a", "two-b", "a", "b", "linked"])
        position = config.nodes["escaper"]["two-b"].position
        assert position is not None
        self.assertEqual((position.path.name, position.index), ("two.yaml", 1))
        self.assertIdentical(config.nodes["escaper"]["inline"].position, None)
        self.assertIn("z.yaml", {path.name for path in config.files})

    def test_one_path_in_place_of_a_list(self) -> None:
        """Relative to the main file, or absolute."""
        root = self.mktemp()
        write(root, {"d/a.yaml": OUT})
        for path in ("d", "d/a.yaml", str(Path(root, "d").resolve())):
            config, _ = load_files(root, {"main.yaml": f"escaper: {path}"})
            assert config is not None
            self.assertEqual([c.name for c in config.configs("escaper")], ["out"])

    def test_paths_are_relative_to_the_real_main_file(self) -> None:
        """A symlink to it counts as the file it leads to."""
        root = self.mktemp()
        write(root, {"real/main.yaml": "escaper: d", "real/d/a.yaml": OUT})
        Path(root, "main.yaml").symlink_to("real/main.yaml")
        self.assertIsNot(load(f"{root}/main.yaml", COMPONENTS, Problems(), LAYOUT), None)

    def test_what_is_neither_map_nor_path_is_an_error(self) -> None:
        """Each told."""
        cases = {
            "escaper: {a: b}": "escaper: expected a list of maps and paths, or one path, not a map",
            "escaper:": "escaper: expected a list of maps and paths, or one path, not nothing",
            "escaper: [5]": "escaper: expected a map or a path, not the number 5",
            "escaper: [[x]]": "escaper: expected a map or a path, not a list",
            "escaper: ['']": 'escaper: "" is not a path',
            'escaper: "a\\0b"': 'escaper: "a\\x00b" is not a path',
            "escaper: /nope": 'escaper: "/nope" does not exist',
            "escaper: [/dev/null]": 'escaper: "/dev/null" is neither a file nor a directory',
        }
        for text, message in cases.items():
            _, problems = load_files(self.mktemp(), {"main.yaml": text})
            self.assertEqual([p.message for p in problems], [message])

    def test_problems_name_the_file_they_are_in(self) -> None:
        """With its lines."""
        _, problems = load_files(self.mktemp(), {"main.yaml": "escaper: d", "d/x.yaml": "name: a\ntype: go_out\nbnd: 5\n---\n5\n"})
        lines = format_report(problems).splitlines()
        self.assertIn('d/x.yaml:3:1: unknown key "bnd"; did you mean "bind"?', lines[0])
        self.assertEqual(lines[1], "    bnd: 5")
        self.assertIn("d/x.yaml:5:1: escaper: a document must be a map, not the number 5", lines[3])


class NameTests(SynchronousTestCase):
    def test_a_name_twice_is_an_error_at_the_second(self) -> None:
        """Over files; the same name in two kinds is fine."""
        files = {"main.yaml": f"server: [{{name: out, type: web_proxy}}]\nescaper:\n- {OUT}\n- o.yaml", "o.yaml": OUT}
        _, problems = load_files(self.mktemp(), files)
        self.assertEqual(len(problems), 1)
        self.assertRegex(str(problems.errors[0]), r'o\.yaml:1:8: escaper "out" already exists; the first is at .*main\.yaml:3:10')

    def test_a_name_twice_is_found_among_broken_nodes(self) -> None:
        """Of any type."""
        _, problems = load_files(self.mktemp(), {"main.yaml": "server:\n- {name: a, type: socks_proxy}\n- {name: a, type: web_proxy, x: y}"})
        self.assertIn("already exists", format_report(problems))

    def test_names_are_limited_to_what_metrics_can_show(self) -> None:
        """Letters of any script, digits and - . _ /; a string."""
        text = (
            "escaper: [{name: é漢-_./9, type: go_out}, {name: a b, type: go_out}, {name: 5, type: go_out}, {name: '', type: go_out}, {type: go_out}]"
        )
        _, problems = load_files(self.mktemp(), {"main.yaml": text})
        self.assertEqual(
            [p.message for p in problems],
            [
                'name: character " " is not allowed in a name (letters, digits, - _ . /)',
                "name: expected a name (quote one that looks like a number), not the number 5",
                "name: a name must not be empty",
                'required key "name" is missing',
            ],
        )


class TypeTests(SynchronousTestCase):
    def test_an_unknown_type_is_an_error(self) -> None:
        """With the nearest one that exists here or upstream, and what failed to load."""
        broken = FakeComponents(WebConfig, broken=("plugin module x.y failed to load: boom",))
        text = "server: [{name: a, type: web-prox}, {name: b, type: socks_prox}, {name: c}, {name: d, type: [x]}]"
        _, problems = load_files(self.mktemp(), {"main.yaml": text}, broken)
        self.assertEqual(
            [p.message for p in problems],
            [
                'unknown server type "web_prox"; did you mean "web_proxy"?; plugin module x.y failed to load: boom',
                'unknown server type "socks_prox"; did you mean "socks_proxy"?; plugin module x.y failed to load: boom',
                'server: required key "type" is missing',
                "type: expected a word, not a list",
            ],
        )

    def test_an_upstream_type_that_is_not_built_is_told_once(self) -> None:
        """At its first place, under its canonical word."""
        text = "server:\n- {name: a, type: SOCKSProxy}\n- {name: b, type: socks-proxy}\n- {name: c, type: sni_proxy}\n"
        config, problems = load_files(self.mktemp(), {"main.yaml": text})
        self.assertIdentical(config, None)
        self.assertEqual(
            told(problems),
            [
                '2:19: server type "socks_proxy" is a known upstream type that is not available yet',
                '4:19: server type "sni_proxy" is a known upstream type that is not available yet',
            ],
        )

    def test_user_groups_and_auditors_need_no_type(self) -> None:
        """They are refused while nothing offers them."""
        text = "user: [{name: a}, {name: b, type: ldap}]\nauditor: [{name: a}, {name: b}]\n"
        _, problems = load_files(self.mktemp(), {"main.yaml": text})
        self.assertEqual(
            [p.message for p in problems],
            [
                'user_group type "basic" is a known upstream type that is not available yet',
                'user_group type "ldap" is a known upstream type that is not available yet',
                'the section "auditor" is a known upstream type that is not available yet',
            ],
        )

    def test_a_type_that_cannot_be_loaded_is_an_error(self) -> None:
        """Told once, in the words of the component."""
        failing = FakeComponents(WebConfig, OutConfig, failing={"go_out": 'needs the "x" extra'})
        _, problems = load_files(self.mktemp(), {"main.yaml": f"escaper:\n- {OUT}\n- {{name: b, type: go-out}}"}, failing)
        self.assertEqual(told(problems), ['2:21: needs the "x" extra'])

    def test_upstream_words_in_every_spelling(self) -> None:
        """Aliases and forms without underscores."""
        words = [("server", "HTTP-Gateway", "http_rproxy"), ("escaper", "routedstip", "route_resolved"), ("resolver", "trustdns", "hickory")]
        for kind, word, canonical in words:
            self.assertEqual(canonical_type(kind, word), canonical)
        self.assertIdentical(canonical_type("server", "hickory"), None)


class ReferenceTests(SynchronousTestCase):
    def test_a_name_nobody_defines_gets_a_stand_in_and_a_warning(self) -> None:
        """As upstream; told at the first place that names it."""
        text = f"server:\n- {{name: a, type: web_proxy, escaper: ouut}}\n- {{name: b, type: web_proxy, escaper: ouut}}\nescaper: [{OUT}]"
        config, problems = load_files(self.mktemp(), {"main.yaml": text})
        assert config is not None
        self.assertEqual(told(problems), ['2:39: no escaper is called "ouut", dummy_deny takes its place; did you mean "out"?'])
        self.assertEqual(config.missing, {Reference("escaper", "ouut")})
        self.assertEqual(config.references(), {Reference("escaper", "ouut")})

    def test_a_broken_node_is_not_missing(self) -> None:
        """Its own problems suffice."""
        text = "server: [{name: a, type: web_proxy, escaper: out}]\nescaper: [{name: out, type: go_out, x: y}]"
        _, problems = load_files(self.mktemp(), {"main.yaml": text})
        self.assertEqual([p.message for p in problems], ['unknown key "x"'])

    def test_nothing_is_served_without_the_group_or_auditor_it_names(self) -> None:
        """While their kind is not built, naming one is refused."""
        text = "server: [{name: a, type: web_proxy, user_group: g, auditor: x}]"
        config, problems = load_files(self.mktemp(), {"main.yaml": text})
        self.assertIdentical(config, None)
        self.assertEqual(
            told(problems),
            [
                '1:49: no user_group is called "g", and nothing of that kind is available yet',
                '1:61: no auditor is called "x", and nothing of that kind is available yet',
            ],
        )

    def test_nodes_come_after_those_they_need(self) -> None:
        """Otherwise as written."""
        nodes = ["name: p, type: pick, next: [q, z]", "name: a, type: go_out", "name: q, type: pick, next: [z]", "name: z, type: go_out"]
        text = "escaper:\n" + "".join(f"- {{{node}}}\n" for node in nodes)
        config, _ = load_files(self.mktemp(), {"main.yaml": text})
        assert config is not None
        self.assertEqual([c.name for c in config.configs("escaper")], ["z", "q", "p", "a"])

    def test_a_cycle_is_an_error_where_it_starts(self) -> None:
        """The whole way round is shown; each knot once."""
        text = "escaper:\n- {name: a, type: pick, next: [b]}\n- {name: b, type: pick, next: [x, c]}\n- {name: c, type: pick, next: [a]}\n"
        text += "- {name: s, type: pick, next: [s]}\n- {name: x, type: go_out}\n"
        _, problems = load_files(self.mktemp(), {"main.yaml": text})
        self.assertEqual(
            told(problems),
            ['2:32: escaper "a" depends on itself: a -> b -> c -> a', '5:32: escaper "s" depends on itself: s -> s'],
        )


class ReloadOneTests(SynchronousTestCase):
    FILES = {
        "main.yaml": f"escaper:\n- d.yaml\n- {OUT}\nserver: [{{name: s, type: web_proxy, escaper: b}}]",
        "d.yaml": "{name: a, type: go_out}\n---\n{name: b, type: go_out}",
    }

    def setUp(self) -> None:
        self.root = self.mktemp()
        config, _ = load_files(self.root, self.FILES)
        assert config is not None
        self.config = config

    def reload(self, name: str, text: str) -> tuple[object, list[str]]:
        Path(self.root, "d.yaml").write_text(text)
        problems = Problems()
        return load_one(self.config, "escaper", name, COMPONENTS, problems), [p.message for p in problems]

    def test_one_document_is_read_again(self) -> None:
        """Nothing else is looked at: the first document is broken now."""
        config, problems = self.reload("b", "{name: a, type: oops}\n---\n{name: b, type: go_out, bind: x}")
        assert config is not None, problems
        self.assertEqual(config.nodes["escaper"]["b"].config, OutConfig(name="b", bind=("x",)))  # type: ignore[attr-defined]
        self.assertEqual(config.nodes["escaper"]["a"], self.config.nodes["escaper"]["a"])  # type: ignore[attr-defined]
        self.assertEqual(config.nodes["escaper"]["b"].position, Position(Path(self.root, "d.yaml").resolve(), 1))  # type: ignore[attr-defined]

    def test_another_name_in_its_place_is_an_error(self) -> None:
        """Or nothing, or a cycle that it makes."""
        self.assertEqual(self.reload("b", "{name: a}\n---\n{name: c}"), (None, ['expected escaper "b" here, found "c": reload all']))
        self.assertEqual(self.reload("b", "{name: a}"), (None, ["document 1 is gone"]))
        self.assertEqual(self.reload("b", "{name: a}\n---\n{name: b, type: pick, next: [b]}"), (None, ['escaper "b" depends on itself: b -> b']))

    def test_a_node_of_the_main_file_is_not_reloaded_alone(self) -> None:
        """Nor one that does not exist."""
        self.assertEqual(self.reload("out", ""), (None, ['escaper "out" is written in the main file: reload all']))
        self.assertEqual(self.reload("nope", ""), (None, ['escaper "nope" does not exist']))


class WholeTests(SynchronousTestCase):
    def test_ten_different_mistakes_are_told_in_one_run(self) -> None:
        """Each with file, line, column and its line of text."""
        files = {
            "main.yaml": """\
lg: stdout
runtime: {task_wait_delay: soon}
server:
  - {name: one, type: web_proxy, escapr: out}
  - {name: one, type: web_proxy}
  - {name: two, type: web_prxy}
  - {name: three, type: socks_proxy}
  - {name: four, type: web_proxy, listen: {backlog: -1, address: x}}
escaper:
  - {name: p, type: pick, next: [p]}
  - missing.d
  - {name: "a b", type: go_out}
resolver: 5
--- !!map
a: &x [*x]
""",
        }
        config, problems = load_files(self.mktemp(), files)
        self.assertIdentical(config, None)
        lines = [p.place.line for p in problems.errors]
        self.assertEqual(sorted(lines), [1, 2, 4, 5, 6, 7, 8, 10, 11, 12, 13, 15, 15])
        self.assertGreaterEqual(len({p.message for p in problems.errors}), 10)
        self.assertTrue(all(p.place.column and p.source for p in problems.errors))
        self.assertEqual(sum("did you mean" in p.message for p in problems.errors), 3)

    def test_every_upstream_configuration_composes_and_merges(self) -> None:
        """With no type built, nothing is wrong but that."""
        nothing = FakeComponents()
        mains = [path for top in ("examples", "coverage") for path in sorted((upstream_dir() / top / "g3proxy").rglob("*.yaml"))]
        mains = [path for path in mains if path.name in ("main.yaml", "g3proxy.yaml")]
        self.assertGreaterEqual(len(mains), 60)
        for path in mains:
            problems = Problems()
            load(path, nothing, problems, LAYOUT)
            strange = [str(p) for p in problems if not p.message.endswith("is a known upstream type that is not available yet")]
            self.assertEqual(strange, [])

    def test_two_thousand_servers_load_quickly(self) -> None:
        """Well under two seconds."""
        keys = ["type: web_proxy", "escaper: out", "listen: {{address: '127.0.0.1:{0}', backlog: 9}}", "idle: 5s", "tags: {{a: b}}"]
        server = "".join(f"    {key}\n" for key in keys)
        text = "server:\n" + "".join(f"  - name: s{n}\n{server.format(n)}" for n in range(2000)) + f"escaper: [{OUT}]\n"
        started = time.process_time()
        config, _ = load_files(self.mktemp(), {"main.yaml": text})
        assert config is not None
        self.assertEqual(len(config.configs("server")), 2000)
        self.assertLess(time.process_time() - started, 1.5)
