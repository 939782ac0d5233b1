# SPDX-License-Identifier: Apache-2.0
"""C{twistd g3iploc}: its options, and the service they make."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from g3.apps import helper, proxy

if TYPE_CHECKING:
    from g3.apps.iploc_daemon import IplocDaemon


class Options(helper.Options):
    """The command line of C{twistd g3iploc}."""

    program: ClassVar[str] = "g3iploc"


def makeService(options: Options) -> IplocDaemon:
    """The daemon that C{options} ask for."""
    from twisted.internet import reactor

    from g3.apps.iploc_daemon import IplocDaemon

    return IplocDaemon(reactor, proxy.settings(options), options.source, options.main, options.buffer())
