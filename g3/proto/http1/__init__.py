# SPDX-License-Identifier: Apache-2.0
"""HTTP/1 on the wire (RFC 9112), as strict as a proxy must be: what is not framed beyond doubt is refused.

Heads keep their raw lines, so that what is forwarded has the case and the order it came in. Nothing here does I/O.
"""
