# SPDX-License-Identifier: Apache-2.0
"""Header fields: the checks every HTTP/1 head shares (RFC 9110 section 5, RFC 9112 sections 5 to 7).

A head is split once at CRLF. Most lines have been seen before, in this connection or another one, and what there is to do with them was found out
then: L{FieldLines} knows them as a whole. Of the others one C{translate} proves that none has a control byte, which covers bare CR, bare LF, NUL and
the rest, and the name is looked up in a dictionary of names already proven to be tokens.

Where a byte is sought in bytes, C{find} does it: C{in} first asks whether what is sought is a number, and makes an exception when it is not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from g3.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from collections.abc import Set as AbstractSet

#: How a body is framed (RFC 9112 section 6). LENGTH is never 0: an empty body is NONE.
NONE, LENGTH, CHUNKED, UNTIL_CLOSE = range(4)

#: Bytes and fields a head may have unless the caller says otherwise.
MAX_HEAD = 65536
MAX_FIELDS = 256

#: tchar of RFC 9110 section 5.6.2.
TOKEN = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
#: What may stand in a line: HTAB, SP, VCHAR, obs-text.
TEXT = bytes([9, *range(0x20, 0x7F), *range(0x80, 0x100)])
#: L{TEXT} as it is, everything else as NUL: C{data.translate(PLAIN) is data} when all of it is TEXT, and no table is made for that.
PLAIN = bytes(byte if byte in TEXT else 0 if byte else 1 for byte in range(256))
OWS = b" \t"

#: Transfer codings that are registered and may stand before chunked.
COMPRESSIONS = frozenset({b"gzip", b"x-gzip", b"compress", b"x-compress", b"deflate"})

_TOKEN_BYTES = frozenset(TOKEN)
_MAX_NAMES = 4096
_MAX_NAME = 64
_MAX_LENGTH_DIGITS = 18
_MAX_LINES = 4096
_MAX_LINE = 128
#: Never remembered longer than their message.
_SECRETS = frozenset({b"authorization", b"cookie", b"proxy-authorization", b"set-cookie"})

#: What a parser has to do with a line: the kind of its name, the line, and its value as C{read} has it.
Special = tuple[int, bytes, Any]


class HTTPError(ProtocolError):
    """A message that cannot be trusted: C{status} answers it (502 when it came from an upstream), then the connection is closed."""

    #: Framing is lost: never read another message from this connection.
    close = True


def is_token(data: bytes) -> bool:
    """Whether C{data} is a token (RFC 9110 section 5.6.2)."""
    return bool(data) and not data.translate(None, TOKEN)


class FieldKinds(dict[bytes, int]):
    """Field name, as it was spelled, to what the parser has to do with it: 0 is nothing.

    Only names that are tokens get in; at most 4096, then it starts afresh. C{kinds[name]} of anything else raises HTTPError.
    """

    __slots__ = ("by_lower", "status")

    def __init__(self, by_lower: Mapping[bytes, int], status: int) -> None:
        super().__init__()
        self.by_lower = by_lower
        self.status = status

    def __missing__(self, name: bytes) -> int:
        if not is_token(name):
            raise HTTPError("bad header field name", self.status)
        kind = self.by_lower.get(name.lower(), 0)
        if len(name) <= _MAX_NAME:
            if len(self) >= _MAX_NAMES:
                self.clear()
            self[name] = kind
        return kind


class FieldLines(dict[bytes, "Special | None"]):
    """Field line to what the parser has to do with it: None is nothing but to pass it on.

    At most 4096 lines of at most 128 bytes, then it starts afresh; none with credentials or cookies. C{lines[line]} of what is no field line raises
    HTTPError, and so it does for a value that C{read} refuses.
    """

    __slots__ = ("_kinds", "_read")

    def __init__(self, kinds: FieldKinds, read: Callable[[int, bytes, bytes], Special]) -> None:
        """@param read: called with kind, line and value (with its white space) of a line whose kind is not 0."""
        super().__init__()
        self._kinds = kinds
        self._read = read

    def __missing__(self, line: bytes) -> Special | None:
        if line.translate(PLAIN) is not line:
            raise HTTPError("control byte in the header", self._kinds.status)
        name, colon, value = line.partition(b":")
        kind = self._kinds[name]
        if not colon:
            raise HTTPError("header field without a colon", self._kinds.status)
        special = self._read(kind, line, value) if kind else None
        if len(line) <= _MAX_LINE and name.lower() not in _SECRETS:
            if len(self) >= _MAX_LINES:
                self.clear()
            self[line] = special
        return special


#: What L{find_end} looks for. Who has a whole head as a rule looks first, and asks when it is not there, or too far on, or when a part was looked at
#: before.
HEAD_END = b"\r\n\r\n"


def find_end(buffer: bytes | bytearray, start: int = 0, seen: int = 0, limit: int = MAX_HEAD, status: int = 431) -> int:
    """Where the head that begins at C{start} ends (just past its empty line), or -1 when more bytes are needed.

    C{seen} is how far an earlier call with the same C{start} looked (the length of the buffer then).

    @raise HTTPError: C{status} when the head is, or must get, longer than C{limit}; 400 (502 when C{status} is 502) when what is there already
        cannot begin a message: a bare LF, or a first byte that no start line has (a TLS hello, say).
    """
    found = buffer.find(HEAD_END, start if seen < start + 3 else seen - 3)
    size = (len(buffer) if found < 0 else found + 4) - start
    if size > limit or (found < 0 and size == limit):
        raise HTTPError("header too large", status)
    if found >= 0:
        return found + 4
    _refuse_early(buffer, start, seen, 502 if status == 502 else 400)
    return -1


def _refuse_early(buffer: bytes | bytearray, start: int, seen: int, status: int) -> None:
    if start < len(buffer) and buffer[start] not in _TOKEN_BYTES and buffer[start] != 13:
        raise HTTPError("not an HTTP/1 message", status)
    since = max(start, seen)
    if since > start and buffer[since - 1] == 13:
        since -= 1
    if buffer.count(b"\n", since) != buffer.count(b"\r\n", since):
        raise HTTPError("bare LF", status)


def split_head(head: bytes, max_fields: int, status: int, too_many: int) -> list[bytes]:
    """The lines of C{head}, without its empty line. One empty line before the first is dropped; the first has no control byte but HTAB.

    @raise HTTPError: C{too_many} when there are over C{max_fields} fields, else C{status}.
    """
    lines = head.split(b"\r\n")
    if lines.pop() or not lines or lines.pop() or not lines:
        raise HTTPError("incomplete header", status)
    if not lines[0]:
        del lines[0]
        if not lines:
            raise HTTPError("no start line", status)
    if lines[0].translate(PLAIN) is not lines[0]:
        raise HTTPError("control byte in the header", status)
    if len(lines) - 1 > max_fields:
        raise HTTPError("too many header fields", too_many)
    return lines


def parse_length(value: bytes, status: int) -> int:
    """The value of Content-Length: digits only, below 10**18.

    @raise HTTPError: it is anything else.
    """
    value = value.strip(OWS)
    if not value.isdigit() or len(value) > _MAX_LENGTH_DIGITS:
        raise HTTPError("bad Content-Length", status)
    return int(value)


def parse_codings(values: list[bytes], status: int, unknown: int) -> list[bytes]:
    """The transfer codings of all Transfer-Encoding lines together, lower case, each at most once and chunked only at the end.

    @raise HTTPError: C{unknown} for a coding that is not registered, C{status} for chunked twice or not last, or an empty element.
    """
    codings = [coding.strip(OWS).lower() for value in values for coding in value.split(b",")]
    if not all(codings):
        raise HTTPError("bad Transfer-Encoding", status)
    if any(coding != b"chunked" and coding not in COMPRESSIONS for coding in codings):
        raise HTTPError("unknown transfer coding", unknown)
    if len(set(codings)) != len(codings) or b"chunked" in codings[:-1]:
        raise HTTPError("chunked is not the last transfer coding, or a coding is repeated", status)
    return codings


def parse_options(value: bytes, status: int) -> list[bytes]:
    """The lower-case options of a Connection field; empty elements are passed over (RFC 9110 section 5.6.1).

    @raise HTTPError: an option is no token.
    """
    options = [option for part in value.lower().split(b",") if (option := part.strip(OWS))]
    for option in options:
        if not is_token(option):
            raise HTTPError("bad Connection", status)
    return options


def field_value(lines: list[bytes], name: bytes) -> bytes | None:
    """The value of the first field called C{name} (lower case), or None."""
    prefix = name + b":"
    size = len(prefix)
    for line in lines:
        if line[:size].lower() == prefix:
            return line[size:].strip(OWS)
    return None


class Head:
    """What the heads of requests and responses have in common."""

    __slots__ = ("forward_lines",)

    #: The raw field lines to send on (no CRLF).
    forward_lines: list[bytes]

    def get(self, name: bytes) -> bytes | None:
        """The value of the first forwarded field called C{name} (lower case), or None."""
        return field_value(self.forward_lines, name)

    def remove(self, name: bytes) -> None:
        """Take every field called C{name} (lower case) off."""
        self.drop({name})

    def drop(self, names: AbstractSet[bytes]) -> None:
        """Take every field off whose lower-case name is in C{names}."""
        self.forward_lines = [line for line in self.forward_lines if line.partition(b":")[0].lower() not in names]


def field_values(lines: list[bytes], name: bytes) -> list[bytes]:
    """The values of every field called C{name} (lower case), in order."""
    prefix = name + b":"
    size = len(prefix)
    return [line[size:].strip(OWS) for line in lines if line[:size].lower() == prefix]
