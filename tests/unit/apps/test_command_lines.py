# SPDX-License-Identifier: Apache-2.0
"""The command lines: upstream's words on twistd's machinery, and docs that name every option."""

from __future__ import annotations

import argparse
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from g3.apps import ctl, g3mkcert, g3proxy, helper_command, keymess_ctl, proxy_ctl
from g3.apps.completion import SHELLS, script
from g3.apps.proxy import Options, with_graph_type
from g3.control.commands import Commands

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCS = Path(__file__).resolve().parent.parent.parent.parent / "docs" / "reference"


def options_of(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Every option of a command and its subcommands."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield from options_of(child)
        elif action.help != argparse.SUPPRESS:
            yield from action.option_strings


#: Of every command that is installed.
PARSERS = (
    g3proxy.parser(),
    proxy_ctl.parser(),
    g3proxy.parser("g3keymess"),
    keymess_ctl.parser(),
    helper_command.parser("g3fcgen", ""),
    helper_command.parser("g3iploc", ""),
    g3mkcert.parser(),
)


class TwistdOptionsTests(SynchronousTestCase):
    def test_the_graph_language_may_be_left_out(self) -> None:
        """getopt has no optional values, upstream's -g has."""
        for words, expected in (
            (["-g"], ["-g", "graphviz"]),
            (["-g", "mermaid", "-t"], ["-g", "mermaid", "-t"]),
            (["--dep-graph", "-c", "x"], ["--dep-graph", "graphviz", "-c", "x"]),
            (["--dep-graph=plantuml"], ["--dep-graph=plantuml"]),
            (["-c", "x"], ["-c", "x"]),
        ):
            self.assertEqual(with_graph_type(words), expected)

    def test_upstreams_options_become_twistds(self) -> None:
        """In the foreground and without a pid file unless asked."""

        def words(*given: str) -> list[str]:
            return g3proxy.twistd_words(g3proxy.parser().parse_args(given))

        self.assertEqual(words("-c", "a"), ["--nodaemon", "--pidfile=", "g3proxy", "--config=a", "--alone"])
        self.assertEqual(words("-d", "-p", "/p", "-c", "a"), ["--pidfile=/p", "g3proxy", "--config=a"])
        self.assertEqual(
            words("-vv", "-m", "-G", "g", "-C", "/d", "-c", "a", "-g"),
            [
                "--nodaemon",
                "--pidfile=",
                "g3proxy",
                "--config=a",
                "--group-name=g",
                "--control-dir=/d",
                "--dep-graph=graphviz",
                "--monitored",
                "--verbose",
                "--verbose",
            ],
        )

    def test_twistd_has_every_option_that_both_have(self) -> None:
        """What g3proxy passes on is known there."""
        known = {f"--{option.rstrip('=')}" for option in Options().longOpt}
        for name in (*g3proxy._VALUES, *g3proxy._FLAGS, "verbose"):
            self.assertIn(f"--{name.replace('_', '-')}", known)


class DocsTests(SynchronousTestCase):
    def test_every_option_and_command_is_in_the_reference(self) -> None:
        """Of g3proxy and of g3proxy-ctl."""
        for parser, page in ((g3proxy.parser(), "g3proxy.rst"), (proxy_ctl.parser(), "g3proxy-ctl.rst")):
            text = (DOCS / page).read_text()
            missing = [
                option for option in options_of(parser) if option not in ("-h", "--help", "-f", "-s", "--file", "--strategy") and option not in text
            ]
            self.assertEqual([each for each in missing if each != "--query-strategy"], [])
        commands = next(action for action in proxy_ctl.parser()._actions if isinstance(action, argparse._SubParsersAction))
        for command in commands.choices:
            self.assertIn(command, (DOCS / "g3proxy-ctl.rst").read_text())


class ControlCommandTests(SynchronousTestCase):
    def test_every_command_line_is_a_command_the_daemon_has(self) -> None:
        """With exactly the arguments it wants."""
        for words in (
            "version",
            "offline",
            "cancel-shutdown",
            "force-quit a",
            "force-quit-all",
            "list USER-GROUP",
            "reload",
            "reload --dry-run",
            "reload-user-group a",
            "reload-resolver a",
            "reload-auditor a",
            "reload-escaper a",
            "reload-server a",
            "user-group a list-static-user",
            "user-group a list-dynamic-user",
            "resolver a query b",
            "resolver a query b --query-strategy Ipv6Only --resolution-delay 9",
            "escaper a publish {}",
            "escaper a get",
            "server a status",
        ):
            command, arguments, _ = proxy_ctl._request(proxy_ctl.parser().parse_args(["-p", "1", *words.split()]))
            self.assertEqual(arguments.keys(), Commands.table[command][1].keys(), words)

    def test_the_socket_is_that_of_the_daemon_meant(self) -> None:
        """Group alone, pid alone, both."""
        for words, name in (("-G a", "a.sock"), ("-G a -p 3", "a_3.sock"), ("-p 3", "_3.sock")):
            arguments = proxy_ctl.parser().parse_args(["-C", "/c", *words.split(), "version"])
            self.assertEqual(ctl.socket_path(arguments), Path("/c") / name)
        self.assertEqual(ctl.socket_path(proxy_ctl.parser().parse_args(["-C", "/c", "-G", "", "version"])), Path("/c/_.sock"))


class CompletionTests(SynchronousTestCase):
    def test_scripts_are_good_shell(self) -> None:
        """As far as the shells are installed; bash is."""
        for shell in SHELLS:
            if shutil.which(shell) is None:
                continue
            for parser in PARSERS:
                done = subprocess.run([shell, "-n"], input=script(parser, shell), capture_output=True, text=True, check=False)
                self.assertEqual((done.returncode, done.stderr), (0, ""), shell)

    def test_subcommands_are_completed_behind_what_comes_before_them(self) -> None:
        """Values of options are not taken for commands."""
        if shutil.which("bash") is None:
            raise SkipTest("needs the Debian package bash")
        text = script(proxy_ctl.parser(), "bash")

        def complete(*words: str) -> list[str]:
            line = " ".join(f"'{word}'" for word in ("g3proxy-ctl", *words))
            probe = f'{text}\nCOMP_WORDS=({line}); COMP_CWORD={len(words)}; _g3proxy_ctl; printf "%s\\n" "${{COMPREPLY[@]}}"'
            return subprocess.run(["bash", "-c", probe], capture_output=True, text=True, check=True).stdout.split()

        self.assertEqual(complete("-G", "list", "reload-a"), ["reload-auditor"])
        self.assertEqual(complete("-G", "x", "list", "s"), ["server"])
        self.assertEqual(complete("-p", "3", "escaper", "a", "p"), ["publish"])
        self.assertIn("--dry-run", complete("-p", "3", "reload", "--"))
        self.assertEqual(complete("-p", "3", "resolver", "a", "query", "b", "--query-strategy", "list", "--r"), ["--resolution-delay"])
        self.assertNotIn("list", complete("-C", ""))
        self.assertEqual(complete("--completion", ""), list(SHELLS))
