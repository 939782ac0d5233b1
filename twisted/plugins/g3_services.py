# SPDX-License-Identifier: Apache-2.0
"""The daemons of the suite, for twistd."""

from twisted.application.service import ServiceMaker

g3proxy = ServiceMaker("g3proxy", "g3.apps.proxy", "An enterprise forward and reverse proxy.", "g3proxy")  # type: ignore[no-untyped-call]
g3keymess = ServiceMaker("g3keymess", "g3.apps.keymess", "A key server for keyless TLS.", "g3keymess")  # type: ignore[no-untyped-call]
g3fcgen = ServiceMaker("g3fcgen", "g3.apps.fcgen", "A generator of certificates for TLS interception.", "g3fcgen")  # type: ignore[no-untyped-call]
g3iploc = ServiceMaker("g3iploc", "g3.apps.iploc", "A service that knows where IP addresses are.", "g3iploc")  # type: ignore[no-untyped-call]
