# SPDX-License-Identifier: Apache-2.0
"""C{twistd g3fcgen}: its options, and the service they make."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from g3.apps import helper, proxy

if TYPE_CHECKING:
    from g3.apps.fcgen_daemon import FcgenDaemon


class Options(helper.Options):
    """The command line of C{twistd g3fcgen}."""

    program: ClassVar[str] = "g3fcgen"


def makeService(options: Options) -> FcgenDaemon:
    """The daemon that C{options} ask for."""
    from twisted.internet import reactor

    from g3.apps.fcgen_daemon import FcgenDaemon

    return FcgenDaemon(reactor, proxy.settings(options), options.source, options.main, options.buffer())
