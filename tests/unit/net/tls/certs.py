# SPDX-License-Identifier: Apache-2.0
"""Certificates made for tests: an authority, and leaves of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from ipaddress import ip_address
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from g3.net.tls.options import PEM, CertificatePair


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def key_pem(key: Any) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


class Authority:
    """A certificate authority; C{pem} is what to trust."""

    def __init__(self, name: str = "test authority") -> None:
        self.name = _name(name)
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self._build(self.name, self.key.public_key(), None, authority=True)
        self.pem = PEM(self.certificate.public_bytes(Encoding.PEM), f"{name}.pem")

    def _build(self, subject: x509.Name, public: Any, names: list[Any] | None, *, authority: bool = False, days: int = 1) -> x509.Certificate:
        now = datetime.now(UTC)
        start = now - timedelta(days=2) if days < 0 else now - timedelta(hours=1)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(now + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        )
        if authority:
            usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
            builder = builder.add_extension(usage, critical=True)
        else:
            builder = builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self.key, SHA256())

    def pair(self, *names: str, kind: str = "ec", days: int = 1, chain: bool = False) -> CertificatePair:
        """A leaf for DNS names and addresses."""
        key: Any = ec.generate_private_key(ec.SECP256R1()) if kind == "ec" else rsa.generate_private_key(65537, 2048)
        alternatives: list[Any] = []
        for name in names:
            try:
                alternatives.append(x509.IPAddress(ip_address(name)))
            except ValueError:
                alternatives.append(x509.DNSName(name))
        leaf = self._build(_name(names[0]), key.public_key(), alternatives, days=days).public_bytes(Encoding.PEM)
        return CertificatePair(PEM(leaf + self.pem.data if chain else leaf, "leaf.pem"), PEM(key_pem(key), "leaf.key"))


@cache
def authority(name: str = "test authority") -> Authority:
    """The same one for all tests of a process."""
    return Authority(name)


@cache
def pair(*names: str) -> CertificatePair:
    return authority().pair(*names)
