# SPDX-License-Identifier: Apache-2.0
"""What C{--version} prints: who we are, and the more C{-v} the more of what we stand on."""

from __future__ import annotations

import platform

import g3


def text(program: str, verbosity: int = 0) -> str:
    """One line; with 1 the TLS libraries as well, with 2 what runs us."""
    lines = [f"{program} {g3.__version__}"]
    if verbosity > 0:
        lines += _libraries()
    if verbosity > 1:
        import twisted

        lines += [
            f"Python: {platform.python_version()} ({platform.python_implementation()}), Compiler: {platform.python_compiler()}",
            f"Twisted: {twisted.__version__}",
            f"Host: {platform.platform()}",
        ]
    return "".join(f"{line}\n" for line in lines)


def _libraries() -> list[str]:
    from OpenSSL import SSL

    from g3.errors import ConfigError
    from g3.net.libssl.library import library

    try:
        host = library().version
    except ConfigError as error:
        host = str(error)
    return ["", f"TLS library: {SSL.SSLeay_version(SSL.SSLEAY_VERSION).decode()}", f"TLS library of the host: {host}"]
