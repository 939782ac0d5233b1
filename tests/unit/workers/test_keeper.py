# SPDX-License-Identifier: Apache-2.0
"""The supervisor's tree: it checks and binds, and goes over only when all workers can."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from g3.errors import ConfigError
from g3.net.listen import HANDSHAKE
from g3.net.options import TCPListen
from g3.tree.listeners import ListenerPool
from g3.tree.node import NodeContext
from g3.workers.keeper import Keeper
from tests.unit.tree.nodes import Binder, FakeAcceptor, Listen, Source, TinyConfig, components, configuration, enters, events

if TYPE_CHECKING:
    from collections.abc import Callable


class FakeCrew:
    """Notes what it is told and refuses where it is told to."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.refuses = ""
        self.meanwhile: Callable[[], object] = list

    async def step(self, what: str) -> None:
        self.told.append(what)
        self.meanwhile()
        if what == self.refuses:
            raise ConfigError(f"no {what}")

    async def stage(self, _: Any) -> None:
        await self.step("stage")

    async def commit(self, _: Any) -> None:
        await self.step("commit")

    async def roll_back(self) -> None:
        await self.step("roll back")

    async def all_up(self) -> None:
        """Nobody else is there."""


def _done(keeper: Keeper, config: Any) -> Deferred[Any]:
    """A reload, when it has waited for those who are connecting."""
    done = Deferred.fromCoroutine(keeper.reload(Source(config)))
    keeper.context.reactor.advance(HANDSHAKE)
    return done


def fails(_: int) -> None:
    """As one who may not."""
    raise PermissionError(errno.EPERM, "no")


