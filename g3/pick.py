# SPDX-License-Identifier: Apache-2.0
"""Picking one of several weighted nodes: peers of an escaper, upstreams of a server, escapers of a route.

Upstream: configuration/values/base, selective pick policy. The hashes are our own, so the same key gives a node that stays the same from
run to run and over all workers, but not the one upstream would give.
"""

from __future__ import annotations

import math
import random
import zlib
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from enum import Enum
from hashlib import blake2b
from itertools import accumulate
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

T = TypeVar("T")

#: Points a node has on the ketama ring for each unit of weight, as in nginx.
POINTS = 160
#: The ring never has more: beyond it every node gets fewer points, in proportion.
MOST_POINTS = 1 << 18
_U64 = (1 << 64) - 1


class PickPolicy(Enum):
    """How to pick. C{SERIAL} always takes the heaviest; C{ROUND_ROBIN} and C{JUMP_HASH} know no weights."""

    RANDOM = "random"
    SERIAL = "serial"
    ROUND_ROBIN = "round_robin"
    KETAMA = "ketama"
    RENDEZVOUS = "rendezvous"
    JUMP_HASH = "jump_hash"


@dataclass(frozen=True, slots=True)
class Weighted(Generic[T]):
    """A node and how much of the load it gets compared with others; C{weight} is finite and not negative."""

    value: T
    weight: float = 1.0

    @property
    def units(self) -> int:
        """The weight as a whole number, rounded up."""
        return math.ceil(self.weight)


class Selector(Generic[T]):
    """Picks among nodes by one policy. Nodes are taken in order of weight, heaviest first, equal ones as they were given."""

    __slots__ = ("_cumulated", "_hashes", "_next", "_random", "_ring", "_ring_nodes", "nodes", "pick", "policy", "weighted")

    pick: Callable[[bytes], T]

    def __init__(
        self,
        nodes: Iterable[Weighted[T]],
        policy: PickPolicy = PickPolicy.RANDOM,
        *,
        identity: Callable[[T], bytes] = lambda value: str(value).encode(),
        rng: random.Random | None = None,
    ) -> None:
        """C{identity} is what the hashing policies know a node by: stable over restarts, different for each node.

        @raise ValueError: there are no nodes.
        """
        self.nodes = tuple(sorted(nodes, key=lambda node: -node.weight))
        if not self.nodes:
            raise ValueError("nothing to pick from")
        self.policy = policy
        self.weighted = any(node.weight != self.nodes[0].weight for node in self.nodes)
        self._next = 0
        self._random = (rng or random.Random()).random
        self._cumulated = list(accumulate(node.weight for node in self.nodes))
        names = [identity(node.value) for node in self.nodes]
        self._hashes = [_hash64(name) for name in names] if policy is PickPolicy.RENDEZVOUS else []
        self._ring, self._ring_nodes = _ring(self.nodes, names) if policy is PickPolicy.KETAMA else ([], [])
        self.pick = self._first if len(self.nodes) == 1 else self._way(policy)

    def _way(self, policy: PickPolicy) -> Callable[[bytes], T]:
        """C{pick(hash_key)} for several nodes; policies that do not hash ignore the key."""
        if policy is PickPolicy.RENDEZVOUS:
            return self._weighted_rendezvous if self.weighted else self._rendezvous
        return {
            PickPolicy.RANDOM: self._weighted_random if self.weighted else self._uniform,
            PickPolicy.SERIAL: self._first,
            PickPolicy.ROUND_ROBIN: self._round_robin,
            PickPolicy.KETAMA: self._ketama if self._ring else self._first,
            PickPolicy.JUMP_HASH: self._jump,
        }[policy]

    def _first(self, _key: bytes) -> T:
        return self.nodes[0].value

    def _uniform(self, _key: bytes) -> T:
        return self.nodes[int(self._random() * len(self.nodes))].value

    def _weighted_random(self, _key: bytes) -> T:
        return self.nodes[bisect_right(self._cumulated, self._random() * self._cumulated[-1])].value

    def _round_robin(self, _key: bytes) -> T:
        at = self._next
        self._next = (at + 1) % len(self.nodes)
        return self.nodes[at].value

    def _ketama(self, key: bytes) -> T:
        at = bisect_left(self._ring, zlib.crc32(key))
        return self._ring_nodes[at if at < len(self._ring) else 0].value

    def _rendezvous(self, key: bytes) -> T:
        hashed = _hash64(key)
        scores = [_mix(hashed ^ node) for node in self._hashes]
        return self.nodes[scores.index(max(scores))].value

    def _weighted_rendezvous(self, key: bytes) -> T:
        """The node whose logarithm of a uniform number, divided by its weight, is closest to zero: shares come out as the weights.

        Upstream compares these negative numbers with an initial zero and so always takes the first node.
        """
        hashed = _hash64(key)
        best, best_score = self.nodes[0], -math.inf
        for node, name in zip(self.nodes, self._hashes, strict=True):
            if node.weight <= 0:
                break
            score = math.log((_mix(hashed ^ name) + 1) / (_U64 + 1)) / node.weight
            if score > best_score:
                best, best_score = node, score
        return best.value

    def _jump(self, key: bytes) -> T:
        """Lamping and Veach, "A Fast, Minimal Memory, Consistent Hash Algorithm"."""
        hashed = _hash64(key)
        at, after = -1, 0
        while after < len(self.nodes):
            at = after
            hashed = (hashed * 2862933555777941757 + 1) & _U64
            after = int((at + 1) * ((1 << 31) / ((hashed >> 33) + 1)))
        return self.nodes[at].value


def _hash64(data: bytes) -> int:
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "little")


def _mix(number: int) -> int:
    """The finalizer of MurmurHash3: every bit of the result depends on every bit of C{number}."""
    number = ((number ^ (number >> 33)) * 0xFF51AFD7ED558CCD) & _U64
    number = ((number ^ (number >> 33)) * 0xC4CEB9FE1A85EC53) & _U64
    return number ^ (number >> 33)


def _ring(nodes: tuple[Weighted[T], ...], names: list[bytes]) -> tuple[list[int], list[Weighted[T]]]:
    """The points of all nodes in order, and the node of each. A point two nodes share belongs to the heavier one."""
    total = POINTS * sum(node.units for node in nodes)
    scale = min(1.0, MOST_POINTS / total) if total else 1.0
    owners: dict[int, Weighted[T]] = {}
    for node, name in zip(nodes, names, strict=True):
        start, point = zlib.crc32(name), 0
        for _ in range(math.ceil(node.units * POINTS * scale)):
            point = zlib.crc32(point.to_bytes(4, "little"), start)
            owners.setdefault(point, node)
    ring = sorted(owners)
    return ring, [owners[point] for point in ring]
