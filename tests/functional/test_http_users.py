# SPDX-License-Identifier: Apache-2.0
"""Users of http_proxy and http_rproxy, as curl has them; the user group is another package's."""

from __future__ import annotations

import base64
import socket
import struct
import subprocess

from tests.functional.ftp_server import FTPServer
from tests.functional.h2client import H2Client
from tests.functional.needs import ROOT, need
from tests.functional.observed import ObservedCase
from tests.functional.peers import RecordingOrigin
from tests.functional.processes import free_port
from tests.functional.rawhttp import RawClient

LODGE = ROOT / "tests" / "packages" / "lodge"

SERVERS = """
  - name: proxy
    type: http_proxy
    listen: 127.0.0.1:{proxy}
    escaper: e
    user_group: members
  - name: site
    type: http_rproxy
    listen: 127.0.0.1:{site}
    escaper: e
    user_group: members
    untrusted_read_speed_limit: 1M
    hosts:
      - exact_match: 127.0.0.1
        upstream: 127.0.0.1:{origin}
user_group:
  - name: members
    type: lodge
    user: "Zoë"
    password: "a:b"
    alive: 1
"""


OVER_HTTP2 = """
  - name: proxy
    type: http_proxy
    listen: 127.0.0.1:{proxy}
    escaper: e
    user_group: members
    enable_http2: true
    server_id: abc
    proxy_status: true
    tls_server:
      cert_pairs: {{certificate: server.pem, private_key: server-key.pem}}
user_group:
  - {{name: members, type: lodge, user: Zoe, password: "a:b", alive: 1}}
"""


class HTTP2Tests(ObservedCase):
    """Over HTTP/2 each stream says whom it is from."""

    def test_streams_of_users(self) -> None:
        """Refused without credentials, with a body too; let in with them, as often as the user may; what the proxy adds is there."""
        self.certificate("server", "g3proxy.local", "127.0.0.1")
        port, origin = free_port(), RecordingOrigin()
        self.addCleanup(origin.close)
        self.start_daemon(self._head + OVER_HTTP2.format(proxy=port), ports=[port], packages=[LODGE])
        client = H2Client(port, self.directory / "ca.pem")
        self.addCleanup(client.close)
        there, login = f"http://127.0.0.1:{origin.port}/", ("proxy-authorization", "Basic " + base64.b64encode(b"Zoe:a:b").decode())
        refused = client.wait(client.request("GET", there))
        self.assertEqual((refused.status, refused.fields[b"proxy-authenticate"], refused.reset), (407, b'Basic realm="proxy"', None))
        self.assertIn(b"http_request_denied", refused.fields[b"proxy-status"])
        number = client.request("POST", there, end=False)
        client.send(number, b"x" * 100, end=True)
        self.assertEqual(client.wait(number).status, 407)
        served = client.wait(client.request("GET", there, login))
        self.assertEqual((served.status, served.fields[b"x-bd-remote-connection-info"][:4]), (200, b"abc;"))
        tunnel = client.request("CONNECT", f"127.0.0.1:{origin.port}", login, end=False)
        self.assertEqual(client.wait_head(tunnel).status, 200)
        self.assertEqual(client.wait(client.request("GET", there, login)).status, 429)
        client.send(tunnel, b"", end=True)
        client.wait(tunnel)
        self.assertEqual({record["user"] for record in self.tasks(3)}, {"Zoe"})
        self.assertNotIn(b"uthorization", origin.everything)


