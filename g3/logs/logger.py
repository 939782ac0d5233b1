# SPDX-License-Identifier: Apache-2.0
"""A logger: records into a bounded queue and from it into a sink; what does not fit is dropped and counted.

A L{Logger} is a node's handle with the fields that node puts into every record. A L{Channel} is what loggers may share: queue, format,
sink and statistics.
"""

from __future__ import annotations

import errno
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

from twisted.logger import Logger as ProcessLogger

if TYPE_CHECKING:
    from collections.abc import Callable

    from g3.metrics.logger import LoggerStats
    from g3.proto.record import Fields

_log = ProcessLogger()

#: Seconds until a sink that takes nothing now is tried again.
RETRY_DELAY = 0.02
#: When a record is too big for its sink, string values are cut to this many characters, then to less.
SHORT_VALUES = (256, 32)


class Sink(Protocol):
    """Where formatted records go."""

    limit: int

    def send(self, record: bytes) -> None:
        """Hand one record on, without waiting.

        @raise BlockingIOError: it would have to wait.
        @raise OSError: the peer is unreachable, or EMSGSIZE.
        """

    def close(self) -> None:
        """Give back what it holds."""


class Encoder(Protocol):
    """How a record looks."""

    def constants(self, fields: Fields) -> Any:
        """Fields of every record, made ready once."""

    def encode(self, constants: Any, message: str, fields: Fields, now: float, *, limit: int = ...) -> bytes:
        """One record; each string value at most C{limit} characters."""


class Channel:
    """Queue, format and sink under one logger name.

    On a reactor that has C{soon} records are formatted and sent at the end of the batch of events that made them: one after the other they cost
    half of what they cost between the events, and their reader is woken once. Elsewhere they go at once.

    @param size: how many records may wait; C{offset}: of failures every 2**offset is reported to the process log.
    """

    def __init__(
        self,
        reactor: Any,
        name: str,
        encoder: Encoder,
        sink: Sink,
        stats: LoggerStats,
        *,
        size: int = 4096,
        offset: int = 10,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        self.encoder = encoder
        self.stats = stats
        self._reactor = reactor
        self._sink = sink
        self._size = max(size, 1)
        self._mask = (1 << offset) - 1
        self._wall = wall
        self._queue: deque[tuple[Any, str, Fields, float] | bytes] = deque()
        self._soon: Callable[[Callable[[], object]], None] | None = getattr(reactor, "soon", None)
        self._retry: Any = None
        self._errors = 0
        self._closed = False

    def submit(self, constants: Any, message: str, fields: Fields) -> None:
        """Log one record; C{fields} are the channel's from now on. Never waits, never raises."""
        self.stats.total += 1
        if self._closed:
            self.stats.channel_closed += 1
            return
        if len(self._queue) >= self._size:
            self.stats.channel_overflow += 1
            return
        self._queue.append((constants, message, fields, self._wall()))
        if self._soon is None:
            self._next()
        else:
            self._soon(self._next)  # each by itself: records of several channels keep their order

    def _shortened(self, constants: Any, message: str, fields: Fields, now: float) -> bytes:
        """A record that is too big, with short values."""
        record = b""
        for limit in SHORT_VALUES:
            record = self.encoder.encode(constants, message, fields, now, limit=limit)
            if len(record) <= self._sink.limit:
                break
        return record

    def _flush(self) -> None:
        """Send what waits, or as much as the sink takes now."""
        self._retry = None
        while self._next():
            pass

    def _next(self) -> bool:
        """Send the record that has waited longest, if there is one and the sink is not given time. Whether it was done with."""
        queue = self._queue
        if not queue or self._retry is not None:
            return False
        waiting, sink, stats = queue.popleft(), self._sink, self.stats
        try:
            if type(waiting) is bytes:
                record = waiting
            else:
                record = self.encoder.encode(*waiting)
                if len(record) > sink.limit:
                    record = self._shortened(*waiting)
            sink.send(record)
        except BlockingIOError:
            queue.appendleft(record)
            if not self._closed:
                self._retry = self._reactor.callLater(RETRY_DELAY, self._flush)
            return False
        except Exception as error:  # whatever is in a record, its task goes on
            if isinstance(error, OSError) and error.errno != errno.EMSGSIZE:
                stats.peer_unreachable += 1
            else:
                stats.format_failed += 1
            self._report(error)
            return True
        stats.passed += 1
        stats.size += len(record)
        if self._errors:
            self._back_to_work()
        return True

    def _back_to_work(self) -> None:
        _log.info("logger {name} back to work, lost {count} messages", name=self.name, count=self._errors)
        self._errors = 0

    def _report(self, error: Exception) -> None:
        count = self._errors
        self._errors += 1
        if count == 0 or (count & self._mask) == 0:
            _log.warn("logger {name} has lost {count} messages, the last for: {error}", name=self.name, count=count + 1, error=error)

    def close(self) -> None:
        """Try what waits a last time; the rest is dropped and counted, as is what comes later."""
        if self._closed:
            return
        self._closed = True
        if self._retry is not None:
            self._retry.cancel()
        self._flush()
        self.stats.channel_closed += len(self._queue)
        self._queue.clear()


class Logger:
    """What a node logs to: a channel, and the fields of that node.

    Callers that have None in place of a Logger skip all work, also that of making fields.
    """

    __slots__ = ("_channel", "_constants")

    def __init__(self, channel: Channel, fields: Fields) -> None:
        self._channel = channel
        self._constants = channel.encoder.constants(fields)

    @property
    def name(self) -> str:
        """The metrics tag C{logger}."""
        return self._channel.name

    def log(self, message: str, fields: Fields) -> None:
        """One record: C{fields} in their order, those with value None left out. Values are str, int, float or bool."""
        self._channel.submit(self._constants, message, fields)
