# SPDX-License-Identifier: Apache-2.0
"""Reload: whole or not at all."""

from __future__ import annotations

from typing import Any, ClassVar

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from g3.errors import ConfigError
from g3.net.listen import HANDSHAKE
from g3.net.options import TCPListen
from g3.tree.listeners import ListenerPool
from g3.tree.node import NodeContext
from g3.tree.root import Root
from tests.unit.tree.nodes import (
    Binder,
    Configuration,
    FakeAcceptor,
    Listen,
    Source,
    TinyConfig,
    components,
    configuration,
    enters,
    events,
    make_root,
    started,
)


class ReloadCase(SynchronousTestCase):
    """Starts with two resolvers, an escaper and a server."""

    def setUp(self) -> None:
        events.clear()
        self.binder = Binder()
        self.base = configuration(
            resolver=[TinyConfig("names")],
            escaper=[TinyConfig("out", to=("resolver", "names"))],
            server=[TinyConfig("web", to=("escaper", "out"), listen=Listen())],
        )
        self.root = started(self.base, self.binder)

    def changed(self, **kinds: list[Any]) -> Configuration:
        return configuration(**{**self.base.by_kind, **kinds})

    def reload(self, config: Configuration, dry_run: bool = False, root: Root | None = None) -> list[str]:
        root = root or self.root
        done = Deferred.fromCoroutine(root.reload(Source(config), dry_run))
        root.context.reactor.advance(HANDSHAKE)
        return self.successResultOf(done)

    def refuse(self, config: Configuration) -> ConfigError:
        failure = self.failureResultOf(Deferred.fromCoroutine(self.root.reload(Source(config))), ConfigError)
        error = failure.value
        assert isinstance(error, ConfigError)
        return error


class AnxiousAcceptor(FakeAcceptor):
    """When it has accepted the last client it sees whether another one can come."""

    came: ClassVar[list[bool]] = []

    def stop(self, *, drain: bool) -> None:
        self.came.append(enters(self.socket.getsockname()))
        super().stop(drain=drain)


class ClosingTests(SynchronousTestCase):
    """Nobody is let in who would be reset: neither after the last look into the queue, nor where others have closed theirs."""

    def setUp(self) -> None:
        AnxiousAcceptor.came = self.came = []
        self.pool = ListenerPool(Clock(), acceptor=AnxiousAcceptor)
        self.stays, goes = (TinyConfig(name, listen=TCPListen(address=("127.0.0.1", 0))) for name in ("stays", "goes"))
        self.base = configuration(server=[self.stays, goes])

    def root(self) -> Root:
        root = Root(NodeContext(reactor=Clock(), listeners=self.pool), components())
        self.successResultOf(root.prepare(self.base))
        root.begin()
        return root

    def addresses(self) -> list[Any]:
        return [sock.getsockname() for sock in self.pool.sockets()]

    def end(self, root: Root) -> None:
        async def close() -> None:
            async with root.closing_ports():
                root.close_servers()

        closed = Deferred.fromCoroutine(close())
        self.assertNoResult(closed)
        root.context.reactor.advance(HANDSHAKE)
        self.successResultOf(closed)

    def test_a_reload_that_is_overtaken_by_the_end_changes_nothing(self) -> None:
        """While it waits for those who are connecting."""
        root = self.root()
        self.addCleanup(root.close_servers)
        done = Deferred.fromCoroutine(root.reload(Source(configuration(server=[self.stays]))))
        root.ready = False
        root.context.reactor.advance(HANDSHAKE)
        self.assertIn("shutting down", str(self.failureResultOf(done, ConfigError).value))
        self.assertEqual([enters(address) for address in self.addresses()], [True, True])

    def test_of_a_server_that_a_reload_removes(self) -> None:
        """Those that stay take clients all the time; afterwards the port is closed."""
        root = self.root()
        stays, goes = self.addresses()
        done = Deferred.fromCoroutine(root.reload(Source(configuration(server=[self.stays]))))
        self.assertEqual([enters(stays), enters(goes)], [True, False])
        # Who was about to get in still may.
        root.context.reactor.advance(HANDSHAKE - 0.01)
        self.assertEqual(self.came, [])
        root.context.reactor.advance(0.01)
        self.successResultOf(done)
        self.assertEqual(self.came, [False])
        self.assertTrue(enters(stays))
        self.assertRaises(ConnectionRefusedError, enters, goes)

    def test_of_a_daemon_that_ends(self) -> None:
        """But for the sockets that somebody else goes on with."""
        root = self.root()
        first, _ = self.pool.keyed()
        self.pool.stays = {first}.__contains__
        sockets = [sock.dup() for sock in self.pool.sockets()]
        for sock in sockets:
            self.addCleanup(sock.close)
        self.end(root)
        self.assertEqual(self.came, [True, False])
        # Who has them, asked or not, goes on with them afterwards.
        self.assertEqual([enters(sock.getsockname()) for sock in sockets], [True, True])


