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


def _levels(parser: argparse.ArgumentParser, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], list[str], list[argparse.Action]]]:
    """(path, words, options) of the command and of each subcommand below it."""
    words: list[str] = []
    options: list[argparse.Action] = []
    below: dict[str, argparse.ArgumentParser] = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            below = dict(action.choices)
            words.extend(below)
        elif action.option_strings:
            options.append(action)
        elif action.choices:
            words.extend(map(str, action.choices))
    yield path, words, options
    for name, child in below.items():
        yield from _levels(child, (*path, name))


def _spellings(options: list[argparse.Action]) -> list[str]:
    return [spelling for action in options for spelling in action.option_strings]


def _needs_value(action: argparse.Action) -> bool:
    return action.nargs not in (0, "?")


def _choices(action: argparse.Action) -> str:
    return " ".join(map(str, action.choices or ()))


def _function(parser: argparse.ArgumentParser) -> str:
    return "_" + parser.prog.replace("-", "_")


def _bash(parser: argparse.ArgumentParser) -> str:
    levels = list(_levels(parser))
    known = sorted({word for path, _, _ in levels for word in path})
    options = {id(action): action for _, _, options in levels for action in options}.values()
    valued = sorted(set(_spellings([action for action in options if _needs_value(action)])))
    cases = "\n".join(
        f"        {shlex.quote(' '.join(path))}) words={shlex.quote(' '.join(words))}; options={shlex.quote(' '.join(_spellings(options)))} ;;"
        for path, words, options in levels
    )
    choices = "\n".join(
        f"        {'|'.join(action.option_strings)}) words={shlex.quote(_choices(action))} ;;" for action in options if action.choices
    )
    return f"""# {parser.prog} completion for bash
{_function(parser)}() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} path= words= options= word skip= i
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${{COMP_WORDS[i]}}
        if [[ -n $skip ]]; then skip=; continue; fi
        case $word in
            {"|".join(valued) or "--"}) skip=1 ;;
            {"|".join(known) or "--"}) path=${{path:+$path }}$word ;;
        esac
    done
    case $path in
{cases}
    esac
    case ${{COMP_WORDS[COMP_CWORD - 1]}} in
{choices}
        *) [[ -z $skip ]] || words= ;;
    esac
    if [[ $current == -* && -z $skip ]]; then
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
        condition = f"__fish_seen_subcommand_from {path[-1]}" if path else "__fish_use_subcommand"
        start = f"complete -c {parser.prog} -n '{condition}'"
        lines.extend(f"{start} -f -a {shlex.quote(word)}" for word in words)
        lines.extend(f"{start} {_fish_option(action)}" for action in options)
    return "\n".join(lines) + "\n"


def _fish_option(action: argparse.Action) -> str:
    words = [f"-l {spelling[2:]}" if spelling.startswith("--") else f"-s {spelling[1:]}" for spelling in action.option_strings]
    if action.choices:
        words.append(f"-x -a {shlex.quote(_choices(action))}")
    elif _needs_value(action):
        words.append("-r")
    return " ".join(words)
