# SPDX-License-Identifier: Apache-2.0
"""http_proxy on the reactors that come with Twisted: slower, and right all the same."""

from __future__ import annotations

from tests.functional import test_http_exchanges as exchanges
from tests.functional import test_http_proxy as proxy


class StockReactor(exchanges.VanishingTests, exchanges.TLSListenerTests, proxy.ConnectTests):
    """Where data is read ahead to notice a hang-up: no more than 128 KiB."""

    sent_ahead = 60_000


class EpollTests(StockReactor, exchanges.EarlyAnswerTests, exchanges.BoundedTests, exchanges.BytePerByteTests):
    """C{twistd --reactor=epoll g3proxy}."""

    command = "epoll"


class AsyncioTests(StockReactor, exchanges.BodylessTests):
    """C{twistd --reactor=asyncio g3proxy}."""

    command = "asyncio"


del StockReactor  # is no test of its own
