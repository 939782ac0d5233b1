# SPDX-License-Identifier: Apache-2.0
"""tcp_tproxy, and sni_proxy listening as it does: connections that nftables diverts go on to where they were meant to go."""

from __future__ import annotations

import shutil
import socket
import tempfile
import threading
from pathlib import Path

from tests.functional.namespaces import Namespace
from tests.functional.needs import need
from tests.functional.rawhttp import RawClient
from tests.functional.stage import HELLO, ORIGIN, StageTestCase
from tests.functional.test_observability import Sink, fields

#: Of the documentation prefix (RFC 3849).
ORIGIN6 = "2001:db8::80"
CLIENT, CLIENT6 = "192.0.2.1", "2001:db8:1::1"
#: As docs/reference/servers/tcp_tproxy.rst has them; only what comes from the client's side is diverted.
RULES = """
table inet divert {
    chain prerouting {
        type filter hook prerouting priority mangle; policy accept;
        iifname != "side" return
        meta nfproto ipv4 tcp dport { 80, 81 } tproxy ip to 127.0.0.1:4001 meta mark set 1 accept
        meta nfproto ipv6 tcp dport 80 tproxy ip6 to [::1]:4001 meta mark set 1 accept
        meta nfproto ipv4 tcp dport 443 tproxy ip to 127.0.0.1:4002 meta mark set 1 accept
    }
}
"""
CONFIG = """
runtime: {{thread_number: {threads}}}
log: {{default: {{syslog: {{target_unix: {syslog}}}}}}}
resolver:
  - {{name: r, type: c_ares, server: 127.0.0.1}}
escaper:
  - {{name: e, type: direct_fixed, resolver: r, egress_network_filter: {{default: allow}}}}
server:
  - {{name: diverted, type: tcp_tproxy, listen: "127.0.0.1:4001", escaper: e}}
  - {{name: diverted6, type: tcp_tproxy, listen: "[::1]:4001", escaper: e}}
  - {{name: named, type: sni_proxy, listen: "127.0.0.1:4002", listen_transparent: true, escaper: e}}
  - {{name: open, type: tcp_tproxy, listen: "0.0.0.0:4003", escaper: e}}
"""


