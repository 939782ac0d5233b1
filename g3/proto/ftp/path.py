# SPDX-License-Identifier: Apache-2.0
"""What an ftp:// URI names (RFC 1738 section 3.2), and who asks for it."""

from __future__ import annotations

import re
from enum import Enum
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from g3.proto.ftp.reply import FTPError
from g3.proto.http1.basic import split_basic

_BREAKS = re.compile(rb"[\r\n\0]")


class Kind(Enum):
    """What a path is taken for."""

    DEFAULT = "the directory the server begins in"
    DIRECTORY = "a directory"
    FILE = "a file"
    ANY = "whatever the server says it is"


class Path(NamedTuple):
    """A path as commands take it."""

    kind: Kind
    name: bytes


def parse_path(path_query: bytes) -> Path:
    """The path of an ftp:// URI: relative to where the login begins, absolute when its first segment is C{%2F}. C{;type=d} or a slash at the
    end ask for a listing, C{;type=a} and C{;type=i} for a file (both are sent as they are). A query is ignored.

    @raise FTPError: status 400: CR, LF or NUL in it.
    """
    raw, _, parameter = path_query.partition(b"?")[0].partition(b";")
    segments = [unquote_to_bytes(segment) for segment in raw.lstrip(b"/").split(b"/")]
    name = b"/".join(b"" if segment == b"/" else segment for segment in segments)
    if _BREAKS.search(name):
        raise FTPError("ftp: CR, LF or NUL in the path", 400)
    if not name:
        return Path(Kind.DIRECTORY, b"/") if segments[0] else Path(Kind.DEFAULT, b".")
    if parameter in {b"type=a", b"type=i"}:
        return Path(Kind.FILE, name)
    if parameter == b"type=d" or name.endswith(b"/"):
        return Path(Kind.DIRECTORY, name[:-1] if len(name) > 1 and name.endswith(b"/") else name)
    return Path(Kind.ANY, name)


class Login(NamedTuple):
    """Name and password; None where the client gave none."""

    name: bytes | None = None
    password: bytes | None = None


def parse_login(userinfo: bytes | None, authorization: bytes | None) -> Login:
    """The login of a request: Basic credentials (RFC 7617), else what stands in the URI. Credentials that cannot be read do not count.

    @raise FTPError: status 400: CR, LF or NUL in it.
    """
    given = split_basic(authorization) if authorization else None
    login = None if given is None else Login(*given)
    if login is None and userinfo:
        name, colon, password = userinfo.partition(b":")
        login = Login(unquote_to_bytes(name), unquote_to_bytes(password) if colon else None)
    if login is None or not login.name:
        return Login()
    if any(_BREAKS.search(part) for part in login if part):
        raise FTPError("ftp: CR, LF or NUL in the login", 400)
    return login
