# SPDX-License-Identifier: Apache-2.0
"""Limits: speed, rate and number alive."""
