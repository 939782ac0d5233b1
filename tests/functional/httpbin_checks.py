# SPDX-License-Identifier: Apache-2.0
"""What clients must be able to do with an httpbin behind the proxy, checked with pycurl and with requests; runs as a program of its own.

Each check is one thing a user does: a GET, a slow one, chunked answers, credentials, bodies small and large, with a length and chunked, with
and without C{Expect}. They run side by side; the exit status is 0 when all went well, and every fault is one line of output.
"""

from __future__ import annotations

import argparse
import io
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

import pycurl
import requests

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ATTEMPT_SECONDS = 120
SMALL = b"Content to post"
LARGE = urlencode({"data": "Content to post" * 1024 * 100}).encode()
#: base64 of a sentence httpbin decodes for us.
ENCODED, DECODED = "SFRUUEJJTiBpcyBhd2Vzb21l", b"HTTPBIN is awesome"


@dataclass(frozen=True)
class Target:
    """Where to, and which way."""

    site: str
    proxy: str | None = None
    tunnel: bool = False
    masque: bool = False
    ca: str | None = None
    #: Addresses that curl is to take for names, as its C{--resolve} spells them.
    resolve: tuple[str, ...] = ()

    def url(self, path: str) -> str:
        """The URL to ask for: through a well-known URI of the proxy when C{masque}."""
        url = self.site.rstrip("/") + path
        if self.masque and self.proxy:
            return f"{self.proxy}/.well-known/masque/http/{quote(url, safe='')}"
        return url


class Fault(Exception):
    """A check that did not come out as it must."""


def expect(wanted: object, got: object, what: str) -> None:
    if wanted != got:
        raise Fault(f"{what}: expected {wanted!r}, got {got!r}")


class Curl:
    """One curl handle; its connections are kept between its requests."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.handle = pycurl.Curl()
        self.handle.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)
        self.handle.setopt(pycurl.TIMEOUT, ATTEMPT_SECONDS)
        self.handle.setopt(pycurl.NOPROXY, "")
        self.handle.setopt(pycurl.RESOLVE, list(target.resolve))
        if target.ca:
            self.handle.setopt(pycurl.CAINFO, target.ca)
            self.handle.setopt(pycurl.PROXY_CAINFO, target.ca)
        if target.proxy and not target.masque:
            self.handle.setopt(pycurl.PROXY, target.proxy)
            self.handle.setopt(pycurl.HTTPPROXYTUNNEL, int(target.tunnel))

    def ask(self, path: str, status: int = 200, headers: tuple[str, ...] = (), **options: Any) -> bytes:
        """One request, its options named as pycurl's; the body of the answer, whose status must be C{status}."""
        body = io.BytesIO()
        self.handle.setopt(pycurl.URL, self.target.url(path))
        self.handle.setopt(pycurl.WRITEFUNCTION, body.write)
        self.handle.setopt(pycurl.HTTPHEADER, ["Accept: application/json", *headers])
        for name, value in options.items():
            self.handle.setopt(getattr(pycurl, name), value)
        self.handle.perform()
        expect(status, self.handle.getinfo(pycurl.RESPONSE_CODE), f"status of {path}")
        return body.getvalue()

    def put(self, path: str, data: bytes, headers: tuple[str, ...] = ()) -> bytes:
        """Upload C{data} as curl -T does."""
        options = {"UPLOAD": 1, "READFUNCTION": io.BytesIO(data).read}
        if not any(header.lower().startswith("transfer-encoding") for header in headers):
            options["INFILESIZE_LARGE"] = len(data)
        return self.ask(path, 200, headers, **options)


def curl_get(target: Target) -> None:
    """The answer's body is httpbin's word on what it was asked."""
    if b'"headers"' not in Curl(target).ask("/get"):
        raise Fault("/get answered something else")


def curl_get_slow(target: Target) -> None:
    """An origin that takes a second to answer."""
    Curl(target).ask("/delay/1")


def curl_get_chunked_small(target: Target) -> None:
    """Chunked answers, one after another over one connection."""
    curl = Curl(target)
    expect(1, curl.ask("/stream/1").count(b"\n"), "lines")
    expect(4, curl.ask("/stream/4").count(b"\n"), "lines")


def curl_get_chunked_large(target: Target) -> None:
    """A hundred chunks arrive, all of them."""
    expect(100, Curl(target).ask("/stream/100").count(b"\n"), "lines")


def curl_basic_auth(target: Target) -> None:
    """The origin's own credentials pass: none, right and wrong ones."""
    curl = Curl(target)
    curl.ask("/basic-auth/name/pass", 401)
    curl.ask("/basic-auth/name/pass", 200, ("Authorization: Basic bmFtZTpwYXNz",))
    curl.ask("/basic-auth/name/pass", 401, ("Authorization: Basic bmFtZTpwYXM=",))


def curl_exact_body(target: Target) -> None:
    """A body arrives byte for byte."""
    expect(DECODED, Curl(target).ask(f"/base64/{ENCODED}", 200, ("Accept: text/html",)), "body")


