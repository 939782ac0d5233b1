# SPDX-License-Identifier: Apache-2.0
"""TLS directly on a socket: a L{Stream} whose bytes go through OpenSSL, which reads and writes the descriptor itself.

What OpenSSL holds back is invisible to the reactor, so four rules keep a connection from stopping: whole records are read, so that nothing
decrypted stays behind; what stays all the same (a speed limit, a pause) is fetched when reading goes on; a write that OpenSSL could not
finish is tried again with the same bytes first in the queue; and everything is flushed before close_notify, close_notify before FIN.
"""

from __future__ import annotations

import errno
import os
from socket import IPPROTO_TCP, TCP_INFO
from sys import byteorder
from typing import TYPE_CHECKING, Any, Final

from OpenSSL import SSL

from g3.net.tls.errors import TLSTruncated
from g3.net.transport import READ_AHEAD, Stream, allowed, call_soon, longest_delay

if TYPE_CHECKING:
    import socket

    from cryptography.x509 import Certificate
    from twisted.python.failure import Failure

    from g3.net.tls.provider import Side, TLSInfo
    from g3.net.transport import Borrower
    from g3.task import SocketAddress

#: The most application bytes a TLS record carries (RFC 8446 section 5.1).
RECORD: Final = 16384
_IOV: Final = 64
#: Reads at close, at most.
_DISCARDS: Final = 8
#: Where struct tcp_info (linux/tcp.h) has bytes_received, bytes_sent, bytes_retrans.
_TCP_INFO_FIELDS: Final = (128, 200, 208)
_TCP_INFO_SIZE: Final = 216


def as_oserror(error: SSL.Error) -> OSError:
    """What the streams' error handling knows, of what OpenSSL raises for a connection."""
    if isinstance(error, SSL.SysCallError):
        number = error.args[0]
        return TLSTruncated(errno.ECONNRESET, "closed without close_notify") if number == -1 else OSError(number, os.strerror(number))
    text = ", ".join(str(entry[-1]) for entry in error.args[0]) if error.args and isinstance(error.args[0], list) else str(error)
    return OSError(errno.EPROTO, text or "TLS error")


class Agreed:
    """What a TLS connection of C{side} agreed on (C{tls}), for whoever asks its stream."""

    __slots__ = ()

    tls: TLSInfo
    side: Side
    _tls: Any

    @property
    def alpn(self) -> str:
        """The application protocol agreed on, "" for none."""
        return self.tls.alpn

    @property
    def tls_version(self) -> str:
        return self.tls.version

    @property
    def server_name(self) -> str:
        """The name the client asked for, "" for none."""
        return self.tls.server_name

    @property
    def peer_certificate(self) -> Certificate | None:
        """The peer's own certificate, while connected."""
        return None if self._tls is None else self.side.peer_certificate(self._tls)


