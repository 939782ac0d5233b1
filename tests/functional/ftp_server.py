# SPDX-License-Identifier: Apache-2.0
"""An FTP server that says and does what a test wants, well-behaved where the test says nothing."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from typing import TYPE_CHECKING

from tests.functional.peers import ScriptedOrigin

if TYPE_CHECKING:
    from collections.abc import Callable

#: SO_LINGER that makes a close a reset.
RESET = struct.pack("ii", 1, 0)

REPLIES = {
    "greeting": b"220 hello\r\n",
    "FEAT": b"211-Features\r\n EPSV\r\n SIZE\r\n REST STREAM\r\n UTF8\r\n211 End\r\n",
    "OPTS": b"200 ok\r\n",
    "USER": b"331 password?\r\n",
    "PASS": b"230 welcome\r\n",
    "TYPE": b"200 ok\r\n",
    "CWD": b"250 ok\r\n",
    "SIZE": b"213 %d\r\n",
    "REST": b"350 ok\r\n",
    "DELE": b"250 gone\r\n",
    "RMD": b"250 gone\r\n",
    "EPSV": b"229 ok (|||%d|)\r\n",
    "PASV": b"227 ok (127,0,0,1,%d,%d)\r\n",
    "QUIT": b"221 bye\r\n",
}


class FTPServer:
    """C{replies}: by command (or C{greeting}), in place of the ordinary ones; empty for none, None to close. C{content}: what is downloaded
    and listed. C{end}: what is said when a transfer is over. C{cut}: how many bytes of C{content} come. C{reset}: the data connection ends so.
    C{upload}: reads an upload. C{stall}: is waited for before the data connection ends, and before an upload is read.

    @ivar commands: every line it was sent. @ivar stored: what was uploaded. @ivar broken: uploads that ended in a reset.
    @ivar ended: control connections that have ended.
    """

    def __init__(self) -> None:
        self.script()
        self._server = ScriptedOrigin(self._serve)
        self.port = self._server.port

    def script(
        self,
        *,
        content: bytes = b"content",
        end: bytes = b"226 done\r\n",
        cut: int | None = None,
        reset: bool = False,
        stall: threading.Event | None = None,
        upload: Callable[[socket.socket], bytes] | None = None,
        **replies: bytes | None,
    ) -> None:
        """Behave so from the next connection on."""
        self.content, self.end, self.reset, self.stall = content, end, reset, stall
        self.cut = len(content) if cut is None else cut
        self.upload = upload or read_all
        self.replies: dict[str, bytes | None] = {**REPLIES, **replies}
        self.commands: list[str] = []
        self.stored = b""
        self.broken = 0
        self.ended = threading.Semaphore(0)

    def close(self) -> None:
        self._server.close()

    def words(self) -> list[str]:
        """The commands without their arguments."""
        return [line.split(" ")[0] for line in self.commands]

    def _serve(self, connection: socket.socket, _number: int) -> None:
        ended = self.ended
        try:
            _Conversation(self, connection).run()
        finally:
            ended.release()


class _Conversation:
    """One control connection."""

    def __init__(self, server: FTPServer, connection: socket.socket) -> None:
        self.server, self.connection = server, connection
        self.listener: socket.socket | None = None
        self.offset = 0

    def run(self) -> None:
        try:
            if self.say("greeting"):
                for raw in self.connection.makefile("rb"):
                    line = raw.decode("latin-1").rstrip("\r\n")
                    self.server.commands.append(line)
                    if not self.obey(*line.partition(" ")[::2]):
                        return
        finally:
            if self.listener is not None:
                self.listener.close()

    def say(self, word: str, *numbers: int) -> bool:
        reply = self.server.replies.get(word, b"502 what?\r\n")
        if reply is None:
            return False
        with contextlib.suppress(TypeError):  # a reply of the test's own, without numbers
            reply = reply % numbers
        self.connection.sendall(reply)
        return True

    def obey(self, word: str, argument: str) -> bool:
        if word in {"RETR", "LIST", "STOR"}:
            return self.transfer(word)
        if word == "REST" and self.server.replies[word] == REPLIES[word]:
            self.offset = int(argument)
        if word == "SIZE":
            return self.say(word, len(self.server.content))
        if word in {"EPSV", "PASV"}:
            self.listener = socket.create_server(("127.0.0.1", 0))
            port = self.listener.getsockname()[1]
            return self.say(word, *((port,) if word == "EPSV" else divmod(port, 256)))
        return self.say(word) and word != "QUIT"

    def wait(self) -> None:
        if self.server.stall is not None:
            self.server.stall.wait(30)

    def transfer(self, word: str) -> bool:
        server = self.server
        if word in server.replies:
            return self.say(word)
        assert self.listener is not None
        data, _ = self.listener.accept()
        with data:
            self.connection.sendall(b"150 go\r\n")
            data.settimeout(20)
            if word == "STOR":
                self.wait()
                try:
                    server.stored = server.upload(data)
                except ConnectionResetError:
                    server.broken += 1
            else:
                with contextlib.suppress(OSError):
                    data.sendall(server.content[self.offset : server.cut])
                self.wait()
            if server.reset:
                data.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.connection.sendall(server.end)
        return True


def read_all(data: socket.socket) -> bytes:
    """Everything up to the end."""
    content = bytearray()
    while piece := data.recv(65536):
        content += piece
    return bytes(content)