def curl_post_small(target: Target) -> None:
    """With a length; then with Expect, which the origin answers."""
    curl = Curl(target)
    curl.ask("/post", POSTFIELDS=SMALL)
    curl.ask("/post", 200, ("Expect: 100-continue",), POSTFIELDS=SMALL)


def curl_post_small_chunked(target: Target) -> None:
    """The same without a length."""
    curl = Curl(target)
    curl.ask("/post", 200, ("Transfer-Encoding: chunked",), POSTFIELDS=SMALL)
    curl.ask("/post", 200, ("Transfer-Encoding: chunked", "Expect: 100-continue"), POSTFIELDS=SMALL)


def curl_post_large(target: Target) -> None:
    """1.5 MB, with the Expect curl sends by itself, then without; httpbin says it all back."""
    curl = Curl(target)
    for headers in ((), ("Expect:",)):
        if len(curl.ask("/post", 200, headers, POSTFIELDS=LARGE)) < len(LARGE):
            raise Fault("the echo is shorter than what was sent")


def curl_post_large_chunked(target: Target) -> None:
    """The same without a length."""
    curl = Curl(target)
    for headers in (("Transfer-Encoding: chunked",), ("Transfer-Encoding: chunked", "Expect:")):
        if len(curl.ask("/post", 200, headers, POSTFIELDS=LARGE)) < len(LARGE):
            raise Fault("the echo is shorter than what was sent")


def curl_put(target: Target) -> None:
    """An upload with a length."""
    if SMALL not in Curl(target).put("/put", SMALL * 1000):
        raise Fault("the echo lacks what was sent")


def curl_put_slow(target: Target) -> None:
    """An upload to an origin that takes a second."""
    Curl(target).put("/delay/1", SMALL * 1000)


def curl_put_chunked(target: Target) -> None:
    """An upload without a length."""
    if SMALL not in Curl(target).put("/put", SMALL * 1000, ("Transfer-Encoding: chunked",)):
        raise Fault("the echo lacks what was sent")


def session(target: Target) -> requests.Session:
    made = requests.Session()
    made.trust_env = False
    made.headers["accept"] = "application/json"
    made.verify = target.ca or True
    if target.proxy:
        made.proxies.update({"http": target.proxy, "https": target.proxy})
    return made


def requests_get(target: Target) -> None:
    """The plainest request."""
    expect(200, session(target).get(target.url("/get"), timeout=ATTEMPT_SECONDS).status_code, "status")


def requests_basic_auth(target: Target) -> None:
    """None, right and wrong credentials of the origin, over one connection."""
    client = session(target)
    for wanted, credentials in ((401, None), (200, ("name", "pass")), (401, ("name", "pas"))):
        got = client.get(target.url("/basic-auth/name/pass"), auth=credentials, timeout=ATTEMPT_SECONDS).status_code
        expect(wanted, got, f"status with {credentials}")


def requests_exact_body(target: Target) -> None:
    """A body arrives byte for byte."""
    answer = session(target).get(target.url(f"/base64/{ENCODED}"), headers={"accept": "text/html"}, timeout=ATTEMPT_SECONDS)
    expect((200, DECODED), (answer.status_code, answer.content), "answer")


def requests_post(target: Target) -> None:
    """A client that sends Expect and does not wait for the answer to it."""
    client = session(target)
    for headers in ({}, {"Expect": "100-continue"}):
        expect(200, client.post(target.url("/post"), data=SMALL, headers=headers, timeout=ATTEMPT_SECONDS).status_code, f"status with {headers}")


Check = tuple[str, "Callable[[Target], None]"]


def checks(client: str) -> Iterator[Check]:
    """Every check of a client, C{curl} or C{requests}."""
    return ((name, made) for name, made in globals().items() if name.startswith(f"{client}_"))


def run_check(check: Check, target: Target) -> str:
    """Empty, or what went wrong."""
    try:
        check[1](target)
    except (Fault, pycurl.error, requests.RequestException) as error:
        return f"{check[0]}: {error}"
    return ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--client", choices=("curl", "requests"), required=True)
    parser.add_argument("--site", required=True)
    parser.add_argument("--proxy")
    parser.add_argument("--tunnel", action="store_true")
    parser.add_argument("--masque", action="store_true")
    parser.add_argument("--ca")
    parser.add_argument("--resolve", action="append", default=[], help="for curl")
    asked = parser.parse_args()
    if urlsplit(asked.site).scheme not in {"http", "https"}:
        parser.error("--site is a URL")
    target = Target(asked.site, asked.proxy, asked.tunnel, asked.masque, asked.ca, tuple(asked.resolve))
    wanted = list(checks(asked.client))
    with ThreadPoolExecutor(max_workers=8) as pool:
        faults = [fault for fault in pool.map(lambda check: run_check(check, target), wanted) if fault]
    print("\n".join([*faults, f"{len(wanted) - len(faults)} of {len(wanted)} checks passed"]))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
