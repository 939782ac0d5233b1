# SPDX-License-Identifier: Apache-2.0
"""Servers: they accept clients. One package for each type; see L{g3.interfaces.IServer}."""
