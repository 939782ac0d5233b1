# SPDX-License-Identifier: Apache-2.0
"""Opening the host's libcrypto and libssl, by cffi in ABI mode: no compiler is needed, and a call costs a fifth of a microsecond.

Every call releases the interpreter lock, so threads that sign run side by side. OpenSSL's error queue belongs to the thread: read it in the
thread whose call failed. C{cryptography} brings an OpenSSL of its own; the two live side by side and share nothing.
"""

from __future__ import annotations

from functools import cache, cached_property
from typing import Any, Final

from cffi import FFI

from g3.errors import ConfigError, G3Error

#: What is opened; the same that this Python's C{ssl} uses on most hosts.
LIBCRYPTO: Final = "libcrypto.so.3"
LIBSSL: Final = "libssl.so.3"
#: Bytes that one call may read.
ROOM: Final = 65536

_CORE = """
typedef struct bio_st BIO;
typedef struct evp_md_st EVP_MD;
typedef struct evp_md_ctx_st EVP_MD_CTX;
typedef struct evp_pkey_st EVP_PKEY;
typedef struct evp_pkey_ctx_st EVP_PKEY_CTX;
typedef struct X509_pubkey_st X509_PUBKEY;
typedef struct pkcs8_priv_key_info_st PKCS8_PRIV_KEY_INFO;

unsigned int OPENSSL_version_major(void);
const char *OpenSSL_version(int type);
unsigned long ERR_get_error(void);
void ERR_clear_error(void);
void ERR_error_string_n(unsigned long e, char *buf, size_t len);
const char *ERR_reason_error_string(unsigned long e);
"""

_KEYS = """
BIO *BIO_new_mem_buf(const void *buf, int len);
int BIO_free(BIO *a);
EVP_PKEY *PEM_read_bio_PrivateKey(BIO *bp, EVP_PKEY **x, void *cb, void *u);
EVP_PKEY *d2i_AutoPrivateKey(EVP_PKEY **a, const unsigned char **pp, long length);
void EVP_PKEY_free(EVP_PKEY *key);
int EVP_PKEY_is_a(const EVP_PKEY *pkey, const char *name);
int EVP_PKEY_get_size(const EVP_PKEY *pkey);
int EVP_PKEY_get_bits(const EVP_PKEY *pkey);
PKCS8_PRIV_KEY_INFO *EVP_PKEY2PKCS8(const EVP_PKEY *pkey);
int i2d_PKCS8_PRIV_KEY_INFO(const PKCS8_PRIV_KEY_INFO *a, unsigned char **pp);
void PKCS8_PRIV_KEY_INFO_free(PKCS8_PRIV_KEY_INFO *a);

int X509_PUBKEY_set(X509_PUBKEY **x, EVP_PKEY *pkey);
void X509_PUBKEY_free(X509_PUBKEY *a);
int X509_PUBKEY_get0_param(void **ppkalg, const unsigned char **pk, int *ppklen, void **pa, X509_PUBKEY *pub);

const EVP_MD *EVP_get_digestbyname(const char *name);
EVP_PKEY_CTX *EVP_PKEY_CTX_new(EVP_PKEY *pkey, void *e);
void EVP_PKEY_CTX_free(EVP_PKEY_CTX *ctx);
int EVP_PKEY_CTX_ctrl_str(EVP_PKEY_CTX *ctx, const char *type, const char *value);
int EVP_PKEY_CTX_set_signature_md(EVP_PKEY_CTX *ctx, const EVP_MD *md);
int EVP_PKEY_CTX_set_rsa_padding(EVP_PKEY_CTX *ctx, int pad);
int EVP_PKEY_CTX_set_rsa_pss_saltlen(EVP_PKEY_CTX *ctx, int saltlen);
int EVP_PKEY_sign_init(EVP_PKEY_CTX *ctx);
int EVP_PKEY_sign(EVP_PKEY_CTX *ctx, unsigned char *sig, size_t *siglen, const unsigned char *tbs, size_t tbslen);
int EVP_PKEY_decrypt_init(EVP_PKEY_CTX *ctx);
int EVP_PKEY_decrypt(EVP_PKEY_CTX *ctx, unsigned char *out, size_t *outlen, const unsigned char *in, size_t inlen);
EVP_MD_CTX *EVP_MD_CTX_new(void);
void EVP_MD_CTX_free(EVP_MD_CTX *ctx);
int EVP_DigestSignInit(EVP_MD_CTX *ctx, EVP_PKEY_CTX **pctx, const EVP_MD *type, void *e, EVP_PKEY *pkey);
int EVP_DigestSign(EVP_MD_CTX *ctx, unsigned char *sig, size_t *siglen, const unsigned char *tbs, size_t tbslen);
"""

