# SPDX-License-Identifier: Apache-2.0
"""What the package lodge_g3 brings to g3."""

from g3.component import ComponentMaker

lodge = ComponentMaker("user_group", "lodge", "lodge_g3.Lodge")
