# SPDX-License-Identifier: Apache-2.0
"""socks_proxy as its clients see it: curl, PySocks and python-socks, datagrams in both modes, and what stays bounded."""

from __future__ import annotations

import contextlib
import socket
import time
from pathlib import Path

import socks as pysocks
from python_socks import ProxyType
from python_socks.sync import Proxy

from tests.functional.observed import ObservedCase
from tests.functional.peers import RecordingOrigin
from tests.functional.processes import free_port
from tests.functional.rawhttp import RawClient
from tests.functional.socks_client import UDPEcho, UDPSession, header
from tests.functional.stage import HELLO, StageTestCase

SOCKS = """
  - name: socks
    type: socks_proxy
    listen: "{host}:{port}"
    escaper: {escaper}
    task_idle_check_interval: 2s
"""
REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def descendants(pid: int) -> list[int]:
    """A process and all it started."""
    children = [int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()]
    return [pid, *(process for child in children for process in descendants(child))]


class SocksCase(ObservedCase):
    """One socks_proxy on loopback."""

    def socks(self, more: str = "", host: str = "127.0.0.1", escaper: str = "e") -> int:
        """Its port; C{more} are lines of its configuration."""
        port = free_port()
        lines = "".join(f"    {line}\n" for line in more.splitlines())
        self.daemon = self.serve(SOCKS.format(port=port, host=host, escaper=escaper).lstrip("\n") + lines, port)
        return port

    def origin(self) -> RecordingOrigin:
        origin = RecordingOrigin()
        self.addCleanup(origin.close)
        return origin

    def echo(self, host: str = "127.0.0.1") -> UDPEcho:
        echo = UDPEcho(host)
        self.addCleanup(echo.close)
        return echo

    def session(self, port: int, **options: object) -> UDPSession:
        session = UDPSession(port, **options)  # type: ignore[arg-type]
        self.addCleanup(session.close)
        return session

    def udp_sockets(self) -> int:
        """UDP sockets of the daemon and its workers."""
        inodes = {line.split()[9] for table in ("udp", "udp6") for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]}
        found = 0
        for pid in descendants(self.daemon.pid):
            for link in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    found += link.readlink().name.removeprefix("socket:[").rstrip("]") in inodes
        return found

    def until(self, true: object, seconds: float = 20.0) -> None:
        end = time.monotonic() + seconds
        while not true():  # type: ignore[operator]
            self.assertLess(time.monotonic(), end, "it did not happen")
            time.sleep(0.02)