_SM2 = """
EVP_PKEY *EVP_PKEY_Q_keygen(void *libctx, const char *propq, const char *type, ...);
int EVP_PKEY_CTX_set1_id(EVP_PKEY_CTX *ctx, const void *id, int len);
int i2d_PUBKEY(const EVP_PKEY *a, unsigned char **pp);
"""

_TLS = """
typedef struct x509_st X509;
typedef struct x509_store_st X509_STORE;
typedef struct bio_method_st BIO_METHOD;
typedef struct evp_cipher_st EVP_CIPHER;
typedef struct evp_cipher_ctx_st EVP_CIPHER_CTX;
typedef struct evp_mac_ctx_st EVP_MAC_CTX;
typedef struct ssl_st SSL;
typedef struct ssl_ctx_st SSL_CTX;
typedef struct ssl_method_st SSL_METHOD;
typedef struct ssl_cipher_st SSL_CIPHER;
typedef struct { const char *key; unsigned int data_type; void *data; size_t data_size; size_t return_size; } OSSL_PARAM;

unsigned long ERR_peek_error(void);
const char *ERR_lib_error_string(unsigned long e);
const BIO_METHOD *BIO_s_mem(void);
BIO *BIO_new(const BIO_METHOD *type);
int BIO_read(BIO *b, void *data, int dlen);
int BIO_write(BIO *b, const void *data, int dlen);
long BIO_ctrl(BIO *b, int cmd, long larg, void *parg);
void *CRYPTO_malloc(size_t num, const char *file, int line);

X509 *d2i_X509(X509 **a, const unsigned char **in, long len);
int i2d_X509(const X509 *a, unsigned char **out);
void X509_free(X509 *a);
int X509_STORE_add_cert(X509_STORE *store, X509 *x);
const char *X509_verify_cert_error_string(long n);

const EVP_CIPHER *EVP_aes_256_cbc(void);
int EVP_EncryptInit_ex(EVP_CIPHER_CTX *ctx, const EVP_CIPHER *cipher, void *impl, const unsigned char *key, const unsigned char *iv);
int EVP_DecryptInit_ex(EVP_CIPHER_CTX *ctx, const EVP_CIPHER *cipher, void *impl, const unsigned char *key, const unsigned char *iv);
int EVP_MAC_CTX_set_params(EVP_MAC_CTX *ctx, const OSSL_PARAM params[]);

const SSL_METHOD *TLS_server_method(void);
SSL_CTX *SSL_CTX_new(const SSL_METHOD *method);
void SSL_CTX_free(SSL_CTX *ctx);
long SSL_CTX_ctrl(SSL_CTX *ctx, int cmd, long larg, void *parg);
long SSL_CTX_callback_ctrl(SSL_CTX *ctx, int cmd, void (*fp)(void));
uint64_t SSL_CTX_set_options(SSL_CTX *ctx, uint64_t options);
int SSL_CTX_set_cipher_list(SSL_CTX *ctx, const char *str);
int SSL_CTX_set_ciphersuites(SSL_CTX *ctx, const char *str);
int SSL_CTX_use_certificate(SSL_CTX *ctx, X509 *x);
int SSL_CTX_use_PrivateKey(SSL_CTX *ctx, EVP_PKEY *pkey);
int SSL_CTX_check_private_key(const SSL_CTX *ctx);
int SSL_CTX_set_session_id_context(SSL_CTX *ctx, const unsigned char *sid_ctx, unsigned int sid_ctx_len);
void SSL_CTX_set_verify(SSL_CTX *ctx, int mode, void *callback);
int SSL_CTX_set_default_verify_paths(SSL_CTX *ctx);
X509_STORE *SSL_CTX_get_cert_store(const SSL_CTX *ctx);
int SSL_CTX_add_client_CA(SSL_CTX *ctx, X509 *x);
typedef int (*alpn_select)(SSL *ssl, const unsigned char **out, unsigned char *outlen, const unsigned char *in, unsigned int inlen, void *arg);
void SSL_CTX_set_alpn_select_cb(SSL_CTX *ctx, alpn_select cb, void *arg);
typedef int (*ticket_key)(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int enc);
int SSL_CTX_set_tlsext_ticket_key_evp_cb(SSL_CTX *ctx, ticket_key cb);

SSL *SSL_new(SSL_CTX *ctx);
void SSL_free(SSL *ssl);
int SSL_set_fd(SSL *ssl, int fd);
void SSL_set_bio(SSL *ssl, BIO *rbio, BIO *wbio);
void SSL_set_accept_state(SSL *ssl);
int SSL_do_handshake(SSL *ssl);
int SSL_read(SSL *ssl, void *buf, int num);
int SSL_write(SSL *ssl, const void *buf, int num);
int SSL_shutdown(SSL *ssl);
int SSL_pending(const SSL *ssl);
int SSL_get_error(const SSL *ssl, int ret);
long SSL_ctrl(SSL *ssl, int cmd, long larg, void *parg);
const char *SSL_get_version(const SSL *ssl);
const SSL_CIPHER *SSL_get_current_cipher(const SSL *ssl);
const char *SSL_CIPHER_get_name(const SSL_CIPHER *cipher);
const char *SSL_get_servername(const SSL *ssl, int type);
void SSL_get0_alpn_selected(const SSL *ssl, const unsigned char **data, unsigned int *len);
int SSL_session_reused(const SSL *ssl);
long SSL_get_verify_result(const SSL *ssl);
SSL_CTX *SSL_set_SSL_CTX(SSL *ssl, SSL_CTX *ctx);
X509 *SSL_get1_peer_certificate(const SSL *ssl);
"""

