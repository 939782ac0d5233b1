# SPDX-License-Identifier: Apache-2.0
"""The table of opcodes."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from g3.keyless.actions import ACTIONS, GROUPS
from g3.proto.keyless import DIGEST_LENGTHS, Opcode

SERVED = set(Opcode) - {Opcode.RESPONSE, Opcode.PONG, Opcode.ERROR}


class ActionTests(SynchronousTestCase):
    """What each opcode does."""

    def test_these_are_served_and_no_others(self) -> None:
        """All requests that have a name."""
        self.assertEqual({opcode for opcode in range(256) if ACTIONS[opcode] is not None}, SERVED)

    def test_each_is_an_operation_of_its_own(self) -> None:
        """With the digest its name says, counted as its name says."""
        found = {opcode: ACTIONS[opcode] for opcode in SERVED - {Opcode.PING}}
        self.assertEqual(len({id(action.operation) for action in found.values() if action is not None}), len(found))
        for opcode, action in found.items():
            assert action is not None
            assert action.operation is not None
            group, _, digest = opcode.name.lower().partition("_sign_")
            name = f"{group}_sign" if digest else opcode.name.lower().replace("_raw", "")
            self.assertEqual((GROUPS[action.group], action.length), (name, DIGEST_LENGTHS.get(opcode, -1)), opcode)
            self.assertEqual(action.operation.digest.replace("-", "_").lower(), digest, opcode)