class UserTests(ObservedCase):
    """One daemon with both servers."""

    def start(self, origin: int) -> None:
        self.proxy, self.site = free_port(), free_port()
        text = SERVERS.format(proxy=self.proxy, site=self.site, origin=origin)
        self.start_daemon(self._head + text, ports=[self.proxy, self.site], packages=[LODGE])

    def curl(self, *arguments: str) -> str:
        """The status, and how many connections were made for it."""
        need("curl")
        argv = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code} %{http_connect} %{num_connects}", "--max-time", "20", *arguments]
        return subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False).stdout

    def test_who_says_who_it_is_gets_in(self) -> None:
        """curl tries without and then with credentials, over one connection; the origin sees none of them, and the log has the user."""
        origin = RecordingOrigin()
        self.addCleanup(origin.close)
        self.start(origin.port)
        there, here = f"http://127.0.0.1:{origin.port}/", f"http://127.0.0.1:{self.site}/"
        proxy = ("--noproxy", "", "--proxy", f"http://127.0.0.1:{self.proxy}")
        for wrong in ((), ("--proxy-user", "Zoë:x")):
            self.assertEqual(self.curl(*proxy, *wrong, there), "407 000 1")
        self.assertEqual(self.curl(*proxy, "--proxy-user", "Zoë:a:b", "--proxy-anyauth", there), "200 000 1")
        self.assertEqual(self.curl(*proxy, "--proxy-user", "Zoë:a:b", "--proxytunnel", there), "200 200 1")
        self.assertEqual(self.curl(here), "401 000 1")
        self.assertEqual(self.curl("--user", "Zoë:a:b", "--anyauth", here), "200 000 1")
        self.assertNotIn(b"uthorization", origin.everything)
        self.assertEqual(origin.everything.count(b"GET /"), 3)
        self.assertEqual([record["user"] for record in self.tasks(3)], ["Zoë"] * 3)
        for server, failed in (("proxy", 3), ("site", 2)):
            self.assertEqual(self.counted("server.forbidden.auth_failed", f"server:{server}", least=failed), failed)

    def test_ftp_over_http_is_for_users_too(self) -> None:
        """The login for the proxy and that for the FTP server are two; each request makes room for the next, also a bad one."""
        server = FTPServer()
        self.addCleanup(server.close)
        self.start(free_port())
        for path, login, status in (("/f", "", 200), ("/d/", "me:x@", 200), ("/f%00", "", 400), ("/f", "", 200)):
            server.script()
            url = f"ftp://{login}127.0.0.1:{server.port}{path}"
            with RawClient(self.proxy) as client:
                self.assertEqual(client.ask(f"GET {url} HTTP/1.1\r\nHost: x\r\n\r\n".encode()).status, 407)
                request = f"GET {url} HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Basic Wm/DqzphOmI=\r\n\r\n".encode()
                self.assertEqual(client.ask(request).status, status)
            self.assertEqual([line for line in server.commands if line[:4] == "USER"], [f"USER {login[:2] or 'anonymous'}"] * (status == 200))
        self.assertEqual([(record["user"], record["task_type"]) for record in self.tasks(4)], [("Zoë", "FtpOverHttp")] * 4)

    def test_a_body_of_nobody_is_read_first(self) -> None:
        """A client that sends all before it looks for an answer gets one, and can go on."""
        origin = RecordingOrigin()
        self.addCleanup(origin.close)
        self.start(origin.port)
        with RawClient(self.site) as client:
            client.send(b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 300000\r\n\r\n" + bytes(300000))
            answer = client.answer()
            self.assertEqual((answer.status, answer.headers["Connection"]), (401, "Keep-Alive"))
            answer = client.ask(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: basic Wm/Dqzphb2I=\r\n\r\n")
            self.assertEqual((answer.status, answer.headers["Connection"]), (401, "Close"))
        self.assertEqual(self.counted("server.traffic.untrusted_in.bytes", "server:site", least=300000), 300000)
        self.assertEqual(self.counted("server.task.untrusted_total", "server:site"), 1)
        self.assertEqual(origin.everything, b"")

    def test_one_task_at_a_time_where_the_user_may_have_one(self) -> None:
        """The other is a 429; the end of the first, whose client breaks it off, makes room."""
        origin = RecordingOrigin(None)
        self.addCleanup(origin.close)
        self.start(origin.port)
        request = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Basic Wm/DqzphOmI=\r\n\r\n"
        for number in (1, 2):
            with RawClient(self.site) as first, RawClient(self.site) as second:
                first.send(request)
                self.assertTrue(origin.wait_for(lambda number=number: origin.connections == number))
                self.assertEqual(second.ask(request).status, 429)
                first.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.assertEqual({record["reason"] for record in self.tasks(2)}, {"ForbiddenByRule", "ClosedByClient"})
            self.syslog.lines.clear()
