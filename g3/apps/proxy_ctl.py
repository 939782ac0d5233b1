# SPDX-License-Identifier: Apache-2.0
"""C{g3proxy-ctl}: asks a running g3proxy for one thing. Commands and output are upstream's; C{reload} and C{escaper NAME get} are ours."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from g3.apps.ctl import CommandError, base_parser, changes, execute, named, notice, simple
from g3.errors import ConfigError
from g3.tree.query import families

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from g3.apps.ctl import Request

KINDS = ("user-group", "resolver", "auditor", "escaper", "server")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = base_parser("g3proxy")
    commands = top.add_subparsers(dest="command", metavar="COMMAND")
    simple(commands, "version", "print the version of the daemon")
    simple(commands, "offline", "put this daemon into offline mode")
    simple(commands, "cancel-shutdown", "cancel the shutdown if the daemon still waits")
    simple(commands, "force-quit", "end the tasks of the offline server of that name").add_argument("name")
    simple(commands, "force-quit-all", "end the tasks of all offline servers")
    simple(commands, "list", "list what there is").add_argument("resource", type=str.lower, choices=KINDS)
    reload = simple(commands, "reload", "read the configuration again; if it is bad nothing changes")
    reload.add_argument("--dry-run", action="store_true", help="only print what would change")
    for kind in KINDS:
        simple(commands, f"reload-{kind}", f"read the document of one {kind.replace('-', ' ')} again").add_argument("name")
    _add_user_group(simple(commands, "user-group", "users of a group"))
    _add_resolver(simple(commands, "resolver", "ask a resolver"))
    _add_escaper(simple(commands, "escaper", "state of an escaper"))
    server = named(simple(commands, "server", "state of a server"))
    simple(server, "status", "print its counters")
    return top


def _add_user_group(command: argparse.ArgumentParser) -> None:
    commands = named(command)
    simple(commands, "list-static-user", "list static users")
    simple(commands, "list-dynamic-user", "list dynamic users")
    publish = simple(commands, "publish-user", "publish dynamic users", ("publish", "publish-dynamic-user"))
    publish.add_argument("file", type=Path)


def _add_resolver(command: argparse.ArgumentParser) -> None:
    ask = simple(named(command), "query", "resolve a domain")
    ask.add_argument("domain")
    ask.add_argument("-s", "--strategy", "--query-strategy", default="Ipv4First", help="Ipv4Only, Ipv6Only, Ipv4First (default) or Ipv6First")
    ask.add_argument("--resolution-delay", type=int, default=50, metavar="MS", help="milliseconds to wait for the preferred family (50)")


def _add_escaper(command: argparse.ArgumentParser) -> None:
    commands = named(command)
    publish = simple(commands, "publish", "publish data to a dynamic escaper")
    source = publish.add_mutually_exclusive_group(required=True)
    source.add_argument("-f", "--file", type=Path, metavar="FILE")
    source.add_argument("data", nargs="?", metavar="JSON")
    simple(commands, "get", "print the data published last")


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


def _request(arguments: argparse.Namespace) -> Request:
    """Command, arguments and how to print the result."""
    command, name = arguments.command, getattr(arguments, "name", None)
    if command == "version":
        return "version", {}, lambda result: [result]
    if command in ("offline", "cancel-shutdown", "force-quit-all"):
        return command.replace("-", "_"), {}, notice
    if command == "force-quit":
        return "force_quit", {"name": name}, notice
    if command == "list":
        return "list", {"kind": arguments.resource.replace("-", "_")}, list
    if command == "reload":
        return "reload", {"dry_run": arguments.dry_run}, changes(arguments.dry_run)
    if command.startswith("reload-"):
        return "reload_node", {"kind": command.removeprefix("reload-").replace("-", "_"), "name": name}, notice
    return _node_request(arguments)


def _node_request(arguments: argparse.Namespace) -> Request:
    command, subcommand, name = arguments.command, arguments.subcommand, {"name": arguments.name}
    if command == "server":
        return "server_status", name, _status
    if command == "escaper":
        if subcommand == "get":
            return "escaper_get", name, lambda result: [json.dumps(result, ensure_ascii=False)]
        return "escaper_publish", {**name, "data": read_json(arguments.file, arguments.data)}, notice
    if command == "resolver":
        try:
            families(arguments.strategy)
        except ConfigError as error:
            raise CommandError(str(error)) from error
        return "resolver_query", {**name, "domain": arguments.domain, "strategy": arguments.strategy, "delay": arguments.resolution_delay}, _addresses
    if subcommand in ("list-static-user", "list-dynamic-user"):
        return subcommand.replace("-", "_") + "s", name, list
    return "user_group_publish", {**name, "data": read_json(arguments.file, None)}, notice


def _status(result: Any) -> list[str]:
    return [
        f"online: {'true' if result['online'] else 'false'}",
        f"alive tasks: {result['alive_tasks']}",
        f"total conn: {result['total_connections']}",
        f"total task: {result['total_tasks']}",
    ]


def _addresses(result: Any) -> list[str]:
    return [result["error"]] if "error" in result else list(result["ip"])


def main(argv: Sequence[str] | None = None) -> int:
    """The command; its exit status: 0, 1 when refused or not reached, 2 for a wrong command line."""
    return execute(parser(), _request, argv)


if __name__ == "__main__":
    sys.exit(main())
