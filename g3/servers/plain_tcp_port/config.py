# SPDX-License-Identifier: Apache-2.0
"""The keys of a plain_tcp_port."""

from __future__ import annotations

from typing import ClassVar

from g3.config.schema import config_class
from g3.servers.port import NextServerConfig


@config_class
class PlainTCPPortConfig(NextServerConfig):
    """Takes TCP connections and hands them to another server: a second address for it, or a way in for what comes with a PROXY protocol header."""

    type_word: ClassVar[str] = "plain_tcp_port"
