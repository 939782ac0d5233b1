# SPDX-License-Identifier: Apache-2.0
"""HTTP/1 heads that are nearly right: lines from a box of tricks, then bytes changed."""

from __future__ import annotations

from hypothesis import strategies as st

NAMES = st.sampled_from(
    [
        b"Host",
        b"host",
        b"Content-Length",
        b"content-length",
        b"Content_Length",
        b"Transfer-Encoding",
        b"TRANSFER-ENCODING",
        b"Transfer-Encoding ",
        b" Transfer-Encoding",
        b"Connection",
        b"Proxy-Connection",
        b"Keep-Alive",
        b"TE",
        b"Trailer",
        b"Upgrade",
        b"Expect",
        b"Proxy-Authorization",
        b"Authorization",
        b"Cookie",
        b"X-Any",
        b"X-\xe9",
        b"X Y",
        b"",
    ]
)
VALUES = st.sampled_from(
    [
        b"",
        b"a",
        b"a:80",
        b"a,b",
        b"u@a",
        b"[::1]:80",
        b"0",
        b"3",
        b"03",
        b"+3",
        b"3,3",
        b"3 3",
        b"0x3",
        b"4",
        b"999999999999999999",
        b"9999999999999999999",
        b"chunked",
        b"Chunked",
        b"chunked, chunked",
        b"gzip, chunked",
        b"chunked, gzip",
        b"identity",
        b"xchunked",
        b"chunked;a=b",
        b"chunked,",
        b"\x0bchunked",
        b"close",
        b"keep-alive",
        b"keep-alive, x-any",
        b"content-length",
        b"transfer-encoding, host",
        b"trailers",
        b"100-continue",
        b"websocket",
        b"Basic YTpi",
        b"a\rb",
        b"a\nb",
        b"a\0b",
        b"a\tb",
        b"\xff\xfe",
        b"\x7f",
        b'"quoted; \\" "',
    ]
)
COLONS = st.sampled_from([b": ", b": ", b": ", b":", b":\t ", b" : ", b"", b" "])
FIELDS = st.one_of(
    st.builds(lambda name, colon, value: name + colon + value, NAMES, COLONS, VALUES),
    st.builds(lambda name, value: name + b": " + value, NAMES, st.binary(max_size=12)),
    st.sampled_from([b" folded", b"\tfolded", b"no colon", b": no name"]),
)
#: Mostly right ones, so that acceptance is tested too.
GOOD_FIELDS = st.sampled_from(
    [
        b"Content-Length: 3",
        b"Content-Length:3",
        b"content-length:\t3 ",
        b"Transfer-Encoding: chunked",
        b"transfer-encoding: CHUNKED",
        b"Connection: close",
        b"Connection: keep-alive, X-Any",
        b"Proxy-Connection: keep-alive",
        b"Keep-Alive: 5",
        b"X-Any: a",
        b"X-Empty:",
        b"X-Latin: \xe9",
        b"Cookie: a=b; c=d",
        b"Expect: 100-continue",
        b"TE: trailers",
        b"Upgrade: h2c",
        b"Proxy-Authorization: Basic YTpi",
        b"Accept:\t*/*\t",
    ]
)
ENDS = st.sampled_from([b"\r\n"] * 12 + [b"\n", b"\r", b"\r\r\n", b"\r\n\r\n"])
GOOD_HEADS = st.lists(GOOD_FIELDS, max_size=6)


@st.composite
def heads(draw: st.DrawFn, starts: st.SearchStrategy[bytes], host: bool) -> bytes:
    """A head that ends in an empty line most of the time."""
    lines = [draw(starts)]
    if host and draw(st.integers(0, 5)):
        lines.append(b"Host: a")
    if draw(st.booleans()):
        lines += draw(GOOD_HEADS)
        data = b"\r\n".join([*lines, b"\r\n"])
    else:
        lines += draw(st.lists(st.one_of(FIELDS, GOOD_FIELDS), max_size=6))
        data = b"".join(line + draw(ENDS) for line in lines) + b"\r\n"
    if not draw(st.integers(0, 4)) and data:
        at = draw(st.integers(0, len(data) - 1))
        data = data[:at] + draw(st.binary(max_size=2)) + data[at + draw(st.integers(0, 1)) :]
    return data
