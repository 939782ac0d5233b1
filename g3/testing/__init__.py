# SPDX-License-Identifier: Apache-2.0
"""Tools for tests, ours and those of third-party components: in-memory streams and conformance suites."""
