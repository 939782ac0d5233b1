# SPDX-License-Identifier: Apache-2.0
"""The daemons of the suite, for twistd."""

from twisted.application.service import ServiceMaker

g3proxy = ServiceMaker("g3proxy", "g3.apps.proxy", "An enterprise forward and reverse proxy.", "g3proxy")  # type: ignore[no-untyped-call]
g3keymess = ServiceMaker("g3keymess", "g3.apps.keymess", "A key server for keyless TLS.", "g3keymess")  # type: ignore[no-untyped-call]
