# SPDX-License-Identifier: Apache-2.0
"""A package with a user group that has one user, and takes its time to say so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from twisted.internet.task import deferLater
from zope.interface import implementer

from g3.config.node import UserGroupConfig
from g3.config.schema import config_class, key
from g3.config.values.basic import Int, Str
from g3.errors import ClientAuthFailed, FullyLoaded
from g3.interfaces import IUser, IUserGroup
from g3.tree.node import Node

if TYPE_CHECKING:
    from collections.abc import Callable

    from g3.task import ClientInfo, Task, Upstream
    from g3.tree.node import NodeContext

__version__ = "1.0"


@config_class
class LodgeConfig(UserGroupConfig):
    """One user."""

    type_word: ClassVar[str] = "lodge"
    user: str = key(Str(), doc="The user's name.")
    password: str = key(Str(), doc="The user's password.")
    alive: int = key(Int(0, 1 << 20), default=100, doc="So many tasks at once.")


@implementer(IUser)
class Member:
    """Who got in."""

    def __init__(self, name: str, most: int) -> None:
        self.name = name
        self._left = most

    def admit(self, task: Task) -> Callable[[], object]:
        """IUser."""
        if not self._left:
            raise FullyLoaded
        self._left -= 1
        return self._leave

    def _leave(self) -> None:
        self._left += 1

    def permit(self, task: Task, upstream: Upstream) -> None:
        """IUser."""

    def egress(self, task: Task) -> None:
        """IUser."""

    def ip_blocked(self, escaper: Any) -> None:
        """IUser."""


@implementer(IUserGroup)
class Lodge(Node):
    """Asks somebody else, as it were."""

    schema: ClassVar[Any] = LodgeConfig

    def __init__(self, config: Any, context: NodeContext) -> None:
        super().__init__(config, context)
        self._member = Member(config.user, config.alive)

    def authenticate(self, credentials: tuple[str, str] | None, client: ClientInfo) -> Any:
        """IUserGroup."""
        return deferLater(self.context.reactor, 0.01, self._answer, credentials)

    def _answer(self, credentials: tuple[str, str] | None) -> Member:
        if credentials != (self.config.user, self.config.password):
            raise ClientAuthFailed
        return self._member
