# SPDX-License-Identifier: Apache-2.0
"""What a rule says to do, and which of two sayings is the stricter one."""

from __future__ import annotations

from enum import Enum
from typing import TypeVar

A = TypeVar("A", bound="Ordered")


class Ordered(Enum):
    """An action whose value is its rank: the lower, the stricter. Rules work on any such enumeration."""

    def restrict(self: A, other: A) -> A:
        """The stricter one of the two."""
        return self if self.value <= other.value else other


class Action(Ordered):
    """Permit or forbid. The C{_LOG} forms are as permissive; among equals they count as the stricter one.

    They log nothing of their own, as upstream: the task log tells what was refused.
    """

    FORBID_LOG = 0
    FORBID = 1
    PERMIT_LOG = 2
    PERMIT = 3

    forbids: bool

    def __init__(self, rank: int) -> None:
        self.forbids = rank < 2
