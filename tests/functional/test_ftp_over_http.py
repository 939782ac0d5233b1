# SPDX-License-Identifier: Apache-2.0
"""FTP over HTTP: curl asks http_proxy for ftp:// URIs of a real vsftpd, and raw clients for those of servers that do not behave."""

from __future__ import annotations

import atexit
import contextlib
import http.client
import socket
import subprocess
import threading
import time
from typing import TYPE_CHECKING, Any, ClassVar

from g3.testing.escapers import silent_upstream
from tests.functional.ftp_server import FTPServer
from tests.functional.harness import Daemon
from tests.functional.leftover import WITNESS, holdings, wait_until_as_before
from tests.functional.needs import need
from tests.functional.peers import VSFTPD_ANONYMOUS, start_vsftpd
from tests.functional.processes import free_port
from tests.functional.test_http_proxy import ProxyCase

if TYPE_CHECKING:
    from pathlib import Path

MB = 1 << 20


class VsftpdTests(ProxyCase):
    """Everything a user does with curl."""

    def setUp(self) -> None:
        super().setUp()
        need("curl")
        self.root = self.directory / "root"
        self.root.mkdir()
        self.start("127.0.0.1")

    def start(self, address: str) -> None:
        self.ftp = free_port()
        self.host = f"[{address}]" if ":" in address else address
        server = start_vsftpd(self.directory, self.ftp, VSFTPD_ANONYMOUS.format(root=self.root), address=address)
        self.addCleanup(server.kill)

    def curl(self, path: str, *options: str) -> tuple[int, bytes]:
        """The status and the body curl got; 0 where the body did not end well."""
        out = self.directory / "got"
        out.unlink(missing_ok=True)
        url = f"ftp://{self.host}:{self.ftp}/{path}"
        argv = ["curl", "-g", "-s", "-m", "30", "-x", f"http://127.0.0.1:{self.port}", "-o", str(out), "-w", "%{http_code}", *options, url]
        ran = subprocess.run(argv, capture_output=True, text=True, check=False)
        return int(ran.stdout) if ran.returncode == 0 else 0, out.read_bytes() if out.exists() else b""

    def file(self, name: str, content: bytes) -> Path:
        path = self.root / name
        path.write_bytes(content)
        return path

    def test_files_come_and_go(self) -> None:
        """Listing, download whole and in part, upload with a length and in chunks, removal of files and directories."""
        self.port = self.proxy()
        self.assertEqual(self.curl(""), (200, b""))
        self.file("small file", b"content")
        (self.root / "below").mkdir()
        status, listing = self.curl("")
        self.assertEqual((status, [line.split()[-1] for line in listing.splitlines()]), (200, [b"below", b"file"]))
        self.assertEqual(self.curl("small%20file"), (200, b"content"))
        self.assertEqual(self.curl("small%20file", "-r", "2-4"), (206, b"nte"))
        self.assertEqual(self.curl("small%20file", "-r", "-3"), (206, b"ent"))
        self.assertEqual(self.curl("small%20file", "-r", "0-"), (206, b"content"))
        self.assertEqual(self.curl("small%20file", "-r", "7-")[0], 416)
        self.assertEqual(self.curl("none;type=i")[0], 404)
        big = bytes(range(256)) * (5 * MB // 256)
        source = self.file("source", big)
        self.assertEqual(self.curl("below/copy", "-T", str(source)), (200, b""))
        self.assertEqual((self.root / "below" / "copy").read_bytes(), big)
        self.assertEqual(self.curl("below/copy"), (200, big))
        self.assertEqual(self.curl("below/chunks", "-T", str(source), "-H", "Transfer-Encoding: chunked"), (200, b""))
        self.assertEqual((self.root / "below" / "chunks").read_bytes(), big)
        self.assertEqual(self.curl("below/empty", "-T", "/dev/null", "-H", "Content-Length: 0"), (200, b""))
        self.assertEqual(self.curl("below/empty"), (200, b""))
        for path in ("below/copy", "below/chunks", "below/empty", "below/"):
            self.assertEqual(self.curl(path, "-X", "DELETE"), (200, b""), path)
        self.assertFalse((self.root / "below").exists())
        self.assertEqual(self.curl("below/copy", "-X", "DELETE")[0], 404)
        self.assertEqual(self.curl("small%20file", "-I")[0], 200)

    def test_a_server_on_ipv6(self) -> None:
        """Its data connections too."""
        self.start("::1")
        self.port = self.proxy()
        source = self.file("source", b"content")
        self.assertEqual(self.curl("source"), (200, b"content"))
        self.assertEqual(self.curl("copy", "-T", str(source)), (200, b""))
        self.assertEqual(self.curl("")[1].split()[-1], b"source")
        self.assertEqual((self.root / "copy").read_bytes(), b"content")


class HostileServerTests(ProxyCase):
    """FTP servers that break their protocol, break off, or lead elsewhere. One daemon serves all of it; the last test, by name, ends it."""

    running: ClassVar[list[Daemon]] = []
    port = 0
    before: ClassVar[dict[str, int]] = {}
    keys = """
    task_idle_max_count: 1
    ftp_client:
      greeting_timeout: 1s
      connect_timeout: 1s
      control: {command_timeout: 1s}
      transfer: {list_max_entries: 8, end_wait_timeout: 1s, list_all_timeout: 10s}
"""
    #: Another server, with other bounds.
    narrow = 0
    NARROW = """
  - name: narrow
    type: http_proxy
    listen: 127.0.0.1:%d
    escaper: e
    ftp_client:
      always_try_epsv: false
      control: {max_line_len: 60, max_multi_lines: 6}
      transfer: {list_max_line_len: 20}
"""

    def setUp(self) -> None:
        super().setUp()
        if not self.running:
            HostileServerTests.port, HostileServerTests.narrow = free_port(), free_port()
            config = self.write("g3proxy.yaml", self.config(self.port, self.keys + self.NARROW % self.narrow))
            self.running.append(Daemon(config, self.directory, ports=[self.port, self.narrow], packages=[WITNESS]))
            atexit.register(self.running[0].kill)
            HostileServerTests.before = holdings(self.running[0])
        self.daemon = self.running[0]
        self.addCleanup(self.as_before)
        self.server = FTPServer()
        self.addCleanup(self.server.close)

    def as_before(self) -> None:
        """The daemon complains of nothing, and holds nothing of what was asked of it."""
        if self.running:
            wait_until_as_before(self.daemon, self.before)
        self.daemon.check_log()

    def test_z_the_daemon_ends_well(self) -> None:
        """With status 0, and no complaint in its log."""
        self.running.pop().quit()

    def ask(self, method: str, path: str, *lines: str, body: bytes = b"", login: str = "", version: str = "1.1") -> tuple[int, bytes | None]:
        """Status and body; None for a body that did not end well."""
        self.seen = self.client(self.port)
        host = f"127.0.0.1:{self.server.port}"
        head = [f"{method} ftp://{login}{host}{path} HTTP/{version}", f"Host: {host}", *lines, "", ""]
        self.seen.send("\r\n".join(head).encode() + body)
        try:
            answer = self.seen.answer(method)
        except (http.client.IncompleteRead, ConnectionResetError, ValueError):
            return 200, None
        self.headers = answer.headers
        return answer.status, answer.body

    def check(self, status: int, body: bytes | None, method: str = "GET", path: str = "/f", *lines: str, **script: Any) -> None:
        """One request to a server that behaves so, and what comes of it; the control connection ends too."""
        sent = script.pop("sent", b"")
        self.server.script(**script)
        got = self.ask(method, path, *lines, body=sent)
        self.assertEqual((got[0], got[1] if got[0] < 400 else b""), (status, body if status < 400 else b""), script)
        if "greeting" not in script:
            self.assertTrue(self.server.ended.acquire(timeout=10), script)

    def test_the_beginning(self) -> None:
        """Greetings and answers that are none, too long, too late, or no."""
        for status, greeting in (
            (502, b"500 no\r\n"),
            (503, b"421 full\r\n"),
            (504, b""),
            (504, b"120 wait\r\n" * 3),
            (502, b"220-and\r\n" * 5000),
            (502, b"x" * 100000),
            (502, b"220" + b"x" * 3000 + b"\r\n"),
            (502, b"hello\r\n"),
            (502, b"\xff\xfb\x01\0\0\r\n"),
            (502, None),
        ):
            self.check(status, None, greeting=greeting)
        for status, word, reply in (
            (200, "FEAT", b"500 what?\r\n"),
            (502, "FEAT", b"211-\r\n" * 1000),
            (503, "FEAT", b"421 bye\r\n"),
            (502, "USER", b"500 no\r\n"),
            (502, "USER", b""),
            (502, "USER", None),
            (503, "PASS", b"421 bye\r\n"),
            (502, "PASS", b"226 what?\r\n"),
            (200, "USER", b"230 come in\r\n"),
            (502, "SIZE", b"213 many\r\n"),
            (502, "TYPE", b"504 no\r\n"),
        ):
            self.check(status, b"content", **{word: reply})

    def test_a_server_that_does_not_accept(self) -> None:
        """504 after C{connect_timeout}; for a data connection 502, when both ways were tried."""
        silent, filling = silent_upstream()
        port = silent.getsockname()[1]
        client = self.client(self.port)
        self.assertEqual(client.ask(f"GET ftp://127.0.0.1:{port}/ HTTP/1.1\r\nHost: x\r\n\r\n".encode()).status, 504)
        self.check(502, None, EPSV=b"229 ok (|||%d|)\r\n" % port, PASV=b"227 ok (127,0,0,1,%d,%d)\r\n" % divmod(port, 256))
        for sock in (silent, *filling):
            sock.close()

    def test_who_logs_in(self) -> None:
        """Nobody, the URI's, the header's before that; a refusal is a 401 that says for what, and the connection stays."""
        basic = "Authorization: Basic aGVhZGVyOnNlY3JldA=="
        for login, lines, wanted in (
            ("", (), ["USER anonymous", "PASS xxx"]),
            ("me:my%20word@", (), ["USER me", "PASS my word"]),
            ("me@", (), ["USER me", "PASS xxx"]),
            ("me:word@", (basic,), ["USER header", "PASS secret"]),
        ):
            self.server.script()
            self.assertEqual(self.ask("GET", "/f", *lines, login=login), (200, b"content"))
            self.assertEqual([line for line in self.server.commands if line[:4] in {"USER", "PASS"}], wanted)
        for word, reply in (("PASS", b"530 no\r\n"), ("USER", b"530 no\r\n"), ("USER", b"332 account?\r\n")):
            self.server.script(**{word: reply})
            self.assertEqual(self.ask("GET", "/f", login="a%20b:x@")[0], 401)
            self.assertEqual(self.headers["WWW-Authenticate"], f'Basic realm="ftp://a%20b@127.0.0.1:{self.server.port}"')
            self.server.script()
            again = f"GET ftp://127.0.0.1:{self.server.port}/f HTTP/1.1\r\nHost: x\r\n\r\n".encode()
            self.assertEqual(self.seen.ask(again).body, b"content")

    def test_requests_that_are_none_for_ftp(self) -> None:
        """Other methods 501, bodies where none may be and none where one must be 400, lines in paths and logins 400; nobody is connected to."""
        self.server.script()
        for status, method, path, lines in (
            (501, "POST", "/f", ()),
            (501, "OPTIONS", "/f", ()),
            (400, "GET", "/f", ("Content-Length: 1",)),
            (400, "DELETE", "/f", ("Transfer-Encoding: chunked",)),
            (400, "PUT", "/f", ()),
            (400, "PUT", "/f", ("Content-Length: 1", "Content-Range: bytes 0-0/2")),
            (400, "PUT", "/", ("Content-Length: 1",)),
            (400, "DELETE", "/", ()),
            (400, "GET", "/a%0D%0ADELE%20b", ()),
            (400, "GET", "/a%00", ()),
            (400, "GET", "/a", ("Authorization: Basic YQ0KREVMRSBiOmI=",)),
        ):
            self.assertEqual(self.ask(method, path, *lines)[0], status, (method, path, lines))
        self.assertEqual(self.ask("GET", "/a", login="a%0D%0ADELE%20b@")[0], 400)
        self.assertEqual(self.server.commands, [])

    def test_data_connections(self) -> None:
        """EPSV, then PASV; to the server's own host, whatever it says; 502 where nobody is."""
        nobody = free_port()
        refused = b"229 ok (|||%d|)\r\n" % nobody
        self.check(200, b"content", EPSV=b"500 what?\r\n")
        self.check(200, b"content", EPSV=b"229 ok (|||0|)\r\n")
        self.check(200, b"content", EPSV=refused)
        self.check(200, b"content", EPSV=b"522 no\r\n", PASV=b"227 ok (192,0,2,1,%d,%d)\r\n")
        self.assertIn("PASV", self.server.words())
        self.check(502, None, EPSV=refused, PASV=b"227 ok (127,0,0,1,%d,%d)\r\n" % divmod(nobody, 256))
        self.check(502, None, EPSV=b"500 no\r\n", PASV=b"227 ok (1,2,3)\r\n")
        self.check(502, None, EPSV=b"500 no\r\n", PASV=b"500 no\r\n")
        self.check(503, None, EPSV=b"421 bye\r\n")
        self.check(404, None, RETR=b"550 no\r\n")
        self.check(502, None, RETR=b"500 no\r\n")
        self.check(502, None, RETR=b"")
        self.check(503, None, RETR=b"421 no\r\n")

    def test_a_transfer_that_breaks_off_never_looks_whole(self) -> None:
        """Downloads short of their size or without a good end, listings too, to clients of HTTP/1.1 and 1.0."""
        content = b"0123456789" * 100
        self.check(200, None, content=content, cut=500)
        self.check(200, None, content=content, cut=500, end=b"426 lost\r\n")
        self.check(200, None, content=content, cut=500, reset=True)
        self.check(200, None, content=content, cut=500, end=b"")
        unknown = {"SIZE": b"502 what?\r\n", "content": content}
        for path in ("/f;type=i", "/d/"):
            self.check(200, content, "GET", path, **unknown)
            self.check(200, None, "GET", path, cut=500, end=b"426 lost\r\n", **unknown)
            self.check(200, None, "GET", path, cut=500, end=b"451 lost\r\n", **unknown)
            self.check(200, None, "GET", path, cut=500, reset=True, **unknown)
            self.check(200, None, "GET", path, cut=500, end=b"", **unknown)
            self.server.script(cut=500, end=b"426 lost\r\n", **unknown)
            self.ask("GET", path, version="1.0")
            with self.assertRaises(ConnectionResetError):
                self.raw("GET", path)

    def raw(self, method: str, path: str) -> None:
        """A request of HTTP/1.0, read to the end of the connection."""
        sock = socket.create_connection(("127.0.0.1", self.port), 10)
        with sock:
            sock.sendall(f"{method} ftp://127.0.0.1:{self.server.port}{path} HTTP/1.0\r\n\r\n".encode())
            while sock.recv(65536):
                pass

    def test_listings_are_bounded(self) -> None:
        """Lines and entries; what is within them arrives, a last line without its end too, and a name is no option."""
        self.check(200, b"a\r\nb", "GET", "/d;type=d", content=b"a\r\nb")
        self.check(200, b"x\n" * 8, "GET", "/d/", content=b"x\n" * 8)
        self.check(200, None, "GET", "/d/", content=b"x\n" * 9)
        self.check(200, None, "GET", "/d/", content=b"x" * 3000)
        self.check(404, None, "GET", "/d/", LIST=b"550 no\r\n")
        self.check(200, b"content", "GET", "/-R/")
        self.assertIn("LIST ./-R", self.server.commands)
        self.check(200, b"content", "GET", "/%2Fetc/a%20b/")
        self.assertIn("LIST /etc/a b", self.server.commands)
        self.check(200, b"content", "GET", "")
        self.assertIn("LIST .", self.server.commands)

    def test_bounds_are_those_of_the_configuration(self) -> None:
        """Lines of replies and listings, of as many bytes with their end, lines of a reply; EPSV only of servers that announce it."""
        self.port = self.narrow
        self.check(200, b"content", greeting=b"220 " + b"x" * 54 + b"\r\n")
        self.assertIn("EPSV", self.server.words())
        self.check(200, b"content", greeting=b"220-x\r\n" * 5 + b"220 x\r\n", FEAT=b"211-Features\r\n SIZE\r\n211 End\r\n")
        self.assertEqual([word for word in self.server.words() if word in {"EPSV", "PASV"}], ["PASV"])
        self.check(502, None, greeting=b"220 " + b"x" * 55 + b"\r\n")
        self.check(502, None, greeting=b"220-x\r\n" * 6 + b"220 x\r\n")
        self.check(200, b"x" * 19 + b"\n", "GET", "/d/", content=b"x" * 19 + b"\n")
        self.check(200, None, "GET", "/d/", content=b"x" * 20 + b"\n")

    def test_parts_of_files(self) -> None:
        """A server that cannot begin in the middle sends all."""
        self.check(206, b"tent", "GET", "/f", "Range: bytes=3-")
        self.check(200, b"content", "GET", "/f", "Range: bytes=3-", REST=b"502 no\r\n")
        self.check(200, b"content", "GET", "/f", "Range: bytes=3-", FEAT=b"211-Features\r\n SIZE\r\n211 End\r\n")
        self.check(206, b"con", "GET", "/f", "Range: bytes=0-2", REST=b"502 no\r\n")
        self.check(200, b"content", "GET", "/f", "Range: bytes=0-1,3-4")
        self.check(200, b"content", "GET", "/f", "Range: bytes=3-", 'If-Range: "x"')
        self.check(416, None, "GET", "/f", "Range: bytes=5-4")
        self.check(200, b"", "HEAD", "/f", "Range: bytes=3-")
        self.check(404, None, "HEAD", "/d/", CWD=b"550 no\r\n")

    def test_uploads(self) -> None:
        """All of it or an error: an upload that the client breaks off is reset at the server, one that the server breaks off is a 502."""
        length = ("Content-Length: 6",)
        self.check(200, b"", "PUT", "/f", *length, sent=b"upload")
        self.assertEqual(self.server.stored, b"upload")
        chunked = "Transfer-Encoding: chunked"
        self.check(200, b"", "PUT", "/f", chunked, sent=b"3\r\nupl\r\n3\r\noad\r\n0\r\n\r\n")
        self.assertEqual(self.server.stored, b"upload")
        self.check(400, None, "PUT", "/f", chunked, sent=b"3\r\nuploads")
        self.assertEqual((self.server.stored, self.server.broken), (b"", 1))
        for end in (b"426 lost\r\n", b"452 full\r\n"):
            self.check(502, None, "PUT", "/f", *length, sent=b"upload", end=end)
        self.check(504, None, "PUT", "/f", *length, sent=b"upload", end=b"")
        self.check(502, None, "PUT", "/f", *length, sent=b"upload", STOR=b"553 no\r\n")
        self.check(404, None, "PUT", "/f", *length, sent=b"upload", STOR=b"450 no\r\n")
        self.check(502, None, "PUT", "/f", "Content-Length: 100000000", sent=b"upload", upload=lambda data: data.recv(3), end=b"552 full\r\n")
        self.check(401, None, "PUT", "/f", *length, sent=b"upload", PASS=b"530 no\r\n")
        self.assertTrue(self.seen.ended())
        for broken in (length, (chunked,)):
            self.server.script()
            client = self.client(self.port)
            host = f"127.0.0.1:{self.server.port}"
            head = [f"PUT ftp://{host}/f HTTP/1.1", f"Host: {host}", *broken, "", ""]
            client.send("\r\n".join(head).encode() + b"3\r\nu")
            client.sock.shutdown(socket.SHUT_WR)
            self.assertTrue(client.ended())
            self.assertTrue(self.server.ended.acquire(timeout=10))
            self.assertEqual((self.server.stored, self.server.broken), (b"", 1))

    def test_clients_that_leave_and_those_that_stay(self) -> None:
        """Nothing is left open when a client leaves at any moment; requests behind one another are answered in order on one connection."""
        for script in ({"USER": b""}, {"content": b"x" * 8 * MB}, {"LIST": b""}):
            for path in ("/f", "/d/"):
                self.server.script(**script)  # type: ignore[arg-type]
                client = self.client(self.port)
                client.send(f"GET ftp://127.0.0.1:{self.server.port}{path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                client.sock.recv(1 if "content" in script else 0)
                client.close()
                self.assertTrue(self.server.ended.acquire(timeout=10), script)
        self.server.script()
        client = self.client(self.port)
        words = [("GET", "/f"), ("DELETE", "/f"), ("GET", "/d/"), ("HEAD", "/f")]
        client.send(b"".join(f"{word} ftp://127.0.0.1:{self.server.port}{path} HTTP/1.1\r\nHost: x\r\n\r\n".encode() for word, path in words))
        answers = [client.answer(word) for word, _ in words]
        self.assertEqual([(answer.status, answer.body) for answer in answers], [(200, b"content"), (200, b""), (200, b"content"), (200, b"")])
        self.assertEqual((answers[0].headers["Content-Length"], answers[3].headers["Content-Length"]), ("7", "7"))

    def test_a_transfer_that_stands_still_ends(self) -> None:
        """504 for an upload that the server does not take, 408 for one that the client does not send, a reset for a download."""
        stall = threading.Event()
        self.addCleanup(stall.set)
        host = f"ftp://127.0.0.1:{self.server.port}"
        clients = []
        for request, sent, cut in (
            (f"PUT {host}/f HTTP/1.1\r\nHost: x\r\nContent-Length: {64 * MB}", 64 * MB, 0),
            (f"PUT {host}/f HTTP/1.1\r\nHost: x\r\nContent-Length: 10", 5, 0),
            (f"GET {host}/f HTTP/1.1\r\nHost: x", 0, 500),
            (f"GET {host}/d/ HTTP/1.1\r\nHost: x", 0, 500),
        ):
            self.server.script(stall=stall, cut=cut, content=b"0123456789" * 100)
            client = self.client(self.port)
            client.send(request.encode() + b"\r\n\r\n")
            client.sock.settimeout(0.5)
            with contextlib.suppress(TimeoutError):
                client.send(b"u" * sent)
            client.sock.settimeout(20)
            clients.append(client)
        self.assertEqual([client.answer().status for client in clients[:2]], [504, 408])
        for client in clients[2:]:
            self.assertRaises((http.client.IncompleteRead, ConnectionResetError), client.answer)

    def test_memory_is_bounded_when_one_side_does_not_read(self) -> None:
        """A download of unknown size and an upload in chunks, 32 MB each; all of it arrives in the end."""
        content = bytes(range(256)) * (32 * MB // 256)
        self.server.script(content=content, SIZE=b"502 what?\r\n")
        before = self.daemon.memory()
        client = self.client(self.port)
        client.send(f"GET ftp://127.0.0.1:{self.server.port}/f;type=i HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        self.assertTrue(client.sock.recv(1, socket.MSG_PEEK))
        time.sleep(0.5)
        self.assertLess(self.daemon.memory() - before, 8 * MB)
        self.assertEqual(client.answer().body, content)
        stall = threading.Event()
        self.server.script(stall=stall)
        sending = threading.Thread(target=client.send, args=[self.chunked(content)])
        sending.start()
        time.sleep(0.5)
        self.assertLess(self.daemon.memory() - before, 8 * MB)
        stall.set()
        self.assertEqual(client.answer().status, 200)
        sending.join()
        self.assertEqual(self.server.stored, content)

    def chunked(self, content: bytes) -> bytes:
        head = f"PUT ftp://127.0.0.1:{self.server.port}/f HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        return head + b"%x\r\n" % len(content) + content + b"\r\n0\r\n\r\n"

    def test_a_client_without_a_proxy_setting(self) -> None:
        """Asks by a well-known URI."""
        self.server.script()
        client = self.client(self.port)
        path = f"/.well-known/easy-proxy/ftp/127.0.0.1/{self.server.port}/f"
        self.assertEqual(client.ask(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()).body, b"content")


CHAIN = """
runtime: {{thread_number: 0}}
log: {{task: stdout}}
resolver:
  - {{name: r, type: deny_all}}
escaper:
  - name: e
    type: direct_fixed
    resolver: r
    egress_network_filter: {{default: allow, allow: 127.0.0.1}}
  - {{name: downloads, type: proxy_http, proxy_addr: "127.0.0.1:{last}", http_forward_capability: {{forward_ftp_get: true}}}}
  - {{name: everything, type: proxy_http, proxy_addr: "127.0.0.1:{last}", http_forward_capability: {{forward_ftp: true}}}}
  - {{name: nowhere, type: dummy_deny}}
  - {{name: witness, type: witness}}
  - {{name: route, type: route_select, next_nodes: [everything]}}
  - {{name: direct, type: route_select, next_nodes: [e]}}
server:
  - {{name: last, type: http_proxy, listen: "127.0.0.1:{last}", escaper: direct, flush_task_log_on_created: true, flush_task_log_on_connected: true}}
  - {{name: downloads, type: http_proxy, listen: "127.0.0.1:{downloads}", escaper: downloads}}
  - {{name: route, type: http_proxy, listen: "127.0.0.1:{route}", escaper: route}}
  - {{name: nowhere, type: http_proxy, listen: "127.0.0.1:{nowhere}", escaper: nowhere}}
  - {{name: rules, type: http_proxy, listen: "127.0.0.1:{rules}", escaper: e, dst_port_filter: [80]}}
"""
NAMES = ("last", "downloads", "route", "nowhere", "rules")


class WaysTests(ProxyCase):
    """Who carries such a request out: this proxy, or the next one."""

    def test_what_a_next_proxy_takes_is_forwarded_and_logged(self) -> None:
        """By method and through routes, login, range and body included; what no escaper of a server can is a 403."""
        server = FTPServer()
        self.addCleanup(server.close)
        ports = {name: free_port() for name in NAMES}
        daemon = self.daemon = self.start_daemon(CHAIN.format(**ports), ports=list(ports.values()))
        for name, method, status, body in (
            ("downloads", "GET", 206, b"tent"),
            ("downloads", "HEAD", 200, b""),
            ("downloads", "PUT", 403, None),
            ("downloads", "DELETE", 403, None),
            ("downloads", "POST", 501, None),
            ("route", "GET", 206, b"tent"),
            ("route", "PUT", 200, b""),
            ("route", "DELETE", 200, b""),
            ("nowhere", "GET", 403, None),
            ("rules", "GET", 403, None),
            ("last", "GET", 206, b"tent"),
        ):
            server.script()
            client = self.client(ports[name])
            lines = ["Content-Length: 6"] if method == "PUT" else ["Range: bytes=3-"]
            head = [f"{method} ftp://me:secret@127.0.0.1:{server.port}/f HTTP/1.1", "Host: x", "User-Agent: it", *lines, "", ""]
            answer = client.ask("\r\n".join(head).encode() + (b"upload" if method == "PUT" else b""), method)
            self.assertEqual((answer.status, answer.body if body is not None else None), (status, body), (name, method))
            logins = [line for line in server.commands if line[:4] in {"USER", "PASS"}]
            self.assertEqual(logins, ["USER me", "PASS secret"] if status < 300 else [])
            self.assertEqual(server.stored, b"upload" if (method, status) == ("PUT", 200) else b"")
        daemon.wait_until(lambda: len(self.records("Finished")) == 6, "six records")
        self.assertEqual((len(self.records("Created")), len(self.records("Connected"))), (6, 6))
        last = self.records("Finished")[-1]
        for part in (
            "rsp_status: 206",
            "reason: Finished",
            "ftp_d_rd_bytes: 4,",
            "ftp_c_connect_tries: 1",
            "ftp_d_connect_tries: 1",
            "user_agent: it",
        ):
            self.assertIn(part, last)
        self.assertIn(f"uri: ftp://me:xyz@127.0.0.1:{server.port}/f", last)
        self.assertNotIn("secret", daemon.output())

    def records(self, event: str) -> list[str]:
        """The lines of the log about requests that the last proxy carried out."""
        lines = self.daemon.output().splitlines()
        return [line for line in lines if "task_type: FtpOverHttp" in line and "server_name: last" in line and f"task_event: {event}" in line]
