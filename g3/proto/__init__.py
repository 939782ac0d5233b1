# SPDX-License-Identifier: Apache-2.0
"""Wire protocols: bytes in, objects out. No Twisted, no I/O, no clock; imports nothing of ours but L{g3.errors}."""