class StartTests(SynchronousTestCase):
    def setUp(self) -> None:
        events.clear()

    def test_kinds_are_made_and_started_in_the_order_in_which_they_use_each_other(self) -> None:
        """All nodes are made, then all are prepared, then all are started; resolvers first, servers last."""
        root = make_root()
        self.successResultOf(root.prepare(configuration(server=[TinyConfig("s")], escaper=[TinyConfig("e")], resolver=[TinyConfig("r")])))
        root.begin()
        order = ["resolver r", "escaper e", "server s"]
        self.assertEqual(events, [f"{step} {node} 0" for step in ("make", "prepare", "start") for node in order])

    def test_a_reference_to_nothing_meets_a_stand_in(self) -> None:
        """A missing escaper is a dummy_deny that is not listed among the configured ones."""
        root = started(configuration(server=[TinyConfig("web", to=("escaper", "gone"))]))
        target = root.nodes("server")["web"].target
        self.assertFalse(target.defined)
        self.assertEqual(target.node.name, "gone")
        self.assertEqual(root.names("escaper"), ["gone"])
        self.assertEqual(dict(root.nodes("escaper")), {})

    def test_every_node_that_cannot_be_made_or_prepared_is_told_in_one_go(self) -> None:
        """The error has all problems, and what was prepared is given back."""
        root = make_root()
        done = root.prepare(
            configuration(
                resolver=[TinyConfig("a", fail="make"), TinyConfig("b", fail="prepare"), TinyConfig("c")], server=[TinyConfig("d", bug="make")]
            )
        )
        error = self.failureResultOf(done, ConfigError).value
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(
            [str(problem) for problem in error.problems],
            ["file:a: a cannot make", 'file:d: server "d": ZeroDivisionError: make', "file:b: b cannot prepare"],
        )
        self.assertEqual(events[-2:], ["discard resolver c 0", "discard resolver b 0"])

    def test_a_node_that_does_not_provide_its_interface_is_refused(self) -> None:
        """verifyObject at load names what is missing."""
        done = make_root().prepare(configuration(server=[TinyConfig("web", type_word="headless")]))
        error = str(self.failureResultOf(done, ConfigError).value)
        self.assertIn("HeadlessServer is no server", error)
        self.assertIn("online", error)


