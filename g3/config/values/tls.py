# SPDX-License-Identifier: Apache-2.0
"""TLS as a client and as a server, in the words of upstream's two TLS libraries. Upstream: configuration/values/tls.

Files are read and looked into while the configuration is: what is missing, unreadable, no PEM, encrypted or does not fit its certificate is a
problem at its place. Options that only some TLS library has are kept for the TLS provider to honour or refuse.
"""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING, Any, ClassVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509 import ocsp

from g3.config.problems import quote
from g3.config.schema import Places, config_class, key
from g3.config.value import Reported, Value, ValueProblem, wrong_type
from g3.config.values.basic import U32, Bool, Enum, Int, OneOrMany, Str, only_string, word_schema
from g3.config.values.duration import Duration
from g3.config.values.net import HostValue, UpstreamAddr
from g3.config.values.options import Options
from g3.net.options import DNSEncryption, DNSProtocol, RedisOptions, RedisTicketSource, Ticketer
from g3.net.redis import MISSING, redis_available
from g3.net.tls.check import client_problems, client_warnings, server_problems
from g3.net.tls.options import (
    LEAST_HANDSHAKE_TIMEOUT,
    PEM,
    CertificatePair,
    ClientTLSOptions,
    OCSPResponse,
    ServerTLSOptions,
    SessionCache,
    TLCPCertificatePair,
    TLSProtocol,
    TLSVersion,
)

if TYPE_CHECKING:
    from g3.config.document import Node
    from g3.config.schema import Key
    from g3.config.value import ParseContext
    from g3.task import Upstream

#: As upstream: what a file of certificates, and of one key, may hold, bytes.
MAX_CERTIFICATES, MAX_KEY = 4_000_000, 256_000
#: Bytes of an OCSP response: the TLS message has room for 16 MiB, what responders send is a few KiB.
MAX_OCSP = 64_000
#: Sites, and sessions of each, a client may remember.
MOST_SITES, MOST_SESSIONS = 65536, 1024

_BEGIN = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----")
_CLIENT, _SERVER = ClientTLSOptions(), ServerTLSOptions()


class _PEMValue(Value[PEM]):
    """PEM text, or the path of a file of it, relative to the configuration file."""

    limit: ClassVar[int]

    def read(self, node: Node, context: ParseContext) -> PEM:
        text = only_string(node, "path or PEM text")
        if text.lstrip().startswith("--"):
            return PEM(text.encode("utf-8", "surrogatepass"))
        if not text or "\0" in text:
            raise ValueProblem(node, "a path must not be empty" if not text else "a path must not contain NUL")
        return PEM(context.read_file(node, text, self.limit), str(context.resolve_path(text).absolute()))

    def json_schema(self) -> dict[str, Any]:
        return {"type": "string", "minLength": 1}

    def dump(self, value: PEM) -> Any:
        return value.path or value.data.decode("utf-8", "replace")


def _named(pem: PEM) -> str:
    return quote(pem.path, 300) if pem.path else "the PEM text"


class Certificates(_PEMValue):
    """One or more certificates."""

    type_name = "certificates"
    doc = "The path of a PEM file with one or more certificates, relative to the configuration file; or the PEM text itself."
    limit = MAX_CERTIFICATES

    def __init__(self, *, any_algorithm: bool = False) -> None:
        """C{any_algorithm}: only look for PEM, since not every library knows what is in it."""
        self.any_algorithm = any_algorithm

    def parse(self, node: Node, context: ParseContext) -> PEM:
        pem = self.read(node, context)
        if not any(label in (b"CERTIFICATE", b"X509 CERTIFICATE", b"TRUSTED CERTIFICATE") for label in _BEGIN.findall(pem.data)):
            raise ValueProblem(node, f"{_named(pem)} has no certificate in PEM form")
        if not self.any_algorithm:
            _load_certificates(pem, node)
        return pem


def _load_certificates(pem: PEM, node: Node) -> list[x509.Certificate]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return x509.load_pem_x509_certificates(pem.data)
    except ValueError as error:
        raise ValueProblem(node, f"{_named(pem)} has a certificate that cannot be read: {error}") from None


