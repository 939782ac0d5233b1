# SPDX-License-Identifier: Apache-2.0
"""A package of somebody else with an escaper for g3."""

__version__ = "7.5"
