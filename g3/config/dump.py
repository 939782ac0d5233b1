# SPDX-License-Identifier: Apache-2.0
"""The effective configuration as YAML: every key with the value it has, C{# default} where that is the one it has by itself, secrets masked."""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any

from g3.config.document import resolve
from g3.config.problems import printable
from g3.config.schema import key_index, set_keys

if TYPE_CHECKING:
    from collections.abc import Iterator

    from g3.config.main import MainConfig
    from g3.config.schema import Key

MASK = "********"
_SECRET_WORDS = frozenset({"password", "passwd", "passphrase", "secret", "token", "api_key", "auth_token"})
_PLAIN = re.compile(r"[A-Za-z0-9_./][A-Za-z0-9_./@%+-]*(?: [A-Za-z0-9_./@%+-]+)*\Z")
_ASTRAL = re.compile("([\U00010000-\U0010ffff])")
#: YAML 1.2 section 7.4.2 ends a key without a mark after 1024 characters.
_SIMPLE_KEY = 1000
_USER_INFO = re.compile(r"(?<=://)([^/@\s:]*):[^/@\s]*@")
_PEM_KEY = re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----")


def dump(main: MainConfig) -> str:
    """The configuration as one YAML document that loads again, but for masked secrets. Nodes come in the order they are made; those that were in
    files of their own are inline."""
    lines = [f"# effective configuration of {printable(str(main.path))}; a value marked as default needs not be given"]
    for name, section in main.layout.sections.items():
        value = main.sections[name]
        if value is not None:
            lines += _item(name, section.value.schema_class(), value, section.value.dump, "", is_default=value == section.default)
    for kind in main.layout.kinds:
        if main.nodes[kind]:
            lines.append(f"{kind}:")
        for entry in main.nodes[kind].values():
            body = [*_node_head(entry.config), *_config(entry.config, "    ", skip="name")]
            origin = f"  # {printable(str(entry.position or entry.place))}"
            lines += [f"  - {body[0].lstrip()}{origin}", *body[1:]]
    return "\n".join(lines) + "\n"


def _node_head(config: Any) -> list[str]:
    return [f"    name: {_scalar(config.name)}", f"    type: {config.type_word}"] if config.type_word else [f"    name: {_scalar(config.name)}"]


def _config(config: Any, indent: str, skip: str = "") -> Iterator[str]:
    """The keys of a config object, a line or more each. One that is not set (None, or an empty string by default) is left out."""
    for known, value in set_keys(config):
        if known.name != skip and (value != "" or known.default != ""):
            yield from _key(known, value, indent)


def _key(known: Key, value: Any, indent: str) -> list[str]:
    is_default = not known.required and value == known.default
    if known.secret:
        return [f"{indent}{known.name}: {_scalar(MASK)}"]
    return _item(known.name, known.value.schema_class(), value, known.value.dump, indent, is_default=is_default)


def _item(name: str, cls: type | None, value: Any, plain: Any, indent: str, *, is_default: bool) -> list[str]:
    """One C{name: value}: by its schema where it has one, else as JSON types."""
    note = "  # default" if is_default else ""
    if cls is not None and isinstance(value, cls):
        body = list(_config(value, f"{indent}  "))
        return [f"{indent}{name}:{note}", *body] if body else [f"{indent}{name}: {{}}{note}"]
    if cls is not None and isinstance(value, tuple) and value and all(isinstance(element, cls) for element in value):
        return [f"{indent}{name}:{note}", *(line for element in value for line in _element(list(_config(element, f"{indent}    ")), indent))]
    return _plain(name, mask(plain(value), name, cls), indent, note, cls)


def _element(body: list[str], indent: str) -> list[str]:
    return [f"{indent}  - {body[0].lstrip()}", *body[1:]] if body else [f"{indent}  - {{}}"]


def _plain(name: str, value: Any, indent: str, note: str, cls: type | None = None) -> list[str]:
    """One C{name: value} of JSON types; C{cls} is the schema of the maps in it, if they have one."""
    start = f"{indent}{_name(name, f'{chr(10)}{indent}')}"
    if isinstance(value, dict) and value:
        lines = [f"{start}{note}"]
        for key, part in value.items():
            known = _known(cls, str(key))
            inner = None if known is None else known.value.schema_class()
            lines += _plain(str(key), part, f"{indent}  ", "  # default" if known is not None and _is_default(known, part) else "", inner)
        return lines
    if isinstance(value, list) and any(isinstance(element, (dict, list)) for element in value):
        return [f"{start}{note}", *(f"{indent}  - {_flow(element)}" for element in value)]
    return [f"{start} {_flow(value)}{note}"]


def _known(cls: type | None, name: str) -> Key | None:
    return None if cls is None else key_index(cls).get(name)


def _is_default(known: Key, dumped: Any) -> bool:
    return not known.required and known.default is not None and dumped == known.value.dump(known.default)


def _flow(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_name(str(key), ' ')} {_flow(part)}" for key, part in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_flow(part) for part in value) + "]"
    return _scalar(value)


def _scalar(value: Any) -> str:
    """A scalar in YAML that reads back as the same value."""
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else f"{'-' if value < 0 else ''}.inf"
    if isinstance(value, str):
        return value if _PLAIN.match(value) and isinstance(resolve(value), str) else _quoted(value)
    if value is None or isinstance(value, (bool, float)):
        return json.dumps(value)
    # As a number, an integer that is too large for resolve would come back as a float.
    return str(value) if isinstance(value, int) and isinstance(resolve(str(value)), int) else _quoted(str(value))


def _quoted(text: str) -> str:
    """In double quotes. JSON would escape a character beyond 16 bits as two surrogates, which YAML does not take for one."""
    parts = (f"\\U{ord(part):08x}" if part >= "\U00010000" else json.dumps(part)[1:-1] for part in _ASTRAL.split(text))
    return f'"{"".join(parts)}"'


def _name(name: str, indent: str) -> str:
    """A key and its colon. One that is too long to stand before its colon is marked as a key."""
    text = _scalar(name)
    return f"{text}:" if len(text) <= _SIMPLE_KEY else f"? {text}{indent}:"


def mask(value: Any, name: str = "", cls: type | None = None) -> Any:
    """JSON types with secrets masked: under a key that C{cls} calls one or that means one, private keys in text, the password of a URL."""
    if isinstance(value, dict):
        return {key: _mask_key(str(key), part, _known(cls, str(key))) for key, part in value.items()}
    if name.lower().replace("-", "_") in _SECRET_WORDS and value is not None and not isinstance(value, bool):
        return MASK
    if isinstance(value, (list, tuple)):
        return [mask(part, name, cls) for part in value]
    if isinstance(value, str):
        return MASK if _PEM_KEY.search(value) else _USER_INFO.sub(rf"\1:{MASK}@", value)
    return value


def _mask_key(name: str, value: Any, known: Key | None) -> Any:
    if known is None:
        return mask(value, name)
    return MASK if known.secret and value else mask(value, name, known.value.schema_class())