class DiffTests(ReloadCase):
    def test_equal_configurations_change_nothing(self) -> None:
        """No node is touched when no configuration changed."""
        self.assertEqual(self.reload(self.changed()), [])
        self.assertEqual(events, [])

    def test_only_what_changed_is_replaced_under_those_who_use_it(self) -> None:
        """A replaced escaper is met by the server that stays, in the same slot."""
        server = self.root.nodes("server")["web"]
        old = server.target.node
        lines = self.reload(self.changed(escaper=[TinyConfig("out", value=1, to=("resolver", "names"))]))
        self.assertEqual(lines, ['replace escaper "out" (tiny)'])
        self.assertEqual(events, ["make escaper out 1", "prepare escaper out 1", "start escaper out 1", "stop escaper out 0"])
        self.assertIs(self.root.nodes("server")["web"], server)
        self.assertIsNot(server.target.node, old)

    def test_a_dry_run_tells_and_does_nothing(self) -> None:
        """Each change is a line; no node is made."""
        lines = self.reload(
            self.changed(resolver=[TinyConfig("names"), TinyConfig("more")], escaper=[TinyConfig("out", type_word="supple")], server=[]), dry_run=True
        )
        self.assertEqual(lines, ['add resolver "more" (tiny)', 'replace escaper "out" (tiny -> supple)', 'remove server "web" (tiny)'])
        self.assertEqual(events, [])

    def test_a_removed_node_leaves_a_stand_in_to_those_who_name_it(self) -> None:
        """The server that refers to a removed escaper meets one that refuses; later the real one again."""
        server = self.root.nodes("server")["web"]
        self.reload(self.changed(escaper=[]))
        self.assertFalse(server.target.defined)
        self.assertEqual(server.target.node.config, TinyConfig("out"))
        self.reload(self.base)
        self.assertTrue(server.target.defined)
        self.assertIs(server.target.node, self.root.nodes("escaper")["out"])

    def test_a_port_that_is_removed_with_the_server_behind_it_still_hands_on(self) -> None:
        """The clients it had let in, until it has no more of them; but who stays and names that server meets the stand-in at once."""
        for stays in (False, True):
            port, other = (TinyConfig(name, to=("server", "web")) for name in ("port", "other"))
            web = TinyConfig("web")
            root = started(configuration(server=[web, port, other]))
            server, leaving, staying = (root.nodes("server")[name] for name in ("web", "port", "other"))
            leaving.tasks = Deferred()
            self.reload(configuration(server=[other] if stays else []), root=root)
            self.assertEqual(leaving.target.node is server, not stays)
            leaving.tasks.callback(None)
            self.assertIsNot(leaving.target.node, server)
            self.assertFalse(staying.target.defined)

    def test_a_removed_server_that_comes_again_is_not_forgotten(self) -> None:
        """Also when the one before it is still waited for."""
        port, web = TinyConfig("port", to=("server", "web")), TinyConfig("web")
        root = started(configuration(server=[web, port]))
        leaving = root.nodes("server")["port"]
        leaving.tasks = Deferred()
        self.reload(configuration(), root=root)
        self.reload(configuration(server=[web]), root=root)
        leaving.tasks.callback(None)
        self.assertIs(leaving.target.node, root.nodes("server")["web"])
        self.assertTrue(leaving.target.defined)

    def test_a_node_that_takes_configurations_in_place_is_kept(self) -> None:
        """IReloadable: reconfigure in place of replacement."""
        root = started(configuration(escaper=[TinyConfig("out", type_word="supple")]))
        node = root.nodes("escaper")["out"]
        lines = self.reload(configuration(escaper=[TinyConfig("out", value=5, type_word="supple")]), root=root)
        self.assertEqual(lines, ['update escaper "out" (supple)'])
        self.assertEqual(events, ["reconfigure escaper out 0 -> 5"])
        self.assertIs(root.nodes("escaper")["out"], node)
        self.assertEqual(node.config.value, 5)

    def test_statistics_outlive_a_node_of_the_same_name_and_type(self) -> None:
        """The stats object is the same after a replacement, and another one after the type changed."""
        before = self.root.nodes("server")["web"].stats
        self.reload(self.changed(server=[TinyConfig("web", value=1)]))
        self.assertIs(self.root.nodes("server")["web"].stats, before)
        self.reload(self.changed(server=[]))
        self.reload(self.changed(server=[TinyConfig("web")]))
        self.assertIsNot(self.root.nodes("server")["web"].stats, before)

    def test_one_node_is_reloaded_alone(self) -> None:
        """Nothing but the named node is read or replaced."""
        source = Source(configuration(), one=TinyConfig("out", value=7))
        done = Deferred.fromCoroutine(self.root.reload_node(source, "escaper", "out"))
        self.assertEqual(self.successResultOf(done), ['replace escaper "out" (tiny)'])
        self.assertEqual(self.root.nodes("escaper")["out"].config.value, 7)
        self.assertIn("web", self.root.nodes("server"))

    def test_a_node_that_does_not_exist_cannot_be_reloaded(self) -> None:
        """The error names it."""
        done = Deferred.fromCoroutine(self.root.reload_node(Source(self.base), "escaper", "no"))
        self.assertEqual(str(self.failureResultOf(done, ConfigError).value), "no such escaper: no")