class PrivateKey(_PEMValue):
    """A private key without a password."""

    type_name = "private key"
    doc = "The path of a PEM file with a private key, relative to the configuration file; or the PEM text itself. It must not be encrypted."
    # Its path is no secret; a dump masks every private key that it finds in text.
    limit = MAX_KEY

    def __init__(self, *, any_algorithm: bool = False) -> None:
        self.any_algorithm = any_algorithm

    def parse(self, node: Node, context: ParseContext) -> PEM:
        pem = self.read(node, context)
        labels = _BEGIN.findall(pem.data)
        if not any(label.endswith(b"PRIVATE KEY") for label in labels):
            raise ValueProblem(node, f"{_named(pem)} has no private key in PEM form")
        if not self.any_algorithm:
            _load_key(pem, node)
        return pem


def _load_key(pem: PEM, node: Node) -> Any:
    try:
        return load_pem_private_key(pem.data, None)
    except TypeError:
        raise ValueProblem(node, f"{_named(pem)} is encrypted with a password, which cannot be given") from None
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueProblem(node, f"{_named(pem)} has a private key that cannot be read: {error}") from None


class CertificateList(OneOrMany[PEM]):
    """Certificates from one or several sources."""

    doc = Certificates.doc

    def __init__(self) -> None:
        super().__init__(Certificates())

    def parse(self, node: Node, context: ParseContext) -> tuple[PEM, ...]:
        return super().parse(node, context) if node.kind == "seq" else (self.item.parse(node, context),)


class Chain(Value[PEM]):
    """A certificate and what leads to its root, from one or several sources, in order."""

    type_name = "certificates or list of them"
    doc = Certificates.doc

    def __init__(self, *, any_algorithm: bool = False) -> None:
        self._many = OneOrMany(Certificates(any_algorithm=any_algorithm), min_items=1)

    def parse(self, node: Node, context: ParseContext) -> PEM:
        if node.kind != "seq":
            return self._many.item.parse(node, context)
        parts = self._many.parse(node, context)
        return PEM(b"\n".join(part.data for part in parts), ", ".join(part.path for part in parts if part.path))

    def json_schema(self) -> dict[str, Any]:
        return self._many.json_schema()

    def dump(self, value: PEM) -> Any:
        return value.path.split(", ") if ", " in value.path else value.path or value.data.decode("utf-8", "replace")


def check_pair(certificate: PEM, private_key: PEM, node: Node) -> CertificatePair:
    """The pair, if the key is that of the first certificate.

    @raise ValueProblem: it is not.
    """
    leaf = _load_certificates(certificate, node)[0]
    private = _load_key(private_key, node)
    try:
        same = _public_bytes(leaf.public_key()) == _public_bytes(private.public_key())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueProblem(node, f"{_named(certificate)} has a public key that cannot be used: {error}") from None
    if not same:
        raise ValueProblem(node, f"the private key of {_named(private_key)} is not that of the first certificate of {_named(certificate)}")
    return CertificatePair(certificate, private_key)


def _public_bytes(public: Any) -> bytes:
    encoded: bytes = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return encoded


@config_class
class CertificatePairKeys:
    """A certificate with its private key."""

    certificate: PEM = key(Chain(), aliases=("cert",), doc="The certificate, then what leads to its root.")
    private_key: PEM = key(PrivateKey(), aliases=("key",), doc="The private key of the first certificate.")


class CertificatePairValue(Options[CertificatePair]):
    """A certificate with its private key, which must fit it."""

    type_name = "certificate pair"
    doc = "A map of certificate and private_key, paths of PEM files or PEM text."
    keys, made = CertificatePairKeys, CertificatePair

    def build(self, given: Any, node: Node, context: ParseContext) -> CertificatePair:
        return check_pair(given.certificate, given.private_key, node)


