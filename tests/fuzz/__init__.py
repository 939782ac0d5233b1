# SPDX-License-Identifier: Apache-2.0
"""Random input for every codec, each against an independent oracle."""

from __future__ import annotations

import os

from hypothesis import settings

# The suite tries the same cases each time, so that it fails for a change and not for its luck. G3_FUZZ=random looks for new ones.
settings.register_profile("suite", derandomize=os.environ.get("G3_FUZZ") != "random", database=None)
settings.load_profile("suite")
