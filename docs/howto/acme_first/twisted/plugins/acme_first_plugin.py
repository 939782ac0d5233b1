# SPDX-License-Identifier: Apache-2.0
"""Tells g3 which types this package brings."""

from g3.component import ComponentMaker

first = ComponentMaker("escaper", "acme_first", "acme_first.FirstEscaper", aliases=("acme",))
