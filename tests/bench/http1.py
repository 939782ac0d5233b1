# SPDX-License-Identifier: Apache-2.0
"""What the HTTP/1 codec costs: microseconds of CPU per call, the best of seven rounds.

    python -m tests.bench.http1 [--profile]

For comparison httptools reads the same request head, with callbacks that keep the fields.
"""

from __future__ import annotations

import argparse
import cProfile
import time
import timeit
from typing import TYPE_CHECKING

import httptools

from g3.proto.http1.chunked import ChunkedReader
from g3.proto.http1.headers import find_end
from g3.proto.http1.request import parse_request
from g3.proto.http1.response import parse_response
from g3.proto.http1.uri import parse_target

if TYPE_CHECKING:
    from collections.abc import Callable

REQUEST = (
    b"GET http://127.0.0.1:8080/some/path?x=1 HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nAccept: */*\r\nAccept-Encoding: gzip, deflate\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36\r\nAccept-Language: en-us,en;q=0.5\r\nCookie: a=b; c=d\r\n"
    b"Proxy-Connection: Keep-Alive\r\n\r\n"
)
RESPONSE = (
    b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Sat, 22 Nov 2025 23:33:00 GMT\r\nContent-Type: application/octet-stream\r\n"
    b'Content-Length: 1024\r\nLast-Modified: Sat, 22 Nov 2025 23:33:00 GMT\r\nConnection: keep-alive\r\nETag: "692246bc-400"\r\n\r\n'
)
LARGE_CHUNK = b"10000\r\n" + b"x" * 65536 + b"\r\n0\r\n\r\n"
SMALL_CHUNKS = b"5\r\nhello\r\n" * 100 + b"0\r\n\r\n"


class _Sink:
    def __init__(self) -> None:
        self.fields: list[tuple[bytes, bytes]] = []

    def on_url(self, url: bytes) -> None:
        self.url = url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value))


def read_with_httptools() -> None:
    httptools.HttpRequestParser(_Sink()).feed_data(REQUEST)


WORK: dict[str, Callable[[], object]] = {
    "find the end of a request head": lambda: find_end(REQUEST),
    "request head of 7 fields": lambda: parse_request(REQUEST),
    "the same by httptools": read_with_httptools,
    "its target": lambda: parse_target(b"GET", b"http://127.0.0.1:8080/some/path?x=1"),
    "response head of 7 fields": lambda: parse_response(RESPONSE, b"GET"),
    "a chunk of 64 KiB": lambda: ChunkedReader().feed(LARGE_CHUNK),
    "100 chunks of 5 bytes": lambda: ChunkedReader().feed(SMALL_CHUNKS),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", action="store_true", help="profile the request head")
    if parser.parse_args().profile:
        work = WORK["request head of 7 fields"]
        cProfile.runctx("for _ in range(100000): work()", {}, {"work": work}, sort="tottime")
        return
    for name, call in WORK.items():
        count = 20000
        print(f"{min(timeit.repeat(call, number=count, repeat=7, timer=time.process_time)) / count * 1e6:8.2f} us  {name}")


if __name__ == "__main__":
    main()
