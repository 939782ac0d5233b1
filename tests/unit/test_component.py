# SPDX-License-Identifier: Apache-2.0
"""Finding implementations by kind and word, in packages of anybody."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

import twisted.plugins
from g3.component import KINDS, ComponentMaker, Components, normalize, verify_node
from g3.config.node import EscaperConfig
from g3.errors import ConfigError
from g3.interfaces import IComponentMaker, IEscaper, ITCPConnect
from g3.tree.node import Node

PACKAGES = Path(__file__).resolve().parent.parent / "packages"


class Installed:
    """Packages of tests/packages, as if they were installed, from copies (a scan writes its cache beside the plugin)."""

    def __init__(self, test: SynchronousTestCase, *names: str) -> None:
        self._test = test
        for name in names:
            self._install(name)

    def _install(self, name: str) -> None:
        folder = Path(tempfile.mkdtemp(prefix="g3p")) / name
        self._test.addCleanup(shutil.rmtree, folder.parent, ignore_errors=True)
        shutil.copytree(PACKAGES / name, folder)
        for path, entry in ((sys.path, str(folder)), (twisted.plugins.__path__, str(folder / "twisted" / "plugins"))):
            path.append(entry)
            self._test.addCleanup(path.remove, entry)
        before = set(sys.modules)
        self._test.addCleanup(
            lambda: [sys.modules.pop(added) for added in set(sys.modules) - before if added.startswith(("acme", "twisted.plugins"))]
        )


@implementer(IEscaper, ITCPConnect)
class Boaster(Node):
    """Cannot do what it says."""

    schema = EscaperConfig


class LookUpTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.maker = ComponentMaker("escaper", "direct_float", "g3.escapers.dummy_deny.DummyDenyEscaper", aliases=("direct_dynamic",))
        self.components = Components([self.maker])

    def test_a_type_is_found_by_each_of_its_spellings(self) -> None:
        """Case, dashes, no underscores, aliases."""
        for word in ("direct_float", "Direct-Float", "directfloat", "direct_dynamic", "DIRECT-DYNAMIC", "directdynamic"):
            self.assertIs(self.components.find("escaper", word), self.maker, word)

    def test_kinds_are_apart(self) -> None:
        """A word of one kind means nothing in another."""
        self.assertIsNone(self.components.find("server", "direct_float"))

    def test_the_same_type_in_two_packages_is_refused_with_both_named(self) -> None:
        """Nobody chooses silently."""
        both = Components([self.maker, ComponentMaker("escaper", "direct_float", "yaml.Other")])
        with self.assertRaises(ConfigError) as caught:
            both.find("escaper", "direct-float")
        self.assertIn("package g3", str(caught.exception))
        self.assertIn("package PyYAML", str(caught.exception))

    def test_what_cannot_be_imported_is_told_with_its_extra(self) -> None:
        """In words, not as an ImportError."""
        broken = Components([ComponentMaker("escaper", "x", "no_such_module.X", extra="redis")])
        with self.assertRaises(ConfigError) as caught:
            broken.load("escaper", "x")
        self.assertIn('needs the "redis" extra: pip install g3[redis]', str(caught.exception))

    def test_what_is_not_of_its_kind_is_refused(self) -> None:
        """verifyClass at load."""
        wrong = Components([ComponentMaker("server", "x", "g3.escapers.dummy_deny.DummyDenyEscaper")])
        with self.assertRaises(ConfigError) as caught:
            wrong.load("server", "x")
        self.assertIn("IServer", str(caught.exception))

    def test_a_capability_is_a_promise(self) -> None:
        """A class that declares an interface of ours and lacks its method is refused before it serves, not at the first task."""
        with self.assertRaises(ConfigError) as caught:
            Components([ComponentMaker("escaper", "x", f"{__name__}.Boaster")]).load("escaper", "x")
        self.assertIn("tcp_connect", str(caught.exception))

    def test_a_class_without_a_schema_is_refused(self) -> None:
        """It could not be configured."""
        bare = Components([ComponentMaker("escaper", "x", "g3.tree.node.Lasting")])
        self.assertRaises(ConfigError, bare.load, "escaper", "x")

    def test_normalize_is_blind_to_case_and_dashes(self) -> None:
        """As keys are."""
        self.assertEqual(normalize("C-Ares"), "c_ares")

    def test_verify_node_names_the_class(self) -> None:
        """An object that lacks what its kind has."""
        with self.assertRaises(ConfigError) as caught:
            verify_node("escaper", object())
        self.assertIn("builtins.object is no escaper", str(caught.exception))


class DiscoveryTests(SynchronousTestCase):
    def test_every_type_of_ours_loads_and_is_of_its_kind(self) -> None:
        """Each maker's class exists, has a schema with the word of its type, and provides its interface."""
        components = Components.discover()
        for kind in KINDS:
            for word in components.words(kind):
                maker = components.find(kind, word)
                verifyObject(IComponentMaker, maker)
                self.assertEqual(components.load(kind, word).schema.type_word, word)

    def test_a_foreign_package_is_found(self) -> None:
        """With its name and version, loaded only when asked for."""
        Installed(self, "acme")
        components = Components.discover()
        self.assertNotIn("acme_g3.escaper", sys.modules)
        info = next(info for info in components.types("escaper") if info.type == "acme_fixed_host")
        self.assertEqual((info.package, info.version, info.aliases), ("acme_g3", "7.5", ("acme_host",)))
        self.assertEqual(components.load("escaper", "acme-host").__name__, "FixedHostEscaper")

    def test_a_broken_package_stops_nobody_and_is_named_when_a_type_is_missed(self) -> None:
        """The reason is in the message."""
        Installed(self, "broken", "acme")
        components = Components.discover()
        self.assertEqual(self.flushLoggedErrors(), [])
        self.assertIsNotNone(components.find("escaper", "acme_fixed_host"))
        self.assertIsNotNone(components.find("escaper", "direct_fixed"))
        expected = "plugin module twisted.plugins.broken_g3_plugin failed to load: RuntimeError: this package wants Python 4"
        self.assertEqual([str(broken) for broken in components.broken], [expected])
        self.assertIn("Traceback", components.broken[0].trace)
        with self.assertRaises(ConfigError) as caught:
            components.load("escaper", "tunnel")
        self.assertEqual(str(caught.exception), f'unknown escaper type "tunnel"; {expected}')