class TunnelTests(SocksCase):
    """CONNECT, by libraries that users have."""

    def exchange(self, sock: socket.socket) -> None:
        sock.settimeout(10)
        sock.sendall(REQUEST)
        self.assertIn(b"200 OK", sock.recv(65536))
        sock.close()

    def test_pysocks_and_python_socks_in_every_version(self) -> None:
        port, origin = self.socks(), self.origin()
        for kind in (pysocks.SOCKS4, pysocks.SOCKS5):
            sock = pysocks.socksocket()
            sock.set_proxy(kind, "127.0.0.1", port)
            sock.settimeout(10)
            sock.connect(("127.0.0.1", origin.port))
            self.exchange(sock)
        for type_ in (ProxyType.SOCKS4, ProxyType.SOCKS5):
            self.exchange(Proxy(type_, "127.0.0.1", port).connect("127.0.0.1", origin.port, timeout=10))
        self.assertEqual(origin.connections, 4)

    def test_refused_is_told(self) -> None:
        port = self.socks()
        sock = pysocks.socksocket()
        sock.set_proxy(pysocks.SOCKS5, "127.0.0.1", port)
        error = self.assertRaises(pysocks.ProxyError, sock.connect, ("127.0.0.1", free_port()))
        self.assertIn("0x05", str(error))
        sock.close()
        self.assertEqual(self.finished()["reason"], "UpstreamNotConnected")

    def test_http_on_the_socks_port_is_named_in_the_log(self) -> None:
        port = free_port()
        daemon = self.start_daemon(self._head + SOCKS.format(port=port, host="127.0.0.1", escaper="e").lstrip("\n"), ports=[port], arguments=["-vv"])
        with socket.create_connection(("127.0.0.1", port), 10) as client:
            client.sendall(REQUEST)
            self.assertEqual(client.recv(10), b"")
        self.until(lambda: "speaks HTTP, not SOCKS" in daemon.output())

    def test_a_slow_client_is_closed_in_time_and_others_are_served_meanwhile(self) -> None:
        port, origin = self.socks("negotiation_timeout: 2s"), self.origin()
        slow = socket.create_connection(("127.0.0.1", port), 10)
        began = time.monotonic()
        slow.sendall(b"\5")
        time.sleep(1)
        slow.sendall(b"\1")
        self.exchange(Proxy(ProxyType.SOCKS5, "127.0.0.1", port).connect("127.0.0.1", origin.port, timeout=10))
        self.assertEqual(slow.recv(10), b"")
        self.assertLess(time.monotonic() - began, 4)
        slow.close()

    def test_what_is_malformed_is_answered_or_closed_in_time(self) -> None:
        """Each with the reply that is due, if any; what never ends, by size or by time, whoever many send it at once."""
        port = self.socks("negotiation_timeout: 2s")
        began, hello, chosen = time.monotonic(), b"\5\1\0", b"\5\0"
        request = hello + b"\5\1\0"
        for data, heard in (
            (b"\0", b""),
            (b"\6\1\0", b""),
            (b"\x16\3\1\2\0\1\0\1\xfc\3\3", b""),
            (b"\5\0", b"\5\xff"),
            (b"\5\1\xff", b"\5\xff"),
            (b"\5\xff" + bytes(range(1, 256)), b"\5\xff"),
            (b"\5\xff\1" + bytes(range(1, 255)), b"\5\xff"),
            (b"\5\xff\2" + bytes(range(1, 255)) + b"more", b"\5\xff"),
            (request + b"\3\0\0\x50", chosen),
            (request + b"\3\5a.b\0c\0\x50", chosen),
            (request + b"\3\xff" + b"a" * 255 + b"\0\x50", chosen),
            (request + b"\7", chosen + b"\5\x08\0\1" + bytes(6)),
            (hello + b"\5\2\0\1" + bytes(6), chosen + b"\5\7\0\1" + bytes(6)),
            (hello + b"\4\1\0\1" + bytes(6), chosen),
            (b"\4\2\0\x50\1\2\3\4\0", b"\0\x5b" + bytes(6)),
            (b"\4\3\0\x50\1\2\3\4\0", b""),
        ):
            with RawClient(port) as client:
                client.send(data)
                self.assertEqual(client.everything(), heard, data)
        self.assertLess(time.monotonic() - began, 10, "none waits for its time to be over")
        before, began = self.daemon.memory(), time.monotonic()
        parts = (b"", b"\5", b"\5\xff" + bytes(range(1, 255)), hello, request, request + b"\3\xffa", b"\4", b"\4\1\0\x50\0\0\0\1me")
        stalled = [RawClient(port) for _ in parts]
        for client, part in zip(stalled, parts, strict=True):
            client.send(part)
        for start in (b"\4\1\0\x50\1\2\3\4", b"\4\1\0\x50\0\0\0\1\0") * 10:
            with RawClient(port) as client, contextlib.suppress(OSError):
                client.send(start + b"u" * (1 << 20))
                self.assertTrue(client.ended(), start)
        for client in stalled:
            self.assertIn(client.everything(), (b"", chosen))
            client.close()
        self.assertLess(time.monotonic() - began, 8)
        self.assertLess(self.daemon.memory() - before, 8 << 20)
        with RawClient(port) as client:
            client.send(b"\5\xff" + bytes(255))
            self.assertEqual(client.file.read(2), chosen)
        self.assertEqual(self.total("server.task.total", "server:socks"), 0)

    def test_the_task_record_of_a_tunnel(self) -> None:
        port, origin = self.socks(), self.origin()
        self.exchange(Proxy(ProxyType.SOCKS5, "127.0.0.1", port).connect("127.0.0.1", origin.port, timeout=10))
        record = self.finished()
        self.assertEqual(
            (record["server_type"], record["task_type"], record["escaper"], record["c_rd_bytes"], record["r_wr_bytes"]),
            ("SocksProxy", "TcpConnect", "e", str(len(REQUEST)), str(len(REQUEST))),
        )
        self.assertEqual(self.counted("server.task.total", "server:socks"), 1)


