# SPDX-License-Identifier: Apache-2.0
"""What the data plane costs: CPU of this process only, the load comes from a child.

    python -m tests.bench.relay bulk|echo|churn|memory [--reactor g3|epoll] [--twisted] [--copy] [--profile FILE]

bulk: seconds per GB through one relay; echo: microseconds per round trip of 1 KiB through 64 relays; churn: microseconds per relay of new
connections that carry 1 KiB each way; memory: bytes of heap per idle relay. C{--twisted} puts Twisted's own transports in place of ours,
C{--copy} never splices.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import os
import select
import socket
import sys
import threading
import time
import tracemalloc
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

SIZE = 1024
RELAYS = int(os.environ.get("RELAYS", "64"))
SECONDS = 4.0


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = socket.create_connection(listener.getsockname())
        two, _ = listener.accept()
    for sock in (one, two):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return two, one


def make_reactor(name: str) -> Any:
    if name == "g3":
        from g3.net.reactor import install

        return install()
    from twisted.internet import epollreactor

    epollreactor.install()
    from twisted.internet import reactor

    return reactor


def joiner(reactor: Any, options: argparse.Namespace) -> Callable[[socket.socket, socket.socket, Callable[..., object]], Any]:
    """How two sockets become a relay."""
    if options.twisted:
        return lambda left, right, finished: twisted_join(reactor, left, right, finished)
    from g3.net.transport import Stream
    from g3.relay.join import join
    from g3.relay.pipe import SPLICE_AFTER

    after = None if options.copy else SPLICE_AFTER

    def ours(left: socket.socket, right: socket.socket, finished: Callable[..., object]) -> Any:
        left.setblocking(False)
        right.setblocking(False)
        return join(Stream(reactor, left), Stream(reactor, right), finished=finished, splice_after=after)

    return ours


def twisted_join(reactor: Any, left: socket.socket, right: socket.socket, finished: Callable[..., object]) -> None:
    """The plain way: two adopted connections, each the other's producer."""
    from twisted.internet.protocol import Factory, Protocol

    ends: list[Protocol] = []

    class End(Protocol):
        def connectionMade(self) -> None:
            ends.append(self)
            if len(ends) == 2:
                for end, other in (ends, reversed(ends)):
                    end.transport.registerProducer(other.transport, True)

        def dataReceived(self, data: bytes) -> None:
            ends[ends[0] is self].transport.write(data)

        def connectionLost(self, reason: Any = None) -> None:
            if ends:
                other = ends[ends[0] is self]
                other.transport.unregisterProducer()
                other.transport.loseConnection()
                ends.clear()
                finished(reason)

    for sock in (left, right):
        reactor.adoptStreamConnection(sock.fileno(), socket.AF_INET, Factory.forProtocol(End))
        sock.close()


def in_child(work: Callable[[], None]) -> int:
    pid = os.fork()
    if not pid:
        try:
            work()
        finally:
            os._exit(0)
    return pid


def bulk(options: argparse.Namespace) -> None:
    total = 4 << 30
    (left, client), (right, server) = tcp_pair(), tcp_pair()

    def send() -> None:
        block = b"x" * (1 << 18)
        for _ in range(total // len(block)):
            client.sendall(block)
        client.shutdown(socket.SHUT_WR)

    def load() -> None:
        left.close()
        right.close()
        threading.Thread(target=send).start()
        buffer = bytearray(1 << 18)
        while server.recv_into(buffer):
            pass
        server.close()
        client.recv(1)

    in_child(load)
    client.close()
    server.close()
    reactor = make_reactor(options.reactor)
    joiner(reactor, options)(left, right, lambda _: reactor.stop())
    cpu = run(reactor, options)
    print(f"bulk: {cpu / (total / 1e9):.3f} CPU s/GB")


def echo(options: argparse.Namespace) -> None:
    pairs = [(tcp_pair(), tcp_pair()) for _ in range(RELAYS)]
    read, write = os.pipe()

    def load() -> None:
        poller, peers = select.epoll(), {}
        for (_, client), (_, server) in pairs:
            for sock in (client, server):
                poller.register(sock, select.EPOLLIN)
                peers[sock.fileno()] = (sock, sock is client)
            client.send(b"x" * SIZE)
        trips, deadline = 0, time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            for fd, _ in poller.poll():
                sock, is_client = peers[fd]
                sock.send(sock.recv(65536))
                trips += is_client
        os.write(write, b"%d" % trips)

    child = in_child(load)
    reactor = make_reactor(options.reactor)
    for (left, client), (right, server) in pairs:
        client.close()
        server.close()
        joiner(reactor, options)(left, right, lambda _: None)
    reactor.callLater(SECONDS, reactor.stop)
    cpu = run(reactor, options)
    os.waitpid(child, 0)
    trips = int(os.read(read, 100))
    print(f"echo: {cpu / trips * 1e6:.2f} CPU us/round trip, {trips / SECONDS:.0f}/s")


def churn(options: argparse.Namespace) -> None:
    front, back = socket.create_server(("127.0.0.1", 0), backlog=512), socket.create_server(("127.0.0.1", 0), backlog=512)
    rounds, done = 20000, [0]

    def load() -> None:
        for _ in range(rounds):
            client = socket.create_connection(front.getsockname())
            server, _ = back.accept()
            client.send(b"x" * SIZE)
            server.recv(65536)
            server.send(b"y" * SIZE)
            client.recv(65536)
            client.close()
            server.recv(1)
            server.close()

    in_child(load)
    reactor = make_reactor(options.reactor)
    join = joiner(reactor, options)

    def ended(_: object) -> None:
        done[0] += 1
        if done[0] == rounds:
            reactor.stop()

    class Accepting:
        def fileno(self) -> int:
            return front.fileno()

        def doRead(self) -> None:
            left, _ = front.accept()
            join(left, socket.create_connection(back.getsockname()), ended)

        def logPrefix(self) -> str:
            return "-"

    reactor.addReader(Accepting())
    cpu = run(reactor, options)
    print(f"churn: {cpu / rounds * 1e6:.1f} CPU us/relay (accept and a blocking connect on loopback included)")


def memory(options: argparse.Namespace) -> None:
    count = 2000
    reactor = make_reactor(options.reactor)
    join = joiner(reactor, options)
    pairs = [(tcp_pair(), tcp_pair()) for _ in range(count)]
    join(*(pair[0] for pair in (tcp_pair(), tcp_pair())), lambda _: None)
    kept = []
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for (left, _), (right, _) in pairs:
        kept.append(join(left, right, lambda _: None))
    reactor.iterate(0)
    gc.collect()
    used = tracemalloc.get_traced_memory()[0] - before
    print(f"memory: {used / count:.0f} bytes/relay without its two socket objects ({2 * sys.getsizeof(pairs[0][0][0])} bytes)")


def run(reactor: Any, options: argparse.Namespace) -> float:
    """CPU seconds until the reactor stops."""
    profile = cProfile.Profile() if options.profile else None
    start = time.process_time()
    profile.runcall(reactor.run) if profile else reactor.run()
    used = time.process_time() - start
    if profile:
        profile.dump_stats(options.profile)
    return used


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", choices=("bulk", "echo", "churn", "memory"))
    parser.add_argument("--reactor", choices=("g3", "epoll"), default="g3")
    parser.add_argument("--twisted", action="store_true")
    parser.add_argument("--copy", action="store_true")
    parser.add_argument("--profile")
    options = parser.parse_args()
    {"bulk": bulk, "echo": echo, "churn": churn, "memory": memory}[options.work](options)


if __name__ == "__main__":
    main()
