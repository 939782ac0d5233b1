# SPDX-License-Identifier: Apache-2.0
"""C{g3proxy}: upstream's command line on the same daemon as C{twistd g3proxy}, by twistd's own machinery; other daemons' commands, too."""

from __future__ import annotations

import argparse
import os
import select
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.application import app
from twisted.application.service import ServiceMaker
from twisted.logger import globalLogBeginner
from twisted.python import usage
from twisted.scripts._twistd_unix import ServerOptions, UnixApplicationRunner, UnixAppLogger

from g3.apps import version
from g3.apps.completion import SHELLS, script
from g3.apps.launch import close_other_end
from g3.apps.proxy import GRAPHS, fail
from g3.control.endpoint import DEFAULT_DIRECTORY

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: Options that twistd's g3proxy has, too, by their name here; then those of helpers.
_VALUES = ("config", "group_name", "control_dir", "dep_graph", "explain")
_HELPER_VALUES = ("recv_buf_size", "send_buf_size")
_FLAGS = ("test_config", "systemd", "monitored", "json_schema", "dump_config", "list_types")


def parser(program: str = "g3proxy", about: str = "An enterprise forward and reverse proxy.", *, nodes: bool = True) -> argparse.ArgumentParser:
    """Upstream's options, and ours that only print. A program without C{nodes} has no control socket either."""
    top = argparse.ArgumentParser(program, description=about)
    top.add_argument("-v", "--verbose", action="count", default=0, help="log more: warnings, then (-v) info, (-vv) debug, (-vvv) trace")
    top.add_argument("-d", "--daemon", action="store_true", help="run in the background; needs --pid-file")
    top.add_argument("-s", "--systemd", action="store_true", help="run under systemd: log to the journal")
    top.add_argument("-m", "--monitored", action="store_true", help="run under another process manager")
    top.add_argument("-p", "--pid-file", metavar="FILE", type=Path, help="where to write the pid")
    top.add_argument("-t", "--test-config", action="store_true", help="check the configuration and exit")
    top.add_argument("--panic-quit", action="store_true", help="accepted; an error of one task never ends the process here")
    top.add_argument("--completion", choices=SHELLS, metavar="SHELL", help=f"print a completion script and exit ({', '.join(SHELLS)})")
    top.add_argument("-V", "--version", action="store_true", help="print the version and exit; with -v the TLS libraries too, with -vv all else")
    if nodes:
        top.add_argument("-g", "--dep-graph", nargs="?", const=GRAPHS[0], choices=GRAPHS, help="print the dependency graph and exit")
        top.add_argument("-C", "--control-dir", metavar="DIR", type=Path, help=f"directory of the control sockets ({DEFAULT_DIRECTORY})")
        top.add_argument("--list-types", action="store_true", help="print every type with its package and version and exit")
    top.add_argument("-G", "--group-name", metavar="NAME", help="daemon group name")
    top.add_argument("-c", "--config-file", "--config", dest="config", metavar="PATH", type=Path, help="configuration file, or a directory with one")
    top.add_argument("--json-schema", action="store_true", help="print the JSON Schema of the configuration and exit")
    top.add_argument("--dump-config", action="store_true", help="print the configuration as it takes effect and exit")
    top.add_argument("--explain", metavar="KEY", help="explain a key such as escaper.direct_fixed.bind_ip and exit")
    return top


def twistd_words(options: argparse.Namespace, program: str = "g3proxy") -> list[str]:
    """The same for twistd: first its own options, then those of our program."""
    pid_file = str(options.pid_file.absolute()) if options.pid_file else ""
    words = [*(() if options.daemon else ("--nodaemon",)), f"--pidfile={pid_file}", program]
    for name in (*_VALUES, *_HELPER_VALUES):
        value = getattr(options, name, None)
        if value is not None:
            words.append(f"--{name.replace('_', '-')}={value}")
    words += [f"--{name.replace('_', '-')}" for name in _FLAGS if getattr(options, name, False)]
    if not (options.daemon or options.systemd or options.monitored):
        # As upstream: by the name of its group alone no daemon is taken over from.
        words.append("--alone")
    return words + ["--verbose"] * options.verbose


