# SPDX-License-Identifier: Apache-2.0
"""The certificate generator that TLS interception asks: for a name, or like a certificate that was seen."""