class UDPConnectTests(SocksCase):
    """One upstream for a session."""

    def test_datagrams_both_ways_and_what_is_logged_and_counted(self) -> None:
        port, echo = self.socks(), self.echo()
        session = self.session(port)
        self.assertEqual((session.reply, session.relay[0]), (0, "127.0.0.1"))
        for payload in (b"one", b"", b"x" * 1400):
            session.send(payload, "127.0.0.1", echo.port)
            self.assertEqual(session.receive(), (("127.0.0.1", echo.port), payload))
        session.tcp.close()
        record = self.finished()
        self.assertEqual(
            {key: record.get(key) for key in ("task_type", "reason", "upstream", "next_peer_addr", "escaper", "stage")},
            {
                "task_type": "UdpConnect",
                "reason": "ClosedByClient",
                "upstream": f"127.0.0.1:{echo.port}",
                "next_peer_addr": f"127.0.0.1:{echo.port}",
                "escaper": "e",
                "stage": "Relaying",
            },
        )
        packets = {key: record[key] for key in record if key.endswith("_packets")}
        self.assertEqual(packets, {"c_rd_packets": "3", "c_wr_packets": "3", "r_rd_packets": "3", "r_wr_packets": "3"})
        self.assertEqual((record["r_rd_bytes"], record["c_rd_bytes"]), ("1403", "1433"))
        self.assertEqual(record["udp_listen_addr"], "{}:{}".format(*session.relay))
        self.assertEqual(record["udp_client_addr"], f"127.0.0.1:{session.udp.getsockname()[1]}")
        self.assertEqual(self.counted("server.traffic.in.packets", "transport:udp", least=3), 3)
        self.assertEqual(self.counted("escaper.traffic.out.bytes", "transport:udp", least=1403), 1403)

    def test_another_upstream_ends_it(self) -> None:
        port, echo = self.socks(), self.echo()
        session = self.session(port)
        session.send(b"a", "127.0.0.1", echo.port)
        session.receive()
        session.send(b"b", "127.0.0.1", free_port())
        self.assertTrue(session.ended())
        self.assertEqual(self.finished()["reason"], "InvalidClientProtocol")

    def test_fragments_and_rubbish_end_it(self) -> None:
        port, echo = self.socks(), self.echo()
        for wrong in (
            b"",
            b"\0\0\0",
            b"\0\0\1" + header("127.0.0.1", echo.port)[3:] + b"x",
            b"\1" + header("127.0.0.1", echo.port)[1:],
            b"\0\0\0\7abcdefgh",
        ):
            for first in (True, False):
                session = self.session(port)
                if not first:
                    session.send(b"a", "127.0.0.1", echo.port)
                    session.receive()
                session.udp.sendto(wrong, session.relay)
                self.assertTrue(session.ended(), wrong)
        self.assertEqual({record["reason"] for record in self.tasks(10)}, {"InvalidClientProtocol"})

    def test_nothing_may_be_said_on_the_tcp_connection(self) -> None:
        port = self.socks()
        session = self.session(port)
        session.tcp.sendall(b"x")
        self.assertTrue(session.ended())
        self.assertEqual(self.finished()["reason"], "InvalidClientProtocol")

    def test_no_socket_is_left_however_it_ends(self) -> None:
        port, echo = self.socks(), self.echo()
        self.session(port).close()
        self.tasks(1)
        self.statsd.wait(bool)  # its socket is made for the first sample
        before = self.udp_sockets()
        sessions = [self.session(port) for _ in range(20)]
        for number, session in enumerate(sessions):
            if number % 2:
                session.send(b"a", "127.0.0.1", echo.port)
                session.receive()
        self.assertGreater(self.udp_sockets(), before + 28)
        for number, session in enumerate(sessions):
            if number % 3:
                session.tcp.close()
            else:
                session.tcp.sendall(b"x")
        self.until(lambda: self.udp_sockets() <= before)
        self.assertEqual(len(self.tasks(21)), 21)

    def test_the_first_datagram_must_come_in_time(self) -> None:
        session = self.session(self.socks("udp_client_initial_timeout: 1s"))
        self.assertTrue(session.ended(5))
        self.assertEqual(self.finished()["reason"], "ClientAppTimeout")

    def test_an_idle_session_ends(self) -> None:
        port, echo = self.socks("task_idle_max_count: 1"), self.echo()
        session = self.session(port)
        session.send(b"a", "127.0.0.1", echo.port)
        session.receive()
        self.assertTrue(session.ended(8))
        self.assertEqual(self.finished()["reason"], "Idle")

    def test_only_the_address_that_was_named_is_listened_to(self) -> None:
        """A stranger's datagram is passed over; the client's own is answered, and no stranger's after it."""
        port, echo = self.socks(), self.echo()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mine, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            mine.bind(("127.0.0.1", 0))
            mine.settimeout(5)
            session = self.session(port, claim=header(*mine.getsockname())[3:])
            datagram = header("127.0.0.1", echo.port)
            stranger.sendto(datagram + b"stranger", session.relay)
            mine.sendto(datagram + b"mine", session.relay)
            self.assertEqual(mine.recv(100), datagram + b"mine")
            stranger.sendto(datagram + b"stranger", session.relay)
            mine.sendto(datagram + b"again", session.relay)
            self.assertEqual(mine.recv(100), datagram + b"again")
            self.assertEqual(len(echo.senders), 2)

    def test_where_no_address_is_named_it_is_that_of_the_tcp_connection(self) -> None:
        """A stranger that sends first gets no session, and does not keep the client from its own."""
        port, echo = self.socks(), self.echo()
        for claim in (b"\1" + bytes(6), b"\3\0010\0\0"):
            session = self.session(port, claim=claim)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
                stranger.bind(("127.0.0.2", 0))
                stranger.sendto(header("127.0.0.1", echo.port) + b"stranger", session.relay)
                session.send(b"mine", "127.0.0.1", echo.port)
                self.assertEqual(session.receive()[1], b"mine")
        self.assertEqual(len(echo.senders), 2)

    def test_a_name_is_no_address_to_send_from_but_for_the_one_of_pysocks(self) -> None:
        port = self.socks()
        self.assertEqual(self.session(port, claim=b"\3\6a.test\0\x50").reply, 8)
        self.assertEqual(self.session(port, claim=b"\3\0010\0\0").reply, 0)

    def test_rules_hold_for_the_first_datagram(self) -> None:
        port, echo = self.socks("dst_port_filter: [53]"), self.echo()
        session = self.session(port)
        session.send(b"a", "127.0.0.1", echo.port)
        self.assertTrue(session.ended())
        self.assertEqual(self.finished()["reason"], "ForbiddenByRule")
        self.assertEqual(self.counted("server.forbidden.dest_denied"), 1)

    def test_an_escaper_rule_ends_it(self) -> None:
        session = self.session(self.socks())
        session.send(b"a", "169.254.1.1", 53)
        self.assertTrue(session.ended())
        record = self.finished()
        self.assertEqual((record["reason"], record["stage"]), ("ForbiddenByRule", "Connecting"))

    def test_an_upstream_that_is_not_there_ends_it(self) -> None:
        session = self.session(self.socks())
        session.send(b"a", "127.0.0.1", free_port())
        self.assertTrue(session.ended())
        self.assertEqual(self.finished()["reason"], "UpstreamReadFailed")
        self.assertTrue(self.syslog.wait(lambda lines: any("UdpSendto" in line and "RecvFailed" in line for line in lines)))

    def test_a_datagram_that_is_too_long_is_dropped_not_cut(self) -> None:
        port, echo = self.socks("udp_relay_packet_size: 600"), self.echo()
        session = self.session(port)
        for payload in (b"a" * 591, b"b" * 590):
            session.send(payload, "127.0.0.1", echo.port)
        self.assertEqual(session.receive()[1], b"b" * 590)

    def test_ports_of_a_range_and_an_address_to_tell(self) -> None:
        first = free_port()
        port = self.socks(f"udp_bind_port_range: {first}-{first + 2}\ntransmute_udp_echo_ip: {{127.0.0.1: 192.0.2.9}}\nudp_bind_ipv4: 127.0.0.1")
        sessions = [self.session(port) for _ in range(3)]
        ports = {session.relay[1] for session in sessions if session.reply == 0}
        self.assertTrue(ports <= {first, first + 1, first + 2})
        self.assertTrue(all(session.relay[0] == "192.0.2.9" for session in sessions if session.reply == 0))
        self.assertEqual(self.session(port).reply, 1)
        echo = self.echo()
        session = next(session for session in sessions if session.reply == 0)
        session.send(b"a", "127.0.0.1", echo.port, to="127.0.0.1")
        self.assertEqual(session.receive()[1], b"a")

    def test_families(self) -> None:
        """An IPv6 client that names an IPv4 address gets a socket of that only where one is configured."""
        port = self.socks("", "[::1]")
        self.assertEqual(self.session(port, host="::1", claim=header("127.0.0.1", 9)[3:]).reply, 1)
        session, echo = self.session(port, host="::1"), self.echo("::1")
        self.assertEqual((session.reply, session.relay[0]), (0, "::1"))
        session.send(b"six", "::1", echo.port)
        self.assertEqual(session.receive(), (("::1", echo.port), b"six"))

    def test_udp_bind_lets_the_families_differ(self) -> None:
        port = self.socks("udp_bind_ipv4: 127.0.0.1", "[::1]")
        session, echo = self.session(port, host="::1", claim=header("127.0.0.1", 0)[3:]), self.echo()
        self.assertEqual((session.reply, session.relay[0]), (0, "127.0.0.1"))
        session.send(b"four", "127.0.0.1", echo.port)
        self.assertEqual(session.receive()[1], b"four")

    def test_a_speed_limit_delays(self) -> None:
        """4 datagrams in each window of 512 ms: the tenth comes in the third."""
        port, echo = self.socks("udp_sock_speed_limit: {shift: 9, upload_packets: 4}"), self.echo()
        session = self.session(port)
        began = time.monotonic()
        for number in range(10):
            session.send(b"%d" % number, "127.0.0.1", echo.port)
        self.assertEqual([session.receive()[1] for _ in range(10)], [b"%d" % number for number in range(10)])
        self.assertGreater(time.monotonic() - began, 0.9)

    def test_pysocks(self) -> None:
        port, echo = self.socks(), self.echo()
        sock = pysocks.socksocket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.set_proxy(pysocks.SOCKS5, "127.0.0.1", port)
        sock.settimeout(5)
        sock.bind(("", 0))
        sock.sendto(b"hello", ("127.0.0.1", echo.port))
        self.assertEqual(sock.recvfrom(100), (b"hello", ("127.0.0.1", echo.port)))
        sock.close()


