# SPDX-License-Identifier: Apache-2.0
"""Certificates: roots, intermediates, leaves for TLS and TLCP, and copies of others' certificates under an authority of ours."""
