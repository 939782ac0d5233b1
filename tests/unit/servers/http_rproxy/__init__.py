# SPDX-License-Identifier: Apache-2.0
"""Tests of g3.servers.http_rproxy."""
