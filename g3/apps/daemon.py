# SPDX-License-Identifier: Apache-2.0
"""A daemon: the tree, its exporters, its control sockets and its signals as one Twisted service, from start to exit status.

L{BaseDaemon} is what all daemons of the suite have; L{ProxyDaemon} is g3proxy.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import resource
import signal
import sys
import time
from dataclasses import dataclass, field
from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, ClassVar, cast

from twisted.application.service import MultiService
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import FilteringLogObserver, Logger, LogLevel, LogLevelFilterPredicate, globalLogPublisher
from twisted.python.failure import Failure

import g3
from g3.apps.launch import Launch
from g3.apps.logfile import append_to
from g3.apps.pidfile import PidFile
from g3.apps.systemd import Notifier
from g3.control.commands import Commands
from g3.control.endpoint import ControlSocket, clear_left, make_directory, shared_name, unique_name
from g3.control.handover import Predecessor, take
from g3.control.messages import Handing
from g3.control.server import ControlFactory, ControlListener
from g3.errors import ConfigError
from g3.logs.hub import LogHub
from g3.metrics.registry import MetricRegistry
from g3.metrics.statsd import StatsdExporter
from g3.net.listen import Room
from g3.net.passed import PassedSockets
from g3.net.timers import TimerWheel
from g3.net.tls.ticketer import Ticketing
from g3.net.tls.tickets import LocalSecrets
from g3.tree.datagrams import DatagramPool
from g3.tree.listeners import ListenerPool
from g3.tree.node import KIND_ORDER, Daemon, Lasting, NodeContext, Timeouts
from g3.tree.offline import Shutdown, sleep
from g3.tree.root import LOOK, Root
from g3.workers import privileges
from g3.workers.balance import ABOVE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterator
    from pathlib import Path

    from g3.apps.configuration import FileSource
    from g3.config.main import MainConfig
    from g3.config.node import NodeConfig

log = Logger()

#: Descriptors asked for; an idle tunnel has two.
NOFILE = 1 << 20
#: How many signs of life the watchdog of the service manager gets in its time.
SIGNS_OF_LIFE = 3
#: Allocations between two looks for garbage: what a proxy makes is freed by counting, a look is only for the rare cycle.
GC_THRESHOLDS = (20_000, 20, 50)


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line and the environment say of the process; who has a C{uid} has a C{gid}. C{status_pipe()} is where twistd waits for word
    from the daemon it started, and no longer twistd's; C{notifier} and C{passed} are of who started us."""

    control_dir: Path
    group: str = ""
    shared_control: bool = False
    verbosity: int = 0
    pid_file: str = ""
    log_file: Path | None = None
    uid: int | None = None
    gid: int | None = None
    status_pipe: Callable[[], int | None] = lambda: None
    notifier: Notifier = field(default_factory=Notifier)
    passed: PassedSockets = field(default_factory=PassedSockets)


@dataclass(frozen=True, slots=True)
class Seat:
    """What a worker has in place of what a daemon that serves itself makes: listeners that are handed to it, its share of the load, its number,
    what all workers make ticket keys of, how many they are, and what their supervisor gave them beside the configuration."""

    number: int
    listeners: ListenerPool
    load: Any
    lasting: Lasting
    secrets: LocalSecrets
    workers: int = 1
    brought: Any = None


