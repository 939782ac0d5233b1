# SPDX-License-Identifier: Apache-2.0
"""What an escaper can do for HTTP forwarding, and the connection it gives for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from zope.interface import implementer

from g3.interfaces import IHTTPForwardConnection
from g3.net.options import HTTPForwardCapability as HTTPCapability

if TYPE_CHECKING:
    from g3.task import ConnectNotes

__all__ = ["DIRECT", "HTTPCapability", "HTTPForwardConnection"]

#: No proxy follows: nothing is sent in absolute form, TLS is ours to make.
DIRECT: Final = HTTPCapability()


@implementer(IHTTPForwardConnection)
class HTTPForwardConnection:
    """See L{IHTTPForwardConnection}."""

    __slots__ = ("absolute_form", "header_lines", "notes", "private", "stream")

    def __init__(self, stream: Any, notes: ConnectNotes, *, absolute_form: bool = False, header_lines: bytes = b"", private: bool = False) -> None:
        self.stream = stream
        self.notes = notes
        self.absolute_form = absolute_form
        self.header_lines = header_lines
        self.private = private
