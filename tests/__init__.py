# SPDX-License-Identifier: Apache-2.0
"""Everything that shows the suite does what it says: unit, fuzz and functional."""

import os
import sys

# Hundreds of processes are started, and each would compile the package anew where the environment says that nothing compiled is kept.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
