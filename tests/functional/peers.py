# SPDX-License-Identifier: Apache-2.0
"""The real programs the proxy meets in tests: name server, origins, a next proxy."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from tests.functional.needs import need
from tests.functional.processes import Process

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.functional.namespaces import Namespace

HTTPBIN_PORT = 80


def start_dnsmasq(namespace: Namespace, directory: Path, **addresses: str) -> Process:
    """A name server on port 53 inside that knows upstream's test hosts and C{addresses}, and nothing else."""
    need("dnsmasq")
    known = {"httpbin.local": "127.0.0.1", "g3proxy.local": "127.0.0.1", **addresses}
    options = ["--no-resolv", "--no-hosts", "--listen-address=127.0.0.1", "--bind-interfaces"]
    options += ["--user=root", "--log-facility=-", "--conf-file=/dev/null"]
    options += [f"--address=/{name}/{address}" for name, address in known.items()]
    process = Process("dnsmasq", ["dnsmasq", "--keep-in-foreground", "--pid-file", *options], directory / "dnsmasq.log", namespace=namespace)
    process.wait_listening(53, kind="udp")
    return process


def start_httpbin(namespace: Namespace, directory: Path) -> Process:
    """PyPI's httpbin under gunicorn, on port 80 of 127.0.0.1 inside."""
    options = ["--bind", f"127.0.0.1:{HTTPBIN_PORT}", "--worker-class", "gthread", "--threads", "16", "--workers", "1", "--no-control-socket"]
    argv = [sys.executable, "-m", "gunicorn", *options, "httpbin:app"]
    process = Process("httpbin", argv, directory / "httpbin.log", namespace=namespace)
    process.wait_listening(HTTPBIN_PORT, seconds=40)
    return process


NGINX_CONFIG = """
daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log {directory}/nginx.error.log info;
events {{ worker_connections 1024; }}
http {{
    access_log {directory}/nginx.access.log;
    client_body_temp_path {directory}/nginx-body;
    proxy_temp_path {directory}/nginx-proxy;
    fastcgi_temp_path {directory}/nginx-fastcgi;
    uwsgi_temp_path {directory}/nginx-uwsgi;
    scgi_temp_path {directory}/nginx-scgi;
    client_max_body_size 64m;
    default_type text/plain;
    {servers}
}}
"""
#: The origin of upstream's cases: httpbin once more, with TLS and HTTP/2.
HTTPBIN_SERVERS = """
    server {{
        server_name httpbin.local;
        listen 2080;
        listen [::]:2080;
        listen 2443 ssl http2;
        listen [::]:2443 ssl http2;
        ssl_certificate {certificates}/httpbin.local.pem;
        ssl_certificate_key {certificates}/httpbin.local-key.pem;
        location / {{
            proxy_pass http://127.0.0.1:80/;
            proxy_http_version 1.1;
            proxy_buffering off;
            proxy_request_buffering off;
        }}
    }}
"""


def start_nginx(directory: Path, servers: str, *ports: int, namespace: Namespace | None = None) -> Process:
    """nginx with these server blocks; it is waited for on C{ports}."""
    need("nginx")
    config = directory / "nginx.conf"
    config.write_text(NGINX_CONFIG.format(directory=directory, servers=servers))
    process = Process("nginx", ["nginx", "-c", str(config), "-p", str(directory), "-e", "stderr"], directory / "nginx.log", namespace=namespace)
    process.wait_listening(*ports)
    return process


SQUID_CONFIG = """
http_port 127.0.0.1:{port}
{more}
http_access allow all
cache deny all
cache_mem 0 MB
pid_filename none
access_log stdio:{directory}/squid.access.log
cache_log {directory}/squid.cache.log
coredump_dir {directory}
netdb_filename none
pinger_enable off
shutdown_lifetime 0 seconds
visible_hostname next.local
"""


def start_squid(directory: Path, port: int, more: str = "", *, namespace: Namespace | None = None) -> Squid:
    """Squid as a next proxy on 127.0.0.1, caching nothing; C{more} are further lines of its configuration."""
    need("squid")
    # Started by root it writes as the user proxy, who may not enter the test's directory.
    logs = Path(tempfile.mkdtemp(prefix="g3squid"))
    logs.chmod(0o777)
    config = directory / "squid.conf"
    config.write_text(SQUID_CONFIG.format(port=port, directory=logs, more=more))
    # A service name of its own, since squids of one name share their memory segments.
    argv = ["squid", "-N", "-n", logs.name.replace("_", ""), "-f", str(config)]
    process = Squid(logs, argv, directory / "squid.log", namespace=namespace)
    process.wait_listening(port)
    return process


class Squid(Process):
    """Squid, and its logs while it runs."""

    def __init__(self, logs: Path, argv: list[str], log: Path, *, namespace: Namespace | None) -> None:
        self.logs = logs
        super().__init__("squid", argv, log, namespace=namespace)

    def output(self) -> str:
        cache_log = self.logs / "squid.cache.log"
        return super().output() + (cache_log.read_text(errors="replace") if cache_log.exists() else "")

    def access_log(self) -> str:
        """One line for each request it served."""
        return (self.logs / "squid.access.log").read_text(errors="replace")

    def kill(self) -> None:
        super().kill()
        shutil.rmtree(self.logs, ignore_errors=True)
        for segment in Path("/dev/shm").glob(f"{self.logs.name.replace('_', '')}-*"):
            segment.unlink(missing_ok=True)