@config_class
class TLCPCertificatePairKeys:
    """The two certificates with keys of TLCP."""

    sign_certificate: PEM = key(Chain(any_algorithm=True), aliases=("sign_cert",), doc="The certificate that signs.")
    enc_certificate: PEM = key(Chain(any_algorithm=True), aliases=("enc_cert",), doc="The certificate that encrypts.")
    sign_private_key: PEM = key(PrivateKey(any_algorithm=True), aliases=("sign_key",), doc="The private key of the first.")
    enc_private_key: PEM = key(PrivateKey(any_algorithm=True), aliases=("enc_key",), doc="The private key of the second.")


class TLCPCertificatePairValue(Options[TLCPCertificatePair]):
    """The two certificates with keys of TLCP."""

    type_name = "TLCP certificate pair"
    keys, made = TLCPCertificatePairKeys, TLCPCertificatePair


class OCSPResponseValue(Value[OCSPResponse]):
    """The path of a file with an OCSP response in DER."""

    type_name = "OCSP response"
    doc = "The path of a file with an OCSP response in DER, relative to the configuration file."

    def parse(self, node: Node, context: ParseContext) -> OCSPResponse:
        text = only_string(node, "path")
        if not text or "\0" in text:
            raise ValueProblem(node, "a path must not be empty" if not text else "a path must not contain NUL")
        data = context.read_file(node, text, MAX_OCSP)
        try:
            status = ocsp.load_der_ocsp_response(data).response_status
        except ValueError as error:
            raise ValueProblem(node, f"{quote(text, 300)} is no OCSP response in DER: {error}") from None
        if status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
            raise ValueProblem(node, f"{quote(text, 300)} says no status of a certificate: {status.name.lower()}")
        return OCSPResponse(data, str(context.resolve_path(text).absolute()))

    def json_schema(self) -> dict[str, Any]:
        return {"type": "string", "minLength": 1}

    def dump(self, value: OCSPResponse) -> Any:
        return value.path


class TLSVersionValue(Enum[TLSVersion]):
    """1.0 to 1.3, as a number or as C{tls1.2}, C{tls12}, C{tls1_2}."""

    def __init__(self) -> None:
        words = {word: version for version in TLSVersion for word in _version_words(version.value[3:])}
        super().__init__(TLSVersion, words, type_name="TLS version")

    def json_schema(self) -> dict[str, Any]:
        return {"anyOf": [{"enum": [1.0, 1.1, 1.2, 1.3]}, word_schema(self.words)]}


def _version_words(number: str) -> tuple[str, ...]:
    major, minor = number.split(".")
    return f"tls{number}", number, f"tls{major}{minor}", f"tls{major}_{minor}"


class TLSProtocolValue(Enum[TLSProtocol]):
    """One protocol to speak and no other: ssl3, tls1.0 to tls1.3 or tlcp."""

    def __init__(self) -> None:
        words = {f"tls{word}": TLSProtocol[f"TLS1_{minor}"] for minor in range(4) for word in (f"1.{minor}", f"1{minor}", f"1_{minor}")}
        words |= dict.fromkeys(("ssl3", "ssl30", "ssl3.0", "ssl3_0"), TLSProtocol.SSL3)
        words |= dict.fromkeys(("tlcp", "tlcp1.1", "tlcp1_1"), TLSProtocol.TLCP1_1)
        words["tls1"] = TLSProtocol.TLS1_0
        super().__init__(TLSProtocol, words, type_name="TLS protocol")


class Ciphers(Value[tuple[str, ...]]):
    """Cipher suites in order: a list, or one string with colons between."""

    type_name = "cipher suites"

    def parse(self, node: Node, context: ParseContext) -> tuple[str, ...]:
        if node.kind == "seq":
            return tuple(self._word(element, only_string(element, "cipher suite")) for element in node.elements)
        return tuple(self._word(node, word) for word in only_string(node, self.type_name).split(":"))

    def _word(self, node: Node, word: str) -> str:
        if not word or len(word) > 255 or not (word.isascii() and word.isprintable()):
            raise ValueProblem(node, f"{quote(word)} is not the name of a cipher suite")
        return word

    def json_schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": "string", "minLength": 1}, {"type": "array", "items": {"type": "string"}}]}

    def dump(self, value: tuple[str, ...]) -> Any:
        return list(value)


