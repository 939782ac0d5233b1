# SPDX-License-Identifier: Apache-2.0
"""native_tls_port: TLS, with or without a PROXY protocol header before it, in front of another server."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.functional import ports
from tests.functional.certificates import pem


class NativeTLSPortTests(ports.TLSPortCase):
    """What every TLS port does."""

    type = "native_tls_port"

    def test_the_certificate_that_fits_the_client_is_used(self) -> None:
        """Two pairs, one with an RSA key: each client gets the one that its cipher suites can do with."""
        key = rsa.generate_private_key(65537, 2048)
        request = x509.CertificateBuilder().subject_name(self.authority.name).issuer_name(self.authority.name).public_key(key.public_key())
        now = datetime.now(UTC)
        request = request.serial_number(1).not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=1))
        (self.directory / "rsa.pem").write_bytes(pem(request.sign(key, hashes.SHA256())))
        encoding = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        (self.directory / "rsa-key.pem").write_bytes(key.private_bytes(*encoding))
        self.start(tls="certificate: rsa.pem\n      private_key: rsa-key.pem")
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.context.check_hostname, self.context.verify_mode = False, ssl.CERT_NONE
        self.context.maximum_version = ssl.TLSVersion.TLSv1_2
        for kind, public in (("ECDSA", ec.EllipticCurvePublicKey), ("RSA", rsa.RSAPublicKey)):
            self.context.set_ciphers(f"ECDHE-{kind}-AES128-GCM-SHA256")
            with self.connect() as sock:
                certificate = x509.load_der_x509_certificate(sock.getpeercert(binary_form=True) or b"")
            self.assertIsInstance(certificate.public_key(), public)