VSFTPD_CONFIG = """
{listen}
listen_port={port}
background=NO
seccomp_sandbox=NO
isolate=NO
isolate_network=NO
write_enable=YES
allow_writeable_chroot=YES
log_ftp_protocol=YES
xferlog_enable=YES
vsftpd_log_file={directory}/vsftpd.log
{more}
"""
#: Anybody may do anything, with the rights of whoever runs the tests.
VSFTPD_ANONYMOUS = """
run_as_launching_user=YES
anonymous_enable=YES
anon_root={root}
anon_umask=022
anon_world_readable_only=NO
anon_upload_enable=YES
anon_mkdir_write_enable=YES
anon_other_write_enable=YES
"""


VSFTPD_USERS = """
anonymous_enable=NO
local_enable=YES
chroot_local_user=YES
pam_service_name=vsftpd
"""


def start_vsftpd_of(namespace: Namespace, directory: Path, root: Path, name: str, password: str) -> Process:
    """vsftpd on port 21 inside, where there is a user with this password and the home C{root}."""
    need("openssl")
    hashed = subprocess.run(["openssl", "passwd", "-6", password], capture_output=True, text=True, check=True).stdout.strip()
    everybody = Path("/etc/passwd").read_text()
    users = {"passwd": f"{everybody}{name}:x:65533:65533::{root}:/bin/sh\n", "shadow": f"{name}:{hashed}:20000:0:99999:7:::\n"}
    for file, content in users.items():
        ours = directory / file
        ours.write_text(content)
        mounted = namespace.run("mount", "--bind", str(ours), f"/etc/{file}")
        if mounted.returncode != 0:
            raise AssertionError(mounted.stdout)
    return start_vsftpd(directory, 21, VSFTPD_USERS, namespace=namespace)


def start_vsftpd(directory: Path, port: int, more: str, *, address: str = "127.0.0.1", namespace: Namespace | None = None) -> Process:
    """vsftpd on C{address}; C{more} says who may log in, and where. What it is told and says is in vsftpd.log in C{directory}."""
    need("vsftpd")
    config = directory / "vsftpd.conf"
    listen = f"listen=NO\nlisten_ipv6=YES\nlisten_address6={address}" if ":" in address else f"listen=YES\nlisten_address={address}"
    config.write_text(VSFTPD_CONFIG.format(listen=listen, port=port, directory=directory, more=more))
    process = Process("vsftpd", ["vsftpd", str(config)], directory / "vsftpd.out", namespace=namespace)
    process.wait_listening(port)
    return process


def answer_ok(_request: bytes) -> bytes:
    """The plainest answer: 200, a body of two bytes, keep-alive."""
    return b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class ScriptedOrigin:
    """An origin that does with each connection what C{script(connection, number)} does; numbers count from 0. It closes when that returns."""

    def __init__(self, script: Callable[[socket.socket, int], None]) -> None:
        self._script = script
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self._listener.getsockname()[1]
        #: How many connections were ever made to it.
        self.connections = 0
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            number, self.connections = self.connections, self.connections + 1
            self._open.append(connection)
            threading.Thread(target=self._serve, args=(connection, number), daemon=True).start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        with contextlib.suppress(OSError), connection:
            connection.settimeout(30)
            self._script(connection, number)

    def close(self) -> None:
        for each in [self._listener, *self._open]:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def read_head(connection: socket.socket) -> bytes:
    """All bytes up to the end of a head, and what came with it; empty at the end of the connection."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            return b""
        data += piece
    return data


def read_exactly(connection: socket.socket, size: int) -> int:
    """Read and forget so many bytes; how many there were until the connection's end."""
    left = size
    while left and (data := connection.recv(min(left, 1 << 20))):
        left -= len(data)
    return size - left


class RecordingOrigin:
    """An origin that keeps every byte it is sent, connection by connection, and parses nothing but where a head ends.

    C{answer} gets what a connection sent since the last answer, once it has the end of a head; it returns the bytes to send, empty for
    none. An C{answer} of None never sends anything.
    """

    def __init__(self, answer: Callable[[bytes], bytes] | None = answer_ok, *, namespace: Namespace | None = None, port: int = 0) -> None:
        self.answer = answer
        self.received: list[bytearray] = []
        #: How many connections have ended.
        self.ended = 0
        self._lock = threading.Condition()
        self._listener = socket.socket() if namespace is None else namespace.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(("127.0.0.1", port))
        self._listener.listen(64)
        self.port: int = self._listener.getsockname()[1]
        self._connections: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            record = bytearray()
            with self._lock:
                self.received.append(record)
                self._connections.append(connection)
                self._lock.notify_all()
            thread = threading.Thread(target=self._serve, args=(connection, record), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket, record: bytearray) -> None:
        answered = 0
        try:
            while data := connection.recv(65536):
                with self._lock:
                    record += data
                    self._lock.notify_all()
                if self.answer is not None and b"\r\n\r\n" in record[answered:]:
                    reply = self.answer(bytes(record[answered:]))
                    if reply:
                        answered = len(record)
                        connection.sendall(reply)
        except OSError:
            pass
        finally:
            connection.close()
            with self._lock:
                self.ended += 1
                self._lock.notify_all()

    @property
    def everything(self) -> bytes:
        """All bytes of all connections."""
        with self._lock:
            return b"".join(bytes(record) for record in self.received)

    @property
    def connections(self) -> int:
        """How many connections were ever made to it."""
        with self._lock:
            return len(self.received)

    def wait_for(self, wanted: Callable[[], bool], seconds: float = 5.0) -> bool:
        """Wait until something is true of what was received; whether it became so."""
        with self._lock:
            return self._lock.wait_for(wanted, seconds)

    def close(self) -> None:
        # A shutdown wakes the threads that wait in accept and recv, which a close does not.
        with self._lock:
            everybody = [self._listener, *self._connections]
        for each in everybody:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in list(self._threads):
            thread.join(5)
        self._listener.close()
