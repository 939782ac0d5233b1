# SPDX-License-Identifier: Apache-2.0
"""Every zope interface of the suite. Imports nothing of ours, so that loading a plugin stays cheap.

*Servers* accept clients, *escapers* reach upstreams, *resolvers* answer names, *user groups* say who may do what, *auditors* look
into the traffic. Each is a L{INode} of the service tree, made by an L{IComponentMaker} that C{twisted.plugin} finds.

An escaper offers L{IEscaper} and, beside it, one interface for each way it can carry a task; a route offers L{IRoute} and none of
them, since the escaper it picks does the work. Interfaces are small because they are forever.
"""

from __future__ import annotations

from zope.interface import Attribute, Interface


class IComponentMaker(Interface):
    """A plugin that names one implementation. Holds strings only: a scan for plugins imports no implementation."""

    kind = Attribute("'server', 'escaper', 'resolver', 'auditor' or 'user_group'.")
    type = Attribute("The word of the YAML key C{type}, lower case with underscores.")
    aliases = Attribute("Other words for it, a tuple.")

    def load():
        """The implementation: a class with an attribute C{schema} (see g3.config.schema). ImportError says which extra is missing."""


class INode(Interface):
    """One named thing of the configuration, as the service tree holds it.

    Life: made (no I/O) -> C{prepare} -> C{start} -> ... -> C{stop}; or C{discard} instead of C{start} when a reload is rolled back.
    """

    name = Attribute("Unique among its kind.")
    config = Attribute("The frozen configuration it was made from; equality is the reload diff.")

    def prepare():
        """Take what may fail (files, sockets), without touching what serves now. Raises ConfigError. May return a Deferred."""

    def discard():
        """Give back what C{prepare} took."""

    def start():
        """Serve. Must not fail."""

    def stop():
        """Take no new work; a Deferred fires when the last task has ended. C{None} means at once."""


class IResolver(INode):
    """Answers names."""

    def query(name, family):
        """Addresses of a name: C{name} is a lower-case A-label, C{family} 4 or 6.

        @return: a tuple of address strings if the cache has it, else a Deferred of one; never empty.
        @raise g3.errors.ResolveError: (or the Deferred fails with it) there is no answer.
        """


class IEscaper(INode):
    """A way out. Provides too each capability below that it has; one it lacks is answered 403 / SOCKS 2."""


class IRoute(IEscaper):
    """An escaper that only chooses another one."""

    def pick(task):
        """The escaper that carries this task (itself maybe a route), or a Deferred of it. Raises EscaperNotUsable."""


class ITCPConnect(Interface):
    """Can open a byte stream to the task's upstream."""

    def tcp_connect(task):
        """A coroutine of an L{IStream} to C{task.upstream}, nobody reading yet; notes what was done on C{task.connect}.

        @raise g3.errors.ConnectError: and nothing is left open.
        """


class ITLSConnect(Interface):
    """Can open a TLS stream to the task's upstream, TLS made by this proxy."""

    def tls_connect(task, tls, name):
        """A coroutine of an L{IStream} that carries the application data inside TLS.

        @param tls: the ClientTLS of g3.net.tls to speak; C{name}: the server name to ask for and verify.
        @raise g3.errors.ConnectError: and nothing is left open.
        """


class IHTTPForward(Interface):
    """Can carry one HTTP request at a time over a connection that may be kept for the next."""

    http_capability = Attribute("g3.escapers.capability.HTTPCapability: which schemes may be sent in absolute form.")

    def http_forward(task):
        """A coroutine of an L{IHTTPForwardConnection} for http:// (or any scheme C{http_capability} names). Raises ConnectError."""

    def https_forward(task, tls, name):
        """The same with TLS to the upstream made by this proxy, for an https:// URI."""

    def http_reuse(task):
        """A kept connection carries this task: count it. Cheap, since it is on the way of every request."""


class IHTTPForwardConnection(Interface):
    """A connection that speaks HTTP to the upstream or to a next proxy. A keep-alive one may be used for later tasks that the same
    escaper would carry to the same upstream."""

    stream = Attribute("IStream")
    absolute_form = Attribute("bool: write the request target in absolute form (a proxy follows).")
    header_lines = Attribute("bytes: header lines, each ended by CRLF, to add to every request.")
    private = Attribute("bool: the far end was told who the client is (PROXY protocol, its own address): no other client may be carried.")
    notes = Attribute("The g3.task.ConnectNotes of the task that opened it; a later task that reuses it is logged with these.")


class IFTPConnect(Interface):
    """Can reach an FTP server: a control stream, then data streams to the same host."""

    def ftp_control(task):
        """A coroutine of an L{IStream} to C{task.upstream}. Raises ConnectError."""

    def ftp_data(task, control, port):
        """A coroutine of an L{IStream} to the host of C{control}, a stream of C{ftp_control}, at C{port}; never another host. Raises
        ConnectError. What was done is noted on C{task.connect}, which the caller keeps apart from the control stream's."""


class IUDPConnect(Interface):
    """Can open a datagram path to the one upstream of a task."""

    def udp_connect(task):
        """A coroutine of an L{IDatagramPath}."""


class IUDPRelay(Interface):
    """Can open a datagram path to many upstreams."""

    def udp_relay(task):
        """A coroutine of an L{IDatagramPath}; the escaper's egress rules are applied to every datagram."""


