# SPDX-License-Identifier: Apache-2.0
"""C{g3mkcert}: makes one certificate and its key. Command line, defaults and output are upstream's; C{--sm2-id} is ours."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import g3
from g3.apps.completion import SHELLS, script
from g3.config.values.net import to_host
from g3.mkcert import issue
from g3.mkcert.certificate import MAX_FILE, Authority, Certificate, Subject, load_certificates
from g3.mkcert.issue import Use
from g3.mkcert.keys import DEFAULT_RSA_BITS, Algorithm, CertificateError, Key, generate, load_key

if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM = "g3mkcert"
#: Names on one certificate.
MOST_HOSTS = 1024

_TYPES = ("root", "intermediate", *(use.value for use in Use))
_ABOUT = {
    "root": "make the certificate of a root CA, which signs itself",
    "intermediate": "make the certificate of an intermediate CA",
    Use.TLS_SERVER.value: "make a certificate for a TLS server",
    Use.TLS_CLIENT.value: "make a certificate for a TLS client",
    Use.TLCP_SERVER_SIGN.value: "make a signing certificate for a TLCP server",
    Use.TLCP_SERVER_ENC.value: "make an encryption certificate for a TLCP server",
    Use.TLCP_CLIENT_SIGN.value: "make a signing certificate for a TLCP client",
    Use.TLCP_CLIENT_ENC.value: "make an encryption certificate for a TLCP client",
}


class Made(NamedTuple):
    """What was made, and how its files are called if nobody says."""

    certificate: Certificate
    key: Key
    stem: str


def parser() -> argparse.ArgumentParser:
    """Upstream's options."""
    top = argparse.ArgumentParser(PROGRAM, description="Make a certificate and its private key.", allow_abbrev=False)
    top.add_argument("--version", action="version", version=f"{PROGRAM} {g3.__version__}", help="print the version and exit")
    top.add_argument("--completion", choices=SHELLS, metavar="SHELL", help=f"print a completion script and exit ({', '.join(SHELLS)})")
    types = top.add_argument_group("type of certificate (one)").add_mutually_exclusive_group()
    for word in _TYPES:
        types.add_argument(f"--{word}", dest="type", action="store_const", const=word, help=_ABOUT[word])
    top.add_argument("--mimic", metavar="CERT FILE", type=Path, help="make a certificate like this one: for TLS, or for what a type beside it says")
    _add_algorithms(top)
    subject = top.add_argument_group("subject")
    subject.add_argument("--country", metavar="C", default="", help="country, two letters")
    subject.add_argument("--organization", metavar="O", default="", help="organization")
    subject.add_argument("--organization-unit", metavar="OU", default="", help="unit of the organization")
    subject.add_argument("--common-name", metavar="CN", default="", help="common name; the first host when not given")
    top.add_argument("--host", action="append", default=[], help="domain, wildcard domain or IP address; may be given again")
    top.add_argument("--path-length", metavar="N", type=_count, help="how many CAs may follow an intermediate CA (0)")
    top.add_argument("--ca-cert", metavar="CERT FILE", type=Path, help="certificate of the CA that issues")
    top.add_argument("--ca-key", metavar="KEY FILE", type=Path, help="private key of the CA that issues")
    top.add_argument("--sm2-id", metavar="TEXT", default="", help="identifier of the signer in SM2 signatures; none, as OpenSSL's")
    top.add_argument("--output-cert", metavar="FILE", type=Path, help="where to save the certificate")
    top.add_argument("--output-key", metavar="FILE", type=Path, help="where to save the private key; only its owner may read it")
    return top


def _add_algorithms(top: argparse.ArgumentParser) -> None:
    group = top.add_argument_group("algorithm (one)").add_mutually_exclusive_group()
    for algorithm in Algorithm:
        if algorithm is Algorithm.RSA:
            group.add_argument("--rsa", metavar="BITS", nargs="?", type=_count, const=DEFAULT_RSA_BITS, help=f"RSA ({DEFAULT_RSA_BITS} bits)")
        else:
            default = " (default)" if algorithm is Algorithm.EC256 else " (default for TLCP)" if algorithm is Algorithm.SM2 else ""
            group.add_argument(f"--{algorithm.value}", dest="algorithm", action="store_const", const=algorithm, help=f"{algorithm.name}{default}")


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 6):
        raise argparse.ArgumentTypeError(f"{text!a} is no number")
    return int(text)


def main(argv: Sequence[str] | None = None) -> int:
    """The command; its exit status."""
    top = parser()
    options = top.parse_args(argv)
    if options.completion:
        sys.stdout.write(script(top, options.completion))
        return 0
    _check(top, options)
    try:
        made = _make(options)
        certificate = options.output_cert or Path(f"{made.stem}.crt")
        key = options.output_key or Path(f"{made.stem}.key")
        _save(certificate, made.certificate.pem(), 0o666, "certificate")
        _save(key, made.key.pem(), 0o600, "private key")
    except CertificateError as error:
        sys.stderr.write(f"{PROGRAM}: {error}\n")
        return 1
    return 0