class RollBackTests(ReloadCase):
    def assert_untouched(self) -> None:
        self.assertEqual(self.root.nodes("escaper")["out"].config.value, 0)
        self.assertEqual(self.root.nodes("server")["web"].config.value, 0)
        self.assertEqual(list(self.root.nodes("resolver")), ["names"])
        target = self.root.nodes("server")["web"].target
        self.assertTrue(target.defined)
        self.assertIs(target.node, self.root.nodes("escaper")["out"])
        self.assertEqual([sock.open for sock in self.binder.bound], [True])
        self.assertNotIn("stop escaper out 0", events)
        self.assertNotIn("stop server web 0", events)

    def broken(self, **how: str) -> Configuration:
        """New resolver and escaper are good, the new server is not."""
        return self.changed(
            resolver=[TinyConfig("names"), TinyConfig("more")],
            escaper=[TinyConfig("out", value=1)],
            server=[TinyConfig("web", value=1, to=("escaper", "out"), listen=Listen(), **how)],
        )

    def test_a_constructor_that_refuses_changes_nothing(self) -> None:
        """The nodes prepared before it are discarded."""
        self.assertEqual(str(self.refuse(self.broken(fail="make"))), "file:web: web cannot make")
        self.assertIn("discard escaper out 1", events)
        self.assert_untouched()

    def test_a_constructor_that_crashes_changes_nothing(self) -> None:
        """A defect of a plugin is told as one line, and its traceback is in the log."""
        self.assertEqual(str(self.refuse(self.broken(bug="make"))), 'file:web: server "web": ZeroDivisionError: make')
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assert_untouched()

    def test_a_prepare_that_refuses_changes_nothing(self) -> None:
        """Also the one that failed is discarded: it may have taken something."""
        self.assertEqual(str(self.refuse(self.broken(fail="prepare"))), "file:web: web cannot prepare")
        self.assertIn("discard server web 1", events)
        self.assert_untouched()

    def test_a_prepare_that_fails_later_changes_nothing(self) -> None:
        """A prepare may take its time; until it is done all is as before."""
        done = Deferred.fromCoroutine(self.root.reload(Source(self.broken(fail="late"))))
        self.assertNoResult(done)
        self.assert_untouched()
        new = self.root.listeners._entries[next(iter(self.root.listeners._entries))].claims[-1].owner
        new.prepared.errback(ConfigError("late"))
        self.assertEqual(str(self.failureResultOf(done, ConfigError).value), "file:web: late")
        self.assert_untouched()

    def test_a_start_that_crashes_is_undone(self) -> None:
        """Slots, sockets and nodes are as they were, what had started is stopped."""
        self.assertIn("rolled back: ZeroDivisionError", str(self.refuse(self.broken(bug="start"))))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertIn("stop escaper out 1", events)
        self.assertIn("stop server web 1", events)
        self.assert_untouched()

    def test_a_discard_that_crashes_does_not_stop_the_others(self) -> None:
        """Every prepared node is discarded."""
        config = self.changed(resolver=[TinyConfig("a"), TinyConfig("b", bug="discard"), TinyConfig("c", fail="prepare")])
        self.refuse(config)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertIn("discard resolver a 0", events)
        self.assert_untouched()

    def test_a_reconfigure_that_crashes_is_undone(self) -> None:
        """Nodes reconfigured before get their old configuration again."""
        root = started(configuration(escaper=[TinyConfig("a", type_word="supple"), TinyConfig("b", type_word="supple")]))
        wanted = configuration(
            escaper=[TinyConfig("a", value=1, type_word="supple"), TinyConfig("b", value=1, bug="reconfigure", type_word="supple")]
        )
        self.failureResultOf(Deferred.fromCoroutine(root.reload(Source(wanted))), ConfigError)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual([node.config.value for node in root.nodes("escaper").values()], [0, 0])

    def test_a_stop_that_crashes_does_not_undo_the_reload(self) -> None:
        """After the swap there is no way back: it is logged, the new node serves."""
        root = started(configuration(escaper=[TinyConfig("out", bug="stop")]))
        self.reload(configuration(escaper=[TinyConfig("out", value=1)]), root=root)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(root.nodes("escaper")["out"].config.value, 1)
        self.successResultOf(root.drained())

    def test_a_reload_waits_for_the_one_before(self) -> None:
        """Two reloads never mix."""
        first = Deferred.fromCoroutine(self.root.reload(Source(self.broken(fail="late"))))
        second = Deferred.fromCoroutine(self.root.reload(Source(self.changed(escaper=[TinyConfig("out", value=3)]))))
        self.assertNoResult(second)
        new = self.root.listeners._entries[next(iter(self.root.listeners._entries))].claims[-1].owner
        new.prepared.errback(ConfigError("late"))
        self.failureResultOf(first, ConfigError)
        self.successResultOf(second)
        self.assertEqual(self.root.nodes("escaper")["out"].config.value, 3)