@config_class
class _OwnCertificateKeys:
    """What a client and a server have in common."""

    certificate: PEM | None = key(Chain(), default=None, aliases=("cert",), doc="Our certificate, instead of a pair.")
    private_key: PEM | None = key(PrivateKey(), default=None, aliases=("key",), doc="The private key of it.")
    handshake_timeout: float = key(Duration(), default=10.0, aliases=("negotiation_timeout",), doc="At least 100ms.", unit="seconds")

    def check(self, at: Places) -> None:
        if (self.certificate is None) is not (self.private_key is None):
            given, missing = ("certificate", "private_key") if self.private_key is None else ("private_key", "certificate")
            at.error(given, f"{given} needs {missing} beside it")


@config_class
class CommonClientTLSKeys(_OwnCertificateKeys):
    """TLS as a client."""

    cert_pair: CertificatePair | None = key(CertificatePairValue(), default=None, doc="Our certificate, for a server that asks for one.")
    ca_certificate: tuple[PEM, ...] = key(
        CertificateList(),
        default=(),
        aliases=("ca_cert", "server_auth_certificate", "server_auth_cert"),
        doc="Trusted beside the system's authorities.",
    )
    no_default_ca_certificate: bool = key(Bool(), default=False, aliases=("no_default_ca_cert",), doc="Do not trust the system's authorities.")
    disable_sni: bool = key(Bool(), default=False, doc="Do not say the server's name in the handshake.")
    no_session_cache: bool = key(
        Bool(), default=False, aliases=("disable_session_cache", "session_cache_disabled"), doc="Do not keep sessions to resume."
    )

    def check(self, at: Places) -> None:
        super().check(at)
        if self.cert_pair is not None and self.certificate is not None:
            at.error("certificate", "a client certificate is given twice: as cert_pair and as certificate")


@config_class
class ClientTLSKeys(CommonClientTLSKeys):
    """TLS as a client, in the words of upstream's OpenSSL."""

    protocol: TLSProtocol | None = key(TLSProtocolValue(), default=None, doc="Speak only this one.")
    min_tls_version: TLSVersion | None = key(TLSVersionValue(), default=None, aliases=("tls_version_min",), doc="The oldest version to speak.")
    max_tls_version: TLSVersion | None = key(TLSVersionValue(), default=None, aliases=("tls_version_max",), doc="The newest version to speak.")
    ciphers: tuple[str, ...] = key(Ciphers(), default=(), doc="Cipher suites; needs protocol.")
    tlcp_cert_pair: TLCPCertificatePair | None = key(TLCPCertificatePairValue(), default=None, doc="Our certificates for TLCP.")
    use_builtin_session_cache: bool = key(Bool(), default=False, doc="Let the TLS library keep sessions.")
    session_cache_lru_max_sites: int = key(Int(0, MOST_SITES), default=_CLIENT.session_cache_lru_max_sites, doc="Sites whose sessions are kept.")
    session_cache_each_capacity: int = key(
        Int(0, MOST_SESSIONS), default=_CLIENT.session_cache_each_capacity, aliases=("session_cache_each_cap",), doc="Sessions kept of each site."
    )
    supported_groups: str = key(Str(max_length=1024), default="", doc="Groups for key agreement, with colons between.")
    use_ocsp_stapling: bool = key(Bool(), default=False, doc="Ask for a stapled OCSP response (RFC 6066 section 8).")
    enable_sct: bool = key(Bool(), default=False, doc="Verify certificate transparency (RFC 6962).")
    enable_grease: bool = key(Bool(), default=False, doc="Send values nobody knows (RFC 8701).")
    permute_extensions: bool = key(Bool(), default=False, doc="Send extensions in changing order.")
    insecure: bool = key(Bool(), default=False, doc="Only log it when a certificate does not verify.")

    def check(self, at: Places) -> None:
        super().check(at)
        if self.ciphers and self.protocol is None:
            at.error("ciphers", "ciphers needs protocol: a list of ciphers belongs to one version of TLS")
        if self.min_tls_version and self.max_tls_version and self.min_tls_version.rank > self.max_tls_version.rank:
            at.error("min_tls_version", f"min_tls_version is above max_tls_version, {self.max_tls_version.value}")
        if self.insecure:
            at.warn("insecure", "insecure is on: whoever is in between can read and change everything")


