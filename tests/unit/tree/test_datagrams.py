# SPDX-License-Identifier: Apache-2.0
"""The pool of datagram sockets: one for each worker, kept while anybody needs them."""

from __future__ import annotations

import os
import select
import socket
from types import SimpleNamespace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from g3.errors import ConfigError
from g3.net.options import UDPListen
from g3.net.udp_listen import bind_udp
from g3.tree.datagrams import DatagramPool

OPTIONS = UDPListen(address=("127.0.0.1", 0))


def owner(name: str = "one") -> Any:
    return SimpleNamespace(name=name)


class DatagramTests(SynchronousTestCase):
    def pool(self, slots: int = 0) -> DatagramPool:
        pool = DatagramPool(slots)
        self.addCleanup(lambda: [sock.close() for sock in pool.handed().values()])
        return pool

    def test_each_worker_has_a_socket_of_its_own_on_one_port(self) -> None:
        """And the kernel gives all of a client's datagrams to the same."""
        pool = self.pool(3)
        claim = pool.claim(OPTIONS, owner())
        sockets = [next(iter(pool.keyed(slot).values())) for slot in range(3)]
        self.assertEqual({sock.getsockname() for sock in sockets}, {claim.address})
        self.assertEqual(len({sock.fileno() for sock in sockets}), 3)
        for _ in range(8):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                for _ in range(5):
                    client.sendto(b"x", claim.address)
                ready, _, _ = select.select(sockets, [], [], 2)
                self.assertEqual(len(ready), 1)
                self.assertEqual([ready[0].recv(10) for _ in range(5)], [b"x"] * 5)
                self.assertRaises(BlockingIOError, ready[0].recv, 10)

    def test_where_another_program_is_nobody_binds(self) -> None:
        """Also one that would let us beside it."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            other.bind(("127.0.0.1", 0))
            error = self.assertRaises(ConfigError, self.pool(2).claim, UDPListen(address=other.getsockname()), owner("s"))
        self.assertIn('server "s" cannot receive datagrams', str(error))

    def test_the_socket_lives_as_long_as_anybody_needs_it(self) -> None:
        pool = self.pool()
        one, two = pool.claim(OPTIONS, owner()), pool.claim(OPTIONS, owner())
        self.assertEqual(one.address, two.address)
        self.assertEqual((one.last, two.last), (False, False))
        one.release()
        one.release()
        self.assertTrue(two.last)
        self.assertEqual(len(pool.keyed(0)), 1)
        two.release()
        self.assertEqual(pool.keyed(0), {})

    def test_what_reads_it_is_shared_and_closes_it(self) -> None:
        pool = self.pool()
        one, two = pool.claim(OPTIONS, owner()), pool.claim(OPTIONS, owner())
        made: list[Any] = []
        for claim in (one, two):
            made.append(claim.endpoint(lambda sock, closed: (sock, closed)))
        self.assertIs(made[0], made[1])
        one.release()
        two.release()
        self.assertEqual(len(pool.keyed(0)), 1, "it still lives")
        made[0][1]()
        self.assertEqual((pool.keyed(0), made[0][0].fileno()), ({}, -1))

    def test_a_worker_serves_on_what_it_is_handed(self) -> None:
        supervisor, worker = self.pool(2), self.pool()
        claim = supervisor.claim(OPTIONS, owner())
        for key, sock in supervisor.keyed(1).items():
            worker.adopt(key, socket.socket(fileno=os.dup(sock.fileno())))
        self.assertEqual(worker.claim(OPTIONS, owner()).address, claim.address)
        self.assertEqual(len(worker.handed()), 1)
        worker.drop_unclaimed()
        self.assertEqual(len(worker.handed()), 1)

    def test_a_successor_has_as_many_as_it_wants(self) -> None:
        """Of those there are, more beside them, or fewer."""
        for wanted in (1, 2, 4):
            before = self.pool(2)
            claim = before.claim(OPTIONS, owner())
            after = self.pool(wanted)
            for key, sock in before.handed().items():
                after.inherit(key, socket.socket(fileno=os.dup(sock.fileno())))
            self.assertEqual(after.claim(OPTIONS, owner()).address, claim.address)
            self.assertEqual({sock.getsockname() for sock in after.handed().values()}, {claim.address})
            self.assertEqual(len(after.handed()), wanted)

    def test_two_servers_on_one_address_are_told(self) -> None:
        pool = self.pool()
        there = bind_udp(OPTIONS)
        options = UDPListen(address=there.getsockname())
        there.close()
        one, two = owner("one"), owner("two")
        pool.claim(options, one)
        pool.claim(options, two)
        ((who, line),) = pool.conflicts(lambda _: False)
        self.assertIs(who, two)
        self.assertIn('servers "one" and "two" both receive datagrams', line)
        self.assertEqual(pool.conflicts(lambda each: each is one), [])
