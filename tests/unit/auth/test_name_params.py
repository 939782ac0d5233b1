# SPDX-License-Identifier: Apache-2.0
"""Parameters of user names: what they choose, and what is refused."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from g3.auth.name_params import UsernameParams
from g3.errors import ProtocolError


class NameParamsTests(SynchronousTestCase):
    def chosen(self, name: str, **keys: Any) -> str | None:
        """The next proxy as text."""
        found = UsernameParams(**{"keys_for_host": ("a", "b", "c"), "floating_keys": ("c",), **keys}).next_proxy(name, 80)
        return None if found is None else f"{found.addr} {found.resolve_sticky_key}".strip()

    def test_values_make_the_host_in_the_order_of_their_keys(self) -> None:
        for name, expected, keys in (
            ("u", None, {}),
            ("u+", None, {}),
            ("u+a=x", "x:80", {}),
            ("u+b=y+a=x+", "x-y:80", {}),
            ("u+c=z", "z:80", {}),
            ("u+c=z+a=x", "x-z:80", {}),
            ("u+a=x+b=y", "x.y.p.test:80", {"separator": ".", "domain_suffix": ".p.test"}),
            ("u+a=x", "x.p.test:80", {"domain_suffix": "p.test"}),
            ("u+a=x+s=k", "x:80 k", {"resolve_sticky_key": "s"}),
            ("u+s=k", None, {"resolve_sticky_key": "s"}),
            ("u+b=y", "y:80", {"require_hierarchy": False}),
            ("u+a=x+q=1", "x:80", {"reject_unknown_keys": False}),
            ("u+a=x+a=y", "y:80", {"reject_duplicate_keys": False}),
            ("u+a=X", "x:80", {}),
            ("u+a=LocalHost", "127.0.0.1:80", {}),
            ("u+a=x", "127.0.0.1:80", {"domain_suffix": "localhost"}),
        ):
            self.assertEqual(self.chosen(name, **keys), expected, name)

    def test_what_is_refused(self) -> None:
        for name in ("u+a", "u+a=", "u+=x", "u++a=x", "u+q=1", "u+a=x+a=x", "u+b=y", "u+b=y+c=z", "u+a=x y", "u+a=x/y", "u+a=1.2"):
            with self.assertRaises(ProtocolError, msg=name):
                self.chosen(name)

    def test_the_user_s_name(self) -> None:
        self.assertEqual(UsernameParams().user_name("u+a=x"), "u")
        self.assertEqual(UsernameParams(strip_suffix_for_auth=False).user_name("u+a=x"), "u+a=x")
