# SPDX-License-Identifier: Apache-2.0
"""Moving bytes between two established streams."""
