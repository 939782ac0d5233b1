# SPDX-License-Identifier: Apache-2.0
"""The kinds of configuration values, one module per family. Each value class parses, describes and writes back one kind."""
