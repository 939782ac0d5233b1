# SPDX-License-Identifier: Apache-2.0
"""Speed limits combine to the lower of both."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from g3.limit.options import DatagramSpeed, StreamSpeed


class SmallerTests(SynchronousTestCase):
    def test_a_limit_without_shift_is_none(self) -> None:
        """The other one holds."""
        limit, none = StreamSpeed(shift=10, upload=5, download=6), StreamSpeed(upload=1, download=1)
        self.assertEqual(limit.smaller(none), limit)
        self.assertEqual(none.smaller(limit), limit)
        packets = DatagramSpeed(shift=10, upload_packets=5)
        self.assertEqual(DatagramSpeed().smaller(packets), packets)

    def test_limits_are_compared_for_slices_of_one_length(self) -> None:
        """Counted in slices of the first."""
        slow, fast = StreamSpeed(shift=10, upload=1024, download=4096), StreamSpeed(shift=8, upload=512, download=512)
        self.assertEqual(slow.smaller(fast), StreamSpeed(shift=10, upload=1024, download=2048))
        self.assertEqual(fast.smaller(slow), StreamSpeed(shift=8, upload=256, download=512))

    def test_a_tiny_limit_does_not_become_none(self) -> None:
        """Halving 1 leaves 1, since 0 means something else."""
        tiny = StreamSpeed(shift=12, upload=1, download=1)
        self.assertEqual(StreamSpeed(shift=1, upload=9, download=9).smaller(tiny), StreamSpeed(shift=1, upload=1, download=1))

    def test_a_datagram_limit_of_0_is_no_limit(self) -> None:
        """For each number of its own."""
        one = DatagramSpeed(shift=10, upload_packets=7, upload_bytes=100)
        other = DatagramSpeed(shift=10, download_packets=8, upload_bytes=50)
        self.assertEqual(one.smaller(other), DatagramSpeed(shift=10, upload_packets=7, download_packets=8, upload_bytes=50))

    def test_a_slice_is_a_power_of_two_milliseconds(self) -> None:
        """Ten is about a second."""
        self.assertEqual((StreamSpeed(shift=10).slice, DatagramSpeed(shift=0).slice), (1.024, 0.001))