class BaseDaemon(MultiService):
    """A daemon as a service (IControlled and IEnding too).

    Sockets are bound in C{privilegedStartService}, before privileges are dropped. A start that fails ends the process with status 1 and
    its reason on standard error, never with a traceback.
    """

    version = g3.__version__
    #: Its name; the kinds of its nodes in the order in which they are built; what its control socket understands.
    program: ClassVar[str]
    kinds: ClassVar[tuple[str, ...]] = KIND_ORDER
    commands: ClassVar[type[Commands]] = Commands
    #: Whether it has control sockets.
    controlled: ClassVar[bool] = True
    #: How many clients more than the others a worker may have before it leaves new ones to them.
    above_by: ClassVar[int] = ABOVE
    #: Its tree.
    tree: ClassVar[type[Root]] = Root
    #: Whether others serve for it.
    hands_on: ClassVar[bool] = False

    def __init__(self, reactor: Any, settings: Settings, source: FileSource, main: MainConfig, seat: Seat | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.setName(self.program)  # type: ignore[no-untyped-call]
        self.reactor = reactor
        self.settings = settings
        self.source = source
        self._main = main
        self._seat = seat
        self._listeners: dict[str, ControlListener] = {}
        self._predecessor: Predecessor | None = None
        self._waiting: Deferred[None] | None = None
        self._leaving = False
        #: Whether the process has our signal handlers.
        self._handles = False
        self._closing: Deferred[None] | None = None
        self._launch = Launch()
        self._pid_file = PidFile(settings.pid_file, (settings.uid, settings.gid))
        self._successor: int | None = None
        self._watchdog = LoopingCall(self._sign_of_life)
        self._watchdog.clock = reactor

    # Start

    def privilegedStartService(self) -> None:
        """Bind everything."""
        self._launch = Launch(self.settings.status_pipe())
        # Whatever becomes of us.
        atexit.register(self._launch.over, self.program)
        filter_logs(self.settings.verbosity)
        if self.settings.log_file is not None:
            append_to(self.settings.log_file)
        raise_descriptor_limit()
        self.look_over(self._main)
        try:
            self.build()
            self._install_signals()
            before = self._inherit()
            self._pid_file.check(before)
            self.bind()
            if not before:
                self._pid_file.write()
        except ConfigError as error:
            self._start_failed(error)
        self._prepare()
        if self.settings.uid is not None:
            privileges.keep()
        super().privilegedStartService()  # type: ignore[no-untyped-call]

    def bind(self) -> None:
        """Bind what is not a node's: our control socket. Raises ConfigError."""
        if self.controlled:
            make_directory(self.settings.control_dir, self.settings.uid)
            clear_left(self.settings.control_dir, self.settings.group)
            self._open_control(unique_name(self.settings.group, os.getpid()), replace=False)
            self._own_control()

    def _inherit(self) -> list[int]:
        """Take over the sockets of the daemon that serves our group now, if there is one; its pid. Raises ConfigError."""
        if not self.controlled or not self.settings.shared_control:
            return []
        path = self.settings.control_dir / shared_name(self.settings.group)
        uids = {0, os.geteuid(), os.geteuid() if self.settings.uid is None else self.settings.uid}
        estate = take(path, uids)
        if estate is None:
            return []
        self._predecessor = Predecessor(self.reactor, path, uids)
        self.root.listeners.inherit(estate.listeners)
        self.settings.passed.inherit(estate.passed)
        notifier = self.settings.notifier
        if not notifier.address:
            notifier.address, notifier.watchdog = str(estate.told.get("notify", "")), int(estate.told.get("watchdog", 0))
        return [int(estate.told.get("pid", 0))]

    def look_over(self, main: MainConfig) -> None:
        """Warn of what is allowed and unwise. Called first of all."""

    def common(self) -> Any:
        """What our nodes have in common, for C{NodeContext.common}."""

    def startService(self) -> None:
        """Serve, as soon as all nodes are prepared."""
        if self.settings.uid is not None:
            listening = any(config.listens_as_admin for config in self._configs())
            privileges.settle(listening=listening, serving=self.serves_as_admin(), hands_on=self.hands_on)
        if self.settings.gid is not None and os.geteuid() == 0:
            # twistd leaves a root that only changed its group in all others, too.
            privileges.take_groups(0, self.settings.gid)
        super().startService()  # type: ignore[no-untyped-call]
        # Again: the reactor has put its own in their place by then.
        self.reactor.callWhenRunning(self._install_signals)
        if self._waiting is None:
            self._begin()
        else:
            self._waiting.addCallbacks(lambda _: self._begin(), lambda failure: self._start_failed(failure.value))

    def _configs(self) -> Iterator[NodeConfig]:
        return (config for kind in self._main.nodes for config in self._main.configs(kind))

    def serves_as_admin(self) -> bool:
        """Whether the sockets that are made to serve, here or in workers, need CAP_NET_ADMIN."""
        return any(config.serves_as_admin for config in self._configs())

    def _prepare(self) -> None:
        """Nodes are prepared at once where they can be, so that what fails is told before we are a daemon."""
        outcome: list[Any] = []
        prepared = self.prepare_nodes().addBoth(outcome.append)
        if not outcome:
            self._waiting = prepared.addCallback(lambda _: outcome[0])
        elif isinstance(outcome[0], Failure):
            self._start_failed(outcome[0].value)

    def prepare_nodes(self) -> Deferred[None]:
        """Make all nodes ready to serve. The Deferred fails with ConfigError."""
        return self.root.prepare(self._main)

    def build(self) -> None:
        """Make everything, start nothing. Raises ConfigError."""
        main, seat = self._main, self._seat
        runtime = main.runtime
        timeouts = Timeouts(runtime.server_offline_delay, runtime.task_wait_delay, runtime.task_wait_timeout, runtime.task_quit_timeout)
        metrics = MetricRegistry()
        self._logs = self.make_logs(metrics)
        self._timers = TimerWheel(self.reactor)
        context = NodeContext(
            reactor=self.reactor,
            timers=self._timers,
            metrics=metrics,
            logs=self._logs,
            listeners=self.make_listeners() if seat is None else seat.listeners,
            daemon=Daemon(self.program, self.settings.group, stat_id="0" if seat is None else str(seat.number)),
            timeouts=timeouts,
            common=self.common(),
            ticketing=Ticketing(self.reactor, LocalSecrets(time.monotonic) if seat is None else seat.secrets, time.time, shared=seat is not None),
        )
        if seat is not None:
            context.load, context.lasting = seat.load, seat.lasting
        context.listeners.acceptor = partial(context.listeners.acceptor, room=Room(context.load))
        self.root = self.tree(context, self.source.components, self.kinds)
        self.root.setServiceParent(self)  # type: ignore[no-untyped-call]
        self.shutdown = Shutdown(self.reactor, timeouts, self)
        local = main.controller.local
        self._control = ControlFactory(self.reactor, self.make_commands(), receive_timeout=local.recv_timeout, send_timeout=local.send_timeout)
        self._statsd = self.make_exporter(context)

    def make_listeners(self) -> ListenerPool:
        """The sockets of this process."""
        passed = self.settings.passed
        return ListenerPool(self.reactor, bind=passed.bind_tcp, datagrams=DatagramPool(bind=passed.bind_udp), kept=passed.has)

    def make_logs(self, metrics: MetricRegistry) -> LogHub:
        """The event logs of this process."""
        seat = self._seat
        lasting = Lasting() if seat is None else seat.lasting
        return LogHub(
            self.reactor,
            self._main.log,
            daemon_name=self.settings.group,
            program=self.program,
            metrics=metrics,
            kept=lambda log_type, stats: lasting.of_process(f"{log_type} log", stats.tags[0][1], lambda: stats),
        )

    def make_commands(self) -> Callable[[str, dict[str, Any]], Awaitable[Any]]:
        """What runs control commands."""
        return self.commands(self)

    def make_exporter(self, context: NodeContext) -> StatsdExporter | None:
        """What sends the metrics of this process."""
        options = self._main.stat
        if options is None:
            return None
        return StatsdExporter(self.reactor, context.metrics, options, self.metric_tags(context))

    def metric_tags(self, context: NodeContext) -> tuple[tuple[str, str], ...]:
        """The tags of all our metrics."""
        return (("daemon_group", context.daemon.group), ("stat_id", context.daemon.stat_id))

    def _begin(self) -> None:
        if self._leaving:
            return
        try:
            self.root.begin()
        except ConfigError as error:
            self._start_failed(error)
            return
        self.serve()

    def serve_only(self) -> None:
        """Serve what was prepared under a supervisor, which has the control sockets and the signals. Raises ConfigError."""
        MultiService.startService(self)  # type: ignore[no-untyped-call]
        self.root.begin()
        if self._statsd is not None:
            self._statsd.start()
        settle_memory()

    def serve(self) -> None:
        """All is there: be found, and say so."""
        if self._predecessor is not None:
            Deferred.fromCoroutine(self._succeed(self._predecessor)).addErrback(lambda failure: self._start_failed(failure.value))
            return
        try:
            self.resume_controller()
        except ConfigError as error:
            self._start_failed(error)
            return
        self._found()

    async def _succeed(self, before: Predecessor) -> None:
        """Have what only one daemon of a group can have. The one before us leaves when we have it. Raises ConfigError."""
        await before.release(self.root.listeners.handed())
        try:
            self.resume_controller()
            self._pid_file.write()
        except ConfigError:
            await before.resume()
            raise
        self.root.listeners.settle_inherited()
        await before.retire()
        self._found()

    def _found(self) -> None:
        if self.controlled:
            self._listeners[unique_name(self.settings.group, os.getpid())].start()
        if self._statsd is not None:
            self._statsd.start()
        settle_memory()
        for broken in self.source.components.broken:
            log.warn("{broken}", broken=broken)
            log.debug("{trace}", trace=broken.trace)
        for line in self.settings.passed.unused():
            log.warn("a socket was passed that nothing is configured to listen on: {line}", line=line)
        self._launch.good()
        self.settings.notifier.ready(self.serving())
        if self.settings.notifier.watchdog:
            self._watchdog.start(self.settings.notifier.watchdog / 1e6 / SIGNS_OF_LIFE)
        log.info(
            "{program} {version} is ready: {what}, pid {pid}",
            program=self.program,
            version=self.version,
            what=self.serving(),
            pid=os.getpid(),
        )

    def _sign_of_life(self) -> None:
        if self.healthy():
            self.settings.notifier.alive()

    def healthy(self) -> bool:
        """Whether we can serve; that our reactor turns is known when this is asked."""
        return True

    def serving(self) -> str:
        """What there is to be reached, in a few words."""
        return f"{len(self.root.nodes('server'))} servers"

    def _start_failed(self, error: BaseException | None) -> None:
        """Say why on standard error and end with status 1: at once while twistd starts us, by way of the reactor when it runs."""
        self._leaving = True
        self._close_control()
        report = "\n".join(str(problem) for problem in getattr(error, "problems", ())) or f"{type(error).__name__}: {error}"
        report += f"\n{self.program} was not started"
        if not self.reactor.running:
            self._pid_file.remove()  # first: who started us goes on as soon as it is told
        self._launch.bad(report)
        if not self.reactor.running:
            raise SystemExit(1)
        # twistd has no way to be given an exit status: after it has cleaned up, the interpreter's exit is the last word.
        atexit.register(_exit_with, 1)
        self.reactor.stop()

    # Signals

    def _install_signals(self) -> None:
        """Ours in place of the reactor's, which would end us by the signal: a clean quit exits 0."""
        for number, action in self.signals().items():
            signal.signal(number, self._soon(action))
        self._handles = True

    def signals(self) -> dict[int, Callable[[], object]]:
        """What each signal does."""
        return {
            signal.SIGHUP: self.reload,
            signal.SIGTERM: self.shutdown.offline,
            signal.SIGINT: self.shutdown.quit,
            signal.SIGQUIT: self.shutdown.quit,
        }

    def _soon(self, action: Callable[[], object]) -> Callable[[int, object], None]:
        return lambda _number, _frame: self.reactor.callFromThread(action)

    def reload(self) -> None:
        """Read the configuration again (SIGHUP); what came of it is logged."""
        log.info("reloading")
        done: Deferred[list[str]] = Deferred.fromCoroutine(self.read_again())
        done.addCallbacks(self._reloaded, self._not_reloaded)

    async def read_again(self, dry_run: bool = False) -> list[str]:
        """As L{Root.reload}; the service manager is told of it."""
        if dry_run:
            return await self.root.reload(self.source, dry_run)
        self.settings.notifier.reloading()
        try:
            return await self.root.reload(self.source)
        finally:
            if not self._leaving:
                self.settings.notifier.ready(self.serving())

    def _reloaded(self, changes: list[str]) -> None:
        log.info("reloaded: {changes}", changes="; ".join(changes) or "nothing changed")

    def _not_reloaded(self, failure: Any) -> None:
        if failure.check(ConfigError):
            log.error("reload refused, nothing was changed:\n{error}", error=failure.value)
        else:
            log.failure("reload failed, nothing was changed", failure)

    # A successor

    def hand_over(self) -> Handing:
        """The listening sockets, for a successor; they stay ours too."""
        listeners, passed, notifier = self.root.listeners.handed(), self.settings.passed.sockets(), self.settings.notifier
        told = {
            "listeners": list(listeners),
            "passed": len(passed),
            "version": self.version,
            "pid": os.getpid(),
            "notify": notifier.address,
            "watchdog": notifier.watchdog,
        }
        return Handing(told, [sock.fileno() for sock in (*listeners.values(), *passed)])

    def succeeded_by(self, pid: int, listeners: Collection[str]) -> None:
        """That process has the shared control socket from now on, and listens on these of what was handed over."""
        log.info("process {pid} takes over", pid=pid)
        self._successor = pid
        self.root.listeners.stays = frozenset(listeners).__contains__

    # What a shutdown does to us

    def release_controller(self) -> None:
        """Give the shared control socket up."""
        listener = self._listeners.pop(shared_name(self.settings.group), None)
        if listener is not None:
            listener.stop()

    def resume_controller(self) -> None:
        """Have the shared control socket (again), if there is to be one. Raises ConfigError."""
        self._successor = None
        self.root.listeners.stays = lambda _: False
        if self.controlled and self.settings.shared_control:
            self._open_control(shared_name(self.settings.group), replace=True).start()

    def close_servers(self) -> None:
        """Take no new clients."""
        if self._closing is not None:
            return
        if self._successor is None:
            self.settings.notifier.stopping()
        else:
            self.settings.notifier.succeeded_by(self._successor)
        self.root.ready = False
        self._closing = Deferred.fromCoroutine(self._close()).addErrback(self._cut_short)

    def _cut_short(self, failure: Failure) -> None:
        if not isinstance(failure.value, CancelledError):
            log.failure("the ports could not be closed in order", failure)
        self._close_ports()

    async def _close(self) -> None:
        async with self.root.closing_ports():
            self._close_ports()

    def _close_ports(self) -> None:
        """Have neither the ports nor that by which somebody would ask for them."""
        self.release_controller()
        self.root.close_servers()

    def drained(self) -> Deferred[None]:
        """Fires when the last task has ended."""
        return self.root.drained()

    def closed(self) -> Deferred[None]:
        """Fires when C{close_servers} is done."""
        return Deferred.fromCoroutine(self._closed())

    async def _closed(self) -> None:
        while self._closing is not None and not self._closing.called:
            await sleep(self.reactor, LOOK)

    def force_quit_all(self) -> int:
        """End the tasks of offline servers."""
        return self.root.force_quit_all()

    def leave(self) -> None:
        """The process may end."""
        if not self._leaving:
            self._leaving = True
            log.info("leaving")
            self.reactor.stop()

    def stopService(self) -> Deferred[Any]:
        """The reactor stops. Ports that were about to be closed are closed at once."""
        self._leaving = True
        if self._closing is not None:
            self._closing.cancel()
        stopped: Deferred[Any] = Deferred.fromCoroutine(self._stop())
        return stopped

    async def _stop(self) -> None:
        await cast("Deferred[Any]", super().stopService())  # type: ignore[no-untyped-call]
        if self._statsd is not None:
            self._statsd.stop()
        self._logs.close()
        self._timers.stop()
        self._control.close()
        self._close_control()
        if self._watchdog.running:
            self._watchdog.stop()
        self._pid_file.remove()
        self._launch.over(self.program)
        if self._handles:
            for number in self.signals():
                # The interpreter would take our handlers away on its way out, and one more of them end us by the signal.
                signal.signal(number, signal.SIG_IGN)
        # What was answered is sent with the reactor's next turn.
        await sleep(self.reactor, 0)

    # Control sockets

    def _open_control(self, name: str, *, replace: bool) -> ControlListener:
        control = ControlSocket(self.settings.control_dir / name, replace=replace)
        listener = self._listeners[name] = ControlListener(self.reactor, control, self._control, lambda uid: uid in (0, os.geteuid()))
        return listener

    def _own_control(self) -> None:
        """The user we are about to become must be able to remove and remake the sockets."""
        uid, gid = self.settings.uid, self.settings.gid
        if uid is None or uid == os.geteuid():
            return
        os.chown(self.settings.control_dir, uid, -1 if gid is None else gid)
        for listener in self._listeners.values():
            listener.control.chown(uid, -1 if gid is None else gid)

    def _close_control(self) -> None:
        listeners, self._listeners = list(self._listeners.values()), {}
        for listener in listeners:
            listener.stop()


class ProxyDaemon(BaseDaemon):
    """g3proxy."""

    program = "g3proxy"

    def look_over(self, main: MainConfig) -> None:
        warn_of_open_servers(main)


def filter_logs(verbosity: int) -> None:
    """Keep what is below the asked for level from twistd's observers: 0 info, 1 and more debug."""
    level = LogLevel.debug if verbosity > 0 else LogLevel.info
    for observer in list(globalLogPublisher._observers):
        if isinstance(observer, FilteringLogObserver):
            continue
        globalLogPublisher.removeObserver(observer)
        globalLogPublisher.addObserver(FilteringLogObserver(observer, [LogLevelFilterPredicate(defaultLogLevel=level)]))


def raise_descriptor_limit() -> None:
    """As many descriptors as we are allowed, and more if we may allow it ourselves."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in ((NOFILE, max(NOFILE, hard)), (hard, hard)):
        with contextlib.suppress(ValueError, OSError):
            if soft == resource.RLIM_INFINITY or soft >= wanted[0]:
                return
            resource.setrlimit(resource.RLIMIT_NOFILE, wanted)
            return


def settle_memory() -> None:
    """What was loaded stays: looks for garbage skip it from now on."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


def warn_of_open_servers(main: MainConfig) -> None:
    """Say aloud which servers let anybody in who can reach them."""
    for config in main.configs("server"):
        listen = getattr(config, "listen", None)
        if listen is None or getattr(config, "user_group", None) or getattr(config, "ingress_network_filter", None) is not None:
            continue
        host, port = listen.address
        with contextlib.suppress(ValueError):
            if not ip_address(host).is_loopback:
                log.warn(
                    'server "{name}" listens on {host} port {port} and asks nobody who they are: everybody who can reach it can use it '
                    "(set user_group or ingress_network_filter, or listen on 127.0.0.1)",
                    name=config.name,
                    host=host,
                    port=port,
                )


def _exit_with(status: int) -> None:
    for stream in (sys.__stdout__, sys.__stderr__):
        with contextlib.suppress(Exception):
            if stream is not None:
                stream.flush()
    os._exit(status)