class TproxyCase(StageTestCase):
    """A client in a namespace of its own, whose way to everywhere leads through the proxy's."""

    threads = 0
    config, rules = CONFIG, RULES

    def setUp(self) -> None:
        super().setUp()
        need("nft", "curl")
        self.web = self.start_web()
        directory = self.directory / "client"
        directory.mkdir()
        self.client = Namespace(directory, hosts=f"{ORIGIN} example.com\n")
        self.addCleanup(self.client.close)
        place = Path(tempfile.mkdtemp(prefix="g3o"))
        self.addCleanup(shutil.rmtree, place)
        self.syslog = Sink(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        self.addCleanup(self.syslog.sock.close)
        self.syslog.sock.bind(str(place / "log"))
        self.lead()
        self.daemon = self.start_daemon(
            self.config.format(threads=self.threads, syslog=place / "log"), namespace=self.namespace, ports=(4001, 4002, 4003)
        )

    def lead(self) -> None:
        """Join the namespaces, and divert what comes from the client's."""
        (self.directory / "rules.nft").write_text(self.rules)
        for line in (
            f"ip link add side type veth peer name out netns {self.client.pid}",
            f"ip address add {ORIGIN6}/128 dev lo nodad",
            "ip address add 192.0.2.254/24 dev side",
            "ip address add 2001:db8:1::fe/64 dev side nodad",
            "ip link set side up",
            "ip rule add fwmark 1 lookup 100",
            "ip route add local 0.0.0.0/0 dev lo table 100",
            "ip -6 rule add fwmark 1 lookup 100",
            "ip -6 route add local ::/0 dev lo table 100",
            f"nft -f {self.directory}/rules.nft",
        ):
            self.inside(self.namespace, line)
        for line in (
            f"ip address add {CLIENT}/24 dev out",
            f"ip address add {CLIENT6}/64 dev out nodad",
            "ip link set out up",
            f"ip route add {ORIGIN}/32 via 192.0.2.254",
            "ip route add default via 192.0.2.254",
            "ip -6 route add default via 2001:db8:1::fe",
        ):
            self.inside(self.client, line)

    def inside(self, namespace: Namespace, line: str) -> str:
        ran = namespace.run(*line.split())
        self.assertEqual(ran.returncode, 0, f"{line}: {ran.stdout}")
        return ran.stdout

    def fetch(self, *arguments: str) -> str:
        """What the client's curl gets."""
        return self.inside(self.client, " ".join(("curl", "-sS", "--max-time", "20", *arguments)))

    def record(self, server: str) -> dict[str, str]:
        """The record of the end of a task of C{server}."""
        self.syslog.wait(lambda lines: any(f'server_name="{server}"' in line and '"Finished"' in line for line in lines))
        return next(fields(line) for line in self.syslog.lines if f'server_name="{server}"' in line and '"Finished"' in line)


class TproxyTests(TproxyCase):
    """Whom a diverted client reaches."""

    def test_a_diverted_client_reaches_whom_it_wanted(self) -> None:
        """It notices nothing; the record has who wanted whom."""
        self.assertEqual(self.fetch(f"http://{ORIGIN}/").strip(), HELLO)
        record = self.record("diverted")
        self.assertEqual((record["server_type"], record["task_type"]), ("TcpTProxy", "TcpConnect"))
        self.assertEqual({record[key] for key in ("upstream", "next_peer_addr", "server_addr")}, {f"{ORIGIN}:80"})
        self.assertEqual(record["client_addr"].rpartition(":")[0], CLIENT)

    def test_over_ipv6_too(self) -> None:
        served = self.serve6()
        self.assertEqual(self.fetch("-g", f"http://[{ORIGIN6}]/").strip(), "six")
        self.assertEqual(self.record("diverted6")["upstream"], f"[{ORIGIN6}]:80")
        served.close()

    def serve6(self) -> socket.socket:
        """An origin on the IPv6 address."""
        listener = self.namespace.socket(socket.AF_INET6)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((ORIGIN6, 80))
        listener.listen()

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nsix\n")

        threading.Thread(target=answer, daemon=True).start()
        return listener

    def test_sni_proxy_listens_so_too(self) -> None:
        """The name in the hello leads, whatever address the client had dialled."""
        self.assertEqual(self.fetch("--cacert", str(self.web), "--resolve", "example.com:443:198.51.100.7", "https://example.com/").strip(), HELLO)
        self.assertEqual(self.record("named")["upstream"], "example.com:443")

    def test_who_wants_the_server_itself_is_closed_at_once(self) -> None:
        """Or it would be its own client without end."""
        for port in (4001, 4003):
            client = RawClient(0, sock=self.namespace.connect(("127.0.0.1", port)))
            self.assertTrue(client.ended())
        client = RawClient(0, sock=self.client.connect(("192.0.2.254", 4003)))
        self.assertTrue(client.ended())
        self.assertEqual([line for line in self.syslog.lines if "TcpTProxy" in line], [])

    def test_nobody_there_closes_the_client(self) -> None:
        """Port 81 is diverted, and nobody serves it."""
        client = RawClient(0, sock=self.client.connect((ORIGIN, 81)))
        self.assertTrue(client.ended())
        record = self.record("diverted")
        self.assertEqual((record["upstream"], record["reason"]), (f"{ORIGIN}:81", "UpstreamNotConnected"))


class ForeignTests(TproxyCase):
    """An escaper with bind_foreign, to an upstream whose way back leads through the proxy."""

    config = CONFIG.replace("type: direct_fixed,", "type: direct_fixed, bind_foreign: true,")
    #: As docs/reference/escapers/direct_fixed.rst has it.
    rules = RULES.replace('iifname != "side"', 'iifname "far" socket transparent 1 meta mark set 1 accept\n        iifname != "side"')

    def test_the_upstream_sees_the_clients_address(self) -> None:
        """It answers to that, and the proxy takes the answers in."""
        directory = self.directory / "far"
        directory.mkdir()
        far = Namespace(directory)
        self.addCleanup(far.close)
        self.inside(self.namespace, f"ip link add far type veth peer name near netns {far.pid}")
        self.inside(self.namespace, "ip address add 203.0.113.254/24 dev far")
        self.inside(self.namespace, "ip link set far up")
        for line in ("ip address add 203.0.113.80/24 dev near", "ip link set near up", "ip route add default via 203.0.113.254"):
            self.inside(far, line)
        listener = far.socket()
        self.addCleanup(listener.close)
        listener.bind(("203.0.113.80", 81))
        listener.listen()
        listener.settimeout(20)
        client = RawClient(0, sock=self.client.connect(("203.0.113.80", 81)))
        self.addCleanup(client.close)
        connection, peer = listener.accept()
        with connection:
            connection.settimeout(20)
            self.assertEqual(peer[0], CLIENT)
            client.send(b"ping")
            self.assertEqual(connection.recv(100), b"ping")
            connection.sendall(b"pong")
            self.assertEqual(client.file.read(4), b"pong")
        client.close()
        self.assertEqual(self.record("diverted")["next_bind_ip"], CLIENT)


class NeighbourTests(TproxyCase):
    """Link-local addresses, at the port of the server itself."""

    config = CONFIG.replace("{{default: allow}}", "{{default: allow, allow: [fe80::/10]}}")
    rules = RULES.replace("ipv6 tcp dport 80", "ipv6 tcp dport 4001")

    def test_a_neighbour_is_reached_and_the_server_itself_is_not(self) -> None:
        """Each interface has its own; that of the client is meant."""
        directory = self.directory / "far"
        directory.mkdir()
        far = Namespace(directory)
        self.addCleanup(far.close)
        self.inside(self.client, f"ip link add link out name near netns {far.pid} type macvlan mode bridge")
        for line in ("ip address add fe80::99/64 dev near nodad", "ip link set near up"):
            self.inside(far, line)
        self.inside(self.namespace, "ip address add fe80::1/64 dev side nodad")
        self.inside(self.client, "ip address add fe80::c/64 dev out nodad")
        # As docs/reference/servers/tcp_tproxy.rst has it.
        self.inside(self.namespace, "ip -6 route add local fe80::/10 dev side table 100")
        side = self.inside(self.namespace, "ip -o link show dev side").partition("link/ether ")[2].split()[0]
        listener = far.socket(socket.AF_INET6)
        self.addCleanup(listener.close)
        listener.bind(("::", 4001))
        listener.listen()
        listener.settimeout(20)
        for neighbour in (True, False):
            address = "fe80::99" if neighbour else "fe80::1"
            self.inside(self.client, f"ip neighbour replace {address} lladdr {side} dev out nud permanent")
            sock = self.client.socket(socket.AF_INET6)
            sock.settimeout(10)
            sock.connect((address, 4001, 0, self.index("out")))
            client = RawClient(0, sock=sock)
            self.addCleanup(client.close)
            if neighbour:
                connection, _ = listener.accept()
                with connection:
                    connection.sendall(b"pong")
                self.assertEqual(client.file.read(4), b"pong")
                client.close()
                self.assertRegex(self.record("diverted6")["upstream"], r"^\[fe80::99%\d+\]:4001$")
            else:
                self.assertTrue(client.ended())
        self.assertEqual({fields(line)["server_addr"] for line in self.syslog.lines if "TcpTProxy" in line}, {"[fe80::99]:4001"})

    def index(self, interface: str) -> int:
        """Of one of the client's."""
        return int(self.inside(self.client, f"ip -o link show dev {interface}").partition(":")[0])


class WorkerTests(TproxyCase):
    """With workers the supervisor binds for them."""

    threads = 2

    def test_workers_accept_diverted_clients(self) -> None:
        for _ in range(4):
            self.assertEqual(self.fetch(f"http://{ORIGIN}/").strip(), HELLO)
        self.assertEqual(self.record("diverted")["upstream"], f"{ORIGIN}:80")
