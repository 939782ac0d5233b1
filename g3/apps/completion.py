# SPDX-License-Identifier: Apache-2.0
"""Shell completion of a command, made from its argparse parser."""

from __future__ import annotations

import argparse
import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

SHELLS = ("bash", "zsh", "fish")


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """The completion script for one of L{SHELLS}."""
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](parser)


def _levels(parser: argparse.ArgumentParser, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], list[str], list[str]]]:
    """(path, words, options) of the command and of each subcommand below it."""
    words: list[str] = []
    options: list[str] = []
    below: dict[str, argparse.ArgumentParser] = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            below = dict(action.choices)
            words.extend(below)
        elif action.option_strings:
            options.extend(action.option_strings)
        elif action.choices:
            words.extend(map(str, action.choices))
    yield path, words, options
    for name, child in below.items():
        yield from _levels(child, (*path, name))


def _valued(parser: argparse.ArgumentParser) -> list[str]:
    """Options of the command that take a value, which is no subcommand."""
    return [option for action in parser._actions if action.option_strings and action.nargs != 0 for option in action.option_strings]


def _function(parser: argparse.ArgumentParser) -> str:
    return "_" + parser.prog.replace("-", "_")


def _bash(parser: argparse.ArgumentParser) -> str:
    known = {word for path, _, _ in _levels(parser) for word in path}
    cases = "\n".join(
        f"        {shlex.quote(' '.join(path))}) words={shlex.quote(' '.join(words))}; options={shlex.quote(' '.join(options))} ;;"
        for path, words, options in _levels(parser)
    )
    return f"""# {parser.prog} completion for bash
{_function(parser)}() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} path= words= options= word skip= i
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${{COMP_WORDS[i]}}
        if [[ -n $skip ]]; then skip=; continue; fi
        case $word in
            {"|".join(_valued(parser)) or "--"}) skip=1 ;;
            {"|".join(sorted(known)) or "--"}) path=${{path:+$path }}$word ;;
        esac
    done
    case $path in
{cases}
    esac
    if [[ $current == -* ]]; then
        COMPREPLY=($(compgen -W "$options" -- "$current"))
    else
        COMPREPLY=($(compgen -W "$words" -- "$current"))
        [[ -n $words ]] || COMPREPLY=($(compgen -f -- "$current"))
    fi
}}
complete -o filenames -F {_function(parser)} {parser.prog}
"""


def _zsh(parser: argparse.ArgumentParser) -> str:
    return f"#compdef {parser.prog}\nautoload -U +X bashcompinit && bashcompinit\n{_bash(parser)}"


def _fish(parser: argparse.ArgumentParser) -> str:
    lines = [f"# {parser.prog} completion for fish"]
    for path, words, options in _levels(parser):
        seen = " ".join(path)
        condition = f"__fish_seen_subcommand_from {path[-1]}" if path else "__fish_use_subcommand"
        start = f"complete -c {parser.prog} -n '{condition}'"
        lines.extend(f"{start} -f -a {shlex.quote(word)}" for word in words)
        lines.extend(f"{start} -l {option[2:]}" if option.startswith("--") else f"{start} -s {option[1:]}" for option in options if option != seen)
    return "\n".join(lines) + "\n"
