# SPDX-License-Identifier: Apache-2.0
"""Tells g3 of the acme_by_port escaper."""

from g3.component import ComponentMaker

by_port = ComponentMaker("escaper", "acme_by_port", "acme_by_port.ByPortEscaper")
