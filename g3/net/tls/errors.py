# SPDX-License-Identifier: Apache-2.0
"""What goes wrong with TLS. The caller knows who the peer was and makes it a TaskError of that side."""

from __future__ import annotations

import os

from OpenSSL import SSL

from g3.errors import G3Error


class TLSHandshakeFailed(G3Error):
    """The handshake failed; the message says why: the alert a peer sent, what is wrong with its certificate, or how its connection ended."""


class TLSHandshakeTimeout(G3Error):
    """The handshake was not done in time."""


class TLSTruncated(ConnectionResetError):
    """The connection ended without close_notify: what was read may lack its end (RFC 8446 section 6.1)."""


def reason_of(error: Exception, fault: str) -> str:
    """Why a handshake failed, in words: the alert, or what OpenSSL says, with C{fault}, which is what is wrong with the peer's certificate."""
    if isinstance(error, SSL.SysCallError):
        number = error.args[0]
        return "the peer closed the connection" if number == -1 else f"connection lost: {os.strerror(number)}"
    if isinstance(error, SSL.ZeroReturnError):
        return "the peer closed the connection"
    if isinstance(error, SSL.Error) and error.args and error.args[0]:
        words = ", ".join(dict.fromkeys(str(entry[-1]) for entry in error.args[0] if entry[-1]))
        return f"{words}: {fault}" if fault and "verify" in words else words or "unknown TLS error"
    return str(error) or type(error).__doc__ or type(error).__name__
