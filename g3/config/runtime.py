# SPDX-License-Identifier: Apache-2.0
"""The sections C{runtime}, C{worker} and C{controller} of a main configuration."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from g3.config.document import Node, merged
from g3.config.problems import quote
from g3.config.schema import Nested, Places, config_class, key, normalize
from g3.config.value import Value, ValueProblem, wrong_type
from g3.config.values.basic import U64, Ascii, FrozenMap, Int, int_of
from g3.config.values.duration import Duration
from g3.config.values.size import Size

if TYPE_CHECKING:
    from g3.config.value import ParseContext

#: CPU ids of each worker; empty where affinity is not wanted, True for "each worker its own CPU".
Affinity: TypeAlias = "FrozenMap[int, tuple[int, ...]] | Literal[True]"

_CPU_LIMIT = 4096
_CPUS = re.compile(r"([0-9]{1,4})(?:-([0-9]{1,4}))?\Z")
_VARIABLE = re.compile(r"WORKER_([0-9]{1,4})_CPU_LIST\Z")


@config_class
class RuntimeConfig:
    """The process: how much runs in parallel and how long it waits when it ends. The keys about threads are read as upstream reads them."""

    thread_number: int | None = key(Int(high=1 << 16), default=None, doc="Threads to run on; 0 is one thread for everything.")
    thread_name: str = key(Ascii(), default="tokio", doc="Not needed here.")
    thread_stack_size: int | None = key(Size(), default=None, unit="bytes", doc="Not needed here.")
    max_io_events_per_tick: int | None = key(Int(), default=None, doc="Not needed here.")
    server_offline_delay: float = key(Duration(), default=4.0, unit="seconds", doc="Between the order to end and the closing of the listeners.")
    task_wait_delay: float = key(Duration(), default=2.0, unit="seconds", doc="Between the closing of the listeners and the first look at the tasks.")
    task_wait_timeout: float = key(Duration(), default=36000.0, unit="seconds", doc="How long running tasks may go on.")
    task_quit_timeout: float = key(Duration(), default=1800.0, unit="seconds", doc="How long tasks that were told to end may take.")


def parse_cpu_list(text: str) -> tuple[int, ...] | None:
    """CPU ids of a text such as C{0-3,7}, sorted; None when it is no such list or one is over 4095."""
    result: set[int] = set()
    for part in text.split(","):
        match = _CPUS.match(part.strip())
        low, high = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if low > high or high >= _CPU_LIMIT:
            return None
        result.update(range(low, high + 1))
    return tuple(sorted(result))


class SchedAffinity(Value[Affinity]):
    """Which CPUs each worker runs on."""

    type_name = "bool or map of worker number to CPU list"
    doc = 'A map of worker number to CPU ids (3, "0-3,7" or a list of these); true takes WORKER_<N>_CPU_LIST of the environment, else one CPU each.'

    def parse(self, node: Node, context: ParseContext) -> Affinity:
        if node.kind == "map":
            return FrozenMap({self.worker(key_node): self.cpus(value) for key_node, value in node.items})
        if node.kind != "scalar" or not isinstance(node.value, bool):
            raise wrong_type(node, f"a {self.type_name}")
        return self.from_environment(node, context) if node.value else FrozenMap()

    def worker(self, node: Node) -> int:
        return int_of(node, "a worker number")

    def cpus(self, node: Node) -> tuple[int, ...]:
        result: set[int] = set()
        for element in node.elements if node.kind == "seq" else [node]:
            listed = parse_cpu_list(element.text) if element.kind == "scalar" else None
            if listed is None:
                raise wrong_type(element, 'CPU ids such as 3 or "0-3,7"')
            result.update(listed)
        return tuple(sorted(result))

    def from_environment(self, node: Node, context: ParseContext) -> Affinity:
        found = {}
        for name, text in context.env.items():
            if variable := _VARIABLE.match(name):
                listed = parse_cpu_list(text)
                if listed is None:
                    raise ValueProblem(node, f"environment variable {name} is {quote(text)}, not CPU ids")
                found[int(variable[1])] = listed
        return FrozenMap(sorted(found.items())) if found else True

    def json_schema(self) -> dict[str, Any]:
        return {"type": ["boolean", "object"]}

    def dump(self, value: Affinity) -> Any:
        if value is True:
            return True
        return {str(worker): ",".join(map(str, cpus)) or [] for worker, cpus in value.items()} if value else False


@config_class
class WorkerConfig:
    """Extra event loops for connections, beside the main one."""

    thread_number_total: int | None = key(
        Int(1, 1 << 16), default=None, aliases=("thread_number", "threads_total"), doc="The CPUs we may use if not set."
    )
    thread_number_per_runtime: int = key(Int(1, 1 << 16), default=1, aliases=("threads_per_runtime",), doc="Must divide the total.")
    thread_stack_size: int | None = key(Size(), default=None, unit="bytes", doc="Not needed here.")
    sched_affinity: Affinity = key(SchedAffinity(), default=FrozenMap(), doc="Which CPUs each runs on.")
    max_io_events_per_tick: int | None = key(Int(), default=None, doc="Not needed here.")
    openssl_async_job_init_size: int | None = key(Int(), default=None, doc="Not needed here.")
    openssl_async_job_max_size: int | None = key(Int(), default=None, doc="Not needed here.")

    def check(self, at: Places) -> None:
        total, each = self.thread_number_total, self.thread_number_per_runtime
        if total is not None and total % each:
            at.error("thread_number_total", f"thread_number_total {total} cannot be divided by thread_number_per_runtime {each}")


@config_class
class LocalControllerConfig:
    """The control socket."""

    recv_timeout: int = key(Int(high=U64), default=30, unit="seconds", doc="How long to wait for a command.")
    send_timeout: int = key(Int(high=U64), default=1, unit="seconds", doc="How long an answer may take to send.")


@config_class
class ControllerConfig:
    """The ways to control the daemon."""

    local: LocalControllerConfig = key(Nested(LocalControllerConfig, empty_ok=True), default=LocalControllerConfig(), doc="The unix socket.")


class ControllerValue(Nested[ControllerConfig]):
    """A map, or a list of maps that are read as one."""

    def __init__(self) -> None:
        super().__init__(ControllerConfig, empty_ok=True)

    def parse(self, node: Node, context: ParseContext) -> ControllerConfig:
        return super().parse(self.one(node), context)

    def one(self, node: Node) -> Node:
        """The map that the elements of a list are together, C{local} too; an element that is nothing adds nothing."""
        wrong = next((element for element in node.elements if not (element.is_null or element.kind == "map")), None)
        if wrong is not None:
            raise wrong_type(wrong, "a map")
        whole = merged(node.elements or [node])
        local = [(key, value) for key, value in whole.items if key.is_string and normalize(key.value) == "local"]
        if len(local) > 1:
            rest = [pair for pair in whole.items if pair not in local]
            whole = Node("map", [*rest, (local[0][0], merged([value for _, value in local]))], whole.file, whole.line, whole.column)
        return whole

    def json_schema(self) -> dict[str, Any]:
        one = super().json_schema()
        return {"anyOf": [one, {"type": "array", "items": one, "minItems": 1}]}
