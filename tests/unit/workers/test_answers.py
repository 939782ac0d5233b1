# SPDX-License-Identifier: Apache-2.0
"""The answers of several workers as one."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from g3.control.commands import Commands
from g3.control.keys import KeyCommands
from g3.control.messages import ControlError
from g3.metrics.server import ServerStats
from g3.workers.answers import CrewCommands, merged
from g3.workers.memory import Memory


class MergeTests(SynchronousTestCase):
    """One of many."""

    def test_numbers_are_summed_and_truths_are_ored(self) -> None:
        """Status of a server."""
        statuses = [{"online": False, "alive_tasks": 2}, {"online": True, "alive_tasks": 3}]
        self.assertEqual(merged(statuses), {"online": True, "alive_tasks": 5})

    def test_lists_are_united_in_order(self) -> None:
        """Each thing once."""
        self.assertEqual(merged([["a", "b"], ["b", "c"]]), ["a", "b", "c"])

    def test_words_are_those_of_the_first(self) -> None:
        """All say the same."""
        self.assertEqual(merged(["success", "success"]), "success")


ROOT: Any = SimpleNamespace(begun=Counter(), node=lambda _kind, _name: SimpleNamespace(type_word="tiny", stats=ServerStats("web")))


class OneMember:
    """Answers from a table, or is lost."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.asked: list[dict[str, Any]] = []
        self.slot = 0

    async def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(request)
        if request["command"] not in self.answers:
            raise ConnectionError
        answer: dict[str, Any] = self.answers[request["command"]]
        return answer


class CommandTests(SynchronousTestCase):
    """Who is asked."""

    def run_with(self, members: list[Any], command: str, **arguments: Any) -> Any:
        daemon: Any = SimpleNamespace(root=None, version="7")
        self.commands = CrewCommands(Commands(daemon), SimpleNamespace(serving=lambda: members, memory=Memory(2)), ROOT)  # type: ignore[arg-type]
        return self.successResultOf(Deferred.fromCoroutine(self.commands(command, arguments)))

    def test_the_supervisor_answers_what_it_knows(self) -> None:
        """No worker is asked."""
        self.assertEqual(self.run_with([], "version"), "7")

    def test_any_one_answers_for_all(self) -> None:
        """A query is made once."""
        members = [OneMember(resolver_query={"result": {"ip": ["192.0.2.1"]}}), OneMember()]
        self.assertEqual(self.run_with(members, "resolver_query"), {"ip": ["192.0.2.1"]})
        self.assertEqual(members[1].asked, [])

    def test_who_is_lost_is_left_out(self) -> None:
        """The others count."""
        members = [OneMember(server_status={"result": {"alive_tasks": 4}}), OneMember()]
        self.assertEqual(self.run_with(members, "server_status", name="web"), {"alive_tasks": 4})

    def test_a_refusal_of_one_is_the_answer(self) -> None:
        """As it was said."""
        daemon: Any = SimpleNamespace(root=None, version="7")
        members = [OneMember(server_status={"result": {}}), OneMember(server_status={"error": "no such server: x"})]
        commands = CrewCommands(Commands(daemon), SimpleNamespace(serving=lambda: members, memory=Memory(2)), ROOT)  # type: ignore[arg-type]
        error = self.failureResultOf(Deferred.fromCoroutine(commands("server_status", {"name": "x"})), ControlError).value
        self.assertEqual(str(error), "no such server: x")

    def test_nobody_there_is_an_error(self) -> None:
        """All are being replaced."""
        daemon: Any = SimpleNamespace(root=None, version="7")
        commands = CrewCommands(Commands(daemon), SimpleNamespace(serving=list), ROOT)  # type: ignore[arg-type]
        self.failureResultOf(Deferred.fromCoroutine(commands("force_quit", {"name": "x"})), ControlError)

    def test_counts_are_told_while_nobody_is_there(self) -> None:
        """From the memory that the workers had."""
        status = {"online": False, "alive_tasks": 0, "total_connections": 0, "total_tasks": 0}
        self.assertEqual(self.run_with([], "server_status", name="web"), status)

    def test_a_new_worker_hears_what_was_published(self) -> None:
        """The last of each."""
        members = [OneMember(escaper_publish={"result": "success"})]
        self.run_with(members, "escaper_publish", name="float", data=[1])
        self.successResultOf(Deferred.fromCoroutine(self.commands("escaper_publish", {"name": "float", "data": [2]})))
        self.assertEqual(self.told(), [[2]])

    def told(self) -> list[Any]:
        """What a new worker is told, with its configuration and again later."""
        new: Any = OneMember(escaper_publish={"result": "success"})
        first = [request["arguments"]["data"] for request in self.commands.published()]
        self.successResultOf(Deferred.fromCoroutine(self.commands.set_up(new)))
        self.assertEqual(first, [request["arguments"]["data"] for request in new.asked])
        return first

    def test_what_a_reload_replaced_forgets_what_was_published(self) -> None:
        """As it does in the workers that are there."""
        members = [OneMember(escaper_publish={"result": "success"})]
        self.run_with(members, "escaper_publish", name="float", data=["float"])
        self.publish("other", ["other"])
        self.patch(ROOT, "begun", Counter({("escaper", "float"): 1}))
        self.assertEqual(self.told(), [["other"]])
        self.publish("float", [2])
        self.assertEqual(self.told(), [["other"], [2]])

    def publish(self, name: str, data: Any) -> Deferred[Any]:
        return Deferred.fromCoroutine(self.commands("escaper_publish", {"name": name, "data": data}))

    def test_who_begins_while_it_is_published_hears_of_it(self) -> None:
        """The others have not answered yet."""
        slow: Any = OneMember()
        waiting: Deferred[Any] = Deferred()

        async def ask(_: object) -> Any:
            return await waiting

        slow.ask = ask
        self.run_with([], "version")
        self.patch(self.commands, "_crew", SimpleNamespace(serving=lambda: [slow]))
        done = self.publish("float", [1])
        self.assertEqual(self.told(), [[1]])
        waiting.callback({"result": "success"})
        self.assertEqual(self.successResultOf(done), "success")

    def test_what_nobody_took_is_not_told_to_others(self) -> None:
        """What was taken before is."""
        member = OneMember(escaper_publish={"result": "success"})
        self.run_with([member], "escaper_publish", name="float", data=[1])
        member.answers = {"escaper_publish": {"error": "no list of peers"}}
        self.failureResultOf(self.publish("float", [2]), ControlError)
        self.failureResultOf(self.publish("new", [3]), ControlError)
        self.assertEqual(self.told(), [[1]])

    def test_what_is_the_same_is_said_by_its_command(self) -> None:
        """A tag of one name replaces only that; a new worker hears in the order in which it was said."""
        commands = CrewCommands(
            KeyCommands(SimpleNamespace(root=None, version="7")),  # type: ignore[arg-type]
            SimpleNamespace(serving=lambda: [OneMember(add_tag={"result": "success"})], memory=Memory(2)),  # type: ignore[arg-type]
            ROOT,
        )
        for tag, value in (("rack", "7"), ("row", "b"), ("rack", "8")):
            self.successResultOf(Deferred.fromCoroutine(commands("add_tag", {"tag": tag, "value": value})))
        self.assertEqual([request["arguments"] for request in commands.published()], [{"tag": "row", "value": "b"}, {"tag": "rack", "value": "8"}])
