# SPDX-License-Identifier: Apache-2.0
"""C{g3keymess-ctl}: asks a running g3keymess for one thing. Commands and output are upstream's; C{reload} is ours.

C{check-dup} looks at files alone and needs no daemon.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from g3.apps.ctl import CommandError, base_parser, changes, execute, named, notice, simple
from g3.errors import ConfigError
from g3.net.libssl.keys import MAX_KEY_FILE, load_private_key
from g3.net.libssl.library import LibraryError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from g3.apps.ctl import Request
    from g3.net.libssl.keys import PrivateKey


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = base_parser("g3keymess")
    commands = top.add_subparsers(dest="command", metavar="COMMAND")
    simple(commands, "version", "print the version of the daemon")
    simple(commands, "offline", "put this daemon into offline mode")
    simple(commands, "cancel-shutdown", "cancel the shutdown if the daemon still waits")
    simple(commands, "list", "list what there is; keys by their identifier").add_argument("resource", type=str.lower, choices=("server", "key"))
    simple(commands, "publish-key", "load a private key into the daemon").add_argument("file", type=Path, help="private key file in PEM format")
    simple(commands, "check-key", "ask whether the daemon has a private key").add_argument("file", type=Path, help="private key file in PEM format")
    reload = simple(commands, "reload", "read the configuration again, and look for new keys; if it is bad nothing changes")
    reload.add_argument("--dry-run", action="store_true", help="only print what would change")
    tag = simple(commands, "add-metrics-tag", "add a tag to the metrics of all servers")
    server = named(simple(commands, "server", "state of a server"))
    simple(server, "status", "print its counters")
    server_tag = simple(server, "add-metrics-tag", "add a tag to its metrics")
    for command in (tag, server_tag):
        command.add_argument("--name", dest="tag", required=True, help="tag name")
        command.add_argument("--value", required=True, help="tag value")
    simple(server, "get-listen-addr", "print where it listens")
    duplicates = simple(commands, "check-dup", "look for files with the same key in a directory")
    duplicates.add_argument("dir", type=Path, help="directory that contains private key files")
    duplicates.add_argument("--ext", help="file extension to match; every file when not given")
    return top


def read_key(path: Path) -> tuple[PrivateKey, bytes]:
    """The key in a file, and its text. Raises CommandError."""
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_KEY_FILE + 1)
    except OSError as error:
        raise CommandError(f"failed to read content of file {path}: {error.strerror}") from error
    try:
        return load_private_key(data), data
    except (LibraryError, ConfigError) as error:
        raise CommandError(f"invalid private key pem file {path}: {error}") from error


def request(arguments: argparse.Namespace) -> Request:
    """What to ask the daemon."""
    command = arguments.command
    if command == "version":
        return "version", {}, lambda result: [result]
    if command in ("offline", "cancel-shutdown"):
        return command.replace("-", "_"), {}, notice
    if command == "list":
        return ("list", {"kind": "server"}, list) if arguments.resource == "server" else ("list_keys", {}, list)
    if command == "publish-key":
        return "publish_key", {"pem": read_key(arguments.file)[1].decode("utf-8", "replace")}, notice
    if command == "check-key":
        return "check_key", {"ski": read_key(arguments.file)[0].ski.hex()}, notice
    if command == "reload":
        return "reload", {"dry_run": arguments.dry_run}, changes(arguments.dry_run)
    if command == "add-metrics-tag":
        return "add_tag", {"tag": arguments.tag, "value": arguments.value}, notice
    return _server_request(arguments)


def _server_request(arguments: argparse.Namespace) -> Request:
    name = {"name": arguments.name}
    if arguments.subcommand == "status":
        return "server_status", name, _status
    if arguments.subcommand == "add-metrics-tag":
        return "add_server_tag", {**name, "tag": arguments.tag, "value": arguments.value}, notice
    return "listen_address", name, lambda result: [f"addr: {result}"]


def _status(result: Any) -> list[str]:
    return [
        f"online: {'true' if result['online'] else 'false'}",
        f"alive tasks: {result['alive_tasks']}",
        f"total task: {result['total_tasks']}",
    ]


def local(arguments: argparse.Namespace) -> list[str] | None:
    """C{check-dup}."""
    return duplicates(arguments.dir, arguments.ext) if arguments.command == "check-dup" else None


def duplicates(directory: Path, extension: str | None) -> list[str]:
    """A line for each file whose key an earlier one has; what is no key is told on standard error. Raises CommandError."""
    found: dict[bytes, Path] = {}
    lines = []
    try:
        paths = sorted(path for path in directory.iterdir() if path.is_file() and not path.is_symlink())
    except OSError as error:
        raise CommandError(f"failed to open {directory}: {error.strerror}") from error
    for path in paths:
        if extension is not None and path.suffix != f".{extension}":
            continue
        try:
            ski = read_key(path)[0].ski
        except CommandError as error:
            sys.stderr.write(f"{error}\n")
            continue
        if ski in found:
            lines.append(f"dup SKI {ski.hex()}: {found[ski]} - {path}")
        found[ski] = path
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    """The command; its exit status."""
    return execute(parser(), request, argv, local)


if __name__ == "__main__":
    sys.exit(main())
