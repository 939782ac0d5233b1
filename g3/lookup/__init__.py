# SPDX-License-Identifier: Apache-2.0
"""Asking a helper over datagrams and remembering what it said: certificates, locations of addresses, routes."""
