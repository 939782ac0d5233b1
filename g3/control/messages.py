# SPDX-License-Identifier: Apache-2.0
"""The wire of the control socket: one JSON object a line, a request then its answer.

Request: C{{"command": "reload", "arguments": {"dry_run": true}}}. Answer: C{{"result": ...}} or C{{"error": {"code": -1, "reason": "..."}}}.
A client may send the next request when it has the answer to the last.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from g3.errors import G3Error

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Bytes of a request line; what is published travels in it.
MAX_REQUEST = 4 << 20
#: Bytes of an answer line.
MAX_ANSWER = 16 << 20
#: The one error code there is, as upstream.
ERROR_CODE = -1


class ControlError(G3Error):
    """A request failed. C{code} and C{reason} are what the client is told."""

    def __init__(self, reason: str, code: int = ERROR_CODE) -> None:
        self.reason, self.code = reason, code
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class Handing:
    """A result with descriptors beside it (SCM_RIGHTS); whoever made it keeps them open until it is sent."""

    value: Any
    descriptors: Sequence[int]


def encode(message: dict[str, Any]) -> bytes:
    """A message as a line."""
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass") + b"\n"


def decode(line: bytes) -> dict[str, Any]:
    """A message of a line. Raises ControlError."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ControlError(f"not a JSON line: {error}") from error
    if not isinstance(message, dict):
        raise ControlError("not a JSON object")
    return message


def request(command: str, arguments: dict[str, Any]) -> bytes:
    """A request line. Raises ControlError when it would be too long."""
    line = encode({"command": command, "arguments": arguments})
    if len(line) > MAX_REQUEST:
        raise ControlError(f"the request has {len(line)} bytes, {MAX_REQUEST} are allowed")
    return line


def parse_request(line: bytes) -> tuple[str, dict[str, Any]]:
    """Command and arguments of a request line. Raises ControlError."""
    message = decode(line)
    command, arguments = message.get("command"), message.get("arguments", {})
    if not isinstance(command, str) or not isinstance(arguments, dict):
        raise ControlError("not a request")
    return command, arguments


def answer(result: Any) -> bytes:
    """The answer line of a request that succeeded."""
    line = encode({"result": result})
    return line if len(line) <= MAX_ANSWER else failure(ControlError("the answer is too long"))


def failure(error: ControlError) -> bytes:
    """The answer line of a request that failed."""
    return encode({"error": {"code": error.code, "reason": error.reason}})


def parse_answer(line: bytes) -> Any:
    """The result of an answer line. Raises the ControlError that it carries."""
    message = decode(line)
    if "error" in message:
        error = message["error"]
        if not isinstance(error, dict):
            raise ControlError("not an answer")
        raise ControlError(str(error.get("reason", "")), int(error.get("code", ERROR_CODE)))
    if "result" not in message:
        raise ControlError("not an answer")
    return message["result"]
