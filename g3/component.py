# SPDX-License-Identifier: Apache-2.0
"""Finding implementations: from a kind and the word of a YAML C{type} to a class.

A package offers one by a file in C{twisted/plugins/} that makes a L{ComponentMaker}. It holds strings, so that a scan imports no
implementation. A plugin file that cannot be imported never stops the others: it is remembered, and named when a type is missed.
"""

from __future__ import annotations

import importlib
import traceback
from dataclasses import dataclass, field
from importlib import metadata
from typing import TYPE_CHECKING, Any, cast

from twisted.plugin import IPlugin
from twisted.python.modules import getModule
from zope.interface import implementedBy, implementer, providedBy
from zope.interface.exceptions import Invalid
from zope.interface.verify import verifyClass, verifyObject

from g3 import interfaces
from g3.errors import ConfigError
from g3.interfaces import IAuditor, IComponentMaker, IEscaper, IKeyStore, IResolver, IServer, IUserGroup

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

#: What a node of each kind provides.
KINDS: dict[str, Any] = {
    "resolver": IResolver,
    "escaper": IEscaper,
    "user_group": IUserGroup,
    "auditor": IAuditor,
    "server": IServer,
    "store": IKeyStore,
}
#: Whose configuration a type is for, unless its maker says another daemon.
PROXY = "g3proxy"


def normalize(word: str) -> str:
    """The one spelling of a type word: lower case, underscores."""
    return word.lower().replace("-", "_")


@implementer(IPlugin, IComponentMaker)
class ComponentMaker:
    """Names one implementation: C{path} is C{package.module.Class}, C{extra} the extra of g3 that brings what it imports, C{daemon} the one
    whose configuration can have it."""

    def __init__(
        self,
        kind: str,
        type: str,  # noqa: A002
        path: str,
        *,
        aliases: tuple[str, ...] = (),
        extra: str = "",
        daemon: str = PROXY,
    ) -> None:
        self.daemon = daemon
        self.kind = kind
        self.type = type
        self.path = path
        self.aliases = aliases
        self.extra = extra

    def load(self) -> type:
        """The class.

        @raise ImportError: it, or what it needs, cannot be imported; the message names the extra that is missing.
        """
        module, _, name = self.path.rpartition(".")
        try:
            return cast("type", getattr(importlib.import_module(module), name))
        except AttributeError as error:
            raise ImportError(f"{module} has no {name}") from error
        except ImportError as error:
            if not self.extra:
                raise
            raise ImportError(f'needs the "{self.extra}" extra: pip install g3[{self.extra}] ({error})') from error

    def __repr__(self) -> str:
        return f"ComponentMaker({self.kind} {self.type} {self.path})"


@dataclass(frozen=True, slots=True)
class Broken:
    """A plugin module that could not be imported, and why; C{trace} is where it failed, for who looks closely."""

    module: str
    reason: str
    trace: str = field(default="", compare=False)

    def __str__(self) -> str:
        return f"plugin module {self.module} failed to load: {self.reason}"


@dataclass(frozen=True, slots=True, order=True)
class TypeInfo:
    """One line of C{--list-types}. C{version} is empty for a package that is not installed and states none."""

    kind: str
    type: str
    package: str
    version: str
    aliases: tuple[str, ...] = field(default=(), compare=False)


def package_of(maker: Any, installed: Mapping[str, list[str]] | None = None) -> tuple[str, str]:
    """The distribution (or, if not installed, the top-level package) that brings an implementation, and its version. To ask for many, give what
    is C{installed}: C{metadata.packages_distributions()}, which reads the file lists of all."""
    top = str(getattr(maker, "path", type(maker).__module__)).partition(".")[0]
    for name in (metadata.packages_distributions() if installed is None else installed).get(top, ()):
        return name, metadata.version(name)
    try:
        return top, str(getattr(importlib.import_module(top), "__version__", ""))
    except ImportError:
        return top, ""


