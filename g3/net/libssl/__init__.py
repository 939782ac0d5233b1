# SPDX-License-Identifier: Apache-2.0
"""The host's OpenSSL 3, for what C{cryptography} does not offer: raw RSA, PKCS #1 v1.5 decryption that fails openly.

The one binding of the suite to that library. L{g3.net.libssl.library} opens it and declares its functions, a group of them for each module
that uses them; L{g3.net.libssl.keys} is private keys and what is done with them.
"""
