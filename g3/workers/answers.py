# SPDX-License-Identifier: Apache-2.0
"""Control commands for a daemon of several processes: what the supervisor answers itself, what is asked of one worker or of all, and how
their answers become one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, DeferredList

from g3.control.messages import ControlError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from g3.control.commands import Commands
    from g3.workers.crew import Crew
    from g3.workers.keeper import Keeper
    from g3.workers.member import Member

#: What has an answer even while all workers are being replaced, and where it begins then.
STATUS = "server_status"
NOBODY = {"online": False, "alive_tasks": 0, "total_connections": 0, "total_tasks": 0}


def merged(results: Sequence[Any]) -> Any:
    """The answers of several workers as one: numbers are summed, truths are C{or}-ed, maps are merged by key, lists are united; of anything
    else the first is taken."""
    first = results[0]
    if isinstance(first, bool):
        return any(results)
    if isinstance(first, int | float):
        return sum(results)
    if isinstance(first, dict):
        return {key: merged([result[key] for result in results if key in result]) for key in first}
    if isinstance(first, list):
        return list(dict.fromkeys(item for result in results for item in result))
    return first


class CrewCommands:
    """Runs commands by name for the whole daemon. C{own} are those of a daemon that serves itself, C{root} is the supervisor's tree."""

    def __init__(self, own: Commands, crew: Crew, root: Keeper) -> None:
        self._own = own
        self._root = root
        self._crew = crew
        #: By command and those of its arguments that say what is the same: the request, and how often the node had begun.
        self._published: dict[tuple[object, ...], tuple[dict[str, Any], int]] = {}

    async def __call__(self, command: str, arguments: dict[str, Any]) -> Any:
        """As C{Commands}."""
        if command in self._own.own or command not in self._own.table:
            return await self._own(command, arguments)
        members = self._crew.serving()
        if not members and command != STATUS:
            raise ControlError("no worker is serving now")
        request = {"command": command, "arguments": arguments}
        if command in self._own.one:
            return _result(await members[0].ask(request))
        if command in self._own.lasting:
            return await self._publish(members, request)
        heard = [(member, answer) for member, answer in zip(members, await _ask_all(members, request), strict=True) if answer is not None]
        answers = [answer for _, answer in heard]
        if command == STATUS:
            answers = answers or [{"result": dict(NOBODY)}]
        elif not answers:
            raise ControlError("no worker answered")
        result = merged([_result(answer) for answer in answers])
        if command == STATUS:
            self._add_absent(result, str(arguments["name"]), {member.slot for member, _ in heard})
        return result

    async def _publish(self, members: list[Member], request: dict[str, Any]) -> Any:
        """Tell all. Who begins to serve meanwhile finds it among what is to be told; it stays there when at least one worker took it."""
        same = (request["command"], *(str(request["arguments"].get(name)) for name in self._own.lasting[request["command"]]))
        # What is said last is told last.
        before = self._published.pop(same, None)
        now = self._published[same] = (request, self._begun(request))
        answers = [answer for answer in await _ask_all(members, request) if answer is not None]
        if all("error" in answer for answer in answers) and self._published.get(same) is now:
            del self._published[same]
            if before is not None:
                self._published[same] = before
        if not answers:
            raise ControlError("no worker answered")
        return merged([_result(answer) for answer in answers])

    def _begun(self, request: dict[str, Any]) -> int:
        """How often the node has begun that a publication is for. What is told to all, or to what outlives a reload, has no such node."""
        return self._root.begun[request["command"].removesuffix("_publish"), str(request["arguments"].get("name"))]

    def published(self) -> list[dict[str, Any]]:
        """The requests that a new worker must hear to know what the others do. What was told to a node that a reload replaced is forgotten."""
        for same, (request, begun) in list(self._published.items()):
            if begun != self._begun(request):
                del self._published[same]
        return [request for request, _ in self._published.values()]

    def _add_absent(self, status: dict[str, Any], name: str, heard: set[int]) -> None:
        """What workers have counted that are not there now."""
        server = self._root.node("server", name)
        key = ("server", name, server.type_word, "stats")
        memory = self._crew.memory
        for slot in set(range(memory.slots)) - heard:
            values = memory.ledger_of(slot).read(key, type(server.stats))
            for what in ("total_connections", "total_tasks"):
                if what in status:
                    status[what] += values.get(what, 0)

    async def set_up(self, member: Member) -> None:
        """Tell a new worker what was published since it was told the configuration."""
        for key in list(self._published):
            if key in self._published:
                await member.ask(self._published[key][0])


async def _ask_all(members: list[Member], request: dict[str, Any]) -> list[dict[str, Any] | None]:
    """Who is lost meanwhile has no answer."""
    waiting = [Deferred.fromCoroutine(member.ask(request)) for member in members]
    return [answer if good else None for good, answer in await DeferredList(waiting, consumeErrors=True)]


def _result(answer: dict[str, Any]) -> Any:
    if "error" in answer:
        raise ControlError(str(answer["error"]))
    return answer["result"]
