# SPDX-License-Identifier: Apache-2.0
"""Opening the host's libcrypto and libssl, by cffi in ABI mode: no compiler is needed, and a call costs a fifth of a microsecond.

Every call releases the interpreter lock, so threads that sign run side by side. OpenSSL's error queue belongs to the thread: read it in the
thread whose call failed. C{cryptography} brings an OpenSSL of its own; the two live side by side and share nothing.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from cffi import FFI

from g3.errors import ConfigError, G3Error

#: What is opened; the same that this Python's C{ssl} uses on most hosts.
LIBCRYPTO: Final = "libcrypto.so.3"
LIBSSL: Final = "libssl.so.3"

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

#: What libcrypto is asked for.
_CRYPTO_GROUPS = (_CORE, _KEYS, _SM2)


class LibraryError(G3Error):
    """OpenSSL refused an operation. The message is its reason, without any of the data."""


class Library:
    """libcrypto, ready to call: C{ffi} makes its arguments, C{crypto} has its functions.

    @raise ConfigError: it is not on this host, or is no OpenSSL 3.
    """

    def __init__(self, name: str = LIBCRYPTO) -> None:
        self.ffi: Any = FFI()
        for group in _CRYPTO_GROUPS:
            self.ffi.cdef(group)
        self.crypto: Any = self._open(name)
        if self.crypto.OPENSSL_version_major() < 3:
            raise ConfigError(f"{name} is {self.version}: OpenSSL 3 is needed")

    def _open(self, name: str) -> Any:
        try:
            library = self.ffi.dlopen(name)
            library.OPENSSL_version_major  # noqa: B018 - a look whether it is there
        except (OSError, AttributeError) as error:
            raise ConfigError(f"this needs the library {name} of OpenSSL 3 (Debian package libssl3): {error}") from error
        return library

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
