# SPDX-License-Identifier: Apache-2.0
"""C{g3mkcert} as a user runs it: upstream's own runs, judged by C{openssl verify -x509_strict}, and the results in nginx."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.functional.harness import BIN, FunctionalTestCase, environment
from tests.functional.needs import need
from tests.functional.peers import start_nginx
from tests.functional.processes import free_port

#: Upstream's coverage runs: the type, its name, its algorithm, who issues, and the chain to its root.
ROOTS = {"rsa": "--rsa 2048", "ec256": "--ec256", "sm2": "--sm2", "ed25519": "--ed25519"}
INTERMEDIATES = {
    "rsa": ("--rsa 2048", "rootCA-rsa"),
    "ec384": ("--ec384", "rootCA-ec256"),
    "sm2": ("--sm2", "rootCA-rsa"),
    "ed25519": ("--ed25519", "rootCA-ed25519"),
}
SERVER_HOSTS = "--host www.example.com --host *.example.net"
CLIENT_HOSTS = "--host www.example.com"
LEAVES = (
    ("tls-server", "rsa", "--rsa 2048", "rootCA-rsa"),
    ("tls-server", "ec256", "--ec256", "intermediateCA-rsa"),
    ("tls-server", "sm2", "--sm2", "intermediateCA-sm2"),
    ("tls-server", "ed25519", "--ed25519", "rootCA-rsa"),
    ("tls-client", "rsa", "--rsa 4096", "intermediateCA-ec384"),
    ("tls-client", "ec256", "--ec256", "rootCA-ec256"),
    ("tls-client", "sm2", "--sm2", "intermediateCA-rsa"),
    ("tls-client", "ed25519", "--ed25519", "intermediateCA-ed25519"),
    ("tlcp-server-sign", "rsa", "--rsa 3072", "rootCA-rsa"),
    ("tlcp-server-sign", "sm2", "--sm2", "intermediateCA-sm2"),
    ("tlcp-server-enc", "rsa", "--rsa 2048", "rootCA-rsa"),
    ("tlcp-server-enc", "sm2", "--sm2", "intermediateCA-sm2"),
    ("tlcp-client-sign", "rsa", "--rsa 3072", "rootCA-rsa"),
    ("tlcp-client-sign", "sm2", "--sm2", "intermediateCA-sm2"),
    ("tlcp-client-enc", "rsa", "--rsa 2048", "rootCA-rsa"),
    ("tlcp-client-enc", "sm2", "--sm2", "intermediateCA-sm2"),
)


def run(directory: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A command in a directory, to its end."""
    env = {**os.environ, **environment()}
    return subprocess.run([*words], cwd=directory, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)


class MkcertCase(FunctionalTestCase):
    def setUp(self) -> None:
        super().setUp()
        need("openssl")

    def mkcert(self, line: str, *more: str) -> subprocess.CompletedProcess[str]:
        """It works, and says nothing but where it saved."""
        ran = run(self.directory, str(BIN / "g3mkcert"), *line.split(), *more)
        self.assertEqual((ran.returncode, ran.stderr), (0, ""), line)
        return ran

    def refused(self, line: str, status: int, word: str) -> None:
        ran = run(self.directory, str(BIN / "g3mkcert"), *line.split())
        self.assertEqual(ran.returncode, status, f"{line}\n{ran.stderr}")
        self.assertIn(word, ran.stderr)
        self.assertNotIn("Traceback", ran.stderr)

    def openssl(self, line: str) -> str:
        ran = run(self.directory, "openssl", *line.split())
        self.assertEqual(ran.returncode, 0, f"{line}\n{ran.stdout}{ran.stderr}")
        return ran.stdout

    def ca(self, name: str = "ca", algorithm: str = "--ec256") -> str:
        """A root; the options that issue under it."""
        self.mkcert(f"--root {algorithm} --output-cert {name}.crt --output-key {name}.key --common-name", "Test CA")
        return f"--ca-cert {name}.crt --ca-key {name}.key"

    def matches(self, name: str) -> None:
        """Key and certificate belong together."""
        self.assertEqual(self.openssl(f"x509 -in {name}.crt -noout -pubkey"), self.openssl(f"pkey -in {name}.key -pubout"))