@config_class
class RustlsClientTLSKeys(CommonClientTLSKeys):
    """TLS as a client, in the words of upstream's rustls."""

    use_builtin_ca_certificate: bool = key(
        Bool(), default=False, aliases=("use_builtin_ca_cert",), doc="Trust the authorities Mozilla does instead of the system's."
    )
    max_fragment_size: int | None = key(Int(32, 16389), default=None, doc="Largest TLS record to send.", unit="bytes")


def _refuse(problems: list[str], node: Node, context: ParseContext) -> None:
    """What the TLS library cannot do is an error where it is asked for."""
    for problem in problems:
        context.problems.error(node, problem)
    if problems:
        raise Reported


class ClientTLSValue(Options[ClientTLSOptions]):
    """TLS as a client. C{cache} is what is kept of sessions unless the configuration says otherwise: for the one peer, or for many."""

    type_name = "TLS client"
    keys: ClassVar[type] = ClientTLSKeys
    made = ClientTLSOptions

    def __init__(self, cache: SessionCache = SessionCache.ONE) -> None:
        self.cache = cache

    def build(self, given: Any, node: Node, context: ParseContext) -> ClientTLSOptions:
        pair = given.cert_pair
        if given.certificate is not None:
            pair = check_pair(given.certificate, given.private_key, node)
        shared = {name: getattr(given, name) for name in ClientTLSOptions.__slots__ if hasattr(given, name)}
        sites, each = shared.get("session_cache_lru_max_sites"), shared.get("session_cache_each_capacity")
        shared |= {
            "cert_pair": pair,
            "handshake_timeout": max(given.handshake_timeout, LEAST_HANDSHAKE_TIMEOUT),
            "session_cache": self._cache(given),
            "session_cache_lru_max_sites": sites or _CLIENT.session_cache_lru_max_sites,
            "session_cache_each_capacity": each or _CLIENT.session_cache_each_capacity,
        }
        options = ClientTLSOptions(**shared)
        for warning in client_warnings(options):
            context.problems.warn(node, warning)
        _refuse(client_problems(options), node, context)
        return options

    def _cache(self, given: Any) -> SessionCache:
        if given.no_session_cache:
            return SessionCache.OFF
        return SessionCache.BUILTIN if getattr(given, "use_builtin_session_cache", False) else self.cache

    def key_value(self, value: ClientTLSOptions, key: Key) -> Any:
        if key.name in ("certificate", "private_key"):
            return None
        if key.name == "no_session_cache":
            return value.session_cache is SessionCache.OFF
        if key.name == "use_builtin_session_cache":
            return value.session_cache is SessionCache.BUILTIN
        return super().key_value(value, key) or None if key.name in ("ciphers", "supported_groups") else super().key_value(value, key)


class RustlsClientTLSValue(ClientTLSValue):
    """TLS as a client, in the words of upstream's rustls."""

    keys = RustlsClientTLSKeys

    def __init__(self) -> None:
        super().__init__(SessionCache.BUILTIN)


