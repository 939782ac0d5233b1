# SPDX-License-Identifier: Apache-2.0
"""TLS options: what files must hold, and what is said where they do not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from twisted.trial.unittest import SynchronousTestCase

from g3.config.document import read_text
from g3.config.problems import Problems
from g3.config.value import ParseContext, Value
from g3.config.values import tls as tls_values
from g3.config.values.tls import (
    CertificatePairValue,
    ClientTLSValue,
    DNSEncryptionValue,
    RedisValue,
    RustlsClientTLSValue,
    ServerTLSValue,
    TicketerValue,
    TLSProtocolValue,
    TLSVersionValue,
)
from g3.net.options import DNSEncryption, DNSProtocol, RedisOptions, Ticketer
from g3.net.tls.options import ClientTLSOptions, ServerTLSOptions, SessionCache, TLSProtocol, TLSVersion
from g3.task import Upstream
from tests.functional.certificates import Authority, pem, pem_key
from tests.unit.config.samples import parse, refusal, told

AUTHORITY = Authority()
CERTIFICATE, KEY = AUTHORITY.issue("example.net")
OTHER_KEY = pem_key(ec.generate_private_key(ec.SECP256R1()))
ENCRYPTED_KEY = ec.generate_private_key(ec.SECP256R1()).private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"secret")
)


class TLSCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()
        for name, content in {
            "cert.pem": CERTIFICATE,
            "key.pem": KEY,
            "ca.pem": pem(AUTHORITY.certificate),
            "other-key.pem": OTHER_KEY,
            "locked.pem": ENCRYPTED_KEY,
            "text.pem": b"hello\n",
            "broken.pem": b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "broken-key.pem": b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
            "big.pem": b"-" * 4_000_001,
        }.items():
            (self.directory / name).write_bytes(content)

    def parse(self, value: Value[Any], text: str) -> Any:
        return parse(value, text, self.directory)

    def problems(self, value: Value[Any], text: str) -> list[str]:
        """Every problem, paths without the directory."""
        problems = Problems()
        value.attempt(read_text(text, "t", problems)[0], ParseContext(problems, self.directory))
        return [line.replace(f"{self.directory}/", "") for line in told(problems)]


class CertificateTests(TLSCase):
    def test_a_pair_is_two_files_beside_the_configuration(self) -> None:
        """Under two names each; the options hold what was in them."""
        for text in ("{certificate: cert.pem, private_key: key.pem}", "{cert: cert.pem, key: key.pem}"):
            pair = self.parse(CertificatePairValue(), text)
            self.assertEqual((pair.certificate.data, pair.private_key.data), (CERTIFICATE, KEY))
            self.assertEqual(pair.certificate.path, str(self.directory / "cert.pem"))

    def test_pem_may_stand_in_the_value_itself(self) -> None:
        """A chain may come from several sources."""
        inline = CERTIFICATE.decode().replace("\n", "\\n")
        pair = self.parse(CertificatePairValue(), f'{{certificate: ["{inline}", ca.pem], private_key: "{KEY.decode()}"}}'.replace("\n", "\\n"))
        self.assertEqual(pair.certificate.data, CERTIFICATE + b"\n" + pem(AUTHORITY.certificate))

    def test_files_that_cannot_be_used_are_told_with_their_place(self) -> None:
        """All of them, and never a traceback."""
        for name, said in {
            "missing.pem": '"missing.pem" does not exist',
            "text.pem": '"text.pem" has no certificate in PEM form',
            "broken.pem": '"broken.pem" has a certificate that cannot be read: ',
            "key.pem": '"key.pem" has no certificate in PEM form',
            "big.pem": '"big.pem" is larger than 4000000 bytes',
            ".": f'"{self.directory}" is not a file',
            '"a\\0b"': "a path must not contain NUL",
            '""': "a path must not be empty",
        }.items():
            (problem,) = self.problems(CertificatePairValue(), f"{{certificate: {name}, private_key: key.pem}}")
            self.assertIn(said, problem)
            self.assertTrue(problem.startswith("1:15: "), problem)
        for name, said in {
            "cert.pem": '"cert.pem" has no private key in PEM form',
            "broken-key.pem": '"broken-key.pem" has a private key that cannot be read: ',
            "locked.pem": '"locked.pem" is encrypted with a password, which cannot be given',
        }.items():
            (problem,) = self.problems(CertificatePairValue(), f"{{certificate: cert.pem, private_key: {name}}}")
            self.assertTrue(problem.startswith(f"1:38: private_key: {said}"), problem)

    def test_an_unreadable_file_is_told(self) -> None:
        """With the reason the system gave."""

        def refuse(*_: object, **__: object) -> None:
            raise PermissionError(13, "Permission denied")

        self.patch(Path, "open", refuse)
        (problem,) = self.problems(CertificatePairValue(), "{certificate: cert.pem, private_key: 5}")[:1]
        self.assertEqual(problem, '1:15: certificate: cannot read "cert.pem": Permission denied')

    def test_a_key_of_another_certificate_is_told(self) -> None:
        """It would only fail at the first handshake."""
        self.assertEqual(
            self.problems(CertificatePairValue(), "{certificate: cert.pem, private_key: other-key.pem}"),
            ['1:1: the private key of "other-key.pem" is not that of the first certificate of "cert.pem"'],
        )

    def test_a_changed_file_makes_another_value(self) -> None:
        """So that a reload sees it."""
        text = "{certificate: cert.pem, private_key: key.pem}"
        before, again = self.parse(CertificatePairValue(), text), self.parse(CertificatePairValue(), text)
        certificate, key = AUTHORITY.issue("example.net")
        (self.directory / "cert.pem").write_bytes(certificate)
        (self.directory / "key.pem").write_bytes(key)
        self.assertEqual(before, again)
        self.assertNotEqual(before, self.parse(CertificatePairValue(), text))


class ClientTests(TLSCase):
    def test_an_empty_map_has_the_defaults(self) -> None:
        """The session cache is for the use the value was made for."""
        self.assertEqual(self.parse(ClientTLSValue(), "{}"), ClientTLSOptions(session_cache=SessionCache.ONE))
        self.assertEqual(self.parse(ClientTLSValue(SessionCache.MANY), "{}").session_cache, SessionCache.MANY)
        self.assertEqual(self.parse(ClientTLSValue(), "{use_builtin_session_cache: yes}").session_cache, SessionCache.BUILTIN)
        self.assertEqual(self.parse(ClientTLSValue(), "{session_cache_disabled: yes}").session_cache, SessionCache.OFF)
        self.assertEqual(self.parse(RustlsClientTLSValue(), "{}"), ClientTLSOptions())

    def test_everything_openssl_has_is_kept(self) -> None:
        """Also what this library cannot do."""
        text = """{protocol: tls1.2, ciphers: "A:B", min_tls_version: 1.2, tls_version_max: tls13, disable_sni: true,
            ca_certificate: [ca.pem, ca.pem], no_default_ca_cert: true, negotiation_timeout: 3s, session_cache_lru_max_sites: 0,
            session_cache_each_cap: 5, supported_groups: "P-256:X25519", use_ocsp_stapling: true, enable_sct: true, enable_grease: true,
            permute_extensions: true, certificate: cert.pem, private_key: key.pem}"""
        options = self.parse(ClientTLSValue(), text)
        self.assertEqual((options.protocol, options.ciphers), (TLSProtocol.TLS1_2, ("A", "B")))
        self.assertEqual((options.min_tls_version, options.max_tls_version), (TLSVersion.TLS1_2, TLSVersion.TLS1_3))
        self.assertEqual((options.session_cache_lru_max_sites, options.session_cache_each_capacity, options.handshake_timeout), (128, 5, 3.0))
        self.assertEqual((len(options.ca_certificate), options.cert_pair.certificate.data), (2, CERTIFICATE))
        self.assertTrue(all((options.disable_sni, options.no_default_ca_certificate, options.use_ocsp_stapling, options.enable_sct)))
        self.assertTrue(options.enable_grease and options.permute_extensions and options.supported_groups == "P-256:X25519")

    def test_what_does_not_fit_together_is_told(self) -> None:
        """At the key that says it."""
        for text, said in {
            "{ciphers: A}": ["1:11: ciphers needs protocol: a list of ciphers belongs to one version of TLS"],
            "{certificate: cert.pem}": ["1:15: certificate needs private_key beside it"],
            "{private_key: key.pem}": ["1:15: private_key needs certificate beside it"],
            "{min_tls_version: 1.3, max_tls_version: 1.2}": ["1:19: min_tls_version is above max_tls_version, TLS1.2"],
            "{insecure: true}": ["1:12: insecure is on: whoever is in between can read and change everything"],
            "{cert: cert.pem, key: key.pem, cert_pair: {cert: cert.pem, key: key.pem}}": [
                "1:8: a client certificate is given twice: as cert_pair and as certificate"
            ],
            "{protocols: [tls1.2]}": ['1:2: unknown key "protocols"; did you mean "protocol"?'],
        }.items():
            self.assertEqual(self.problems(ClientTLSValue(), text), said)
        self.assertEqual(refusal(ClientTLSValue(), "~"), "expected a map, not nothing")

    def test_a_handshake_takes_100ms_at_least(self) -> None:
        """As upstream."""
        self.assertEqual(self.parse(ClientTLSValue(), "{handshake_timeout: 1ms}").handshake_timeout, 0.1)

    def test_versions_and_protocols_have_many_spellings(self) -> None:
        """A version may be a number."""
        for text in ("1.2", "'1.2'", "tls12", "TLS1.2", "tls1_2", "tls1-2"):
            self.assertIs(parse(TLSVersionValue(), text), TLSVersion.TLS1_2)
        self.assertTrue(refusal(TLSVersionValue(), "1.4"))
        for text, member in {"ssl3": "SSL3", "tls1": "TLS1_0", "tls10": "TLS1_0", "TLS1.3": "TLS1_3", "tlcp": "TLCP1_1"}.items():
            self.assertIs(parse(TLSProtocolValue(), text), TLSProtocol[member])

    def test_a_dump_names_files_and_reads_the_same(self) -> None:
        """Options of either library."""
        text = "{ca_certificate: [ca.pem, ca.pem], cert_pair: {cert: [cert.pem, ca.pem], key: key.pem}, protocol: tls1.3, no_session_cache: true}"
        value = ClientTLSValue()
        options = self.parse(value, text)
        self.assertEqual(self.parse(value, str(value.dump(options)).replace("None", "null")), options)


class ServerTests(TLSCase):
    def test_a_server_has_one_certificate_or_several(self) -> None:
        """As a pair, a list of pairs, or two keys of its own."""
        pair = self.parse(CertificatePairValue(), "{cert: cert.pem, key: key.pem}")
        one = ServerTLSOptions(cert_pairs=(pair,))
        self.assertEqual(self.parse(ServerTLSValue(), "{cert_pairs: {cert: cert.pem, key: key.pem}}"), one)
        self.assertEqual(self.parse(ServerTLSValue(), "{cert_pairs: [{cert: cert.pem, key: key.pem}]}"), one)
        self.assertEqual(self.parse(ServerTLSValue(), "{certificate: cert.pem, private_key: key.pem}"), one)
        self.assertEqual(self.problems(ServerTLSValue(), "{}"), ["1:1: a TLS server needs a certificate: cert_pairs, or certificate and private_key"])

    def test_everything_else_has_upstreams_names(self) -> None:
        """Tickets can be asked for either way."""
        text = """{cert: cert.pem, key: key.pem, enable_client_auth: true, client_auth_cert: ca.pem, session_id_context: x,
            disable_session_ticket: true, disable_session_cache: true, accept_timeout: 5}"""
        options = self.parse(ServerTLSValue(), text)
        self.assertEqual((options.enable_client_auth, options.session_id_context, options.handshake_timeout), (True, "x", 5.0))
        self.assertEqual((options.no_session_ticket, options.no_session_cache, len(options.ca_certificate)), (True, True, 1))
        self.assertTrue(self.parse(ServerTLSValue(), "{cert: cert.pem, key: key.pem, use_session_ticket: false}").no_session_ticket)

    def test_tlcp_is_refused_with_the_library_that_could(self) -> None:
        """Its certificates are looked at all the same."""
        text = "{tlcp_cert_pairs: {sign_cert: cert.pem, sign_key: key.pem, enc_cert: broken.pem, enc_key: broken-key.pem}}"
        self.assertEqual(self.problems(ServerTLSValue(), text), ["1:1: tlcp_cert_pairs: TLCP needs the Tongsuo TLS library"])
        self.assertEqual(
            self.problems(ServerTLSValue(), "{tlcp_cert_pairs: {sign_cert: text.pem}}"),
            [
                '1:19: required key "enc_certificate" is missing',
                '1:19: required key "sign_private_key" is missing',
                '1:19: required key "enc_private_key" is missing',
                '1:31: sign_certificate: "text.pem" has no certificate in PEM form',
            ],
        )


class OtherTests(TLSCase):
    def test_ticket_keys_may_come_from_redis(self) -> None:
        """The only source there is."""
        self.assertEqual(parse(TicketerValue(), "{}"), Ticketer())
        ticketer = parse(TicketerValue(), "{local_lifetime: 100, source: {type: Redis, addr: r.example, enc_key: e, dec_set: d, db: 2}}")
        self.assertEqual((ticketer.local_lifetime, ticketer.source.enc_key, ticketer.source.dec_set), (100, "e", "d"))
        self.assertEqual(ticketer.source.redis, RedisOptions(addr=Upstream("r.example", 6379), db=2))
        self.assertEqual(parse(TicketerValue(), str(TicketerValue().dump(ticketer))), ticketer)
        self.assertEqual(
            self.problems(TicketerValue(), "{source: {type: etcd, addr: a, enc_key: e, dec_set: d}}"),
            ['1:17: there is no source of ticket keys "etcd", only redis'],
        )

    def test_redis_without_its_library_is_refused(self) -> None:
        """And says how to get it."""
        self.patch(tls_values, "redis_available", lambda: False)
        self.assertEqual(
            self.problems(TicketerValue(), "{source: {type: redis, addr: a, enc_key: e, dec_set: d}}"),
            ['1:17: redis needs the "redis" extra: pip install g3[redis]'],
        )

    def test_a_redis_password_does_not_show(self) -> None:
        """In no repr."""
        self.assertNotIn("hush", repr(parse(RedisValue(), "{addr: 'r:1', password: hush}")))

    def test_dns_is_encrypted_by_four_protocols(self) -> None:
        """A name alone is DNS over TLS."""
        self.assertEqual(parse(DNSEncryptionValue(), "dns.example"), DNSEncryption(tls_name="dns.example"))
        for word, protocol in {"DoT": "TLS", "https": "HTTPS", "doh3": "H3", "http/3": "H3", "dns-over-quic": "QUIC"}.items():
            self.assertIs(parse(DNSEncryptionValue(), f"{{tls_name: a, protocol: {word}}}").protocol, DNSProtocol[protocol])
        self.assertEqual([protocol.default_port for protocol in DNSProtocol], [853, 443, 443, 853])
        self.assertTrue(refusal(DNSEncryptionValue(), "5"))
