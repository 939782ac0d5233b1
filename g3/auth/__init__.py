# SPDX-License-Identifier: Apache-2.0
"""Users: who may do what, and how clients say who they are."""
