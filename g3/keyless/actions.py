# SPDX-License-Identifier: Apache-2.0
"""What each opcode means: which operation it is, how long its input is, and as what it is counted."""

from __future__ import annotations

from typing import Final, NamedTuple

from g3.net.libssl.keys import Operation, ecdsa_sign, ed25519_sign, rsa_decrypt, rsa_pss_sign, rsa_raw_decrypt, rsa_sign
from g3.proto.keyless import DIGEST_LENGTHS, Opcode

#: What requests are counted as, the value of the metrics tag C{request}.
NO_OP, PING_PONG = "no_op", "ping_pong"
GROUPS: Final = (NO_OP, PING_PONG, "rsa_decrypt", "rsa_sign", "rsa_pss_sign", "ecdsa_sign", "ed25519_sign")

_ANY = -1
_DIGESTS = ("MD5-SHA1", "SHA1", "SHA224", "SHA256", "SHA384", "SHA512")


class Action(NamedTuple):
    """One opcode. C{length} is what the payload must have, -1 for any; C{group} an index into L{GROUPS}; C{operation} None for a ping.

    C{brief}: it takes some ten microseconds, too few to be worth the way to a thread.
    """

    length: int
    group: int
    operation: Operation | None
    brief: bool


def _actions() -> dict[int, Action]:
    made: dict[int, Operation] = {
        Opcode.RSA_DECRYPT: rsa_decrypt(),
        Opcode.RSA_RAW_DECRYPT: rsa_raw_decrypt(),
        Opcode.ED25519_SIGN: ed25519_sign(),
    }
    made |= {Opcode.RSA_SIGN_MD5_SHA1 + index: rsa_sign(digest) for index, digest in enumerate(_DIGESTS)}
    made |= {Opcode.ECDSA_SIGN_MD5_SHA1 + index: ecdsa_sign(digest) for index, digest in enumerate(_DIGESTS)}
    made |= {Opcode.RSA_PSS_SIGN_SHA256 + index: rsa_pss_sign(digest) for index, digest in enumerate(_DIGESTS[3:])}
    actions = {opcode: _action(opcode, operation) for opcode, operation in made.items()}
    return {**actions, Opcode.PING: Action(_ANY, GROUPS.index(PING_PONG), None, True)}


def _action(opcode: int, operation: Operation) -> Action:
    group = operation.name.replace("rsa_raw_decrypt", "rsa_decrypt")
    return Action(DIGEST_LENGTHS.get(opcode, _ANY), GROUPS.index(group), operation, not group.startswith("rsa"))


#: By opcode; None where there is none. Seal, RPC and certificate opcodes are not served, as upstream.
ACTIONS: Final[tuple[Action | None, ...]] = tuple(map(_actions().get, range(256)))
