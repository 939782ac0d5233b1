# SPDX-License-Identifier: Apache-2.0
"""The daemons and commands of the suite: options, and what they start. Thin."""
