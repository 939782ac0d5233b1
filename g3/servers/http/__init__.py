# SPDX-License-Identifier: Apache-2.0
"""What servers that speak HTTP/1 with their clients share.

C{connection} reads requests, C{exchange} is one request in the making, C{forward} carries it to an upstream and back. Where a request goes is
its server's to say: the target of L{g3.servers.http.client}.
"""
