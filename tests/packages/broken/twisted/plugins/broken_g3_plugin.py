# SPDX-License-Identifier: Apache-2.0
"""A plugin file that cannot be imported."""

raise RuntimeError("this package wants Python 4")
