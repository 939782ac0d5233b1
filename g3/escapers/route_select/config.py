# SPDX-License-Identifier: Apache-2.0
"""Configuration of route_select (upstream: configuration/escapers/route_select)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from g3.config.node import EscaperConfig
from g3.config.schema import config_class, key
from g3.config.values.basic import OneOrMany, Reference
from g3.config.values.metrics import WeightedNodeName
from g3.config.values.net import PickPolicyValue
from g3.pick import PickPolicy, Weighted

if TYPE_CHECKING:
    from g3.config.schema import Places


@config_class
class RouteSelectConfig(EscaperConfig):
    """Sends each task to one of several escapers, chosen by weight and policy. The hashing policies keep together what has the same client
    address, user name and upstream host.

    A string id of the egress path selection names one of the escapers and beats the policy; one that is not listed is refused (503). An escaper
    of weight 0 is reached only that way.
    """

    type_word: ClassVar[str] = "route_select"

    next_nodes: tuple[Weighted[str], ...] = key(
        OneOrMany(WeightedNodeName(Reference("escaper")), min_items=1), doc="The escapers to choose from; one of them at least has a weight above 0."
    )
    next_pick_policy: PickPolicy = key(PickPolicyValue(), default=PickPolicy.KETAMA, doc="How to choose.")

    def check(self, at: Places) -> None:
        if not any(node.weight > 0 for node in self.next_nodes):
            at.error("next_nodes", "every weight is 0: nothing could be chosen")