class _Options(ServerOptions):
    """twistd's, for the suite's own daemons: nobody else's plugins are looked at, nor are those shown that cannot be imported."""

    @staticmethod
    def _getPlugins(_interface: object) -> Iterator[Any]:  # type: ignore[override]
        from twisted.plugins import g3_services

        return (each for each in vars(g3_services).values() if isinstance(each, ServiceMaker))


class ProcessLog(UnixAppLogger):
    """twistd's logger in our format: to the console, the journal (C{-s}) or syslog (C{-d})."""

    def __init__(self, options: argparse.Namespace, program: str) -> None:
        self._options = options
        self._program = program
        self._observer: Any = None

    def start(self, _application: object) -> None:
        """Begin; a twistd calls it."""
        from twisted.internet import reactor

        from g3.logs.process import CONSOLE, JOURNALD, SYSLOG, process_observer, setup_levels

        target = JOURNALD if self._options.systemd else SYSLOG if self._options.daemon else CONSOLE
        setup_levels(self._options.verbose)
        self._observer = process_observer(reactor, self._options.verbose, target, self._program)
        # The console gets what we say on standard output as it is: event logs go there.
        globalLogBeginner.beginLoggingTo([self._observer], redirectStandardIO=False)

    def stop(self) -> None:
        """twistd calls it last."""


class Runner(UnixApplicationRunner):
    """twistd's runner with our process log."""

    def __init__(self, config: Any, options: argparse.Namespace, program: str) -> None:
        super().__init__(config)  # type: ignore[no-untyped-call]
        self.program = program
        self.logger = ProcessLog(options, program)

    def _waitForStart(self, readPipe: int) -> int:
        """In the process that was started: the status to exit with, once the daemon serves or said why not."""
        close_other_end(readPipe)
        # One read: what is written is written whole.
        word = os.read(readPipe, select.PIPE_BUF)
        if word == b"0":
            return 0
        reason = word[2:].decode("utf-8", "replace") or f"{self.program} ended before it served"
        stream = sys.__stderr__
        if stream is not None:
            stream.write(reason.rstrip("\n") + "\n")
            stream.flush()
        return 1


def main(argv: Sequence[str] | None = None) -> int:
    """The command; its exit status."""
    return run(parser(), argv)


def run(top: argparse.ArgumentParser, argv: Sequence[str] | None) -> int:
    """The command of the daemon whose parser C{top} is; its exit status."""
    try:
        return _run(top, argv)
    except KeyboardInterrupt:  # before the daemon has its own handler
        return 128 + signal.SIGINT


def _run(top: argparse.ArgumentParser, argv: Sequence[str] | None) -> int:
    program = top.prog
    options = top.parse_args(argv)
    if options.completion:
        sys.stdout.write(script(top, options.completion))
        return 0
    if options.version:
        sys.stdout.write(version.text(program, options.verbose))
        return 0
    if options.daemon and options.pid_file is None:
        top.error("--daemon needs --pid-file")
    if options.config is None and not (options.json_schema or getattr(options, "list_types", False) or options.explain is not None):
        top.error("--config-file is required")
    config = _Options()  # type: ignore[no-untyped-call]
    try:
        config.parseOptions(twistd_words(options, program))  # type: ignore[no-untyped-call]
    except usage.error as error:
        fail(f"{program}: {error}")
    runner = Runner(config, options, program)
    runner.run()  # type: ignore[no-untyped-call]
    if runner._exitSignal is not None:
        app._exitWithSignal(runner._exitSignal)  # type: ignore[no-untyped-call]
    return 0


if __name__ == "__main__":
    sys.exit(main())
