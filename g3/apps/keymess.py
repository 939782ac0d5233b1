# SPDX-License-Identifier: Apache-2.0
"""C{twistd g3keymess}: its options, and the service they make."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from g3.apps import proxy

if TYPE_CHECKING:
    from g3.apps.keymess_daemon import KeymessDaemon


class Options(proxy.Options):
    """The command line of C{twistd g3keymess}."""

    program: ClassVar[str] = "g3keymess"


def makeService(options: Options) -> KeymessDaemon:
    """The daemon that C{options} ask for."""
    from twisted.internet import reactor

    from g3.apps.keymess_daemon import KeymessDaemon
    from g3.apps.keymess_supervisor import KeymessSupervisor, process_count

    settings = proxy.settings(options)
    serves = KeymessSupervisor if process_count(options.main, settings.group) else KeymessDaemon
    return serves(reactor, settings, options.source, options.main)
