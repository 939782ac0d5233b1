# SPDX-License-Identifier: Apache-2.0
"""Tests of g3.errors."""

from __future__ import annotations

import errno

from twisted.trial.unittest import SynchronousTestCase

from g3.errors import ConnectFailed, NoAddressConnected


class ConnectErrorTests(SynchronousTestCase):
    """What a client is told of a connect that failed (RFC 1928 section 6 for SOCKS; upstream: protocol/client/http)."""

    def test_the_kernel_s_word_decides(self) -> None:
        answers = {
            number: (ConnectFailed(number).http_status, ConnectFailed(number).socks5_reply)
            for number in (errno.ECONNREFUSED, errno.ECONNRESET, errno.ETIMEDOUT, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EPERM)
        }
        self.assertEqual(list(answers.values()), [(521, 5), (521, 5), (522, 9), (523, 3), (523, 4), (502, 1)])

    def test_no_address_left_is_a_bad_gateway_that_keeps_the_client(self) -> None:
        error = NoAddressConnected()
        self.assertEqual((error.http_status, error.socks5_reply, error.closes), (502, 4, False))
