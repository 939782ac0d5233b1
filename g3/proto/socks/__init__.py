# SPDX-License-Identifier: Apache-2.0
"""SOCKS 4, 4a and 5, both sides: bytes in, messages out.

A C{parse_*} takes all bytes of a message so far and answers None while more are needed, else what it says and where it ends; it looks at no byte
behind that. It refuses what is wrong as soon as that can be told, and every message has a most length, so a caller never keeps more than
L{MAX_MESSAGE} bytes.
"""

from __future__ import annotations

from typing import Final

#: Bytes of the longest message (a SOCKS 4a request with the longest user id and name).
MAX_MESSAGE: Final = 8 + 512 + 256