class CoverageTests(MkcertCase):
    def test_upstreams_runs(self) -> None:
        """Every type and algorithm, also under CAs of other algorithms, verifies strictly up to its root."""
        issuers: dict[str, str] = {}
        for name, algorithm in ROOTS.items():
            self.mkcert(f"--root {algorithm} --output-cert rootCA-{name}.crt --output-key rootCA-{name}.key --common-name", "G3 Test CA")
            self.openssl(f"verify -x509_strict -check_ss_sig -CAfile rootCA-{name}.crt rootCA-{name}.crt")
        for name, (algorithm, issuer) in INTERMEDIATES.items():
            out = f"intermediateCA-{name}"
            issuers[out] = issuer
            ca = f"--ca-cert {issuer}.crt --ca-key {issuer}.key --output-cert {out}.crt --output-key {out}.key"
            self.mkcert(f"--intermediate {algorithm} {ca} --common-name", "G3 Intermediate CA")
            self.openssl(f"verify -x509_strict -CAfile {issuer}.crt {out}.crt")
        for kind, name, algorithm, issuer in LEAVES:
            out = f"{kind}-{name}"
            hosts = CLIENT_HOSTS if "client" in kind else SERVER_HOSTS
            self.mkcert(f"--{kind} {hosts} {algorithm} --output-cert {out}.crt --output-key {out}.key --ca-cert {issuer}.crt --ca-key {issuer}.key")
            top = issuers.get(issuer)
            chain = f"-CAfile {top}.crt -untrusted {issuer}.crt" if top else f"-CAfile {issuer}.crt"
            purpose = "" if kind.startswith("tlcp") else f"-purpose {'sslclient' if 'client' in kind else 'sslserver'}"
            self.openssl(f"verify -x509_strict {purpose} {chain} {out}.crt")
            self.matches(out)

    def test_every_algorithm(self) -> None:
        ca = self.ca()
        for word in ("rsa", "ec224", "ec256", "ec384", "ec521", "sm2", "ed25519", "ed448", "x25519", "x448"):
            self.mkcert(f"--tls-server --{word} --host {word}.example {ca}")
            self.openssl(f"verify -x509_strict -CAfile ca.crt {word}.example.crt")
            self.matches(f"{word}.example")
        for word in ("x25519", "x448"):
            self.refused(f"--root --{word} --common-name x", 1, f"{word} can not be used")

    def test_sm2_signatures_may_name_their_signer(self) -> None:
        """As TLCP in China wants it; OpenSSL has to be told to expect it."""
        ca = self.ca("sm2", "--sm2 --sm2-id 1234567812345678")
        self.mkcert(f"--tlcp-server-sign --host a.example {ca} --sm2-id 1234567812345678")
        self.openssl("verify -x509_strict -vfyopt distid:1234567812345678 -CAfile sm2.crt a.example.crt")
        ran = run(self.directory, "openssl", "verify", "-CAfile", "sm2.crt", "a.example.crt")
        self.assertNotEqual(ran.returncode, 0)


