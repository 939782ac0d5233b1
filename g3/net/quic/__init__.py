# SPDX-License-Identifier: Apache-2.0
"""QUIC (RFC 9000) as a server: aioquic's core, which does no I/O, on sockets and a clock of ours. The extra C{quic}.

L{g3.net.quic.settings} makes of TLS options what aioquic takes; L{g3.net.quic.connection} is one connection and its streams;
L{g3.net.quic.endpoint} has the socket and finds the connection that a datagram is for.
"""
