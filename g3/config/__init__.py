# SPDX-License-Identifier: Apache-2.0
"""Configuration: YAML to frozen objects, every problem located. Knows no type of server, escaper or resolver; each brings its schema."""
