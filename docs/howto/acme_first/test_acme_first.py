# SPDX-License-Identifier: Apache-2.0
"""The escaper does what every escaper must."""

from __future__ import annotations

from typing import TYPE_CHECKING

from acme_first import FirstConfig, FirstEscaper
from twisted.trial.unittest import TestCase

from g3.testing.escapers import EscaperConformance

if TYPE_CHECKING:
    from g3.tree.node import NodeContext


class FirstTests(EscaperConformance, TestCase):
    """All of them."""

    def make_escaper(self, context: NodeContext) -> FirstEscaper:
        return FirstEscaper(FirstConfig(name="first", resolver="resolver"), context)
