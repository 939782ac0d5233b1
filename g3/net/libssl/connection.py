# SPDX-License-Identifier: Apache-2.0
"""One TLS connection of the host's OpenSSL, in the shape of pyOpenSSL's C{Connection} and with its exceptions (see g3.net.tls.provider).

Only the thread of the reactor has connections, so that they share one buffer to read into.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakValueDictionary

from OpenSSL import SSL

from g3.net.libssl.library import ROOM

if TYPE_CHECKING:
    import socket

    from g3.net.libssl.library import Library

_WANT_READ, _WANT_WRITE, _SYSCALL, _ZERO_RETURN = 2, 3, 5, 6
#: ERR_GET_REASON of OpenSSL 3, and the reason of an end without close_notify.
_REASON_MASK: Final = 0x7FFFFF
_UNEXPECTED_EOF: Final = 294
_MOST_ERRORS: Final = 16

#: Connections by the address of their C{SSL}: callbacks are told no more.
live: WeakValueDictionary[int, LibsslConnection] = WeakValueDictionary()


class LibsslConnection:
    """A connection in server state: on C{sock}, which must outlive it, or over two memory buffers.

    @param side: what made it; its callbacks ask there.
    """

    __slots__ = ("__weakref__", "_in", "_lib", "_out", "_ssl", "_tls", "problem", "side", "sock")

    def __init__(self, lib: Library, context: Any, side: Any, sock: socket.socket | None) -> None:
        self._lib = lib
        tls = self._tls = lib.tls
        ssl = tls.SSL_new(context)
        if ssl == lib.ffi.NULL:
            raise MemoryError("no memory for a TLS connection")
        self._ssl: Any = lib.ffi.gc(ssl, tls.SSL_free)
        self.side = side
        #: What went wrong in a callback.
        self.problem: Exception | None = None
        self.sock = sock
        if sock is not None:
            tls.SSL_set_fd(ssl, sock.fileno())
        else:
            # They are the connection's, which frees them.
            self._in = lib.crypto.BIO_new(lib.crypto.BIO_s_mem())
            self._out = lib.crypto.BIO_new(lib.crypto.BIO_s_mem())
            tls.SSL_set_bio(ssl, self._in, self._out)
        tls.SSL_set_accept_state(ssl)
        live[int(lib.ffi.cast("uintptr_t", ssl))] = self

    @property
    def handle(self) -> Any:
        """The C{SSL *}."""
        return self._ssl

    def do_handshake(self) -> None:
        """Go on with the handshake. Raises WantReadError and its like."""
        result = self._tls.SSL_do_handshake(self._ssl)
        if result != 1:
            self._fail(result)

    def recv(self, bufsiz: int) -> bytes:
        """Up to C{bufsiz} bytes, one record at most."""
        result = self._tls.SSL_read(self._ssl, self._lib.room, min(bufsiz, ROOM))
        if result <= 0:
            self._fail(result)
        return self._lib.view[:result]  # type: ignore[no-any-return]

    def send(self, buf: bytes | bytearray | memoryview) -> int:
        """Encrypt all of C{buf}; after WantWriteError it must be tried again with the same beginning."""
        if not buf:
            return 0
        result = self._tls.SSL_write(self._ssl, self._lib.ffi.from_buffer(buf), len(buf))
        if result <= 0:
            self._fail(result)
        return int(result)

    def shutdown(self) -> bool:
        """Send close_notify; whether the peer's was seen."""
        result = self._tls.SSL_shutdown(self._ssl)
        if result < 0:
            self._fail(result)
        return bool(result > 0)

    def pending(self) -> int:
        """Decrypted bytes that wait."""
        return int(self._tls.SSL_pending(self._ssl))

    def bio_read(self, bufsiz: int) -> bytes:
        """Encrypted bytes to send. Raises WantReadError when there are none."""
        result = self._lib.crypto.BIO_read(self._out, self._lib.room, min(bufsiz, ROOM))
        if result <= 0:
            raise SSL.WantReadError
        return self._lib.view[:result]  # type: ignore[no-any-return]

    def bio_write(self, buf: bytes) -> int:
        """Encrypted bytes that came."""
        return int(self._lib.crypto.BIO_write(self._in, self._lib.ffi.from_buffer(buf), len(buf)))

    def _fail(self, result: int) -> None:
        """Raise what C{result} means."""
        number = self._lib.ffi.errno
        kind = self._tls.SSL_get_error(self._ssl, result)
        if kind == _WANT_READ:
            raise SSL.WantReadError
        if kind == _WANT_WRITE:
            raise SSL.WantWriteError
        problem, self.problem = self.problem, None
        if problem is not None:
            self._lib.crypto.ERR_clear_error()
            raise problem
        if kind == _ZERO_RETURN:
            raise SSL.ZeroReturnError
        crypto = self._lib.crypto
        code = crypto.ERR_peek_error()
        if code & _REASON_MASK == _UNEXPECTED_EOF:
            crypto.ERR_clear_error()
            raise SSL.SysCallError(-1, "Unexpected EOF")
        if kind == _SYSCALL and code == 0:
            raise SSL.SysCallError(number, errno.errorcode.get(number, "")) if result < 0 and number else SSL.SysCallError(-1, "Unexpected EOF")
        raise SSL.Error(drain_errors(self._lib))


def drain_errors(lib: Library) -> list[tuple[str, str, str]]:
    """This thread's error queue, empty afterwards, as pyOpenSSL puts it: library, function (which OpenSSL 3 does not tell), reason."""
    found: list[tuple[str, str, str]] = []
    while len(found) < _MOST_ERRORS and (code := lib.crypto.ERR_get_error()):
        found.append((lib.text(lib.crypto.ERR_lib_error_string(code)), "", lib.text(lib.crypto.ERR_reason_error_string(code))))
    lib.crypto.ERR_clear_error()
    return found
