# SPDX-License-Identifier: Apache-2.0
"""What the package moody_g3 brings to g3."""

from g3.component import ComponentMaker

moody = ComponentMaker("escaper", "moody", "moody_g3.MoodyEscaper")
