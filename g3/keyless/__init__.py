# SPDX-License-Identifier: Apache-2.0
"""A key server: private keys stay here, TLS servers elsewhere ask for what only the key can do (upstream: g3keymess)."""