def _check(top: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """What belongs together is there. Exits with status 2."""
    kind = options.type
    if kind is None and options.mimic is None:
        top.error(f"one of --{', --'.join(_TYPES)}, --mimic is required")
    if options.mimic is not None and kind in ("root", "intermediate"):
        top.error(f"--mimic cannot be used with --{kind}")
    needed = [] if kind == "root" else ["ca_cert", "ca_key"]
    if kind in ("root", "intermediate"):
        needed.append("common_name")
    elif options.mimic is None:
        needed.append("host")
    missing = [f"--{name.replace('_', '-')}" for name in needed if not getattr(options, name)]
    if missing:
        top.error(f"--{kind or 'mimic'} needs {' and '.join(missing)}")


def _make(options: argparse.Namespace) -> Made:
    if options.mimic is not None:
        return _mimic(options)
    if options.type == "root":
        return _root(options)
    if options.type == "intermediate":
        key = _signing_key(options)
        made = issue.intermediate(_subject(options), key, _authority(options), options.path_length or 0)
        return Made(made, key, _stem(options.common_name))
    return _leaf(options, Use(options.type))


def _root(options: argparse.Namespace) -> Made:
    key = _signing_key(options)
    key.identity = options.sm2_id.encode()
    return Made(issue.root(_subject(options), key), key, _stem(options.common_name))


def _leaf(options: argparse.Namespace, use: Use) -> Made:
    hosts = _hosts(options)
    algorithm = _algorithm(options, Algorithm.SM2 if use.tlcp else Algorithm.EC256)
    if use.tlcp and algorithm not in issue.TLCP_ALGORITHMS:
        raise CertificateError(f"{algorithm.value}: TLCP knows keys of SM2 and RSA only")
    authority = _authority(options)
    key = _generate(options, algorithm)
    name = options.common_name or hosts[0]
    made = issue.leaf(_subject(options, name), hosts, key, issue.usage_of(algorithm, use), client=use.client, authority=authority)
    return Made(made, key, _stem(f"{name}-client" if use.client else name))


def _mimic(options: argparse.Namespace) -> Made:
    original = load_certificates(_read(options.mimic))[0]
    authority = _authority(options)
    use = Use(options.type or Use.TLS_SERVER)
    key = generate(issue.algorithm_of(original))
    usage = issue.usage_of(issue.algorithm_of(original), use) if use.tlcp else None
    stem = "tls_mimic" if not use.tlcp else "tlcp_sign_mimic" if use.value.endswith("sign") else "tlcp_en_mimic"
    return Made(issue.mimic(original, key, authority, usage), key, stem)


def _algorithm(options: argparse.Namespace, default: Algorithm) -> Algorithm:
    if options.rsa is not None:
        return Algorithm.RSA
    return options.algorithm or default


def _generate(options: argparse.Namespace, algorithm: Algorithm) -> Key:
    return generate(algorithm, DEFAULT_RSA_BITS if options.rsa is None else options.rsa)


def _signing_key(options: argparse.Namespace) -> Key:
    algorithm = _algorithm(options, Algorithm.EC256)
    if not algorithm.signs:
        raise CertificateError(f"{algorithm.value} can not be used in the certificate of a certificate authority")
    return _generate(options, algorithm)


def _subject(options: argparse.Namespace, common_name: str = "") -> Subject:
    return Subject(
        country=options.country,
        organization=options.organization,
        unit=options.organization_unit,
        common_name=common_name or options.common_name,
    )


def _hosts(options: argparse.Namespace) -> list[str]:
    if len(options.host) > MOST_HOSTS:
        raise CertificateError(f"more than {MOST_HOSTS} hosts")
    try:
        return [to_host(host) for host in options.host]
    except ValueError as error:
        raise CertificateError(f"host: {error}") from error


def _authority(options: argparse.Namespace) -> Authority:
    try:
        certificate = load_certificates(_read(options.ca_cert))[0]
    except CertificateError as error:
        raise CertificateError(f"{options.ca_cert}: {error}") from error
    try:
        key = load_key(_read(options.ca_key))
    except CertificateError as error:
        raise CertificateError(f"{options.ca_key}: {error}") from error
    certificate.path_length()
    key.identity = options.sm2_id.encode()
    return Authority(certificate, key)


def _stem(name: str) -> str:
    return "_".join(name.replace("/", " ").split())


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(MAX_FILE)
    except (OSError, ValueError) as error:
        raise CertificateError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error


def _save(path: Path, content: bytes, mode: int, what: str) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "wb") as stream:
            if mode == 0o600 and path.is_file():
                os.fchmod(descriptor, mode)
            stream.write(content)
    except (OSError, ValueError) as error:
        raise CertificateError(f"cannot write {path}: {getattr(error, 'strerror', None) or error}") from error
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.write(f"{what} saved to {path}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
