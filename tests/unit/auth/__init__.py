# SPDX-License-Identifier: Apache-2.0
"""Access rules and look-up tables."""
