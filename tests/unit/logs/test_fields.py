# SPDX-License-Identifier: Apache-2.0
"""Value forms of log fields."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta, timezone
from decimal import ROUND_HALF_EVEN, Decimal
from ipaddress import ip_address

from twisted.trial.unittest import SynchronousTestCase

from g3.logs.fields import address, duration, ip, moment, optional, timestamp, uri


class DurationTest(SynchronousTestCase):
    """Rust's Debug form of a Duration with three digits."""

    def test_unit_by_size(self) -> None:
        """Seconds, milli-, micro- and nanoseconds."""
        table = {
            12.5: "12.500s",
            1.0: "1.000s",
            3600.0: "3600.000s",
            0.001234: "1.234ms",
            0.9: "900.000ms",
            0.000003: "3.000\u00b5s",
            0.000001234: "1.234\u00b5s",
            1.23e-7: "123.000ns",
        }
        for seconds, text in table.items():
            self.assertEqual(duration(seconds), text)

    def test_ties_go_to_the_even_digit(self) -> None:
        """And the unit stays when rounding carries."""
        table = {1.0005: "1.000s", 1.0015: "1.002s", 0.0012345: "1.234ms", 0.0012355: "1.236ms", 0.9999996: "1000.000ms", 0.0012346: "1.235ms"}
        for seconds, text in table.items():
            self.assertEqual(duration(seconds), text)

    def test_nothing_is_left_out(self) -> None:
        """Zero, less than a nanosecond, and what a clock that stepped back would give."""
        self.assertEqual([duration(seconds) for seconds in (0, 0.0, 1e-12, -1.0)], [None] * 4)

    def test_it_is_what_decimal_arithmetic_gives(self) -> None:
        """Of whole nanoseconds, each half to even."""
        pick = random.Random(1)
        for _ in range(2000):
            nanos = pick.randrange(10 ** pick.randrange(1, 16)) // 500 * pick.choice((1, 500))
            unit, size = next((unit, size) for unit, size in (("s", 9), ("ms", 6), ("\u00b5s", 3), ("ns", 0)) if nanos >= 10**size or not size)
            wanted = f"{Decimal(nanos).scaleb(-size).quantize(Decimal('0.001'), ROUND_HALF_EVEN)}{unit}" if nanos else None
            self.assertEqual(duration(nanos / 1_000_000_000), wanted)


class TimeTest(SynchronousTestCase):
    """RFC 3339, microseconds, UTC."""

    def test_epoch_seconds(self) -> None:
        """Microseconds have six digits."""
        self.assertEqual(timestamp(1638354030.123456), "2021-12-01T10:20:30.123456Z")
        self.assertEqual(timestamp(1638354031), "2021-12-01T10:20:31.000000Z")
        self.assertEqual(timestamp(1638354030.000004), "2021-12-01T10:20:30.000004Z")

    def test_datetimes(self) -> None:
        """In any zone; one without is UTC."""
        self.assertEqual(moment(datetime(2030, 1, 2, 3, 4, 5, 6, tzinfo=UTC)), "2030-01-02T03:04:05.000006Z")
        east = timezone(timedelta(hours=2))
        self.assertEqual(moment(datetime(2030, 1, 2, 3, 4, 5, tzinfo=east)), "2030-01-02T01:04:05.000000Z")
        self.assertEqual(moment(datetime(2030, 1, 2)), "2030-01-02T00:00:00.000000Z")
        self.assertIsNone(moment(None))


class AddressTest(SynchronousTestCase):
    """Addresses and texts."""

    def test_socket_addresses(self) -> None:
        """IPv6 in brackets, None left out."""
        self.assertEqual([address(("192.0.2.1", 80)), address(("2001:db8::1", 80)), address(None)], ["192.0.2.1:80", "[2001:db8::1]:80", None])

    def test_ips(self) -> None:
        """As text."""
        self.assertEqual([ip(ip_address("2001:db8::1")), ip(None)], ["2001:db8::1", None])

    def test_an_empty_text_is_left_out(self) -> None:
        """Such as a user agent."""
        self.assertEqual([optional(""), optional(None), optional("x")], [None, None, "x"])


class URITest(SynchronousTestCase):
    """Request targets."""

    def test_a_password_is_not_logged(self) -> None:
        """Only in the authority; a user without one stays."""
        table = {
            "https://a:b@example.com/a?b=c": "https://a:xyz@example.com/a?b=c",
            "ftp://u:p@q@h/": "ftp://u:xyz@h/",
            "http://a@example.com/": "http://a@example.com/",
            "http://example.com/a:b@c": "http://example.com/a:b@c",
            "/path?u=http://a:b@c": "/path?u=http://a:b@c",
            "a:b@example.com:443": "a:xyz@example.com:443",
            "http://example.com?x=a:b@c": "http://example.com?x=a:b@c",
            "*": "*",
        }
        for given, logged in table.items():
            self.assertEqual(uri(given, 1024), logged)

    def test_it_is_cut_to_max_chars(self) -> None:
        """Characters, after the password is gone."""
        self.assertEqual(uri("http://a:secret@h/" + "é" * 50, 20), "http://a:xyz@h/ééééé")
        self.assertEqual(uri("http://h/", 0), "")
