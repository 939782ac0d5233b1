# SPDX-License-Identifier: Apache-2.0
"""Sinks and encoders of the log drivers: syslog, journal, stdout."""

from __future__ import annotations

import array
import errno
import fcntl
import os
import select
import socket
import stat
import time
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from g3.proto import journald, syslog
from g3.proto.escape import MAX_VALUE, escape
from g3.proto.record import Templates

if TYPE_CHECKING:
    from g3.logs.options import Journal, Syslog
    from g3.proto.record import Fields

#: Seconds between two tries to reach a log daemon that is gone.
RECONNECT_DELAY = 4.0
#: Bytes of one datagram: what UDP can carry, less headers.
DATAGRAM_LIMIT = 65000
#: A record for journald may be this big, by memfd.
JOURNAL_LIMIT = 1024 * 1024
#: What a pipe takes as a whole, POSIX: lines of several processes do not mix.
PIPE_LIMIT = select.PIPE_BUF


class DatagramSink:
    """A connected, non-blocking datagram socket, made at the first record and again some seconds after it failed.

    @param target: path of a unix socket, or (ip, port).
    """

    limit = DATAGRAM_LIMIT

    def __init__(self, reactor: Any, target: str | tuple[str, int], bind_ip: str = "") -> None:
        self._reactor = reactor
        self._target = target
        self._bind_ip = bind_ip
        self._socket: socket.socket | None = None
        self._retry_at = 0.0
        self._error: OSError | None = None

    def send(self, record: bytes) -> None:
        """See g3.logs.logger.Sink."""
        sock = self._socket or self._open()
        try:
            sock.send(record)
        except BlockingIOError:
            raise
        except OSError as error:
            if error.errno == errno.ENOBUFS:
                raise BlockingIOError(error.errno, "no buffer space") from None
            if error.errno != errno.EMSGSIZE:
                self._failed(error)
            raise

    def _open(self) -> socket.socket:
        if self._error is not None and self._reactor.seconds() < self._retry_at:
            raise self._error
        target = self._target
        try:
            self._socket = self._connected(target)
        except OSError as error:
            self._failed(error)
            raise
        self._error = None
        return self._socket

    def _connected(self, target: str | tuple[str, int]) -> socket.socket:
        if isinstance(target, str):
            family = socket.AF_UNIX
        else:
            family = socket.AF_INET6 if ":" in target[0] else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            if self._bind_ip:
                sock.bind((self._bind_ip, 0))
            sock.connect(target)
        except OSError:
            sock.close()
            raise
        return sock

    def _failed(self, error: OSError) -> None:
        self.close()
        self._error = error
        self._retry_at = self._reactor.seconds() + RECONNECT_DELAY

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class JournalSink(DatagramSink):
    """The same to journald; a record too big for a datagram goes as a sealed memfd, whose descriptor is sent alone."""

    limit = JOURNAL_LIMIT

    def send(self, record: bytes) -> None:
        try:
            super().send(record)
        except OSError as error:
            if error.errno != errno.EMSGSIZE or self._socket is None:
                raise
            self._send_memfd(self._socket, record)

    @staticmethod
    def _send_memfd(sock: socket.socket, record: bytes) -> None:
        descriptor = os.memfd_create("g3-journal", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            view = memoryview(record)
            while view:
                view = view[os.write(descriptor, view) :]
            seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
            sock.sendmsg([], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))])
        finally:
            os.close(descriptor)


def reopened(descriptor: int) -> int:
    """The pipe or terminal behind a descriptor, opened anew for writing without blocking; -1 when that is not possible."""
    try:
        return os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return -1


def _mode(descriptor: int) -> int:
    try:
        return os.fstat(descriptor).st_mode
    except OSError:
        return 0


