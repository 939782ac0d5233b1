# SPDX-License-Identifier: Apache-2.0
"""Configuration of C{ftp_client} (upstream: configuration/values/network, ftp client config)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from g3.config.schema import Nested, config_class, key
from g3.config.values.basic import Bool, Int
from g3.config.values.duration import Duration
from g3.config.values.size import Size

if TYPE_CHECKING:
    from g3.config.schema import Places


@config_class
class FTPControl:
    """The control connection."""

    max_line_len: int = key(Size(1), default=2048, aliases=("max_line_length",), unit="bytes", doc="Longest reply line.")
    max_multi_lines: int = key(Int(1, 1 << 20), default=128, doc="Most lines of one reply.")
    command_timeout: float = key(Duration(), default=10.0, unit="seconds", doc="For the reply to a command.")


@config_class
class FTPTransfer:
    """The data connections."""

    list_max_line_len: int = key(Size(1), default=2048, aliases=("list_max_line_length",), unit="bytes", doc="Longest line of a listing.")
    list_max_entries: int = key(Int(1, 1 << 24), default=1024, doc="Most entries of a listing.")
    list_all_timeout: float = key(Duration(), default=120.0, unit="seconds", doc="For a whole listing; at most 300 s.")
    end_wait_timeout: float = key(Duration(), default=10.0, unit="seconds", doc="For the reply that ends a transfer.")

    def check(self, at: Places) -> None:
        if self.list_all_timeout > 300:
            at.error("list_all_timeout", "must be at most 300s")


@config_class
class FTPClient:
    """FTP over HTTP."""

    control: FTPControl = key(Nested(FTPControl), default=FTPControl(), doc="The control connection.")
    transfer: FTPTransfer = key(Nested(FTPTransfer), default=FTPTransfer(), doc="The data connections.")
    connect_timeout: float = key(Duration(), default=30.0, unit="seconds", doc="For each connection.")
    greeting_timeout: float = key(Duration(), default=10.0, unit="seconds", doc="For the server's greeting.")
    always_try_epsv: bool = key(Bool(), default=True, doc="Try EPSV even where the server does not announce it.")
