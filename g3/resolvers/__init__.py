# SPDX-License-Identifier: Apache-2.0
"""Resolvers: they answer names. One package per type, named as in the configuration."""
