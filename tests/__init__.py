# SPDX-License-Identifier: Apache-2.0
"""Everything that shows the suite does what it says: unit, fuzz and functional."""