class Components:
    """All makers known, by kind and word. A word finds its type exactly, by an alias, or without its underscores."""

    def __init__(self, makers: Iterable[Any], broken: Iterable[Broken] = ()) -> None:
        self.broken = tuple(broken)
        self._makers: dict[tuple[str, str], list[Any]] = {}
        self._aliases: dict[tuple[str, str], list[Any]] = {}
        self._loaded: dict[tuple[str, str], Any] = {}
        for maker in makers:
            self._makers.setdefault((maker.kind, maker.type), []).append(maker)
            for word in {maker.type.replace("_", ""), *maker.aliases, *(a.replace("_", "") for a in maker.aliases)} - {maker.type}:
                self._aliases.setdefault((maker.kind, word), []).append(maker)

    @classmethod
    def discover(cls, daemon: str = PROXY) -> Components:
        """What C{twisted.plugin} finds now for a daemon."""
        broken: list[Broken] = []
        return cls([maker for maker in _scan(broken) if getattr(maker, "daemon", PROXY) == daemon], broken)

    def find(self, kind: str, word: str) -> Any:
        """The maker of a type, or None.

        @raise ConfigError: several packages offer it; both are named.
        """
        word = normalize(word)
        found = self._makers.get((kind, word)) or self._aliases.get((kind, word)) or self._aliases.get((kind, word.replace("_", "")))
        if not found:
            return None
        if len(found) > 1:
            offers = " and ".join(sorted(_offer(maker) for maker in found))
            raise ConfigError(f'{kind} type "{word}" is offered by {offers}: uninstall one')
        return found[0]

    def load(self, kind: str, word: str) -> Any:
        """The class of a type; it was verified to be what its kind asks for.

        @raise ConfigError: nobody offers it (broken plugin modules are named), several do, or it cannot be imported or is not one.
        """
        maker = self.find(kind, word)
        if maker is None:
            raise ConfigError(self.missing(kind, word))
        key = (kind, maker.type)
        if key not in self._loaded:
            self._loaded[key] = _load(maker)
        return self._loaded[key]

    def schema(self, kind: str, word: str) -> Any:
        """The configuration class of a type. Raises ConfigError as C{load} does."""
        return self.load(kind, word).schema

    def missing(self, kind: str, word: str) -> str:
        """What to tell about a type nobody offers."""
        return "; ".join([f'unknown {kind} type "{word}"', *map(str, self.broken)])

    def words(self, kind: str) -> list[str]:
        """Every type of a kind, sorted; for did-you-mean and schemas."""
        return sorted(word for (of, word) in self._makers if of == kind)

    def types(self, kind: str | None = None) -> list[TypeInfo]:
        """Every type (of one kind), sorted, with its package and version. A type offered twice is listed twice."""
        installed = metadata.packages_distributions()
        return sorted(
            TypeInfo(maker.kind, maker.type, *package_of(maker, installed), tuple(maker.aliases))
            for makers in self._makers.values()
            for maker in makers
            if kind in (None, maker.kind)
        )


def _promised(kind: str, declared: Iterable[Any]) -> list[Any]:
    """The interface of a kind, and every other one of ours that is declared: capabilities are promises, too."""
    return [KINDS[kind], *(each for each in declared if each.__module__ == interfaces.__name__ and each is not KINDS[kind])]


def verify_node(kind: str, node: Any) -> None:
    """Check that an object made by a component provides what its kind asks for and what it declares, attributes included.

    @raise ConfigError: it does not; the message says what is missing.
    """
    try:
        for interface in _promised(kind, providedBy(node)):
            verifyObject(interface, node)
    except Invalid as error:
        raise ConfigError(f"{type(node).__module__}.{type(node).__name__} is no {kind}: {error}") from error


def _offer(maker: Any) -> str:
    name, version = package_of(maker)
    return f"package {name} {version}".rstrip() + f" ({getattr(maker, 'path', maker)})"


def _load(maker: Any) -> Any:
    what = f'{maker.kind} type "{maker.type}"'
    try:
        cls = maker.load()
        if not hasattr(cls, "schema"):
            raise ConfigError(f"{what}: {cls.__module__}.{cls.__name__} has no schema")
        for interface in _promised(maker.kind, implementedBy(cls)):  # type: ignore[no-untyped-call]
            verifyClass(interface, cls)
    except ConfigError:
        raise
    except Invalid as error:
        raise ConfigError(f"{what}: {error}") from error
    except ImportError as error:
        raise ConfigError(f"{what}: {error}") from error
    except Exception as error:  # anything a foreign module does at import
        raise ConfigError(f"{what}: {_offer(maker)} failed to load: {type(error).__name__}: {error}") from error
    return cls


class _Unlogged:
    """In place of the log to which C{twisted.plugin} writes the traceback of each module that cannot be imported: it is told in our words."""

    def err(self, *_: object) -> None:
        """What is wrong is found out again."""

    def msg(self, **_: object) -> None:
        """A cache that cannot be written only takes time."""


def _cached() -> dict[str, Any]:
    """What C{twisted.plugin} knows of each module that can be imported."""
    plugin: Any = importlib.import_module("twisted.plugin")
    before, plugin.log = plugin.log, _Unlogged()
    try:
        found: dict[str, Any] = plugin.getCache(importlib.import_module("twisted.plugins"))
    finally:
        plugin.log = before
    return found


def _scan(broken: list[Broken]) -> Iterator[Any]:
    cache = _cached()
    for name, dropin in cache.items():
        for offered in dropin.plugins:
            try:
                maker = IComponentMaker(offered, None)
            except Exception as error:
                _note(broken, f"twisted.plugins.{name}", error)
                continue
            if maker is not None and maker.kind in KINDS:
                yield maker
    for module in getModule("twisted.plugins").iterModules():  # type: ignore[no-untyped-call]
        if module.name.rpartition(".")[2] not in cache:
            try:
                importlib.import_module(module.name)
            except Exception as error:
                _note(broken, module.name, error)


def _note(broken: list[Broken], module: str, error: Exception) -> None:
    note = Broken(module, f"{type(error).__name__}: {error}", "".join(traceback.format_exception(error)))
    if note not in broken:
        broken.append(note)
