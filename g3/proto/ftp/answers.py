# SPDX-License-Identifier: Apache-2.0
"""What particular replies say: data ports (RFC 959, RFC 2428), features (RFC 2389), sizes and facts (RFC 3659)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from g3.proto.ftp.reply import FTPError

if TYPE_CHECKING:
    from g3.proto.ftp.reply import Reply

_PASSIVE: Final = re.compile(rb"(?<![0-9])([0-9]{1,3}),([0-9]{1,3}),([0-9]{1,3}),([0-9]{1,3}),([0-9]{1,3}),([0-9]{1,3})(?![0-9])")
_EXTENDED: Final = re.compile(rb"\(([!-~])\1\1([0-9]{1,5})\1\)")
_SIZE: Final = re.compile(rb"[0-9]{1,18}")
_MEDIA_TYPE: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}/[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")
_DIRECTORIES: Final = frozenset({b"dir", b"cdir", b"pdir"})


class Facts(NamedTuple):
    """What a server knows of a path. C{size} in bytes in the transfer type of now, None when it does not say."""

    directory: bool = False
    size: int | None = None
    media_type: bytes | None = None


def passive_port(reply: Reply) -> int:
    """The port of a 227. The address beside it is not for following: it would let a server send its clients to any host.

    @raise FTPError: there is none.
    """
    found = _PASSIVE.search(reply.lines[0])
    if found is None:
        raise FTPError("ftp: no address in the reply to PASV")
    numbers = [int(number) for number in found.groups()]
    return _port(numbers[4] * 256 + numbers[5] if max(numbers) < 256 else 0)


def extended_passive_port(reply: Reply) -> int:
    """The port of a 229.

    @raise FTPError: there is none.
    """
    found = _EXTENDED.search(reply.lines[0])
    if found is None:
        raise FTPError("ftp: no port in the reply to EPSV")
    return _port(int(found[2]))


def _port(number: int) -> int:
    if not 0 < number < 65536:
        raise FTPError("ftp: bad data port")
    return number


def features(reply: Reply) -> frozenset[bytes]:
    """The names of a 211 to FEAT, upper case; C{REST STREAM} is one."""
    lines = [line.split() for line in reply.lines[1:-1] if line[:1] == b" "]
    words = [[word.upper() for word in line] for line in lines if line]
    return frozenset(b" ".join(line[:2]) if line[0] == b"REST" else line[0] for line in words)


def size(reply: Reply) -> int:
    """The number of a 213 to SIZE.

    @raise FTPError: there is none.
    """
    text = reply.lines[0].strip()
    if not _SIZE.fullmatch(text):
        raise FTPError("ftp: no number in the reply to SIZE")
    return int(text)


def facts(reply: Reply) -> Facts:
    """What a 250 to MLST says; nothing where it cannot be understood."""
    if len(reply.lines) < 3:
        return Facts()
    pairs, _, _ = reply.lines[1].lstrip().partition(b" ")
    found = {name.lower(): value for name, _, value in (fact.partition(b"=") for fact in pairs.split(b";"))}
    number, media_type = found.get(b"size", b""), found.get(b"media-type", b"")
    return Facts(
        found.get(b"type", b"").lower() in _DIRECTORIES,
        int(number) if _SIZE.fullmatch(number) else None,
        media_type if _MEDIA_TYPE.fullmatch(media_type) else None,
    )
