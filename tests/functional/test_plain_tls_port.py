# SPDX-License-Identifier: Apache-2.0
"""plain_tls_port: TLS, with or without a PROXY protocol header before it, in front of another server."""

from __future__ import annotations

from tests.functional import ports


class PlainTLSPortTests(ports.TLSPortCase):
    """What every TLS port does."""

    type = "plain_tls_port"
