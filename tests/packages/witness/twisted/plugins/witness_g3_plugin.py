# SPDX-License-Identifier: Apache-2.0
"""What the package witness_g3 brings to g3."""

from g3.component import ComponentMaker

witness = ComponentMaker("escaper", "witness", "witness_g3.WitnessEscaper")