#: What libcrypto is asked for; libssl's functions are declared beside and found in libssl.
_GROUPS = (_CORE, _KEYS, _SM2, _TLS)


class LibraryError(G3Error):
    """OpenSSL refused an operation. The message is its reason, without any of the data."""


class Library:
    """libcrypto, ready to call: C{ffi} makes its arguments, C{crypto} has its functions, C{tls} those of libssl.

    @raise ConfigError: it is not on this host, or is no OpenSSL 3.
    """

    def __init__(self, name: str = LIBCRYPTO, tls_name: str = LIBSSL) -> None:
        self.ffi: Any = FFI()
        for group in _GROUPS:
            self.ffi.cdef(group)
        self._tls_name = tls_name
        self.crypto: Any = self._open(name, "OPENSSL_version_major")
        if self.crypto.OPENSSL_version_major() < 3:
            raise ConfigError(f"{name} is {self.version}: OpenSSL 3 is needed")

    def _open(self, name: str, symbol: str) -> Any:
        try:
            library = self.ffi.dlopen(name)
            getattr(library, symbol)
        except (OSError, AttributeError) as error:
            raise ConfigError(f"this needs the library {name} of OpenSSL 3 (Debian package libssl3): {error}") from error
        return library

    @cached_property
    def tls(self) -> Any:
        """libssl, opened at the first use. Raises ConfigError."""
        return self._open(self._tls_name, "SSL_CTX_set_tlsext_ticket_key_evp_cb")

    @cached_property
    def room(self) -> Any:
        """Where the thread of the reactor reads to, L{ROOM} bytes; C{view} is what is in it."""
        return self.ffi.new("unsigned char[]", ROOM)

    @cached_property
    def view(self) -> Any:
        """C{room} as a buffer."""
        return self.ffi.buffer(self.room)

    @property
    def version(self) -> str:
        """Such as C{OpenSSL 3.0.17 1 Jul 2025}."""
        return self.text(self.crypto.OpenSSL_version(0))

    def text(self, pointer: Any) -> str:
        """A C string; "" for a null pointer."""
        return "" if pointer == self.ffi.NULL else bytes(self.ffi.string(pointer)).decode("utf-8", "replace")

    def error(self, what: str) -> LibraryError:
        """An error to raise about C{what}, with the first reason in this thread's queue, which is empty afterwards."""
        code = self.crypto.ERR_get_error()
        self.crypto.ERR_clear_error()
        reason = self.text(self.crypto.ERR_reason_error_string(code)) if code else ""
        return LibraryError(f"{what}: {reason or 'refused by OpenSSL'}")


@cache
def library() -> Library:
    """The host's library, opened at the first call. Raises ConfigError."""
    return Library()
