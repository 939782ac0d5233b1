# SPDX-License-Identifier: Apache-2.0
"""What upstream's coverage asks of a key server, asked by our own client: each signature is verified by the openssl command.

    python -m tests.functional.keyless_checks --port 1300 --rsa FILE --ec FILE [--ca FILE --name NAME [--pair CERTIFICATE KEY]] [--statsd PORT]

Prints the number of checks that passed; the first that fails ends it with its reason and status 1.
"""

from __future__ import annotations

import argparse
import hashlib
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import react

from g3.keyless.client import KeylessClient, KeylessRefused, connect
from g3.net.libssl.keys import load_private_key
from g3.net.timers import TimerWheel
from g3.net.tls.context import client_context
from g3.net.tls.options import PEM, CertificatePair, ClientTLSOptions
from g3.proto.keyless import ErrorCode, Opcode

if TYPE_CHECKING:
    from collections.abc import Sequence

HASHES = ("sha256", "sha384", "sha512")
#: What upstream encrypts and has decrypted.
CLEAR = bytes.fromhex("abcdef")
MANY = 300


def openssl(directory: Path, *arguments: str) -> bytes:
    """What openssl pkeyutl says."""
    ran = subprocess.run(["openssl", "pkeyutl", *arguments], cwd=directory, capture_output=True, check=False)
    if ran.returncode != 0:
        raise SystemExit(f"openssl pkeyutl {' '.join(arguments)}: {ran.stdout!r} {ran.stderr!r}")
    return ran.stdout


class Checks:
    """All checks of one server."""

    def __init__(self, client: KeylessClient, rsa: Path, ec: Path) -> None:
        self.client = client
        self.rsa, self.ec = rsa, ec
        self.scratch = Path(tempfile.mkdtemp(prefix="g3k"))
        self.passed = 0

    async def sign(self, file: Path, name: str, opcode: int, *options: str) -> None:
        """One signature over the digest of a file, as upstream takes it."""
        digest = hashlib.new(name, self.rsa.read_bytes()).digest()
        signature = await self.client.ask(opcode, load_private_key(file.read_bytes()).ski, digest)
        (self.scratch / "digest").write_bytes(digest)
        (self.scratch / "signature").write_bytes(signature)
        words = ("-verify", "-inkey", str(file), "-in", "digest", "-sigfile", "signature", "-pkeyopt", f"digest:{name}")
        openssl(self.scratch, *words, *options)
        self.passed += 1

    async def upstream(self) -> None:
        """RSA with both paddings, a decryption, ECDSA."""
        pss = ("-pkeyopt", "rsa_padding_mode:pss", "-pkeyopt", "rsa_pss_saltlen:digest")
        for index, name in enumerate(HASHES):
            await self.sign(self.rsa, name, Opcode.RSA_SIGN_SHA256 + index)
            await self.sign(self.rsa, name, Opcode.RSA_PSS_SIGN_SHA256 + index, *pss)
        (self.scratch / "clear").write_bytes(CLEAR)
        secret = openssl(self.scratch, "-encrypt", "-inkey", str(self.rsa), "-in", "clear")
        if await self.client.ask(Opcode.RSA_DECRYPT, load_private_key(self.rsa.read_bytes()).ski, secret) != CLEAR:
            raise SystemExit("what was decrypted is not what was encrypted")
        self.passed += 1
        for index, name in enumerate(HASHES):
            await self.sign(self.ec, name, Opcode.ECDSA_SIGN_SHA256 + index)

    async def ours(self) -> None:
        """Errors, a ping, and many requests at once, RSA and ECDSA."""
        if await self.client.ping(b"are you there") != b"are you there":
            raise SystemExit("a ping came back as something else")
        digest = hashlib.sha256(b"x").digest()
        keys = [load_private_key(file.read_bytes()).ski for file in (self.rsa, self.ec)]
        for opcode, ski, payload, code in (
            (0x21, keys[0], digest, ErrorCode.BAD_OPCODE),
            (Opcode.RSA_SIGN_SHA256, keys[0], b"", ErrorCode.MALFORMED),
            (Opcode.RSA_SIGN_SHA256, bytes(20), digest, ErrorCode.KEY_NOT_FOUND),
            (Opcode.ECDSA_SIGN_SHA256, keys[0], digest, ErrorCode.CRYPTOGRAPHY_FAILED),
            (Opcode.RSA_DECRYPT, keys[0], bytes(256), ErrorCode.CRYPTOGRAPHY_FAILED),
        ):
            await self.refused(opcode, ski, payload, code)
        asked = [self.client.ask((Opcode.RSA_SIGN_SHA256, Opcode.ECDSA_SIGN_SHA256)[index % 2], keys[index % 2], digest) for index in range(MANY)]
        signatures: list[bytes] = await gatherResults(asked, consumeErrors=True)
        if len(set(signatures[::2])) != 1 or len(set(signatures[1::2])) != MANY // 2:
            raise SystemExit("signatures were mixed up")
        self.passed += 2

    async def refused(self, opcode: int, ski: bytes, payload: bytes, code: int) -> None:
        try:
            await self.client.ask(opcode, ski, payload)
        except KeylessRefused as error:
            if error.code != code:
                raise SystemExit(f"opcode {opcode:#x}: error {error.code}, not {code}") from error
        else:
            raise SystemExit(f"opcode {opcode:#x}: no error")
        self.passed += 1


def tls_options(options: argparse.Namespace) -> Any:
    """TLS as asked for, or None."""
    if options.ca is None:
        return None
    pair = None
    if options.pair:
        certificate, key = (PEM(Path(name).read_bytes(), name) for name in options.pair)
        pair = CertificatePair(certificate, key)
    return client_context(ClientTLSOptions(ca_certificate=(PEM(options.ca.read_bytes()),), no_default_ca_certificate=True, cert_pair=pair))


async def check(reactor: Any, options: argparse.Namespace) -> None:
    """Everything."""
    sink = None
    if options.statsd:
        sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sink.bind(("127.0.0.1", options.statsd))
        sink.setblocking(False)
    timers = TimerWheel(reactor)
    client = await connect(reactor, timers, (options.host, options.port), tls=tls_options(options), name=options.name)
    checks = Checks(client, options.rsa.resolve(), options.ec.resolve())
    await checks.upstream()
    await checks.ours()
    lost = client.lost
    client.close()
    await lost
    if sink is not None:
        pause: Deferred[None] = Deferred()
        reactor.callLater(1.0, pause.callback, None)
        await pause
        metrics(sink)
    timers.stop()
    sys.stdout.write(f"{checks.passed} checks passed\n")


def metrics(sink: socket.socket) -> None:
    """The metrics that must have come by now."""
    data = b""
    try:
        while True:
            data += sink.recv(65536) + b"\n"
    except BlockingIOError:
        pass
    for wanted in (
        b"g3keymess.server.task.total:",
        b"g3keymess.server.request.total:",
        b"request:rsa_pss_sign",
        b"reason:key_not_found",
        b"cluster:default",
    ):
        if wanted not in data:
            raise SystemExit(f"no metric with {wanted!r} in {data!r}")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--rsa", type=Path, required=True)
    parser.add_argument("--ec", type=Path, required=True)
    parser.add_argument("--ca", type=Path)
    parser.add_argument("--name", default="")
    parser.add_argument("--pair", nargs=2)
    parser.add_argument("--statsd", type=int, default=0)
    options = parser.parse_args(argv)
    react(lambda reactor: Deferred.fromCoroutine(check(reactor, options)), ())


if __name__ == "__main__":
    main()