class StdoutSink:
    """Whole lines to a descriptor, never waiting for its reader.

    A pipe or terminal is opened anew without blocking where the system lets us, so that flags of the descriptor, shared with others, stay.
    Lines to a pipe are at most PIPE_BUF bytes, which the kernel takes as a whole.
    """

    def __init__(self, descriptor: int = 1) -> None:
        self._descriptor = descriptor
        self._own = -1
        self._socket: socket.socket | None = None
        mode = _mode(descriptor)
        self._file = stat.S_ISREG(mode)
        self.limit = JOURNAL_LIMIT if self._file else PIPE_LIMIT
        if stat.S_ISSOCK(mode):
            self._socket = socket.socket(fileno=os.dup(descriptor))
        elif not self._file:
            self._own = reopened(descriptor)

    def send(self, record: bytes) -> None:
        """One record, a line already; what is beyond the limit is cut off, since a pipe could take a part only."""
        if len(record) > self.limit:
            record = record[: self.limit - 1] + b"\n"
        if self._socket is not None:
            self._socket.send(record, socket.MSG_DONTWAIT)
        elif self._own >= 0:
            os.write(self._own, record)
        else:
            if not self._file and not self._writable():
                raise BlockingIOError(errno.EAGAIN, "stdout is full")
            os.write(self._descriptor, record)

    def _writable(self) -> bool:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        return bool(poll.poll(0))

    def close(self) -> None:
        if self._own >= 0:
            os.close(self._own)
            self._own = -1
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class JournalEncoder:
    """Named values for journald, with our identifier and upstream's priority."""

    def __init__(self, ident: str) -> None:
        self._start = journald.encode_fields([("PRIORITY", syslog.NOTICE), ("SYSLOG_IDENTIFIER", ident)])

    def constants(self, fields: Fields) -> bytes:
        return self._start + journald.encode_fields(fields)

    def encode(self, constants: bytes, message: str, fields: Fields, now: float, *, limit: int = MAX_VALUE) -> bytes:
        return constants + journald.encode_fields(fields, limit) + journald.encode_field("MESSAGE", message, limit)


class LineEncoder:
    """C{Dec 01 10:20:30.123 INFO key: value, key: value, MESSAGE}, keys sorted, local time; C{()} for no message."""

    def constants(self, fields: Fields) -> _LineConstants:
        return _LineConstants(_line_pairs(fields, MAX_VALUE))

    def encode(self, constants: _LineConstants, message: str, fields: Fields, now: float, *, limit: int = MAX_VALUE) -> bytes:
        pairs = constants.templates.fill(fields, message, limit)
        if pairs is None:
            message = escape(message, limit)
            texts = [text for _, text in sorted([*constants.pairs, *_line_pairs(fields, limit)], key=itemgetter(0))]
            pairs = "".join(texts).encode("utf-8", "replace")
        return f"{line_time(now)} INFO ".encode() + pairs + f"{message or '()'}\n".encode("utf-8", "replace")


class _LineConstants:
    """Pairs that stand in each line of a logger, and the templates in which they have their places."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self.pairs = pairs
        self.templates = Templates(lambda name, _: f"{name}: %s, ", ordered=True, constants=pairs)


def _line_pairs(fields: Fields, limit: int) -> list[tuple[str, str]]:
    """By name."""
    return [
        (key, f"{key}: {escape(value, limit) if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else value}, ")
        for key, value in fields
        if value is not None
    ]


def line_time(now: float) -> str:
    """C{Dec 01 10:20:30.123}, local time."""
    second, millis = divmod(int(now * 1000), 1000)
    local = time.localtime(second)
    return f"{syslog.month(local.tm_mon)} {local.tm_mday:02} {local.tm_hour:02}:{local.tm_min:02}:{local.tm_sec:02}.{millis:03}"


def syslog_sink(reactor: Any, options: Syslog) -> DatagramSink:
    """The socket of a syslog driver."""
    return DatagramSink(reactor, options.udp or options.unix, options.bind_ip)


def syslog_encoder(options: Syslog, ident: str, pid: int) -> syslog.Format:
    """The format of a syslog driver."""
    hostname = socket.gethostname() if options.emit_hostname else ""
    report = options.append_report_ts
    if options.rfc5424 is None:
        plain = syslog.Header3164(ident, pid, facility=options.facility, hostname=hostname)
        return syslog.CEE(plain, flag=options.cee_flag, report_ts=report) if options.cee_flag else syslog.Text3164(plain, report_ts=report)
    own = options.rfc5424
    header = syslog.Header5424(ident, pid, facility=options.facility, hostname=hostname, message_id=own.message_id)
    if options.cee_flag:
        return syslog.CEE(header, flag=options.cee_flag, report_ts=report)
    return syslog.Structured5424(header, enterprise_id=own.enterprise_id, report_ts=report)


def journal_sink(reactor: Any, options: Journal) -> JournalSink:
    """The socket of a journal driver."""
    return JournalSink(reactor, options.path)
