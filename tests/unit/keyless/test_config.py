# SPDX-License-Identifier: Apache-2.0
"""The configuration of g3keymess, key by key."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from g3.apps import answers
from g3.config.dump import dump
from g3.config.main import MainConfig, load
from g3.config.problems import Problems
from g3.config.runtime import WorkerConfig
from g3.keyless.config import Backend, PreRegister, threads_of
from g3.logs.options import Discard, Stdout, Syslog
from g3.task import Upstream

BASE = "server:\n  - name: one\n    listen: 127.0.0.1:1300\n"


class ConfigTests(SynchronousTestCase):
    """Files as an operator writes them."""

    def read(self, text: str) -> MainConfig:
        main, problems = self.attempt(text)
        assert main is not None, problems.errors
        return main

    def attempt(self, text: str) -> tuple[MainConfig | None, Problems]:
        directory = Path(self.mktemp())
        (directory / "keys").mkdir(parents=True)
        path = directory / "g3keymess.yaml"
        path.write_text(text)
        problems = Problems()
        return load(path, answers.components("g3keymess"), problems, answers.layout("g3keymess")), problems

    def test_what_is_not_said(self) -> None:
        """Upstream's defaults."""
        main = self.read(BASE)
        server: Any = main.configs("server")[0]
        self.assertEqual((server.multiplex_queue_depth, server.request_read_timeout, server.concurrency_limit), (0, 0.1, 0))
        self.assertEqual((server.async_op_timeout, server.duration_stats.rotate), (1.0, 4.0))
        self.assertEqual((main.sections["backend"], main.sections["pre_register"], main.stat), (Backend(1024, 3), None, None))
        self.assertIsInstance(main.log.of("request").driver, Discard)

    def test_words_in_every_spelling(self) -> None:
        """Aliases, dashes and cases."""
        main = self.read(
            "server:\n  - NAME: one\n    Listen: '[::]:1300'\n    multiplex-queue-depth: 9\n    duration_metrics: 2s\n    Request-Read-Timeout: 1s\n"
            "store:\n" + "".join(f"  - {{name: {word}, type: LOCAL, {word}: keys}}\n" for word in ("dir", "directory", "dir-path", "directory_path"))
        )
        server: Any = main.configs("server")[0]
        self.assertEqual((server.multiplex_queue_depth, server.duration_stats.rotate, server.request_read_timeout), (9, 2.0, 1.0))
        self.assertEqual({config.dir_path.name for config in main.configs("store")}, {"keys"})  # type: ignore[attr-defined]

    def test_backends(self) -> None:
        """A word, or a map."""
        for text, made in (
            ("simple", Backend()),
            ("async-job", Backend(async_job=True)),
            ("openssl_async_job", Backend(async_job=True)),
            ("{dispatch_channel_size: 7, dispatch_counter_shift: 0}", Backend(7, 0)),
            ("{async_job: {async_op_timeout: 2s}}", Backend(async_job=True)),
        ):
            self.assertEqual(self.read(f"backend: {text}\n").sections["backend"], made, text)

    def test_pre_register(self) -> None:
        """An address, or a map; a port is needed."""
        self.assertEqual(self.read("pre_register: reg.example.net:80\n").sections["pre_register"], PreRegister(Upstream("reg.example.net", 80)))
        paths = "register_path: /r?v=1, ping_path: /p"
        text = f"{{upstream: 'reg:8080', startup_retry: 5, retry_interval: 2s, {paths}, ping_interval: 2m, extra_data: {{a: b}}}}"
        self.assertEqual(
            self.read(f"pre_register: {text}\n").sections["pre_register"],
            PreRegister(Upstream("reg", 8080), 5, 2.0, "/r?v=1", "/p", 120.0, (("a", "b"),)),
        )
        for wrong in ("reg", "{startup_retry: 1}", "{upstream: 'reg:1', register_path: r}", "[]"):
            self.assertIsNone(self.attempt(f"pre_register: {wrong}\n")[0], wrong)

    def test_request_logs_follow_task_logs(self) -> None:
        """Unless they have a driver of their own; as upstream, where a server's own request log is made by task's."""
        of = self.read("log: {default: syslog, task: stdout}\n").log.of
        self.assertEqual((type(of("task").driver), type(of("request").driver)), (Stdout, Stdout))
        of = self.read("log: {default: syslog, request: stdout}\n").log.of
        self.assertEqual((type(of("task").driver), type(of("request").driver)), (Syslog, Stdout))
        self.assertIsNone(self.attempt("log: {escape: stdout}\n")[0])

    def test_redis_urls(self) -> None:
        """What is in one; what is none. The password shows in no message and no repr."""
        url: Any = self.read("store:\n  - {name: a, type: redis, url: 'rediss://me:se%40cret@[::1]:7000/3'}\n").configs("store")[0]
        self.assertEqual((url.key, url.refresh_interval), ("g3keymess:keys", 1.0))
        self.assertEqual(
            (url.url.host, url.url.port, url.url.database, url.url.username, url.url.password, url.url.tls), ("::1", 7000, 3, "me", "se@cret", True)
        )
        self.assertEqual(repr(url.url), "rediss://[::1]:7000/3")
        for wrong in ("redis://", "http://me:secret@x", "redis://me:secret@x/one", "redis://me:secret@x:99999/", "redis://me:secret@x/1?a=b"):
            main, problems = self.attempt(f"store:\n  - {{name: a, type: redis, url: '{wrong}'}}\n")
            self.assertIsNone(main, wrong)
            self.assertNotIn("secret", "".join(map(str, problems.errors)))

    def test_the_dump_is_read_back_as_the_same(self) -> None:
        """With every section."""
        text = (
            f"{BASE}    multiplex_queue_depth: 5\n    extra_metrics_tags: {{a: b}}\n"
            "backend: {async_job: {}, dispatch_channel_size: 5}\npre_register: {upstream: 'a:1', extra_data: {z: y}}\n"
            "log: {default: stdout, request: discard}\nstore:\n  - {name: l, type: local, dir: keys, watch: yes}\n"
        )
        main = self.read(text.replace("yes", "true"))
        again = Path(self.mktemp())
        again.mkdir()
        (again / "g3keymess.yaml").write_text(dump(main))
        problems = Problems()
        back = load(again, answers.components("g3keymess"), problems, answers.layout("g3keymess"))
        assert back is not None, problems.errors
        self.assertEqual(
            (back.sections, back.configs("server"), back.configs("store")), (main.sections, main.configs("server"), main.configs("store"))
        )

    def test_signing_threads(self) -> None:
        """None without worker; one for each CPU where it does not say."""
        self.assertEqual(threads_of(None), 0)
        self.assertEqual(threads_of(WorkerConfig(thread_number_total=2)), 2)
        self.assertEqual(threads_of(WorkerConfig()), len(os.sched_getaffinity(0)))

    def test_g3proxys_types_are_not_ours_and_ours_not_its(self) -> None:
        """Each daemon has its own."""
        self.assertEqual(answers.components("g3keymess").words("server"), ["key_server"])
        self.assertEqual(answers.components().words("store"), [])
        self.assertIsNone(self.attempt("server:\n  - {name: a, type: http_proxy, listen: 127.0.0.1:1}\n")[0])
