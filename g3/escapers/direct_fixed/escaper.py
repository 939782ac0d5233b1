# SPDX-License-Identifier: Apache-2.0
"""The direct_fixed escaper."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, ClassVar

from g3.escapers.direct import DirectEscaper
from g3.escapers.direct_fixed.config import DirectFixedConfig
from g3.net.connect import ANY, Binding

if TYPE_CHECKING:
    from g3.task import IPAddress, Task
    from g3.tree.node import NodeContext


class DirectFixedEscaper(DirectEscaper):
    """Connects from the addresses of its configuration. See L{DirectFixedConfig}."""

    schema: ClassVar[Any] = DirectFixedConfig
    config: DirectFixedConfig

    def __init__(self, config: DirectFixedConfig, context: NodeContext) -> None:
        super().__init__(config, context)
        self._unbound = Binding(interface=config.bind_interface) if config.bind_interface else ANY
        self._bindings = {version: tuple(Binding(str(ip)) for ip in config.bind_ip if ip.version == version) for version in (4, 6)}

    def binding(self, task: Task, ip: IPAddress) -> Binding:
        config = self.config
        if config.bind_foreign:
            host, port = task.client.client
            return Binding(host, port if config.bind_foreign_port else 0, foreign=True)
        choices = self._bindings[ip.version]
        if not choices:
            return self._unbound
        if len(choices) == 1:
            return choices[0]
        number = task.path.number if config.enable_path_selection and task.path is not None else None
        # The first is 1; 0 is the last.
        return random.choice(choices) if number is None else choices[(number - 1) % len(choices)]
