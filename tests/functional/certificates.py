# SPDX-License-Identifier: Apache-2.0
"""The certificates upstream's test configurations name, made anew: a root, and one for each host, beside a copy of the configuration."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from pathlib import Path

HOSTS = ("g3proxy.local", "httpbin.local")


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _builder(subject: str, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(_name(subject)).issuer_name(issuer).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=30))
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


class Authority:
    """A root that issues; every certificate is valid for 30 days."""

    def __init__(self, common_name: str = "g3 test root") -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = _name(common_name)
        builder = _builder(common_name, self.name, self.key)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        builder = builder.add_extension(_usage(signs_certificates=True), critical=True)
        self.certificate = builder.sign(self.key, hashes.SHA256())

    def issue(self, *hosts: str, client: bool = False) -> tuple[bytes, bytes]:
        """(certificate, private key) as PEM for these names or addresses; C{client}: to authenticate a client."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(hosts[0], self.name, key)
        builder = builder.add_extension(x509.SubjectAlternativeName([_general_name(host) for host in hosts]), critical=False)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_usage(signs_certificates=False), critical=True)
        purpose = ExtendedKeyUsageOID.CLIENT_AUTH if client else ExtendedKeyUsageOID.SERVER_AUTH
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        builder = builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        return pem(builder.sign(self.key, hashes.SHA256())), pem_key(key)

    def write(self, certificate: Path, key: Path, *hosts: str) -> None:
        """Issue one into two files."""
        made = self.issue(*hosts)
        certificate.write_bytes(made[0])
        key.write_bytes(made[1])


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def pem_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def make_certificates(directory: Path) -> Authority:
    """C{rootCA.pem}, and C{HOST.pem} and C{HOST-key.pem} for each of upstream's test hosts."""
    authority = Authority()
    (directory / "rootCA.pem").write_bytes(pem(authority.certificate))
    (directory / "rootCA-key.pem").write_bytes(pem_key(authority.key))
    for host in HOSTS:
        authority.write(directory / f"{host}.pem", directory / f"{host}-key.pem", host)
    return authority
