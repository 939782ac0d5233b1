# SPDX-License-Identifier: Apache-2.0
"""Listening sockets, with real ones: no reload refuses a connection."""

from __future__ import annotations

import contextlib
import socket
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from g3.errors import ConfigError
from g3.net.listen import turned_away
from g3.net.options import Keepalive, TCPListen
from g3.net.sockopts import mark_of
from g3.tree.listeners import ListenerPool
from tests.unit.net.reactors import Readers


class Reactor(Readers):
    """Readers are run by hand."""

    def spin(self) -> None:
        for reader in list(self.readers):
            reader.doRead()


class PoolTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = Reactor()
        self.pool = ListenerPool(self.reactor)
        self.got: list[str] = []
        self.old, self.new = SimpleNamespace(name="web"), SimpleNamespace(name="web")

    def claim(self, options: TCPListen, owner: Any) -> Any:
        claim = self.pool.claim(options, owner)
        self.addCleanup(claim.release)
        return claim

    def options(self, host: str = "127.0.0.1", port: int = 0, **more: Any) -> TCPListen:
        return TCPListen(address=(host, port or self.free_port()), **more)

    @staticmethod
    def free_port() -> int:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port: int = probe.getsockname()[1]
            return port

    def taker(self, name: str) -> Any:
        def take(sock: socket.socket, _peer: Any) -> None:
            self.got.append(name)
            sock.close()

        return take

    def connect(self, options: TCPListen, host: str = "127.0.0.1") -> None:
        with socket.create_connection((host, options.address[1]), timeout=5):
            self.reactor.spin()

    def refused(self, options: TCPListen) -> bool:
        with contextlib.closing(socket.socket()) as client:
            return client.connect_ex(("127.0.0.1", options.address[1])) != 0

    def test_a_client_between_two_generations_is_served_by_one_of_them(self) -> None:
        """One that connected before the swap and is accepted after it goes to the new server."""
        options = self.options()
        old = self.claim(options, self.old)
        old.start(self.taker("old"))
        with socket.create_connection(options.address, timeout=5):
            new = self.claim(options, self.new)
            new.start(self.taker("new"))
            old.release()
            self.reactor.spin()
        self.connect(options)
        self.assertEqual(self.got, ["new", "new"])

    def test_after_a_roll_back_the_old_server_gets_the_clients_again(self) -> None:
        """The claim that started last is released, the one before counts again."""
        options = self.options()
        self.claim(options, self.old).start(self.taker("old"))
        new = self.claim(options, self.new)
        new.start(self.taker("new"))
        new.release()
        self.connect(options)
        self.assertEqual(self.got, ["old"])

    def test_a_server_that_goes_before_the_next_one_has_started_has_the_clients(self) -> None:
        """Also the last ones, when the next one never starts: a daemon that ends in the middle of a reload."""
        options = self.options()
        old, new = self.claim(options, self.old), self.claim(options, self.new)
        old.start(self.taker("old"))
        old.release()
        self.connect(options)
        with socket.create_connection(options.address, timeout=5):
            new.release()
        self.assertEqual(self.got, ["old", "old"])
        self.assertTrue(self.refused(options))

    def test_a_server_that_went_early_is_forgotten_when_the_next_one_starts(self) -> None:
        """Also by a roll back."""
        options = self.options()
        old, new, other = (self.claim(options, self.old) for _ in range(3))
        old.start(self.taker("old"))
        old.release()
        new.start(self.taker("new"))
        other.start(self.taker("other"))
        new.release()
        other.start(self.taker("other"))
        self.connect(options)
        self.assertEqual(self.got, ["other"])

    def test_the_last_release_serves_the_queue_then_closes(self) -> None:
        """Whose connect succeeded is not reset."""
        options = self.options()
        claim = self.claim(options, self.old)
        claim.start(self.taker("old"))
        with socket.create_connection(options.address, timeout=5):
            claim.release()
        self.assertEqual(self.got, ["old"])
        self.assertTrue(self.refused(options))
        self.assertEqual(self.reactor.readers, [])

    def test_a_claim_that_never_started_closes_what_it_bound(self) -> None:
        """A discarded server leaves no socket."""
        options = self.options()
        self.claim(options, self.old).release()
        self.assertTrue(self.refused(options))

    def test_an_address_of_somebody_else_names_server_and_address(self) -> None:
        """The reason is in words."""
        with socket.create_server(("127.0.0.1", 0)) as other:
            options = self.options(port=other.getsockname()[1])
            with self.assertRaises(ConfigError) as caught:
                self.pool.claim(options, self.old)
        self.assertIn(f'server "web" cannot listen on 127.0.0.1:{options.address[1]}: Address already in use', str(caught.exception))

    def test_a_wider_address_on_our_own_port_can_be_bound_beside_the_old_one(self) -> None:
        """From 127.0.0.1:n to 0.0.0.0:n and back in a reload, with nobody in between."""
        narrow = self.options()
        wide = TCPListen(address=("0.0.0.0", narrow.address[1]))
        old = self.claim(narrow, self.old)
        old.start(self.taker("old"))
        for options in (wide, narrow):
            new = self.claim(options, self.new)
            new.start(self.taker("new"))
            old.release()
            self.connect(options)
            old = new
        self.assertEqual(self.got, ["new", "new"])

    def test_a_second_daemon_is_refused_our_port_after_a_bind_beside(self) -> None:
        """SO_REUSEPORT was on for the time of the bind only."""
        narrow = self.options()
        old = self.claim(narrow, self.old)
        old.start(self.taker("old"))
        wide = TCPListen(address=("0.0.0.0", narrow.address[1]))
        self.claim(wide, self.new)
        self.assertEqual([sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT) for sock in self.pool.sockets()], [0, 0])
        for options in (narrow, wide):
            self.assertRaises(ConfigError, ListenerPool(self.reactor).claim, options, self.old)

    def test_port_zero_is_a_port_for_each_server(self) -> None:
        """Two servers that let the kernel choose do not share."""
        options = TCPListen(address=("127.0.0.1", 0))
        one, two = self.claim(options, self.old), self.claim(options, SimpleNamespace(name="other"))
        self.assertNotEqual(one.address, two.address)
        self.assertEqual(self.pool.conflicts(lambda _owner: False), [])

    def test_what_cannot_be_set_is_found_before_anything_changes(self) -> None:
        """Also of a socket that is there already: with the server and the address, and the old server goes on."""
        options = self.options()
        self.claim(options, self.old).start(self.taker("old"))
        wrong = replace(options, max_segment_size=10)
        error = self.assertRaises(ConfigError, self.pool.claim, wrong, self.new)
        self.assertEqual(str(error), f'server "web" cannot listen on 127.0.0.1:{options.address[1]}: Invalid argument')
        self.connect(options)
        self.assertEqual(self.got, ["old"])

    def test_a_new_backlog_and_keepalive_take_effect_on_the_same_socket(self) -> None:
        """What can be changed while listening is, and is as before when it is undone."""
        plain = self.options()
        full = replace(plain, backlog=16, keepalive=Keepalive(enable=True), max_segment_size=1000, netfilter_mark=7)
        for before, now, values in ((plain, full, (1, 1000, 7)), (full, plain, (0, 536, 0))):
            old = self.claim(before, self.old)
            old.start(self.taker("old"))
            new = self.claim(now, self.new)
            were = self.values()
            undo = self.pool.adjust()
            self.assertEqual(self.values(), values)
            undo()
            self.assertEqual(self.values(), were)
            old.release()
            new.release()

    def test_what_cannot_be_adjusted_leaves_all_as_it_was(self) -> None:
        """Of others, too."""
        one, other = self.options(), self.options()
        for options in (one, other):
            self.claim(options, self.old).start(self.taker("old"))
        self.claim(replace(one, netfilter_mark=7), self.new)
        self.pool._check = lambda *_: None
        self.claim(replace(other, max_segment_size=10), self.new)
        error = self.assertRaises(ConfigError, self.pool.adjust)
        self.assertEqual(str(error), f"cannot listen on 127.0.0.1:{other.address[1]}: Invalid argument")
        self.assertEqual([mark_of(sock) for sock in self.pool.sockets()], [0, 0])

    def values(self) -> tuple[int, ...]:
        """Of the one socket: keepalive, segment size and mark."""
        (sock,) = self.pool.sockets()
        keepalive = sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        return keepalive, sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG), mark_of(sock)

    def test_an_inherited_socket_becomes_what_our_configuration_says(self) -> None:
        """Not before it is settled: until then a daemon serves on it that has another one."""
        port = self.free_port()
        with socket.create_server(("127.0.0.1", port)) as theirs:
            options = self.options(port=port, keepalive=Keepalive(enable=True))
            other = self.options()
            before = ListenerPool(self.reactor)
            before.adopt(options, "web", theirs.dup())
            before.adopt(other, "other", theirs.dup())
            handed = {key: sock.dup() for key, sock in before.handed().items()}
            before.drop_unclaimed()
            # As one that was killed while it was about to close it.
            killed = turned_away([theirs])
            killed.__enter__()
            self.addCleanup(killed.__exit__, None, None, None)
            self.pool.inherit(handed)
            claim = self.claim(options, self.new)
            self.assertEqual(claim.address[1], port)
            self.assertEqual(theirs.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE), 0)
            self.pool.settle_inherited()
            self.pool.drop_unclaimed()
            self.assertEqual(theirs.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE), 1)
            self.assertEqual(len(self.pool.handed()), 1)
            socket.create_connection(options.address, timeout=5).close()

    def test_an_adopted_socket_is_used_and_what_nobody_claims_is_closed(self) -> None:
        """As workers will get theirs."""
        used, unused = self.options(), self.options()
        for options in (used, unused):
            self.pool.adopt(options, "web", socket.create_server(options.address))
        self.claim(used, self.old).start(self.taker("old"))
        self.pool.drop_unclaimed()
        self.connect(used)
        self.assertEqual(self.got, ["old"])
        self.assertTrue(self.refused(unused))