class CommandTests(MkcertCase):
    def test_what_was_saved_is_told_and_only_the_owner_reads_keys(self) -> None:
        ran = self.mkcert("--root --common-name", "My  Test CA")
        self.assertEqual(ran.stdout, "certificate saved to My_Test_CA.crt\nprivate key saved to My_Test_CA.key\n")
        self.assertEqual(stat.S_IMODE((self.directory / "My_Test_CA.key").stat().st_mode), 0o600)
        for name in ("My_Test_CA.crt", "My_Test_CA.key"):
            self.assertEqual((self.directory / name).read_text().count("-----BEGIN"), 1)
        self.assertIn("BEGIN PRIVATE KEY", (self.directory / "My_Test_CA.key").read_text())

    def test_files_are_named_after_the_subject(self) -> None:
        """Those of clients say so."""
        ca = self.ca()
        for line, stem in (
            ("--tls-server --host www.example.com", "www.example.com"),
            ("--tls-client --host www.example.com", "www.example.com-client"),
            ("--tls-server --host 192.0.2.1 --common-name name", "name"),
            ("--tlcp-client-enc --host b.example", "b.example-client"),
        ):
            ran = self.mkcert(f"{line} {ca}")
            self.assertEqual(ran.stdout, f"certificate saved to {stem}.crt\nprivate key saved to {stem}.key\n")

    def test_names_of_every_kind(self) -> None:
        ca = self.ca()
        line = f"--tls-server --host WWW.Example.com --host *.example.net --host 192.0.2.1 --host 2001:db8::1 --country CN --organization-unit U {ca}"
        self.mkcert(line, "--organization", "My Org", "--host", "münchen.example")
        text = self.openssl("x509 -in www.example.com.crt -noout -subject -ext subjectAltName -nameopt RFC2253")
        self.assertIn("subject=CN=www.example.com,OU=U,O=My Org,C=CN", text)
        wanted = "DNS:www.example.com, DNS:*.example.net, IP Address:192.0.2.1, IP Address:2001:DB8:0:0:0:0:0:1, DNS:xn--mnchen-3ya.example"
        self.assertIn(wanted, text)

    def test_what_does_not_go_together_is_a_usage_error(self) -> None:
        ca = self.ca()
        for line, word in (
            ("", "required"),
            ("--root", "--common-name"),
            (f"--intermediate {ca}", "--common-name"),
            (f"--tls-server {ca}", "--host"),
            ("--tls-server --host x", "--ca-cert and --ca-key"),
            (f"--mimic ca.crt --root {ca}", "--mimic cannot be used with --root"),
            ("--root --tls-server --common-name x", "not allowed with"),
            ("--root --common-name x --rsa --ec256", "not allowed with"),
            ("--root --common-name x --rsa many", "no number"),
            ("--nonsense", "unrecognized"),
        ):
            self.refused(line, 2, word)

    def test_what_cannot_be_used_is_told_without_a_traceback(self) -> None:
        ca = self.ca()
        self.ca("other")
        self.mkcert(f"--tls-server --host leaf.example {ca}")
        self.write("garbage", "nothing")
        for line, word in (
            ("--tls-server --host x --ca-cert missing --ca-key ca.key", "cannot read missing: No such file"),
            ("--tls-server --host x --ca-cert garbage --ca-key ca.key", "garbage: there is no certificate in PEM form"),
            ("--tls-server --host x --ca-cert ca.crt --ca-key garbage", "garbage: the private key cannot be read"),
            ("--tls-server --host x --ca-cert ca.crt --ca-key other.key", "not that of the CA certificate"),
            ("--tls-server --host x --ca-cert leaf.example.crt --ca-key leaf.example.key", "not that of a certificate authority"),
            (f"--tls-server --host a/b {ca}", "host: character '/'"),
            (f"--tls-server --host x --country C1 {ca}", "country"),
            (f"--tls-server --host x --rsa 5 {ca}", "rsa: 5 bits"),
            (f"--tls-server --host x --rsa 0 {ca}", "rsa: 0 bits"),
            (f"--tlcp-server-sign --host x --ec256 {ca}", "TLCP knows keys of SM2 and RSA only"),
            ("--root --common-name x --output-cert missing/x", "cannot write missing/x"),
        ):
            self.refused(line, 1, word.replace("'", '"') if "character" in word else word)

    def test_path_lengths(self) -> None:
        ca = self.ca()
        self.mkcert(f"--intermediate --common-name a --path-length 1 {ca}")
        self.mkcert("--intermediate --common-name b --path-length 5 --ca-cert a.crt --ca-key a.key")
        for name, length in (("a", 1), ("b", 0)):
            self.assertIn(f"CA:TRUE, pathlen:{length}", self.openssl(f"x509 -in {name}.crt -noout -ext basicConstraints"))
        self.refused("--intermediate --common-name c --ca-cert b.crt --ca-key b.key", 1, "allows no intermediate CA")

    def test_completion_and_version(self) -> None:
        self.assertRegex(self.mkcert("--version").stdout, r"^g3mkcert \d")
        self.assertIn("--tlcp-server-sign", self.mkcert("--completion bash").stdout)


