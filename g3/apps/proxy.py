# SPDX-License-Identifier: Apache-2.0
"""C{twistd g3proxy}: its options, and the service they make."""

from __future__ import annotations

import json
import os
import pwd
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from twisted.python import usage

from g3.apps import version
from g3.control.endpoint import DEFAULT_DIRECTORY, check_directory, check_group, check_place
from g3.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from g3.apps.configuration import FileSource
    from g3.apps.daemon import ProxyDaemon, Settings
    from g3.config.main import MainConfig

GRAPHS = ("graphviz", "mermaid", "plantuml")
#: Options that are answered without serving.
ANSWERS = ("json-schema", "list-types", "explain", "dump-config", "dep-graph", "test-config")


class BaseOptions(usage.Options):
    """The command line of C{program}: what every daemon has.

    How the process runs (foreground, pid file, log file, user) are twistd's own options.
    """

    synopsis = "[options] --config PATH"
    program: ClassVar[str] = "g3proxy"
    optFlags: ClassVar[tuple[tuple[Any, ...], ...]] = (
        ("test-config", "t", "Check the configuration and exit: 0 when it can be used, 1 with every problem when not."),
        ("systemd", "s", "Run under systemd: have the shared control socket of the group, and take over from the daemon that has it."),
        ("monitored", "m", "Run under another process manager: the same."),
        ("alone", None, "Serve beside other daemons of the group: take over from none, make no shared control socket."),
        ("json-schema", None, "Print the JSON Schema of the configuration and exit."),
        ("dump-config", None, "Print the configuration as it takes effect and exit."),
    )
    optParameters: ClassVar[tuple[tuple[Any, ...], ...]] = (
        ("config", "c", None, "The configuration: a YAML file, or a directory with main.yaml or one called as this program."),
        ("group-name", "G", "", "Daemon group: names the control sockets, tags logs and metrics."),
        ("explain", None, None, "Explain a key such as escaper.direct_fixed.bind_ip and exit."),
    )

    def __init__(self) -> None:
        usage.Options.__init__(self)  # type: ignore[no-untyped-call]
        self["verbose"] = 0
        self.pid_file = ""
        self.source: FileSource
        self.main: MainConfig

    def opt_verbose(self) -> None:
        """Log more; again for still more."""
        self["verbose"] += 1

    opt_v = opt_verbose

    def opt_config_file(self, path: str) -> None:
        """The same as --config."""
        self["config"] = path

    def opt_panic_quit(self) -> None:
        """Accepted; an error of one task never ends the process here."""

    def opt_version(self) -> None:
        """Print the version and exit."""
        finish(version.text(self.program, self["verbose"]))

    opt_V = opt_version

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """As getopt, but the value of C{--dep-graph} may be left out."""
        words = list(sys.argv[1:] if options is None else options)
        usage.Options.parseOptions(self, with_graph_type(words))  # type: ignore[no-untyped-call]

    def postOptions(self) -> None:
        serves = not any(self.get(name) is not None and self[name] != 0 for name in ANSWERS)
        if serves:
            use_reactor()
        self._own_pid_file()
        self._check(serves)
        self._print_what_is_known()
        self._read()
        self._print_configuration()

    def _own_pid_file(self) -> None:
        """It is the daemon's: twistd would refuse to start beside the one that is to be taken over from."""
        if self.parent is not None and self.parent["pidfile"]:
            self.pid_file, self.parent["pidfile"] = str(Path(self.parent["pidfile"]).absolute()), ""

    def _check(self, serves: bool) -> None:
        if self.get("dep-graph") is not None and self["dep-graph"] not in GRAPHS:
            raise usage.UsageError(f"--dep-graph: {self['dep-graph']!r} is none of {', '.join(GRAPHS)}")
        try:
            check_group(self["group-name"])
            if "control-dir" in self and not serves:
                check_place(Path(self["control-dir"]))
            elif "control-dir" in self:
                check_directory(Path(self["control-dir"]), self.parent.get("uid") if self.parent is not None else None)
        except ConfigError as error:
            fail(str(error))

    def _print_what_is_known(self) -> None:
        from g3.apps import answers

        if self["json-schema"]:
            finish(json.dumps(answers.schema(self.program), indent=2, ensure_ascii=False) + "\n")
        if self.get("list-types"):
            finish(answers.types(self.program))
        if self["explain"] is not None:
            try:
                finish(answers.explanation(self["explain"], self.program))
            except ConfigError as error:
                fail(str(error))

    def _read(self) -> None:
        if self["config"] is None:
            raise usage.UsageError("--config is required")
        from g3.apps import answers

        try:
            self.source, self.main = answers.read(Path(self["config"]).absolute(), self.program)
        except ConfigError as error:
            fail(str(error))

    def _print_configuration(self) -> None:
        from g3.apps import answers

        if self["dump-config"]:
            finish(answers.effective(self.main))
        if self.get("dep-graph"):
            finish(answers.graph(self.main, self["dep-graph"]))
        if self["test-config"]:
            finish("format ok\n")


