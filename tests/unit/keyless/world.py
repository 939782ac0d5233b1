# SPDX-License-Identifier: Apache-2.0
"""A key server in memory: keys made once, a clock, logs that are lists, and a client that counts answers."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from twisted.internet.task import Clock
from zope.interface.verify import verifyObject

from g3.interfaces import IServer
from g3.keyless.common import Common
from g3.keyless.config import Backend, KeyServerConfig
from g3.keyless.server import KeyServer
from g3.net.libssl.keys import PrivateKey, load_private_key
from g3.net.options import TCPListen
from g3.proto.keyless import Response, Splitter, parse_response
from g3.task import ClientInfo
from g3.testing.streams import Recorder, memory_stream_pair, pump
from g3.tree.node import Lasting, NodeContext

if TYPE_CHECKING:
    from g3.metrics.sample import Sample

CLIENT, SERVER = ("192.0.2.1", 40000), ("198.51.100.1", 1300)


@cache
def private(kind: str) -> Any:
    """A key of C{cryptography}: rsa2048, rsa1024, p256, p384, p521 or ed25519; the same each time."""
    if kind.startswith("rsa"):
        return rsa.generate_private_key(65537, int(kind[3:]))
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key({"p256": ec.SECP256R1(), "p384": ec.SECP384R1(), "p521": ec.SECP521R1()}[kind])


def pem(kind: str, form: PrivateFormat = PrivateFormat.PKCS8) -> bytes:
    """That key as PEM."""
    text: bytes = private(kind).private_bytes(Encoding.PEM, form, NoEncryption())
    return text


@cache
def key(kind: str) -> PrivateKey:
    """That key as the server has it."""
    return load_private_key(pem(kind))


class ListLogger:
    """Records as (message, fields)."""

    def __init__(self) -> None:
        self.records: list[tuple[str, dict[str, Any]]] = []

    def log(self, message: str, fields: Any) -> None:
        self.records.append((message, dict(fields)))


class ListLogs:
    """A hub whose loggers are lists."""

    def __init__(self) -> None:
        self.task, self.request = ListLogger(), ListLogger()

    def logger(self, kind: str, name: str, node_type: str = "", *, shared: str | None = None) -> ListLogger:
        logger: ListLogger = getattr(self, kind)
        return logger


class ManualThreads:
    """Signing threads that work when the test says so, in the order it says."""

    def __init__(self, engine: Any, most: int = 1024) -> None:
        self.engine, self.most = engine, most
        self.jobs: list[Any] = []

    def start(self) -> None:
        pass

    def room(self, more: int = 0) -> bool:
        return len(self.jobs) + more < self.most

    def submit(self, jobs: list[Any]) -> None:
        self.jobs += jobs

    def work(self, *indices: int) -> None:
        """Do the jobs at these places, all when none is said."""
        chosen = [self.jobs[index] for index in indices] if indices else list(self.jobs)
        self.jobs = [job for job in self.jobs if job not in chosen]
        for job in chosen:
            job.result = self.engine.run(job.key, job.operation, job.payload)
            job.owner.finished(job)
        for owner in {job.owner: None for job in chosen}:
            owner.go_on()


class Client(Recorder):
    """The other end: what it got, as responses."""

    def __init__(self) -> None:
        super().__init__()
        self.splitter = Splitter()
        self.answers: list[Response] = []
        self.gone = False

    def dataReceived(self, data: bytes) -> None:
        self.splitter.feed(data)
        while (message := self.splitter.take()) is not None:
            self.answers.append(parse_response(*message))

    def connectionLost(self, reason: Any = None) -> None:
        self.gone = True


class World:
    """One server. C{options} are keys of its configuration; C{threads}: with manual signing threads; C{lasting}: where it counts."""

    def __init__(self, *kinds: str, threads: int = 0, lasting: Lasting | None = None, **options: Any) -> None:
        self.clock = Clock()
        self.common = Common(self.clock, 0, Backend())
        for kind in kinds:
            self.common.ring.add(key(kind), "test")
        self.threads: Any = None
        if threads:
            self.threads = self.common.threads = ManualThreads(self.common.engine, threads)  # type: ignore[assignment]
        self.logs = ListLogs()
        self.context = NodeContext(reactor=self.clock, logs=self.logs, common=self.common, lasting=lasting or Lasting())
        config = KeyServerConfig(name="default", listen=TCPListen(address=SERVER), **options)
        self.server = KeyServer(config, self.context)
        verifyObject(IServer, self.server)
        # Its socket is none of ours; all else is as C{start} leaves it.
        for each in self.server.requests:
            each.measure(config.duration_stats, self.clock.seconds)

    def connect(self, window: int = 65536) -> tuple[Any, Client]:
        """A client: its stream and what it records."""
        ours, theirs = memory_stream_pair(self.clock, left=SERVER, right=CLIENT, window=window)
        client = Client()
        theirs.start(client)
        self.server.accept(ours, ClientInfo(CLIENT, SERVER, CLIENT))
        self.settle()
        return theirs, client

    def samples(self) -> list[Sample]:
        """What the server's metrics are."""
        return [sample for source in (self.server.stats, *self.server.requests) for sample in source.samples()]

    def settle(self) -> None:
        pump(self.clock)

    def ask(self, *messages: bytes) -> list[Response]:
        """What a new client is answered that sends these messages, and what else it hears, in one go."""
        stream, client = self.connect()
        stream.write(b"".join(messages))
        self.settle()
        return client.answers
