# SPDX-License-Identifier: Apache-2.0
"""The control socket: an operator on the same machine asks the tree, one JSON line at a time."""
