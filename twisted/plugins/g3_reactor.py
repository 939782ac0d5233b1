# SPDX-License-Identifier: Apache-2.0
"""C{twistd --reactor g3} and C{trial --reactor g3}."""

from twisted.application.reactors import Reactor

g3_reactor = Reactor("g3", "g3.net.reactor", "The epoll reactor of g3: direct dispatch of events, a monotonic clock.")