class TLSStream(Agreed, Stream):
    """An established TLS connection on a socket. C{bytes_in}, C{bytes_out} and C{queued} count application bytes.

    The peer's close_notify is the end of its direction; a connection that ends without is lost (C{truncated}), since what was read may lack
    its end. C{tls} says what was agreed on.
    """

    __slots__ = ("_again", "_held", "_keep", "_notified", "_read_wants_write", "_tls", "_tried", "side", "tls", "truncated")

    def __init__(
        self,
        reactor: Any,
        sock: socket.socket,
        connection: Any,
        side: Side,
        *,
        local: SocketAddress | None = None,
        peer: SocketAddress | None = None,
        read_size: int = 65536,
    ) -> None:
        """@param connection: of C{side} on C{sock}, its handshake done."""
        super().__init__(reactor, sock, local=local, peer=peer, read_size=read_size)
        self._tls = connection
        self.side = side
        self.tls: TLSInfo = side.info(connection)
        self.truncated = False
        #: What ended the reading behind the bytes that were just delivered.
        self._held: Exception | None = None
        self._again = self._read_wants_write = self._notified = False
        self._keep = True
        self._tried = 0

    def wire_bytes(self) -> tuple[int, int]:
        """Bytes received and sent above TCP, the handshake included, as the kernel counts them; without a socket those of the application."""
        if self.socket is None:
            return self.bytes_in, self.bytes_out
        try:
            told = self.socket.getsockopt(IPPROTO_TCP, TCP_INFO, _TCP_INFO_SIZE)
            received, sent, again = (int.from_bytes(told[at : at + 8], byteorder) for at in _TCP_INFO_FIELDS)
        except OSError:
            return self.bytes_in, self.bytes_out
        return received, sent - again

    def detach(self) -> socket.socket:
        """@raise RuntimeError: always; the socket is of no use without the keys."""
        raise RuntimeError("a TLS stream cannot give its socket away")

    def borrow_read(self, borrower: Borrower | None) -> None:
        if borrower is not None:
            raise RuntimeError("nobody else can read the socket of a TLS stream")

    def borrow_write(self, borrower: Borrower | None) -> None:
        if borrower is not None:
            raise RuntimeError("nobody else can write to the socket of a TLS stream")

    # -- reading

    def doRead(self) -> None:
        if not self._plain:
            self._special_read()
            return
        try:
            data = self._receive(self.read_size)
        except OSError as error:
            self._read_error(error)
            return
        self._received(data)

    def _received(self, data: bytes | None) -> None:
        if data:
            self.bytes_in += len(data)
            if self._keep:
                self._keep = False
                self.side.remember(self._tls)
            self.protocol.dataReceived(data)
            if self._held is not None:
                self._go_on()
        elif data is not None:
            self.end_input()

    def _receive(self, most: int) -> bytes | None:
        """Up to C{most} bytes; b"" at the end of the peer's direction, None when there is nothing yet.

        A record shorter than the longest is the last that is there, as a rule, so no call is spent to learn so.
        """
        held, self._held = self._held, None
        if held is not None:
            return self._ended(held)
        receive, size = self._tls.recv, 0
        parts: list[bytes] = []
        try:
            while size < most:
                data = receive(min(RECORD, most - size))
                size += len(data)
                if len(data) < RECORD and not parts:
                    return data  # type: ignore[no-any-return]
                parts.append(data)
                if len(data) < RECORD:
                    break
        except SSL.WantReadError:
            pass
        except SSL.Error as error:
            if not parts:
                return self._ended(error)
            self._held = error
        return b"".join(parts) if parts else None

    def _ended(self, error: Exception) -> bytes | None:
        """What an exception of OpenSSL means to the reader."""
        if isinstance(error, SSL.ZeroReturnError):
            return b""
        if isinstance(error, SSL.WantWriteError):
            # An answer to a key update waits for room in the socket.
            self._read_wants_write = True
            self.want_write()
            return None
        if isinstance(error, SSL.Error):
            lost = as_oserror(error)
            self.truncated = isinstance(lost, TLSTruncated)
            raise lost
        raise error

    def _limited_read(self) -> None:
        now = self.reactor.seconds()
        most = allowed(self.read_limits, now, self.read_size)
        if most <= 0:
            self.hold_reading(longest_delay(self.read_limits, now))
            return
        try:
            data = self._receive(most)
        except OSError as error:
            self._read_error(error)
            return
        for limiter in self.read_limits:
            limiter.spend(len(data or b""))
        self._received(data)
        # What is left of a record is known to OpenSSL alone.
        self._go_on()

    def _read_ahead(self) -> None:
        room = READ_AHEAD - len(self._unread or b"")
        try:
            data = self._receive(room) if room > 0 else None
        except OSError as error:
            self._read_error(error)
            return
        if data:
            self.bytes_in += len(data)
            self._unread = (self._unread or b"") + data
        elif data is not None or room <= 0:
            self._reading = False
            self.reactor.removeReader(self)
            if data is not None:
                self._eof = 1
                self._hung_up(False)

    def _go_on(self) -> None:
        super()._go_on()
        wanted = self._reading and not self._paused and not self._again and self._tls is not None
        if wanted and (self._held is not None or self._tls.pending()):
            self._again = True
            call_soon(self.reactor, self._read_again)

    def _read_again(self) -> None:
        """Fetch what OpenSSL, or we, had kept while nobody could read it."""
        self._again = False
        if self._reading and not self._paused and self.socket is not None and self.protocol is not None:
            self.doRead()

    # -- writing

    def doReadLast(self) -> None:
        """The end of TLS is not that of the connection below it."""
        self.doRead()

    def write_last(self, data: bytes) -> None:
        """As L{Stream.write_last}, but for the one packet."""
        self.write(data)
        self.loseWriteConnection()

    def write(self, data: bytes) -> None:
        """Encrypt and send now what the kernel takes and queue the rest. Never calls the protocol; ignored once our direction is ended."""
        if not self._direct or not data:
            self._slow_write(data)
            return
        try:
            sent = self._tls.send(data)
        except SSL.WantWriteError:
            self._tried = len(data)
            self._enqueue(data)
        except SSL.Error as error:
            self.fail_write(as_oserror(error))
        else:
            self.bytes_out += sent
            if sent != len(data):
                self._tried = len(data) - sent
                self._enqueue(data[sent:])

    def doWrite(self) -> None:
        if self._read_wants_write:
            self._read_wants_write = False
            if self._plain:
                self.doRead()
        super().doWrite()

    def _send(self, queue: list[bytes | bytearray | memoryview]) -> int:
        total = 0
        for piece in queue[:_IOV]:
            try:
                sent = self._tls.send(piece)
            except SSL.WantWriteError:
                # Tried again from here; pieces added to it later do not matter, its beginning stays.
                self._tried = len(piece)
                if total:
                    return total
                raise BlockingIOError from None
            except SSL.Error as error:
                raise as_oserror(error) from error
            total += sent
            self._tried = len(piece) - sent
            if self._tried:
                break
        return total

    def _send_limited(self, queue: list[bytes | bytearray | memoryview]) -> int:
        now = self.reactor.seconds()
        most = allowed(self.write_limits, now, RECORD)
        if most <= 0 and not self._tried:
            self.hold_writing(longest_delay(self.write_limits, now))
            return -1
        # OpenSSL has encrypted what was tried before, and takes no less of it.
        sent = self._send([memoryview(queue[0])[: max(most, self._tried)]])
        for limiter in self.write_limits:
            limiter.spend(sent)
        return sent

    # -- the end

    def _finish_closing(self) -> None:
        ending = self.disconnecting or self._write_state == 1
        if ending and not self.queued and self._producer is None and self.socket is not None and not self._notify():
            self.want_write()
        else:
            super()._finish_closing()

    def _discard_input(self) -> None:
        """Session tickets nobody has read yet would make the kernel reset the connection at close, and drop what it has still to send."""
        try:
            for _ in range(_DISCARDS):
                if not self.socket.recv(RECORD):  # type: ignore[union-attr]
                    break
        except OSError:  # nothing is there, or nobody
            pass

    def _notify(self) -> bool:
        """Send close_notify; False while the socket has no room for it."""
        if self._notified or self.write_failed:
            return True
        try:
            self._tls.shutdown()
        except SSL.WantWriteError:
            return False
        except SSL.Error:  # the connection is broken: there is nobody to notify
            pass
        self._notified = True
        return True

    def _close(self, reason: Failure) -> None:
        if self._notified:
            self._discard_input()
        super()._close(reason)
        if self._tls is not None:
            self.side.ended(self._tls)
            self._tls = None
        self._held = None
