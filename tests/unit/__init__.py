# SPDX-License-Identifier: Apache-2.0
"""Rules of single modules; the folders mirror g3/."""