@config_class
class ServerTLSKeys(_OwnCertificateKeys):
    """TLS as a server."""

    handshake_timeout: float = key(
        Duration(), default=_SERVER.handshake_timeout, aliases=("negotiation_timeout", "accept_timeout"), doc="At least 100ms.", unit="seconds"
    )
    cert_pairs: tuple[CertificatePair, ...] = key(
        OneOrMany(CertificatePairValue()), default=(), doc="Our certificates; the one that fits what the client asks for is used."
    )
    tlcp_cert_pairs: tuple[TLCPCertificatePair, ...] = key(OneOrMany(TLCPCertificatePairValue()), default=(), doc="Our certificates for TLCP.")
    enable_client_auth: bool = key(Bool(), default=False, doc="Demand a certificate of the client.")
    ca_certificate: tuple[PEM, ...] = key(
        CertificateList(),
        default=(),
        aliases=("ca_cert", "client_auth_certificate", "client_auth_cert"),
        doc="The authorities of client certificates; the system's when there are none.",
    )
    min_tls_version: TLSVersion | None = key(TLSVersionValue(), default=None, aliases=("tls_version_min",), doc="TLS 1.2 when not set.")
    max_tls_version: TLSVersion | None = key(TLSVersionValue(), default=None, aliases=("tls_version_max",), doc="The highest known when not set.")
    ciphers: tuple[str, ...] = key(
        Ciphers(), default=(), doc="Cipher suites by OpenSSL's names: of TLS 1.3 (TLS_...) and of TLS 1.2; of which none is said, the default stays."
    )
    supported_groups: str = key(Str(), default="", doc="Key exchange groups by OpenSSL's names, colons between.")
    ocsp_response: OCSPResponse | None = key(
        OCSPResponseValue(), default=None, doc="A file with an OCSP response, stapled for clients that ask. Read again by a reload."
    )
    session_id_context: str = key(Str(max_length=4096), default="", doc="Sessions are resumed only under the same one.")
    no_session_ticket: bool = key(Bool(), default=False, aliases=("disable_session_ticket",), doc="Do not hand out session tickets.")
    use_session_ticket: bool | None = key(Bool(), default=None, doc="The opposite of no_session_ticket.")
    no_session_cache: bool = key(Bool(), default=False, aliases=("disable_session_cache",), doc="Do not keep sessions to resume.")

    def check(self, at: Places) -> None:
        super().check(at)
        if not (self.cert_pairs or self.tlcp_cert_pairs or self.certificate):
            at.error("cert_pairs", "a TLS server needs a certificate: cert_pairs, or certificate and private_key")


class ServerTLSValue(Options[ServerTLSOptions]):
    """TLS as a server, in the words of both of upstream's TLS libraries."""

    type_name = "TLS server"
    keys, made = ServerTLSKeys, ServerTLSOptions

    def build(self, given: Any, node: Node, context: ParseContext) -> ServerTLSOptions:
        pairs = given.cert_pairs
        if given.certificate is not None:
            pairs = (*pairs, check_pair(given.certificate, given.private_key, node))
        shared = {name: getattr(given, name) for name in ServerTLSOptions.__slots__}
        no_ticket = given.no_session_ticket if given.use_session_ticket is None else not given.use_session_ticket
        timeout = max(given.handshake_timeout, LEAST_HANDSHAKE_TIMEOUT)
        options = ServerTLSOptions(**{**shared, "cert_pairs": pairs, "no_session_ticket": no_ticket, "handshake_timeout": timeout})
        _refuse(server_problems(options), node, context)
        return options

    def key_value(self, value: ServerTLSOptions, key: Key) -> Any:
        if key.name in ("certificate", "private_key", "use_session_ticket"):
            return None
        return super().key_value(value, key) or None if key.name in ("ciphers", "supported_groups") else super().key_value(value, key)


@config_class
class RedisKeys:
    """How to reach a redis server."""

    addr: Upstream = key(UpstreamAddr(6379), aliases=("address",), doc="Of the server.")
    tls_client: ClientTLSOptions | None = key(RustlsClientTLSValue(), default=None, doc="Speak TLS.")
    tls_name: str | None = key(HostValue(), default=None, doc="The name its certificate must be for; that of addr by default.")
    db: int = key(Int(0, U32), default=0, doc="Number of the database.")
    username: str | None = key(Str(), default=None, doc="To log in with.")
    password: str | None = key(Str(secret=True), default=None, doc="To log in with.", secret=True)
    connect_timeout: float = key(Duration(), default=5.0, doc="To connect.", unit="seconds")
    response_timeout: float = key(Duration(), default=2.0, aliases=("read_timeout",), doc="For an answer.", unit="seconds")