class KeeperTests(SynchronousTestCase):
    """Nothing in it ever starts."""

    def setUp(self) -> None:
        clock = Clock()
        self.binder = Binder()
        pool = ListenerPool(clock, bind=self.binder, acceptor=FakeAcceptor)
        self.keeper = Keeper(NodeContext(reactor=clock, listeners=pool), components())
        self.keeper.crew = self.crew = FakeCrew()
        self.keeper.prepare(configuration(server=[TinyConfig("web", listen=Listen())]))
        self.keeper.begin()
        self.keeper.startService()

    def reload(self, **kinds: list[Any]) -> Deferred[Any]:
        events.clear()
        return _done(self.keeper, configuration(**kinds))

    def test_it_binds_and_does_not_start(self) -> None:
        """The sockets wait for the workers."""
        self.assertNotIn("start server web 0", events)
        self.assertEqual([key.split()[:2] for key in self.keeper.listeners.keyed()], [["192.0.2.1", "8080"]])

    def test_a_reload_goes_to_the_workers_between_prepare_and_commit(self) -> None:
        """Then the old nodes give back what they took; the socket stays."""
        self.successResultOf(self.reload(server=[TinyConfig("web", 1, listen=Listen())]))
        self.assertEqual(self.crew.told, ["stage", "commit"])
        self.assertEqual(events, ["make server web 1", "prepare server web 1", "discard server web 0"])
        self.assertEqual((len(self.binder.bound), self.binder.bound[0].open), (1, True))

    def test_what_is_kept_runs_here(self) -> None:
        """It is started when the tree goes over, and stopped when it is exchanged, removed or the end has come."""
        self.keeper.kept = frozenset({"resolver"})
        web = TinyConfig("web", listen=Listen())
        self.successResultOf(self.reload(server=[web], resolver=[TinyConfig("one")]))
        self.assertEqual(events, ["make resolver one 0", "prepare resolver one 0", "start resolver one 0"])
        self.successResultOf(self.reload(server=[web], resolver=[TinyConfig("one", 1)]))
        self.assertEqual(events[-2:], ["start resolver one 1", "stop resolver one 0"])
        self.crew.refuses = "commit"
        self.failureResultOf(self.reload(server=[web], resolver=[TinyConfig("one", 2)]), ConfigError)
        self.assertEqual(events[-1], "discard resolver one 2")
        events.clear()
        self.successResultOf(self.keeper.stopService())
        self.assertEqual(events, ["discard server web 0", "stop resolver one 1"])

    def test_a_removed_server_leaves_no_socket(self) -> None:
        """Of ours; workers close theirs."""
        self.successResultOf(self.reload(server=[]))
        self.assertEqual(self.keeper.listeners.keyed(), {})
        self.assertFalse(self.binder.bound[0].open)

    def test_nobody_gets_into_a_queue_that_nobody_will_look_at(self) -> None:
        """While workers commit, a listener that goes lets nobody in; when they refuse to, it does again."""
        clock = Clock()
        keeper = Keeper(NodeContext(reactor=clock, listeners=ListenerPool(clock, acceptor=FakeAcceptor)), components())
        keeper.crew = self.crew
        stays, goes = (TinyConfig(name, listen=TCPListen(address=("127.0.0.1", 0))) for name in ("stays", "goes"))
        keeper.prepare(configuration(server=[stays, goes]))
        self.addCleanup(keeper.close_servers)
        keeper.begin()
        addresses = [sock.getsockname() for sock in keeper.listeners.sockets()]
        seen = []

        self.crew.meanwhile = lambda: seen.append([enters(address) for address in addresses])
        self.crew.refuses = "commit"
        self.failureResultOf(_done(keeper, configuration(server=[stays])), ConfigError)
        self.assertEqual(seen, [[True, True], [True, False]])
        self.assertEqual([enters(address) for address in addresses], [True, True])
        # When they do, nobody comes in between that and our close either.
        self.crew.refuses = ""
        retire = keeper.retire
        self.patch(keeper, "retire", lambda kind, node: (self.crew.meanwhile(), retire(kind, node)))
        self.successResultOf(_done(keeper, configuration(server=[stays])))
        self.assertEqual(seen[-1], [True, False])
        self.assertRaises(ConnectionRefusedError, enters, addresses[1])

    def test_an_end_while_workers_commit_leaves_no_socket(self) -> None:
        """Not those of the new servers either: nobody is there any more who would accept from them."""
        config = configuration(server=[TinyConfig("web", 1, listen=Listen()), TinyConfig("more", listen=Listen(("192.0.2.2", 80)))])
        self.crew.meanwhile = lambda: self.crew.told[-1] == "commit" and self.keeper.close_servers()
        self.assertIn("shutting down", str(self.failureResultOf(_done(self.keeper, config), ConfigError).value))
        self.assertEqual(self.keeper.listeners.keyed(), {})
        self.assertEqual([sock.open for sock in self.binder.bound], [False, False])

    def test_sockets_are_as_the_new_configuration_says_before_workers_go_over(self) -> None:
        """They could not see to it themselves; and as they were when workers refuse to, or when it cannot be."""
        (sock,) = self.binder.bound
        self.crew.meanwhile = lambda: seen.append(sock.backlog)
        web = [TinyConfig("web", 1, listen=Listen(backlog=7))]
        for step, wanted in (("commit", [128, 7]), ("", [128, 7])):
            seen: list[int] = []
            self.crew.refuses = step
            done = self.reload(server=web)
            self.assertEqual(seen, wanted)
            if step:
                self.failureResultOf(done, ConfigError)
                self.assertEqual(sock.backlog, 128)
        self.successResultOf(done)
        self.assertEqual(sock.backlog, 7)
        self.crew.told.clear()
        self.patch(sock, "listen", fails)
        error = self.failureResultOf(self.reload(server=[TinyConfig("web", 2, listen=Listen(backlog=8))]), ConfigError)
        self.assertIn("cannot listen on 192.0.2.1:8080: Operation not permitted", str(error.value))
        self.assertEqual(self.crew.told, ["stage", "roll back"])

    def test_what_workers_refuse_changes_nothing(self) -> None:
        """Neither at stage nor at commit: new sockets are closed, the old node is the one."""
        for step in ("stage", "commit"):
            self.crew.refuses = step
            error = self.failureResultOf(
                self.reload(server=[TinyConfig("web", 1, listen=Listen()), TinyConfig("more", listen=Listen(("192.0.2.2", 80)))]), ConfigError
            )
            self.assertEqual(str(error.value), f"no {step}")
            self.assertEqual(self.keeper.names("server"), ["web"])
            self.assertEqual(self.keeper.node("server", "web").config.value, 0)
            self.assertEqual([key.split()[:2] for key in self.keeper.listeners.keyed()], [["192.0.2.1", "8080"]])

    def test_what_is_refused_here_is_not_asked_of_workers(self) -> None:
        """Two servers on one port."""
        self.failureResultOf(self.reload(server=[TinyConfig("web", listen=Listen()), TinyConfig("more", listen=Listen())]), ConfigError)
        self.assertEqual(self.crew.told, [])

    def test_a_node_that_could_be_changed_in_place_is_made_anew(self) -> None:
        """It is not running: there is nothing to tell it."""
        supple = TinyConfig("out", 1, type_word="supple")
        self.successResultOf(self.reload(escaper=[supple]))
        self.successResultOf(self.reload(escaper=[TinyConfig("out", 2, type_word="supple")]))
        self.assertEqual(events, ["make escaper out 2", "prepare escaper out 2", "discard escaper out 1"])
        # In the workers it is the same node as before.
        self.assertEqual(self.keeper.begun["escaper", "out"], 1)

    def test_it_knows_how_often_a_node_has_begun_anew(self) -> None:
        """Replaced, removed and added again; what is kept has not."""
        web = TinyConfig("web", listen=Listen())
        for escapers in ([TinyConfig("out", 1)], [TinyConfig("out", 2)], [], [TinyConfig("out", 2)]):
            self.successResultOf(self.reload(server=[web], escaper=escapers))
        self.assertEqual((self.keeper.begun["escaper", "out"], self.keeper.begun["server", "web"]), (4, 0))

    def test_a_name_without_a_node_has_a_stand_in(self) -> None:
        """As in a tree that serves."""
        self.successResultOf(self.reload(server=[TinyConfig("web", to=("escaper", "no"), listen=Listen())]))
        self.assertEqual(self.keeper.names("escaper"), ["no"])
