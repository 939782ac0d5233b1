# SPDX-License-Identifier: Apache-2.0
"""C{g3proxy-ctl}: asks a running g3proxy for one thing. Commands and output are upstream's; C{reload} and C{escaper NAME get} are ours."""

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
from g3.errors import ConfigError
from g3.tree.query import families

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: Used when it exists and no other is named.
SYSTEM_DIRECTORY = Path("/run/g3proxy")
KINDS = ("user-group", "resolver", "auditor", "escaper", "server")


class CommandError(Exception):
    """What the user gave cannot be used."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser("g3proxy-ctl", description="Control a running g3proxy.")
    top.add_argument("-C", "--control-dir", metavar="DIR", type=Path, help="directory that contains the control socket")
    top.add_argument("-G", "--daemon-group", metavar="NAME", help="daemon group name; with no pid the socket all of the group share")
    top.add_argument("-p", "--daemon-pid", metavar="PID", type=int, help="daemon pid")
    top.add_argument("--completion", choices=SHELLS, metavar="SHELL", help=f"print a completion script and exit ({', '.join(SHELLS)})")
    commands = top.add_subparsers(dest="command", metavar="COMMAND")
    _simple(commands, "version", "print the version of the daemon")
    _simple(commands, "offline", "put this daemon into offline mode")
    _simple(commands, "cancel-shutdown", "cancel the shutdown if the daemon still waits")
    _simple(commands, "force-quit", "end the tasks of the offline server of that name").add_argument("name")
    _simple(commands, "force-quit-all", "end the tasks of all offline servers")
    _simple(commands, "list", "list what there is").add_argument("resource", type=str.lower, choices=KINDS)
    reload = _simple(commands, "reload", "read the configuration again; if it is bad nothing changes")
    reload.add_argument("--dry-run", action="store_true", help="only print what would change")
    for kind in KINDS:
        _simple(commands, f"reload-{kind}", f"read the document of one {kind.replace('-', ' ')} again").add_argument("name")
    _add_user_group(_simple(commands, "user-group", "users of a group"))
    _add_resolver(_simple(commands, "resolver", "ask a resolver"))
    _add_escaper(_simple(commands, "escaper", "state of an escaper"))
    server = _named(_simple(commands, "server", "state of a server"))
    _simple(server, "status", "print its counters")
    return top


def _simple(commands: Any, name: str, text: str, aliases: Sequence[str] = ()) -> argparse.ArgumentParser:
    made: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text[:1].upper() + text[1:] + ".", aliases=list(aliases))
    return made


def _named(command: argparse.ArgumentParser) -> Any:
    command.add_argument("name")
    return command.add_subparsers(dest="subcommand", metavar="COMMAND", required=True)


def _add_user_group(command: argparse.ArgumentParser) -> None:
    commands = _named(command)
    _simple(commands, "list-static-user", "list static users")
    _simple(commands, "list-dynamic-user", "list dynamic users")
    publish = _simple(commands, "publish-user", "publish dynamic users", ("publish", "publish-dynamic-user"))
    publish.add_argument("file", type=Path)


def _add_resolver(command: argparse.ArgumentParser) -> None:
    ask = _simple(_named(command), "query", "resolve a domain")
    ask.add_argument("domain")
    ask.add_argument("-s", "--strategy", "--query-strategy", default="Ipv4First", help="Ipv4Only, Ipv6Only, Ipv4First (default) or Ipv6First")
    ask.add_argument("--resolution-delay", type=int, default=50, metavar="MS", help="milliseconds to wait for the preferred family (50)")


def _add_escaper(command: argparse.ArgumentParser) -> None:
    commands = _named(command)
    publish = _simple(commands, "publish", "publish data to a dynamic escaper")
    source = publish.add_mutually_exclusive_group(required=True)
    source.add_argument("-f", "--file", type=Path, metavar="FILE")
    source.add_argument("data", nargs="?", metavar="JSON")
    _simple(commands, "get", "print the data published last")


def socket_path(arguments: argparse.Namespace) -> Path:
    """Which socket the options mean."""
    directory = arguments.control_dir or (SYSTEM_DIRECTORY if SYSTEM_DIRECTORY.is_dir() else DEFAULT_DIRECTORY)
    group = arguments.daemon_group or ""
    return Path(directory) / (unique_name(group, arguments.daemon_pid) if arguments.daemon_pid else shared_name(group))


def read_json(path: Path | None, text: str | None) -> Any:
    """The JSON value in a file or text. Raises CommandError: the daemon is not bothered with what is none."""
    if path is not None:
        try:
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise CommandError(f"failed to read contents of file {path}: {error}") from error
    try:
        return json.loads(text or "")
    except (ValueError, RecursionError) as error:
        raise CommandError(f"the data to publish is not valid json: {error}") from error


def _request(arguments: argparse.Namespace) -> tuple[str, dict[str, Any], Callable[[Any], list[str]]]:
    """Command, arguments and how to print the result."""
    command, name = arguments.command, getattr(arguments, "name", None)
    if command == "version":
        return "version", {}, lambda result: [result]
    if command in ("offline", "cancel-shutdown", "force-quit-all"):
        return command.replace("-", "_"), {}, _notice
    if command == "force-quit":
        return "force_quit", {"name": name}, _notice
    if command == "list":
        return "list", {"kind": arguments.resource.replace("-", "_")}, list
    if command == "reload":
        return "reload", {"dry_run": arguments.dry_run}, _changes(arguments.dry_run)
    if command.startswith("reload-"):
        return "reload_node", {"kind": command.removeprefix("reload-").replace("-", "_"), "name": name}, _notice
    return _node_request(arguments)


def _node_request(arguments: argparse.Namespace) -> tuple[str, dict[str, Any], Callable[[Any], list[str]]]:
    command, subcommand, name = arguments.command, arguments.subcommand, {"name": arguments.name}
    if command == "server":
        return "server_status", name, _status
    if command == "escaper":
        if subcommand == "get":
            return "escaper_get", name, lambda result: [json.dumps(result, ensure_ascii=False)]
        return "escaper_publish", {**name, "data": read_json(arguments.file, arguments.data)}, _notice
    if command == "resolver":
        try:
            families(arguments.strategy)
        except ConfigError as error:
            raise CommandError(str(error)) from error
        return "resolver_query", {**name, "domain": arguments.domain, "strategy": arguments.strategy, "delay": arguments.resolution_delay}, _addresses
    if subcommand in ("list-static-user", "list-dynamic-user"):
        return subcommand.replace("-", "_") + "s", name, list
    return "user_group_publish", {**name, "data": read_json(arguments.file, None)}, _notice


def _notice(result: Any) -> list[str]:
    return [f"notice: {result}"]


def _changes(dry_run: bool) -> Callable[[Any], list[str]]:
    def lines(result: Any) -> list[str]:
        return (result or ["nothing would change"]) if dry_run else [*result, "notice: success"]

    return lines


def _status(result: Any) -> list[str]:
    return [
        f"online: {'true' if result['online'] else 'false'}",
        f"alive tasks: {result['alive_tasks']}",
        f"total conn: {result['total_connections']}",
        f"total task: {result['total_tasks']}",
    ]


def _addresses(result: Any) -> list[str]:
    return [result["error"]] if "error" in result else list(result["ip"])


def _refused(error: ControlError) -> str:
    """As upstream prints it; a report of several lines goes before it."""
    lines = error.reason.splitlines() or [""]
    if len(lines) == 1:
        return f"Error: api error (code: {error.code}, reason: {json.dumps(lines[0], ensure_ascii=False)})"
    return "\n".join([*lines, f'Error: api error (code: {error.code}, reason: "nothing was changed")'])


def run(arguments: argparse.Namespace) -> list[str]:
    """Ask the daemon; the lines to print. Raises CommandError, NotConnected, ControlError."""
    command, values, lines = _request(arguments)
    with ControlClient(socket_path(arguments)) as client:
        return lines(client.call(command, **values))


def main(argv: Sequence[str] | None = None) -> int:
    """The command; its exit status: 0, 1 when refused or not reached, 2 for a wrong command line."""
    top = parser()
    arguments = top.parse_args(argv)
    if arguments.completion:
        sys.stdout.write(script(top, arguments.completion))
        return 0
    if arguments.daemon_group is None and not arguments.daemon_pid:
        top.error("one of -G/--daemon-group and -p/--daemon-pid is required")
    if arguments.command is None:
        top.error("a command is required")
    try:
        lines = run(arguments)
    except ControlError as error:
        sys.stderr.write(_refused(error) + "\n")
        return 1
    except (CommandError, NotConnected) as error:
        sys.stderr.write(f"Error: {error}\n")
        return 1
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
