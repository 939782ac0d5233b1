# SPDX-License-Identifier: Apache-2.0
"""FTP over HTTP: curl asks http_proxy for ftp:// URIs of a real vsftpd."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

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
        self.ftp = free_port()
        server = start_vsftpd(self.directory, self.ftp, VSFTPD_ANONYMOUS.format(root=self.root))
        self.addCleanup(server.kill)

    def curl(self, path: str, *options: str) -> tuple[int, bytes]:
        """The status and the body curl got; 0 where the body did not end well."""
        out = self.directory / "got"
        out.unlink(missing_ok=True)
        url = f"ftp://127.0.0.1:{self.ftp}/{path}"
        argv = ["curl", "-s", "-m", "30", "-x", f"http://127.0.0.1:{self.port}", "-o", str(out), "-w", "%{http_code}", *options, url]
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
        for path in ("below/copy", "below/chunks", "below/empty", "below/"):
            self.assertEqual(self.curl(path, "-X", "DELETE"), (200, b""), path)
        self.assertFalse((self.root / "below").exists())
        self.assertEqual(self.curl("below/copy", "-X", "DELETE")[0], 404)
        self.assertEqual(self.curl("small%20file", "-I")[0], 200)