class UDPAssociateTests(SocksCase):
    """Any number of upstreams."""

    def test_many_upstreams_at_once_and_what_is_logged(self) -> None:
        port, echoes = self.socks("use_udp_associate: true"), [self.echo() for _ in range(5)]
        six = self.echo("::1")
        session = self.session(port)
        for echo in echoes * 2:
            session.send(b"to %d" % echo.port, "127.0.0.1", echo.port)
            self.assertEqual(session.receive(), (("127.0.0.1", echo.port), b"to %d" % echo.port))
        session.send(b"six", "::1", six.port)
        self.assertEqual(session.receive(), (("::1", six.port), b"six"))
        self.assertEqual(len({sender for echo in echoes for sender in echo.senders}), 1)
        session.tcp.close()
        record = self.finished()
        self.assertEqual(
            (record["task_type"], record["initial_peer"], record["c_rd_packets"], record["r_rd_packets"], record["reason"]),
            ("UdpAssociate", f"127.0.0.1:{echoes[0].port}", "11", "11", "ClosedByClient"),
        )
        self.assertNotIn("upstream", record)

    def test_rules_hold_for_every_datagram(self) -> None:
        echo = self.echo()
        port = self.socks(f"use_udp_associate: true\ndst_port_filter: [{echo.port}]")
        session = self.session(port)
        session.send(b"a", "127.0.0.1", echo.port)
        session.receive()
        session.send(b"a", "127.0.0.1", echo.port - 1)
        self.assertTrue(session.ended())
        self.assertEqual(self.finished()["reason"], "ForbiddenByRule")

    def test_the_egress_filter_holds_for_every_datagram(self) -> None:
        port, echo = self.socks("use_udp_associate: true"), self.echo()
        session = self.session(port)
        session.send(b"a", "127.0.0.1", echo.port)
        session.receive()
        session.send(b"a", "169.254.1.1", 53)
        self.assertTrue(session.ended())
        self.assertEqual(self.finished()["reason"], "ForbiddenByRule")
        self.assertTrue(self.syslog.wait(lambda lines: any("ForbiddenTargetIpAddress" in line for line in lines)))
        self.assertEqual(self.counted("escaper.forbidden.ip_blocked"), 1)

    def test_a_name_that_does_not_resolve_ends_it(self) -> None:
        session = self.session(self.socks("use_udp_associate: true"))
        session.send(b"a", "nowhere.test", 53)
        self.assertTrue(session.ended())
        self.assertTrue(self.syslog.wait(lambda lines: any("DomainNotResolved" in line for line in lines)))

    def test_no_socket_is_left(self) -> None:
        port, echo, six = self.socks("use_udp_associate: true"), self.echo(), self.echo("::1")
        self.session(port).close()
        self.tasks(1)
        self.statsd.wait(bool)  # its socket is made for the first sample
        before = self.udp_sockets()
        for _ in range(10):
            session = self.session(port)
            session.send(b"a", "127.0.0.1", echo.port)
            session.receive()
            session.send(b"a", "::1", six.port)
            session.receive()
            session.close()
        self.until(lambda: self.udp_sockets() <= before)

    def test_an_upstream_that_is_not_there_ends_nothing(self) -> None:
        port, echo = self.socks("use_udp_associate: true"), self.echo()
        session = self.session(port)
        session.send(b"a", "127.0.0.1", free_port())
        self.assertTrue(session.silent())
        session.send(b"b", "127.0.0.1", echo.port)
        self.assertEqual(session.receive()[1], b"b")

    def test_a_route_leads_to_the_way_out_and_escapers_without_one_end_it(self) -> None:
        """In both modes; the record names the escaper that did it, not the route."""
        ways = {"route": "e", "denied": "nowhere", "next": "proxy", "nowhere": "nowhere", "proxy": "proxy"}
        routes = "".join(f"  - {{name: {name}, type: route_select, next_nodes: {ways[name]}}}\n" for name in ("route", "denied", "next"))
        others = "  - {name: nowhere, type: dummy_deny}\n  - {name: proxy, type: proxy_http, proxy_addr: 127.0.0.1:9}\n"
        self._head = self._head.replace("server:\n", f"{others}{routes}server:\n")
        servers = [(many, escaper, free_port()) for many in (False, True) for escaper in ways]
        line = "  - {{name: s{port}, type: socks_proxy, listen: '127.0.0.1:{port}', escaper: {escaper}, use_udp_associate: {many}}}\n"
        text = "".join(line.format(port=port, escaper=escaper, many=str(many).lower()) for many, escaper, port in servers)
        self.daemon, echo = self.serve(text, *(port for _, _, port in servers)), self.echo()
        for number, (_, escaper, port) in enumerate(servers, 1):
            session = self.session(port)
            session.send(b"a", "127.0.0.1", echo.port)
            if escaper == "route":
                self.assertEqual(session.receive(), (("127.0.0.1", echo.port), b"a"))
                session.tcp.close()
            else:
                self.assertTrue(session.ended())
            record = self.tasks(number)[-1]
            reason = "ClosedByClient" if escaper == "route" else "ForbiddenByRule"
            self.assertEqual((record["server_name"], record["reason"]), (f"s{port}", reason))
            if escaper not in ("next", "proxy"):
                self.assertEqual(record["escaper"], ways[escaper])


