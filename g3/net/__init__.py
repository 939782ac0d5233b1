# SPDX-License-Identifier: Apache-2.0
"""The network: reactor, sockets, streams, timers, TLS."""
