# SPDX-License-Identifier: Apache-2.0
"""Chooses one of several weighted escapers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from g3.errors import EscaperNotUsable
from g3.escapers.route import Route, consistent_key
from g3.escapers.route_select.config import RouteSelectConfig
from g3.pick import Selector, Weighted

if TYPE_CHECKING:
    from g3.task import Task
    from g3.tree.node import NodeContext
    from g3.tree.slots import Slot


class RouteSelectEscaper(Route):
    """See L{RouteSelectConfig}."""

    schema = RouteSelectConfig

    def __init__(self, config: RouteSelectConfig, context: NodeContext) -> None:
        super().__init__(config, context)
        self._by_name: dict[str, Slot] = {node.value: context.slot("escaper", node.value) for node in config.next_nodes}
        nodes = [Weighted(self._by_name[node.value], node.weight) for node in config.next_nodes if node.weight > 0]
        self._selector: Selector[Slot] = Selector(nodes, config.next_pick_policy, identity=lambda slot: slot.name.encode())

    def choose(self, task: Task) -> Any:
        path = task.path
        if path is not None and (name := path.ids.get(self.config.name)) is not None:
            slot = self._by_name.get(name)
            if slot is None:
                raise EscaperNotUsable(f"escaper not usable: no next escaper {name!r} in {self.config.name}")
        else:
            slot = self._selector.pick(consistent_key(task))
        return slot.node
