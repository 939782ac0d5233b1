# SPDX-License-Identifier: Apache-2.0
"""Session tickets over QUIC: what resumes a session is in the ticket, sealed by keys of ours, so that every worker and every daemon with the
keys resumes it. aioquic's own tickets are names of what its process remembers."""

from __future__ import annotations

import hmac
import os
import struct
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from aioquic.tls import CipherSuite, NewSessionTicket, SessionTicket, push_new_session_ticket
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from g3.net.tls.tickets import NAME

if TYPE_CHECKING:
    from g3.net.tls.tickets import TicketKey, TicketKeys

#: Seconds that a ticket is good for: what a key of ours lives at least, in its default, after it last encrypted.
LIFETIME: Final = 7200
_NONCE: Final = 12
_STATE: Final = struct.Struct("!HIq")


class TicketOffice:
    """Issues and takes tickets. C{context} tells sessions of one configuration from those of another; clock: UNIX time is aioquic's own."""

    def __init__(self, keys: TicketKeys, context: bytes) -> None:
        self._keys = keys
        self._context = context

    def attach(self, tls: Any) -> None:
        """Have a C{aioquic.tls.Context} of a server use our tickets. None of them lets early data in."""
        finished = tls._server_handle_finished

        def finish(message: Any, output: Any) -> None:
            finished(message, output)
            if tls._psk_key_exchange_mode is not None:
                new = NewSessionTicket(ticket_lifetime=LIFETIME, ticket_age_add=int.from_bytes(os.urandom(4), "big"), ticket_nonce=b"")
                new.ticket = self.seal(tls._build_session_ticket(new, []))
                push_new_session_ticket(output, new)

        tls._server_handle_finished = finish
        tls.get_session_ticket_cb = self.open

    def seal(self, session: SessionTicket) -> bytes:
        """The ticket of a session."""
        key, nonce = self._keys.current(), os.urandom(_NONCE)
        state = _STATE.pack(session.cipher_suite, session.age_add, int(session.not_valid_after.timestamp())) + session.resumption_secret
        return key.name + nonce + _cipher(key).encrypt(nonce, state, key.name + self._context)

    def open(self, ticket: bytes) -> SessionTicket | None:
        """The session of a ticket; None for one that is not ours, or not any more."""
        name, nonce, sealed = ticket[:NAME], ticket[NAME : NAME + _NONCE], ticket[NAME + _NONCE :]
        key = self._keys.find(name) if len(nonce) == _NONCE else None
        if key is None:
            return None
        try:
            state = _cipher(key).decrypt(nonce, sealed, name + self._context)
        except InvalidTag:
            return None
        suite, age_add, until = _STATE.unpack_from(state)
        after = datetime.fromtimestamp(until, UTC)
        return SessionTicket(
            age_add=age_add,
            cipher_suite=CipherSuite(suite),
            not_valid_after=after,
            not_valid_before=after - timedelta(seconds=LIFETIME),
            resumption_secret=state[_STATE.size :],
            server_name="",
            ticket=ticket,
        )


def _cipher(key: TicketKey) -> AESGCM:
    """A key of its own: that of OpenSSL's tickets is for another mode of the cipher."""
    return AESGCM(hmac.digest(key.aes, b"g3 quic ticket", "sha256"))
