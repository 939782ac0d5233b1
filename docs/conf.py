# SPDX-License-Identifier: Apache-2.0
"""How Sphinx builds the documentation: offline, and with every warning an error."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE / "_ext")]

import g3

project = "g3"
author = "the g3 maintainers"
copyright = author  # noqa: A001 - Sphinx's word
version = release = g3.__version__
extensions = ["g3schema"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"g3 {g3.__version__}"
highlight_language = "none"
nitpicky = True
