# SPDX-License-Identifier: Apache-2.0
"""What the package acme_g3 brings to g3."""

from g3.component import ComponentMaker

fixed_host = ComponentMaker("escaper", "acme_fixed_host", "acme_g3.escaper.FixedHostEscaper", aliases=("acme_host",))
