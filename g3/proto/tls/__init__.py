# SPDX-License-Identifier: Apache-2.0
"""TLS as far as it can be read without keys."""
