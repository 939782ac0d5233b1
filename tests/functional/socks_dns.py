# SPDX-License-Identifier: Apache-2.0
"""Ask a name server through a SOCKS proxy by UDP, with PySocks and dnspython, as upstream's check does; runs as a program of its own.

python -m tests.functional.socks_dns PROXY_PORT SERVER NAME=ADDRESS ...
"""

from __future__ import annotations

import socket
import sys
import time

import dns.message
import dns.query
import dns.rdatatype
import socks


def ask(sock: socks.socksocket, server: str, name: str) -> list[str]:
    """The IPv4 addresses of a name."""
    question = dns.message.make_query(name, dns.rdatatype.A, payload=4096)
    dns.query.send_udp(sock, question, (server, 53))
    answer, _ = dns.query.receive_udp(sock, (server, 53), expiration=time.time() + 10)
    return [str(record) for records in answer.answer for record in records]


def main(port: str, server: str, *names: str) -> int:
    """0 when every name has its address."""
    sock = socks.socksocket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.set_proxy(socks.SOCKS5, "127.0.0.1", int(port))
    sock.bind(("", 0))
    wrong = 0
    for pair in names:
        name, _, address = pair.partition("=")
        found = ask(sock, server, name)
        print(name, found)
        wrong += found != [address]
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
