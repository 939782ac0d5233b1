# SPDX-License-Identifier: Apache-2.0
"""The conformance suite of escapers: what each of them must do, whoever wrote it.

::

    class MyEscaperTests(EscaperConformance, twisted.trial.unittest.TestCase):
        def make_escaper(self, context):
            return MyEscaper(MyConfig(name="mine", resolver="resolver"), context)

Each capability an escaper provides is tested; those it does not provide are not asked for.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from zope.interface.verify import verifyObject

from g3.errors import ConnectError
from g3.interfaces import (
    IDatagramPath,
    IEscaper,
    IFTPConnect,
    IHTTPForward,
    IHTTPForwardConnection,
    IStream,
    ITCPConnect,
    ITLSConnect,
    IUDPConnect,
    IUDPRelay,
)
from g3.net.listen import TCPListener, bind_tcp
from g3.net.options import TCPListen
from g3.net.tls.context import client_context, server_context
from g3.net.tls.handshake import accept
from g3.net.tls.options import ClientTLSOptions
from g3.net.transport import Stream
from g3.task import ConnectNotes
from g3.testing.nodes import StaticResolver, make_context, make_task
from g3.testing.streams import HalfCloseRecorder

if TYPE_CHECKING:
    from g3.net.tls.options import ServerTLSOptions
    from g3.task import Task, Upstream

#: The name under which the test's upstream can be resolved.
NAME = "upstream.test"
CAPABILITIES = (IEscaper, ITCPConnect, ITLSConnect, IHTTPForward, IFTPConnect, IUDPConnect, IUDPRelay)
_REQUEST = b"GET / HTTP/1.1\r\nHost: upstream.test\r\n\r\n"


class _Echo(Protocol):
    """Says hello, then returns what it gets."""

    def connectionMade(self) -> None:
        self.factory.here.append(self)
        self.transport.write(b"hello ")  # type: ignore[union-attr]

    def dataReceived(self, data: bytes) -> None:
        self.transport.write(data)  # type: ignore[union-attr]


class _EchoFactory(Factory):
    protocol = _Echo
    noisy = False

    def __init__(self) -> None:
        self.here: list[Any] = []


class _Datagrams:
    """What a datagram path brings."""

    def __init__(self) -> None:
        self.heard: list[tuple[bytes, Any]] = []
        self.closed = 0

    def datagram_received(self, data: Any, sender: Any) -> None:
        self.heard.append((bytes(data), sender))

    def path_closed(self, _error: object) -> None:
        self.closed += 1


def _take(sock: socket.socket, into: list[Any]) -> bool:
    """Whether a datagram was there."""
    try:
        into.append(sock.recvfrom(100))
    except BlockingIOError:
        return False
    return True


class EscaperConformance:
    """Mix into a C{twisted.trial.unittest.TestCase}. Implement L{make_escaper}; override L{tls_server} to have TLS tested."""

    #: What a name that does not exist, and a port where nobody listens, must fail with.
    expected_error: ClassVar[type[ConnectError]] = ConnectError

    def make_escaper(self: Any, context: Any) -> Any:
        """A new escaper that reaches upstreams on loopback, not yet started. The resolver C{resolver} of C{context} knows L{NAME}."""
        raise NotImplementedError

    def tls_server(self: Any) -> tuple[ServerTLSOptions, ClientTLSOptions] | None:
        """Options of a TLS upstream called L{NAME}, and of a client that trusts it; None leaves TLS untested."""
        return None

    # -- set up

    def setUp(self: Any) -> None:
        from twisted.internet import reactor

        self.reactor = reactor
        self.resolver = StaticResolver({NAME: ("127.0.0.1",)})
        self.context = make_context(reactor, {("resolver", "resolver"): self.resolver})
        self.addCleanup(self.context.timers.stop)
        self.echo = _EchoFactory()
        self.escaper = self.make_escaper(self.context)
        self.escaper.prepare()
        self.escaper.start()
        self.addCleanup(self.escaper.stop)

    async def upstream(self: Any) -> int:
        """The port of an upstream that says hello and echoes."""
        port = self.reactor.listenTCP(0, self.echo, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.addCleanup(lambda: [protocol.transport.abortConnection() for protocol in self.echo.here])
        return int(port.getHost().port)

    async def until(self: Any, true: Any, seconds: float = 5) -> None:
        """Wait for something to become true."""
        end = self.reactor.seconds() + seconds
        while not true():
            if self.reactor.seconds() > end:
                self.fail("it did not happen")
            await deferLater(self.reactor, 0.005)

    async def now_open(self: Any) -> int:
        """Descriptors open, those of a running reactor among them."""
        await deferLater(self.reactor, 0)
        return descriptors()

    async def nothing_left(self: Any, before: int) -> None:
        """No descriptor more than C{before} is open."""
        await self.until(lambda: descriptors() <= before)

    async def exchange(self: Any, stream: Any) -> None:
        """The upstream's hello waits for its reader, and bytes go both ways."""
        verifyObject(IStream, stream)
        await deferLater(self.reactor, 0.02)
        heard = HalfCloseRecorder()
        stream.start(heard)
        stream.write(b"and back")
        await self.until(lambda: heard.data == b"hello and back")
        stream.loseConnection()
        await self.until(lambda: heard.reason is not None)

    def noted(self: Any, task: Task) -> None:
        """What the logs tell about a connection is there."""
        notes = task.connect
        self.assertEqual(notes.escaper, self.escaper.name)
        self.assertIsNotNone(notes.peer)
        self.assertIsNotNone(notes.local)
        self.assertGreaterEqual(notes.tries, 1)
        self.assertGreaterEqual(notes.spend, 0)

    async def fails(self: Any, coroutine: Any) -> ConnectError:
        """The ConnectError of a coroutine, after which nothing is left open."""
        before = await self.now_open()
        try:
            await coroutine
        except self.expected_error as error:
            await self.nothing_left(before)
            return error  # type: ignore[no-any-return]
        raise self.failureException("no error was raised")

    # -- the tests

    def test_it_provides_what_it_declares(self: Any) -> None:
        """Every capability interface has its methods, with their arguments."""
        provided = [interface for interface in CAPABILITIES if interface.providedBy(self.escaper)]
        self.assertIn(IEscaper, provided)
        self.assertGreater(len(provided), 1)
        for interface in provided:
            verifyObject(interface, self.escaper)

    async def test_tcp_connect_reaches_an_address(self: Any) -> None:
        if ITCPConnect.providedBy(self.escaper):
            task = make_task("127.0.0.1", await self.upstream())
            await self.exchange(await self.escaper.tcp_connect(task))
            self.noted(task)

    async def test_tcp_connect_reaches_a_name(self: Any) -> None:
        if ITCPConnect.providedBy(self.escaper):
            task = make_task(NAME, await self.upstream())
            await self.exchange(await self.escaper.tcp_connect(task))
            self.noted(task)

    async def test_tcp_connect_refused_is_a_connect_error(self: Any) -> None:
        if ITCPConnect.providedBy(self.escaper):
            error = await self.fails(self.escaper.tcp_connect(make_task("127.0.0.1", unused_port())))
            self.assertGreaterEqual(error.http_status, 400)

    async def test_tcp_connect_to_an_unknown_name_is_a_connect_error(self: Any) -> None:
        if ITCPConnect.providedBy(self.escaper):
            await self.fails(self.escaper.tcp_connect(make_task("nosuch.test", 80)))

    async def test_cancelling_leaves_nothing_open(self: Any) -> None:
        """While the upstream is silent the client may leave."""
        if not ITCPConnect.providedBy(self.escaper):
            return
        silent, filling = silent_upstream()
        before = await self.now_open()
        connecting = Deferred.fromCoroutine(self.escaper.tcp_connect(make_task("127.0.0.1", silent.getsockname()[1])))
        await deferLater(self.reactor, 0.05)
        connecting.cancel()
        await self.assertFailure(connecting, CancelledError, ConnectError)
        await self.nothing_left(before)
        for sock in (silent, *filling):
            sock.close()

    async def test_http_forward_carries_a_request(self: Any) -> None:
        if not IHTTPForward.providedBy(self.escaper):
            return
        self.assertIn(self.escaper.http_capability.forward_https, (True, False))
        task = make_task(NAME, await self.upstream())
        connection = await self.escaper.http_forward(task)
        verifyObject(IHTTPForwardConnection, connection)
        self.assertIs(connection.notes, task.connect)
        self.assertIsInstance(connection.absolute_form, bool)
        self.assertTrue(connection.header_lines == b"" or connection.header_lines.endswith(b"\r\n"))
        self.noted(task)
        if connection.absolute_form:
            connection.stream.abortConnection()
        else:
            await self.exchange(connection.stream)

    async def test_https_forward_refused_is_a_connect_error(self: Any) -> None:
        if IHTTPForward.providedBy(self.escaper) and not self.escaper.http_capability.forward_https:
            await self.fails(self.escaper.https_forward(make_task("127.0.0.1", unused_port()), client_context(ClientTLSOptions()), NAME))

    async def test_ftp_data_reaches_the_host_of_the_control_stream(self: Any) -> None:
        """At any port of it; what was done is noted apart, and bytes go both ways."""
        if not IFTPConnect.providedBy(self.escaper):
            return
        task = make_task(NAME, await self.upstream())
        control = await self.escaper.ftp_control(task)
        self.noted(task)
        task.connect = ConnectNotes()
        data = await self.escaper.ftp_data(task, control, await self.upstream())
        self.noted(task)
        self.assertEqual(data.peer[0], control.peer[0])
        self.assertEqual(data.local[0], control.local[0])
        await self.exchange(data)
        await self.exchange(control)

    async def test_ftp_refused_is_a_connect_error(self: Any) -> None:
        if not IFTPConnect.providedBy(self.escaper):
            return
        await self.fails(self.escaper.ftp_control(make_task("127.0.0.1", unused_port())))
        task = make_task("127.0.0.1", await self.upstream())
        control = await self.escaper.ftp_control(task)
        await self.fails(self.escaper.ftp_data(task, control, unused_port()))
        control.abortConnection()

    # -- datagrams

    def datagrams(self: Any) -> socket.socket:
        """An upstream that waits for datagrams."""
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        self.addCleanup(sock.close)
        return sock

    async def carries(self: Any, path: Any, far: socket.socket, upstream: Upstream | None) -> None:
        """One datagram there and one back; nothing comes after close, and no descriptor is left."""
        verifyObject(IDatagramPath, path)
        heard = _Datagrams()
        path.start(heard)
        arrived: list[Any] = []
        self.assertEqual(path.send(memoryview(b"there"), upstream), 0)
        await self.until(lambda: arrived or _take(far, arrived))
        self.assertEqual(arrived[0][0], b"there")
        far.sendto(b"back", arrived[0][1])
        await self.until(lambda: heard.heard)
        self.assertEqual(heard.heard, [(b"back", None if upstream is None else far.getsockname())])
        path.close()
        path.close()
        self.assertEqual((heard.closed, path.send(b"late", upstream)), (0, 0))

    async def test_udp_connect_carries_datagrams(self: Any) -> None:
        escaper = self.escaper
        if not IUDPConnect.providedBy(escaper):
            return
        for host in ("127.0.0.1", NAME):
            far = self.datagrams()
            before = await self.now_open()
            task = make_task(host, far.getsockname()[1])
            await self.carries(await escaper.udp_connect(task), far, None)
            self.assertEqual(task.connect.escaper, self.escaper.config.name)
            self.assertIsNotNone(task.connect.peer)
            await self.nothing_left(before)

    async def test_udp_connect_to_an_unknown_name_is_a_connect_error(self: Any) -> None:
        if IUDPConnect.providedBy(self.escaper):
            await self.fails(self.escaper.udp_connect(make_task("nosuch.test", 80)))

    async def test_udp_relay_carries_datagrams(self: Any) -> None:
        if not IUDPRelay.providedBy(self.escaper):
            return
        for host in ("127.0.0.1", NAME):
            far = self.datagrams()
            before = await self.now_open()
            task = make_task(host, far.getsockname()[1])
            await self.carries(await self.escaper.udp_relay(task), far, task.upstream)
            await self.nothing_left(before)

    # -- TLS

    async def secure_upstream(self: Any, options: ServerTLSOptions) -> int:
        """The port of an upstream that does the same within TLS."""
        streams: list[Any] = []

        async def serve(sock: socket.socket) -> None:
            stream = await accept(Stream(self.reactor, sock), server_context(options))
            streams.append(stream)
            stream.start(self.echo.buildProtocol(None))

        def accepted(sock: socket.socket, _peer: object) -> None:
            Deferred.fromCoroutine(serve(sock)).addErrback(lambda _: None)

        listener = TCPListener(self.reactor, bind_tcp(TCPListen(address=("127.0.0.1", 0))), accepted)
        listener.start()
        self.addCleanup(listener.stop)
        self.addCleanup(lambda: [stream.abortConnection() for stream in streams])
        return listener.address[1]

    async def test_tls_is_spoken_with_the_upstream(self: Any) -> None:
        options = self.tls_server()
        if options is None:
            return
        port = await self.secure_upstream(options[0])
        client = client_context(options[1])
        if ITLSConnect.providedBy(self.escaper):
            await self.exchange(await self.escaper.tls_connect(make_task(NAME, port), client, NAME))
        if IHTTPForward.providedBy(self.escaper):
            connection = await self.escaper.https_forward(make_task(NAME, port), client, NAME)
            verifyObject(IHTTPForwardConnection, connection)
            await self.exchange(connection.stream)

    async def test_an_upstream_of_another_name_is_a_connect_error(self: Any) -> None:
        options = self.tls_server()
        if options is None:
            return
        port = await self.secure_upstream(options[0])
        client = client_context(options[1])
        for capability, method in ((ITLSConnect, "tls_connect"), (IHTTPForward, "https_forward")):
            if capability.providedBy(self.escaper):
                error = await self.fails(getattr(self.escaper, method)(make_task(NAME, port), client, "other.test"))
                self.assertEqual(error.http_status, 525)


def descriptors() -> int:
    """Descriptors this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def unused_port() -> int:
    """A port on 127.0.0.1 where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def silent_upstream() -> tuple[socket.socket, list[socket.socket]]:
    """A listener whose queue is full, so that it answers as a host does that is not there; and what fills it. Close all of them."""
    silent = socket.create_server(("127.0.0.1", 0), backlog=0)
    filling = [socket.socket() for _ in range(4)]
    for sock in filling:
        sock.setblocking(False)
        sock.connect_ex(silent.getsockname())
    return silent, filling
