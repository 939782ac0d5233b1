# SPDX-License-Identifier: Apache-2.0
"""The real daemon, started as a user starts it, with real clients and real peers."""
