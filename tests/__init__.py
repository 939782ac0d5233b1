# SPDX-License-Identifier: Apache-2.0
"""Everything that shows the suite does what it says: unit, fuzz and functional."""

import os
import sys

from hypothesis import HealthCheck, settings

# Hundreds of processes are started, and each would compile the package anew where the environment says that nothing compiled is kept.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# How long one example takes, or making it, says nothing on a machine that is busy.
settings.register_profile("g3", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("g3")