class MimicTests(MkcertCase):
    def test_a_mimic_is_like_the_original_and_verifies(self) -> None:
        ca = self.ca()
        other = self.ca("other", "--rsa")
        self.mkcert(f"--tls-server --rsa 3072 --host www.example.com --organization Them {other}")
        ran = self.mkcert(f"--mimic www.example.com.crt {ca}")
        self.assertEqual(ran.stdout, "certificate saved to tls_mimic.crt\nprivate key saved to tls_mimic.key\n")
        self.openssl("verify -x509_strict -CAfile ca.crt tls_mimic.crt")
        self.matches("tls_mimic")
        show = "-noout -subject -dates -ext subjectAltName,keyUsage,extendedKeyUsage"
        self.assertEqual(self.openssl(f"x509 -in tls_mimic.crt {show}"), self.openssl(f"x509 -in www.example.com.crt {show}"))
        self.assertIn("Public-Key: (2048 bit)", self.openssl("x509 -in tls_mimic.crt -noout -text"))

    def test_mimics_for_tlcp(self) -> None:
        """Under upstream's names."""
        ca = self.ca("ca", "--sm2")
        self.mkcert(f"--tls-server --sm2 --host www.example.com {ca}")
        for use, stem, usage in (("sign", "tlcp_sign_mimic", "Non Repudiation"), ("enc", "tlcp_en_mimic", "Data Encipherment")):
            self.mkcert(f"--mimic www.example.com.crt --tlcp-server-{use} {ca}")
            self.openssl(f"verify -x509_strict -CAfile ca.crt {stem}.crt")
            self.assertIn(usage, self.openssl(f"x509 -in {stem}.crt -noout -ext keyUsage"))


class NginxTests(MkcertCase):
    def test_nginx_serves_with_them_and_asks_clients_for_theirs(self) -> None:
        """curl trusts our root and shows a client certificate of ours."""
        need("nginx", "curl")
        ca = self.ca()
        self.mkcert(f"--intermediate --common-name between --rsa {ca}")
        between = "--ca-cert between.crt --ca-key between.key"
        blocks, ports = [], []
        for word in ("rsa", "ec256", "ec384", "ed25519"):
            port = free_port()
            ports.append(port)
            self.mkcert(f"--tls-server --{word} --host localhost --output-cert {word}.crt --output-key {word}.key {between}")
            chain = self.directory / f"{word}-chain.crt"
            chain.write_text((self.directory / f"{word}.crt").read_text() + (self.directory / "between.crt").read_text())
            blocks.append(
                f"server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {chain}; ssl_certificate_key {self.directory}/{word}.key; "
                f"ssl_client_certificate {self.directory}/ca.crt; ssl_verify_client on; ssl_verify_depth 2; "
                f'location / {{ return 200 "$ssl_client_s_dn $ssl_client_verify"; }} }}'
            )
        self.mkcert(f"--tls-client --host user.example {ca}")
        nginx = start_nginx(self.directory, "\n".join(blocks), *ports)
        self.addCleanup(nginx.kill)
        for port in ports:
            url = f"https://localhost:{port}/"
            options = ["--cacert", "ca.crt", "--cert", "user.example-client.crt", "--key", "user.example-client.key", "--noproxy", "*"]
            ran = run(self.directory, "curl", "-sS", *options, "--resolve", f"localhost:{port}:127.0.0.1", url)
            self.assertEqual((ran.returncode, ran.stdout), (0, "CN=user.example SUCCESS"), ran.stderr)


class DocsTests(SynchronousTestCase):
    def test_every_option_is_in_the_reference(self) -> None:
        from g3.apps.g3mkcert import parser

        text = (Path(__file__).resolve().parent.parent.parent / "docs" / "reference" / "g3mkcert.rst").read_text()
        options = {option for action in parser()._actions for option in action.option_strings if option.startswith("--")}
        self.assertEqual(sorted(option for option in options - {"--help"} if not re.search(rf"{option}\b", text)), [])