class ListenerTests(ReloadCase):
    def test_a_replaced_server_takes_over_the_same_socket(self) -> None:
        """One socket, bound once, open all the time."""
        self.reload(self.changed(server=[TinyConfig("web", value=1, listen=Listen())]))
        self.assertEqual([sock.open for sock in self.binder.bound], [True])

    def test_a_server_of_another_name_takes_over_the_same_socket(self) -> None:
        """Renaming a server refuses nobody."""
        self.reload(self.changed(server=[TinyConfig("site", listen=Listen())]))
        self.assertEqual([sock.open for sock in self.binder.bound], [True])

    def test_a_removed_server_closes_its_socket(self) -> None:
        """No claim is left."""
        self.reload(self.changed(server=[]))
        self.assertEqual([sock.open for sock in self.binder.bound], [False])

    def test_two_servers_on_one_address_are_refused(self) -> None:
        """Both are named, nothing changes."""
        config = self.changed(server=[*self.base.by_kind["server"], TinyConfig("second", listen=Listen())])
        self.assertEqual(str(self.refuse(config)), 'file:second: servers "second" and "web" both listen on 192.0.2.1:8080')
        self.assertEqual(list(self.root.nodes("server")), ["web"])
        self.assertEqual([sock.open for sock in self.binder.bound], [True])

    def test_an_address_that_is_taken_names_the_server(self) -> None:
        """The old one goes on."""
        self.binder.taken.add(("192.0.2.1", 81))
        error = self.refuse(self.changed(server=[TinyConfig("web", listen=Listen(("192.0.2.1", 81)))]))
        self.assertEqual(str(error), 'file:web: server "web" cannot listen: taken')
        self.assertEqual([sock.open for sock in self.binder.bound], [True])


class DrainTests(ReloadCase):
    def test_an_old_server_lives_until_its_last_task_ended(self) -> None:
        """It is an offline server meanwhile, and force quit ends it."""
        old = self.root.nodes("server")["web"]
        old.tasks = Deferred()
        self.reload(self.changed(server=[TinyConfig("web", value=1, listen=Listen())]))
        self.assertEqual(self.root.offline_servers(), [old])
        self.assertEqual(self.root.force_quit("other"), 0)
        self.assertEqual(self.root.force_quit("web"), 1)
        self.assertEqual(self.root.offline_servers(), [])

    def test_closed_servers_leave_nothing_to_reload(self) -> None:
        """While shutting down a reload is refused."""
        self.root.close_servers()
        self.assertIn("not serving", str(self.refuse(self.changed(server=[]))))

    def test_the_process_does_not_end_before_tasks_were_told(self) -> None:
        """stopService cancels what is alive."""
        self.root.nodes("server")["web"].tasks = Deferred()
        self.successResultOf(self.root.stopService())
        self.assertIn("force_quit server web", events)
        self.assertEqual([sock.open for sock in self.binder.bound], [False])
