# SPDX-License-Identifier: Apache-2.0
"""g3: an enterprise proxy suite on Twisted. Only the version lives here; see L{g3.interfaces} for the vocabulary."""

__version__ = "0.1.0"
