# SPDX-License-Identifier: Apache-2.0
"""Basic authentication (RFC 7617): credentials, and asking for them."""

from __future__ import annotations

from base64 import b64decode
from binascii import Error as Base64Error

from g3.proto.http1.headers import HTTPError

#: Characters of credentials at most; a head may have far more.
MOST = 4096


def split_basic(value: bytes) -> tuple[bytes, bytes] | None:
    """User and password of the value of an authorization field; None when it is another scheme, or cannot be read."""
    scheme, _, encoded = value.strip().partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        user, colon, password = b64decode(encoded.strip(), validate=True).partition(b":")
    except Base64Error:
        return None
    return (user, password) if colon else None


def parse_basic(value: bytes) -> tuple[str, str]:
    """User and password, which are UTF-8 text without control characters.

    @raise HTTPError: 400 for another scheme, and for what cannot be read.
    """
    found = split_basic(value) if len(value) <= MOST else None
    if found is None:
        raise HTTPError("not the credentials of Basic authentication")
    try:
        user, password = (part.decode() for part in found)
    except UnicodeDecodeError:
        raise HTTPError("credentials are not UTF-8") from None
    if any(character < " " or character == "\x7f" for character in user + password):
        raise HTTPError("control character in credentials")
    return user, password


def challenge(field: bytes, realm: str) -> bytes:
    """The line (no CRLF) that asks for credentials. C{realm}: ASCII."""
    quoted = "".join("\\" + character if character in '"\\' else character for character in realm if character.isprintable())
    return b'%b: Basic realm="%b"' % (field, quoted.encode("ascii"))
