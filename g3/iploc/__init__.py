# SPDX-License-Identifier: Apache-2.0
"""Where addresses are: databases of networks, and the service that answers from them."""
