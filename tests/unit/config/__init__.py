# SPDX-License-Identifier: Apache-2.0
"""Rules of g3.config."""
