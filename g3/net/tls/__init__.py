# SPDX-License-Identifier: Apache-2.0
"""TLS: what an operator may say of it, and the streams that speak it."""
