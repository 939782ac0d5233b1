# SPDX-License-Identifier: Apache-2.0
"""Random input for every codec, each against an independent oracle."""