class IDatagramPath(Interface):
    """A way for datagrams. Unsent datagrams are dropped, never queued without bound."""

    def start(receiver):
        """Begin: C{receiver.datagram_received(data, sender)} for each, C{receiver.path_closed(error)} once, with a TaskError, when the path
        itself ends. C{data} is bytes-like and good until the call returns; C{sender} is (host, port), None on a connected path."""

    def send(data, upstream):
        """Send one datagram, bytes-like and not kept; C{upstream} is a g3.task.Upstream, None on a connected path.

        @return: seconds to send no more for the sake of a speed limit; 0 mostly.
        """

    def hold(seconds):
        """Receive nothing for so long: the kernel keeps what fits its buffer and drops the rest."""

    def close():
        """End it; the receiver is told nothing more."""


class IStream(Interface):
    """An established byte stream: what servers accept, what escapers return, what relays join. g3.net.transport has it for sockets.

    It is an ITCPTransport of Twisted too (write, loseConnection, loseWriteConnection, abortConnection, pauseProducing,
    resumeProducing, registerProducer, getPeer, getHost), made with nobody reading.
    """

    bytes_in = Attribute("int: application bytes read so far.")
    bytes_out = Attribute("int: application bytes written so far.")
    queued = Attribute("int: bytes accepted by write and not yet taken by the kernel.")
    local = Attribute("(ip, port) of this end.")
    peer = Attribute("(ip, port) of the other end.")

    def start(protocol):
        """Hand the stream to C{protocol}: makeConnection, then bytes put back by C{unread}, then what arrives. A second call moves it to
        another protocol; the first is told nothing."""

    def unread(data):
        """Put bytes back: the protocol started next gets them first."""

    def detach():
        """Give up the socket and return it. Only with nothing queued, no TLS and nothing unread; else RuntimeError."""


class IServer(INode):
    """Accepts clients: from its own listener or handed on by a port server."""

    online = Attribute("bool: false once it was replaced or removed.")
    stats = Attribute("A slotted object with alive_tasks, total_connections, total_tasks.")

    def accept(stream, client):
        """Serve a stream (L{IStream}) of C{client} (g3.task.ClientInfo). Never raises."""

    def force_quit():
        """End every task now, with reason CanceledAsServerQuit."""


class IKeyStore(INode):
    """A place that private keys come from, for the one ring of keys of a key server."""

    def rescan():
        """Look again for keys that are new. Never raises; may return a Deferred. What was loaded stays."""


class IUserGroup(INode):
    """Knows users. Authentication of a request is one call, sync where it can be."""

    def authenticate(credentials, client):
        """The L{IUser} behind C{credentials} (None, or (username, password) as str), or a Deferred of it.

        @raise g3.errors.TaskError: refused; the error says what the client is told.
        """


class IFactUsers(Interface):
    """A user group that knows its users by facts of their connections, where clients have no way to say who they are."""

    def user_of(fact):
        """The L{IUser} that an address (ipaddress) or a lower-case host name belongs to.

        @raise g3.errors.TaskError: it belongs to nobody, or the user may not come in.
        """


class IUser(Interface):
    """An authenticated user and the rules of that user."""

    name = Attribute("As logged.")

    def egress(task):
        """What the user, or the site of the task over it, says about connections: a g3.net.egress.UserEgress, or None."""

    def ip_blocked(escaper):
        """An egress rule of C{escaper} refused the address of a task of this user: counted."""

    def admit(task):
        """Gate a task: rate, alive count, request type, destination. Returns a callable to call when the task ends. Raises TaskError.

        A task whose upstream is not known yet has one with the host ""; where it goes is asked of L{permit}.
        """

    def permit(task, upstream):
        """Whether a datagram of C{task} may go to C{upstream}: nothing, or raises DestDenied."""


class IAuditor(INode):
    """Looks into traffic."""

    def inspects(task):
        """Whether this task is to be looked at."""


class ICertificateAgent(Interface):
    """Has certificates for the names of connections that are intercepted: asks a generator elsewhere, or has one in this process.

    C{service} and C{usage} are g3.proto.certgen.Service and Usage. A pair is a g3.lookup.certificates.CertificatePair. Nothing here fails or
    waits for long: None is that there is no certificate.
    """

    def cached(service, usage, host):
        """The pair that is at hand, or None; nobody is asked. For a look ahead, while the real upstream is being reached."""

    def fetch(service, usage, host, mimic=None):
        """The pair, or a Deferred of it, or of None. C{mimic} is the upstream's own certificate in DER, to make one like it."""

    def stop():
        """Not needed any more; who waits is told None."""


class ILocator(Interface):
    """Knows where addresses are: asks a locator elsewhere, or has a database in this process."""

    def locate(ip):
        """The g3.proto.iplocate.Location of an IPv4Address or IPv6Address, or a Deferred of it; None is that nobody knows. Never fails."""

    def stop():
        """Not needed any more; who waits is told None."""


class IPublishable(Interface):
    """A node that takes state at run time (`g3proxy-ctl escaper NAME publish`)."""

    def publish(data):
        """Take the decoded JSON value. Raises ConfigError and changes nothing when it does not fit."""

    def published():
        """The value last taken, or None: JSON types only."""


class IUserDirectory(Interface):
    """A user group that can name its users (`g3proxy-ctl user-group NAME list-static-user`)."""

    def static_users():
        """Names of the users in the configuration."""

    def dynamic_users():
        """Names of the users that a source or an operator gave at run time."""


class IReloadable(Interface):
    """A node that can take a new configuration in place and keep its state."""

    def reconfigure(config):
        """Called in place of stop/start when only the configuration changed. Must not fail: C{accepts} was asked before."""

    def accepts(config):
        """Whether C{reconfigure} can take this configuration."""


class IMetricSource(Interface):
    """Something with counters."""

    def samples():
        """An iterable of g3.metrics.Sample, each a name, kind, tags and current total; called by exporters only."""
