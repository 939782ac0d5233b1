# SPDX-License-Identifier: Apache-2.0
"""What the package metered_g3 brings to g3."""

from g3.component import ComponentMaker

metered = ComponentMaker("server", "metered", "metered_g3.MeteredServer")
