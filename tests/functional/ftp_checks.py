# SPDX-License-Identifier: Apache-2.0
"""What clients must be able to do with an FTP server behind the proxy, checked with pycurl; runs as a program of its own.

One step after the other: the server's directory is empty before and after. The exit status is 0 when all went well.
"""

from __future__ import annotations

import argparse
import io
import sys

import pycurl

CONTENT = bytes(range(256)) * 200


class Site:
    """An FTP site, and the proxy on the way to it."""

    def __init__(self, site: str, proxy: str, ca: str | None) -> None:
        self.site = site
        self.handle = pycurl.Curl()
        self.options: dict[int, object] = {pycurl.PROXY: proxy, pycurl.TIMEOUT: 60}
        if ca is not None:
            self.options[pycurl.PROXY_CAINFO] = ca

    def step(self, what: str, path: str, status: int, body: bytes | None = None, **options: object) -> None:
        """One request; exits when it does not come out as it must."""
        got = io.BytesIO()
        handle = self.handle
        handle.reset()  # which keeps its connections
        for option, value in {**self.options, pycurl.URL: self.site + path, pycurl.WRITEFUNCTION: got.write}.items():
            handle.setopt(option, value)
        for name, value in options.items():
            handle.setopt(getattr(pycurl, name), value)
        handle.perform()
        said = handle.getinfo(pycurl.RESPONSE_CODE)
        if said != status or (body is not None and got.getvalue() != body):
            sys.exit(f"{what}: expected {status}, got {said} and {got.getvalue()[:200]!r}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--site", required=True)
    parser.add_argument("--proxy", required=True)
    parser.add_argument("--ca")
    options = parser.parse_args()
    site = Site(options.site, options.proxy, options.ca)
    site.step("list the root", "/", 200, b"")
    site.step("a file that is not there is listed, as nothing", "/uploaded_file", 200, b"")
    site.step("upload", "/uploaded_file", 200, UPLOAD=1, READDATA=io.BytesIO(CONTENT), INFILESIZE_LARGE=len(CONTENT))
    site.step("download", "/uploaded_file", 200, CONTENT)
    site.step("download a part", "/uploaded_file", 206, CONTENT[100:300], RANGE="100-299")
    site.step("upload in chunks", "/uploaded_file", 200, UPLOAD=1, READDATA=io.BytesIO(CONTENT[::-1]))
    site.step("download again", "/uploaded_file", 200, CONTENT[::-1])
    site.step("delete", "/uploaded_file", 200, b"", CUSTOMREQUEST="DELETE")
    site.step("delete what is gone", "/uploaded_file", 404, CUSTOMREQUEST="DELETE")
    site.step("list the root again", "/", 200, b"")


if __name__ == "__main__":
    main()