class RedisValue(Options[RedisOptions]):
    """How to reach a redis server."""

    type_name = "redis"
    keys, made = RedisKeys, RedisOptions


@config_class
class RedisTicketSourceKeys(RedisKeys):
    """Ticket keys in redis."""

    type: str = key(Str(), doc='"redis" is the only one.')
    enc_key: str = key(Str(min_length=1), doc="Redis key of the ticket key to encrypt with.")
    dec_set: str = key(Str(min_length=1), doc="Redis set of the ticket keys that may decrypt.")

    def check(self, at: Places) -> None:
        if self.type.lower() != "redis":
            at.error("type", f"there is no source of ticket keys {quote(self.type)}, only redis")
        elif not redis_available():
            at.error("type", MISSING)


class RedisTicketSourceValue(Options[RedisTicketSource]):
    """Ticket keys in redis."""

    type_name = "ticket source"
    keys, made = RedisTicketSourceKeys, RedisTicketSource

    def build(self, given: Any, node: Node, context: ParseContext) -> RedisTicketSource:
        redis = RedisOptions(**{name: getattr(given, name) for name in RedisOptions.__slots__})
        return RedisTicketSource(redis=redis, enc_key=given.enc_key, dec_set=given.dec_set)

    def key_value(self, value: RedisTicketSource, key: Key) -> Any:
        if key.name == "type":
            return "redis"
        return getattr(value if key.name in ("enc_key", "dec_set") else value.redis, key.name)


@config_class
class TicketerKeys:
    """TLS session ticket keys."""

    check_interval: float = key(Duration(0.001), default=300.0, doc="Between looks at the source.", unit="seconds")
    local_lifetime: int = key(Int(2, U32), default=43200, doc="Of keys made here; replaced at half of it.", unit="seconds")
    source: RedisTicketSource | None = key(RedisTicketSourceValue(), default=None, doc="Where a fleet shares its keys.")


class TicketerValue(Options[Ticketer]):
    """TLS session ticket keys."""

    type_name = "TLS ticketer"
    keys, made = TicketerKeys, Ticketer


_DNS_PROTOCOL = Enum(
    DNSProtocol,
    {
        **dict.fromkeys(("tls", "dot", "dns_over_tls", "dnsovertls"), DNSProtocol.TLS),
        **dict.fromkeys(("https", "doh", "h2", "dns_over_https", "dnsoverhttps"), DNSProtocol.HTTPS),
        **dict.fromkeys(("h3", "doh3", "http/3", "dns_over_http/3", "dnsoverhttp/3"), DNSProtocol.H3),
        **dict.fromkeys(("quic", "doq", "dns_over_quic", "dnsoverquic"), DNSProtocol.QUIC),
    },
    type_name="DNS protocol",
)


@config_class
class DNSEncryptionKeys:
    """Encryption towards a name server."""

    tls_name: str = key(HostValue(), doc="The name its certificate must be for.")
    protocol: DNSProtocol = key(_DNS_PROTOCOL, default=DNSProtocol.TLS, doc="DNS over TLS, HTTPS, HTTP/3 or QUIC.")
    tls_client: ClientTLSOptions = key(RustlsClientTLSValue(), default=ClientTLSOptions(), doc="How to speak TLS.")


class DNSEncryptionValue(Options[DNSEncryption]):
    """The TLS name, for DNS over TLS, or a map."""

    type_name = "DNS encryption"
    doc = "The TLS name of the server, for DNS over TLS, or a map."
    keys, made, expected = DNSEncryptionKeys, DNSEncryption, "a TLS name or a map"
    _name = HostValue()

    def short(self, node: Node, context: ParseContext) -> DNSEncryption:
        if not node.is_string:
            raise wrong_type(node, self.expected)
        return DNSEncryption(tls_name=self._name.parse(node, context))

    def short_schemas(self) -> list[dict[str, Any]]:
        return [{"type": "string", "minLength": 1}]
