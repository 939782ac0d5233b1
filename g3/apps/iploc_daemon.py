# SPDX-License-Identifier: Apache-2.0
"""g3iploc as a service."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.logger import Logger

from g3.apps.helper import HelperDaemon
from g3.iploc.config import PROGRAM
from g3.iploc.frontend import Frontend

if TYPE_CHECKING:
    import socket

    from g3.config.main import MainConfig

log = Logger()


class IplocDaemon(HelperDaemon):
    """Answers from the databases that were read at the start."""

    program = PROGRAM
    default_address = ("127.0.0.1", 2888)

    def look_over(self, main: MainConfig) -> None:
        databases = main.sections["geoip_db"]
        if databases.country is None and databases.asn is None:
            log.warn("there is no database: no request will be answered (set geoip_db)")

    def make_frontend(self, sock: socket.socket) -> Frontend:
        return Frontend(self.reactor, sock, self._main.sections["geoip_db"].locator)
