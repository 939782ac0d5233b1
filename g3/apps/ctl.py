# SPDX-License-Identifier: Apache-2.0
"""What the control commands of all daemons have in common: how the daemon is named, how results and refusals are printed."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from g3.apps.completion import SHELLS, script
from g3.control.client import ControlClient, NotConnected
from g3.control.endpoint import DEFAULT_DIRECTORY, shared_name, unique_name
from g3.control.messages import ControlError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    #: Command, its arguments, and how to print the result.
    Request = tuple[str, dict[str, Any], Callable[[Any], list[str]]]

#: Directories of daemons that the system starts are below; the one of the program is used when it exists and no other is named.
SYSTEM = Path("/run")


class CommandError(Exception):
    """What the user gave cannot be used."""


def base_parser(program: str) -> argparse.ArgumentParser:
    """The options of every control command; C{program} is the daemon."""
    top = argparse.ArgumentParser(f"{program}-ctl", description=f"Control a running {program}.")
    top.set_defaults(program=program)
    top.add_argument("-C", "--control-dir", metavar="DIR", type=Path, help="directory that contains the control socket")
    top.add_argument("-G", "--daemon-group", metavar="NAME", help="daemon group name; with no pid the socket all of the group share")
    top.add_argument("-p", "--daemon-pid", metavar="PID", type=int, help="daemon pid")
    top.add_argument("--completion", choices=SHELLS, metavar="SHELL", help=f"print a completion script and exit ({', '.join(SHELLS)})")
    return top


def simple(commands: Any, name: str, text: str, aliases: Sequence[str] = ()) -> argparse.ArgumentParser:
    """A command without arguments; add them to it."""
    made: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text[:1].upper() + text[1:] + ".", aliases=list(aliases))
    return made


def named(command: argparse.ArgumentParser) -> Any:
    """The subcommands of a command about one node."""
    command.add_argument("name")
    return command.add_subparsers(dest="subcommand", metavar="COMMAND", required=True)


def notice(result: Any) -> list[str]:
    """How an operation without a result of its own is printed."""
    return [f"notice: {result}"]


def changes(dry_run: bool) -> Callable[[Any], list[str]]:
    """How a reload is printed."""

    def lines(result: Any) -> list[str]:
        return (result or ["nothing would change"]) if dry_run else [*result, "notice: success"]

    return lines


def socket_path(arguments: argparse.Namespace) -> Path:
    """Which socket the options mean."""
    system = SYSTEM / arguments.program
    directory = arguments.control_dir or (system if system.is_dir() else DEFAULT_DIRECTORY)
    group = arguments.daemon_group or ""
    return Path(directory) / (unique_name(group, arguments.daemon_pid) if arguments.daemon_pid else shared_name(group))


def refused(error: ControlError) -> str:
    """As upstream prints it; a report of several lines goes before it."""
    lines = error.reason.splitlines() or [""]
    if len(lines) == 1:
        return f"Error: api error (code: {error.code}, reason: {json.dumps(lines[0], ensure_ascii=False)})"
    return "\n".join([*lines, f'Error: api error (code: {error.code}, reason: "{len(lines)} problems, nothing was changed")'])


def ask(arguments: argparse.Namespace, request: Request) -> list[str]:
    """The lines to print. Raises NotConnected, ControlError."""
    command, values, lines = request
    with ControlClient(socket_path(arguments)) as client:
        return lines(client.call(command, **values))


def execute(
    top: argparse.ArgumentParser,
    request: Callable[[argparse.Namespace], Request],
    argv: Sequence[str] | None,
    local: Callable[[argparse.Namespace], list[str] | None] = lambda _: None,
) -> int:
    """Parse, ask and print; the exit status: 0, 1 when refused or not reached, 2 for a wrong command line.

    @param local: the lines of a command that needs no daemon, None for all others.
    """
    arguments = top.parse_args(argv)
    if arguments.completion:
        sys.stdout.write(script(top, arguments.completion))
        return 0
    try:
        lines = None if arguments.command is None else local(arguments)
        if lines is None:
            if arguments.daemon_group is None and not arguments.daemon_pid:
                top.error("one of -G/--daemon-group and -p/--daemon-pid is required")
            if arguments.command is None:
                top.error("a command is required")
            lines = ask(arguments, request(arguments))
    except ControlError as error:
        sys.stderr.write(refused(error) + "\n")
        return 1
    except (CommandError, NotConnected) as error:
        sys.stderr.write(f"Error: {error}\n")
        return 1
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return 0
