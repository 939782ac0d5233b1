# SPDX-License-Identifier: Apache-2.0
"""What goes wrong with TLS. The caller knows who the peer was and makes it a TaskError of that side."""

from __future__ import annotations

from g3.errors import G3Error


class TLSHandshakeFailed(G3Error):
    """The handshake failed; the message says why: the alert a peer sent, what is wrong with its certificate, or how its connection ended."""


class TLSHandshakeTimeout(G3Error):
    """The handshake was not done in time."""


class TLSTruncated(ConnectionResetError):
    """The connection ended without close_notify: what was read may lack its end (RFC 8446 section 6.1)."""
