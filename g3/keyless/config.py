# SPDX-License-Identifier: Apache-2.0
"""What can be said in the configuration of g3keymess: its servers, its key stores and the sections of its own."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import unquote, urlsplit

from g3.config.log import LoggerValue, LogSection
from g3.config.main import Section
from g3.config.node import NodeConfig
from g3.config.problems import did_you_mean, quote
from g3.config.schema import config_class, key, normalize
from g3.config.stat import stat_section
from g3.config.value import Value, ValueProblem, wrong_type
from g3.config.values.basic import Bool, FilePath, Int, NodeName, Str, only_string, word_schema
from g3.config.values.duration import Duration
from g3.config.values.http import PathAndQuery
from g3.config.values.metrics import HistogramValue, MetricTags
from g3.config.values.net import UpstreamAddr
from g3.config.values.options import Options
from g3.config.values.size import MOST_READ, Size
from g3.config.values.tcp import TCPListenValue
from g3.logs.options import LoggerOptions, LogOptions
from g3.metrics.quantile import HistogramOptions
from g3.servers.config import ListeningServerConfig

if TYPE_CHECKING:
    from pathlib import Path

    from g3.config.document import Node
    from g3.config.runtime import WorkerConfig
    from g3.config.schema import Key
    from g3.config.value import ParseContext
    from g3.net.options import TCPListen
    from g3.task import Upstream

PROGRAM = "g3keymess"
_REDIS = re.compile("[Rr][Ee][Dd][Ii][Ss][Ss]?://")


@config_class
class KeyServerConfig(ListeningServerConfig):
    """Answers keyless requests, in plain text or in TLS, with the keys of all stores."""

    type_word: ClassVar[str] = "key_server"

    listen: TCPListen = key(TCPListenValue(), doc="Where to accept clients.")
    tcp_copy_buffer_size: int = key(Size(4096, MOST_READ), default=65536, unit="bytes", doc="Most bytes of one read.")
    shared_logger: str | None = key(NodeName(), default=None, doc="Share log queues with every server that names the same.")
    multiplex_queue_depth: int = key(
        Int(0, 1 << 16),
        default=0,
        doc="Over 1: requests of one connection are worked on side by side, at most so many, and answered as each is done. Else one by one.",
    )
    request_read_timeout: float = key(
        Duration(0.001), default=0.1, unit="seconds", doc="How long a request may take to arrive once its first byte has. Idle connections stay."
    )
    duration_stats: HistogramOptions = key(
        HistogramValue(), default=HistogramOptions(), aliases=("duration_metrics",), doc="How the metric server.request.duration is made."
    )
    async_op_timeout: float = key(
        Duration(0.001), default=1.0, unit="seconds", doc="What a signing thread has not answered by then (a second later at most) has failed."
    )
    concurrency_limit: int = key(
        Int(0, 1 << 20), default=0, doc="Key operations of this server at one time, in all its processes; further ones wait. 0 is no limit."
    )


@config_class
class LocalStoreConfig(NodeConfig):
    """Private keys in PEM files of one directory, each named *.key. What was loaded stays until the daemon ends."""

    kind: ClassVar[str] = "store"
    type_word: ClassVar[str] = "local"

    dir_path: Path = key(FilePath(directory=True), aliases=("dir", "directory", "directory_path"), doc="Where; not what lies deeper.")
    watch: bool = key(Bool(), default=False, doc="Load what is written there while we run, too.")
    strict_key_permissions: bool = key(
        Bool(), default=False, doc="Leave a key file out that others may read; without, it is loaded with a warning that names it."
    )


@dataclass(frozen=True, slots=True)
class RedisURL:
    """Where a Redis server is, parsed from C{text}, which may hold a password and shows nowhere."""

    text: str
    host: str
    port: int
    database: int
    username: str | None
    password: str | None
    tls: bool

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'rediss' if self.tls else 'redis'}://{host}:{self.port}/{self.database}"

    __repr__ = __str__


class RedisURLValue(Value[RedisURL]):
    """C{redis://[user:password@]host[:port][/database]}, or C{rediss://} for TLS."""

    type_name = "Redis URL"
    doc = "redis://[[user]:password@]host[:6379][/database], with rediss:// for TLS."
    secret = True

    def parse(self, node: Node, context: ParseContext) -> RedisURL:
        text = only_string(node, self.type_name)
        try:
            parts = urlsplit(text)
            port, path = parts.port or 6379, parts.path.strip("/")
            database = int(path or "0") if (path or "0").isdecimal() and (path or "0").isascii() else -1
        except ValueError as error:
            raise ValueProblem(node, f"no {self.type_name}: {error}") from None
        if not _REDIS.match(text) or not parts.hostname or not 0 <= database < 1 << 16 or parts.query or parts.fragment:
            raise ValueProblem(node, f"expected {self.doc}")
        username, password = (unquote(word) if word else None for word in (parts.username, parts.password))
        return RedisURL(text, parts.hostname, port, database, username, password, parts.scheme == "rediss")

    def json_schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": f"^{_REDIS.pattern}"}

    def dump(self, value: RedisURL) -> Any:
        return value.text


@config_class
class RedisStoreConfig(NodeConfig):
    """Private keys in a Redis hash: each field the hexadecimal key identifier, its value the key in PEM.

    They are loaded before a server listens, then looked at again and again: new ones are loaded, and those that are gone are forgotten.
    When Redis does not answer, or the hash is gone, what was loaded stays.
    """

    kind: ClassVar[str] = "store"
    type_word: ClassVar[str] = "redis"

    url: RedisURL = key(RedisURLValue(), doc="The Redis server.")
    refresh_interval: float = key(Duration(0.01), default=1.0, unit="seconds", doc="The time between two looks.")
    # Last, since it hides the function of its name from here on.
    key: str = key(Str(min_length=1, max_length=1024), default="g3keymess:keys", doc="The hash.")


@dataclass(frozen=True, slots=True)
class Backend:
    """How operations come to threads: at most C{channel_size} wait, runs of 2**C{counter_shift} at most go to one thread."""

    dispatch_channel_size: int = 1024
    dispatch_counter_shift: int = 3
    async_job: bool = False


@config_class
class AsyncJobKeys:
    """Hardware engines are not used here: operations run in signing threads."""

    async_op_timeout: float = key(Duration(), default=1.0, unit="seconds", doc="Accepted; the server's own async_op_timeout counts.")


class AsyncJobValue(Options[bool]):
    """A map; that it is there is all there is to know."""

    type_name = "async job backend"
    keys = AsyncJobKeys

    def build(self, given: Any, node: Node, context: ParseContext) -> bool:
        return True

    def key_value(self, value: bool, key: Key) -> Any:
        return None


@config_class
class BackendKeys:
    """How key operations come to signing threads."""

    dispatch_channel_size: int = key(Int(1, 1 << 20), default=1024, doc="Operations that may wait for a thread; more are done in the main thread.")
    dispatch_counter_shift: int = key(Int(0, 16), default=3, doc="Runs of up to 2 to the power of this many operations go to one thread at once.")
    async_job: bool = key(AsyncJobValue(), default=False, aliases=("openssl_async_job",), doc="Accepted: operations run in signing threads.")


class BackendValue(Options[Backend]):
    """C{simple}, C{async_job} or a map."""

    type_name = "backend"
    doc = "simple, async_job or a map."
    keys, made = BackendKeys, Backend
    expected = "simple, async_job or a map"
    _words = ("simple", "async_job", "openssl_async_job")

    def short(self, node: Node, context: ParseContext) -> Backend:
        if not node.is_string:
            raise wrong_type(node, self.expected)
        word = normalize(str(node.value))
        if word not in self._words:
            raise ValueProblem(node, f"unsupported backend type {quote(node.value)}{did_you_mean(word, self._words)}")
        return Backend(async_job=word != "simple")

    def short_schemas(self) -> list[dict[str, Any]]:
        return [word_schema(self._words)]

    def key_value(self, value: Backend, key: Key) -> Any:
        content = getattr(value, key.name)
        return content or None if key.name == "async_job" else content


@dataclass(frozen=True, slots=True)
class PreRegister:
    """A place to register at before servers listen. Times in seconds."""

    upstream: Upstream
    startup_retry: int = 3
    retry_interval: float = 1.0
    register_path: str = "/register"
    ping_path: str = "/ping"
    ping_interval: float = 60.0
    extra_data: tuple[tuple[str, str], ...] = ()


@config_class
class PreRegisterKeys:
    """Say by HTTP that we are there, before any server listens, and stay connected."""

    upstream: Upstream = key(UpstreamAddr(), doc="Who is told.")
    startup_retry: int = key(Int(0, 1 << 20), default=3, doc="How often to try again before giving up, which ends the daemon.")
    retry_interval: float = key(Duration(), default=1.0, unit="seconds", doc="The time between two tries.")
    register_path: str = key(PathAndQuery(), default="/register", doc="Where to POST our control socket and pid, as JSON.")
    ping_path: str = key(PathAndQuery(), default="/ping", doc="What to GET while we are there.")
    ping_interval: float = key(Duration(0.01), default=60.0, unit="seconds", doc="How often.")
    extra_data: Any = key(MetricTags(), default=(), doc="More names and values for the JSON.")


class PreRegisterValue(Options[PreRegister]):
    """An address, or a map."""

    type_name = "pre-register section"
    keys, made = PreRegisterKeys, PreRegister
    _address = UpstreamAddr()

    def short(self, node: Node, context: ParseContext) -> PreRegister:
        return PreRegister(self._address.parse(node, context))

    def short_schemas(self) -> list[dict[str, Any]]:
        return [self._address.json_schema()]


@config_class
class KeymessLogKeys:
    """Drivers by kind of log; a kind without one has the default. Cannot be changed by a reload."""

    default: LoggerOptions | None = key(LoggerValue(), default=None, doc="For both kinds.")
    task: LoggerOptions | None = key(LoggerValue(), default=None, doc="For task logs: one record for each connection.")
    request: LoggerOptions | None = key(LoggerValue(), default=None, doc="For request logs: a record for each failed request; else as task.")


class KeymessLogSection(LogSection):
    """The name of a driver for all kinds, or a map."""

    keys = KeymessLogKeys  # type: ignore[assignment]

    def build(self, given: Any, node: Node, context: ParseContext) -> LogOptions:
        return LogOptions(given.default or LoggerOptions(), given.task, request=given.request or given.task)


def sections() -> dict[str, Section]:
    """The sections of g3keymess beside those that every daemon has."""
    return {
        "log": Section(KeymessLogSection(), LogOptions(), "Event logs."),
        "stat": stat_section(PROGRAM),
        "pre_register": Section(PreRegisterValue(), None, "Where to register before serving."),
        "backend": Section(BackendValue(), Backend(), "How key operations come to threads."),
    }


def threads_of(worker: WorkerConfig | None) -> int:
    """How many signing threads each process has: those of C{worker} (one for each CPU when it does not say). 0: the main thread signs."""
    if worker is None:
        return 0
    return worker.thread_number_total or len(os.sched_getaffinity(0))
