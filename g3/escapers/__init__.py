# SPDX-License-Identifier: Apache-2.0
"""Escapers: the ways out. One package per type, named as the type; C{base} has what they share."""