class CurlTests(StageTestCase):
    """curl in each of its four ways, with and without TLS inside."""

    CONFIG = """
log: discard
resolver:
  - {name: r, type: c_ares}
escaper:
  - {name: direct, type: direct_fixed, resolver: r}
  - {name: e, type: route_select, next_nodes: direct}
server:
  - {name: socks, type: socks_proxy, listen: "127.0.0.1:1080", escaper: e}
"""

    def test_curl(self) -> None:
        ca = self.start_web()
        self.start_daemon(self.CONFIG, ports=[1080], namespace=self.namespace)
        for scheme in ("socks4", "socks4a", "socks5", "socks5h"):
            proxy = ["--proxy", f"{scheme}://127.0.0.1:1080"]
            self.assertEqual(self.curl(*proxy, "http://example.com/"), HELLO + "\n", scheme)
            self.assertEqual(self.curl(*proxy, "--cacert", str(ca), "https://example.com/"), HELLO + "\n", scheme)

    def test_a_name_that_does_not_exist(self) -> None:
        self.start_web()
        self.start_daemon(self.CONFIG, ports=[1080], namespace=self.namespace)
        ran = self.namespace.run("curl", "-sS", "--proxy", "socks5h://127.0.0.1:1080", "http://nosuch.example/")
        self.assertEqual(ran.returncode, 97, ran.stdout)