class Options(BaseOptions):
    """The command line of C{twistd g3proxy}, and of others that have nodes and a control socket."""

    optFlags = (("list-types", None, "Print every type with its package and version and exit."),)
    optParameters = (
        ("dep-graph", "g", None, "Print the dependency graph (graphviz, mermaid or plantuml; graphviz if not said) and exit."),
        ("control-dir", "C", str(DEFAULT_DIRECTORY), "Directory of the control sockets."),
    )


def with_graph_type(words: list[str]) -> list[str]:
    """The words with the type that C{-g} or C{--dep-graph} leaves out."""
    result: list[str] = []
    for index, word in enumerate(words):
        result.append(word)
        if word in ("-g", "--dep-graph") and words[index + 1 : index + 2] not in [[graph] for graph in GRAPHS]:
            result.append(GRAPHS[0])
    return result


def use_reactor() -> None:
    """Make G3Reactor the reactor, unless there is one; one that was not asked for is warned of."""
    from g3.net.reactor import G3Reactor, install

    reactor = sys.modules.get("twisted.internet.reactor")
    if reactor is None:
        install()
    elif not isinstance(reactor, G3Reactor) and not _reactor_was_chosen():
        warnings.warn(f"another reactor was installed before ours ({type(reactor).__name__}): everything works, slower", stacklevel=2)


def _reactor_was_chosen() -> bool:
    return any(word.startswith("--reactor") or (word.startswith("-r") and not word.startswith("--")) for word in sys.argv[1:])


def finish(text: str) -> NoReturn:
    """Print a result and exit with status 0."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        sys.stdout = None
    raise SystemExit(0)


def fail(report: str) -> NoReturn:
    """Print what is wrong and exit with status 1."""
    sys.stderr.write(report.rstrip("\n") + "\n")
    raise SystemExit(1)


def makeService(options: Options) -> ProxyDaemon:
    """The daemon that C{options} ask for."""
    from twisted.internet import reactor

    from g3.apps.daemon import ProxyDaemon
    from g3.apps.supervisor import ProxySupervisor, worker_count

    serves = ProxySupervisor if worker_count(options.main) else ProxyDaemon
    return serves(reactor, settings(options), options.source, options.main)


def _user(uid: int | None, gid: int | None) -> tuple[int | None, int | None]:
    """Whom twistd will make of us, by its C{--uid} and C{--gid}: a user without a group has its own."""
    if uid is None:
        return None, gid
    try:
        own = pwd.getpwuid(uid).pw_gid
    except KeyError:
        fail(f"twistd --uid: there is no user {uid}")
    return uid, own if gid is None else gid


def settings(options: BaseOptions) -> Settings:
    """What C{options}, and twistd's above them, say of the process."""
    from g3.apps.daemon import Settings
    from g3.apps.systemd import at_start, notifier, passed_sockets

    twistd: Any = options.parent if options.parent is not None else {}
    uid, gid = _user(twistd.get("uid"), twistd.get("gid"))
    return Settings(
        control_dir=Path(options.get("control-dir", DEFAULT_DIRECTORY)),
        group=options["group-name"],
        shared_control=not options["alone"]
        and bool(options["systemd"] or options["monitored"] or options["group-name"] or not twistd.get("nodaemon", True)),
        verbosity=options["verbose"],
        pid_file=options.pid_file,
        log_file=Path(twistd.get("logfile") or "twistd.log").absolute(),
        uid=uid,
        gid=gid,
        status_pipe=lambda: twistd.pop("statusPipe", None),
        notifier=notifier(os.environ),
        passed=passed_sockets(at_start(os.environ)),
    )
