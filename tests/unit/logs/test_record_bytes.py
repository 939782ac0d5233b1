# SPDX-License-Identifier: Apache-2.0
"""Records to the byte: those of many kinds of tasks, in all formats, are what they were when C{records.txt} was written.

To write it anew: C{python -m tests.unit.logs.test_record_bytes}.
"""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from twisted.trial.unittest import SynchronousTestCase

from g3 import errors
from g3.logs import escape
from g3.logs.drivers import JournalEncoder, LineEncoder
from g3.logs.task import FTPNotes, HTTPForwardNotes, TaskEvent, UDPNotes, log_ftp_over_http, log_http_forward, log_tcp_connect, log_udp
from g3.proto.syslog import CEE, Header3164, Header5424, Structured5424, Text3164
from g3.task import ClientInfo, ConnectNotes, EgressInfo, Stage, Task, Upstream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from g3.logs.logger import Logger

BETWEEN = b"\n--\n"
WRITTEN = Path(__file__).with_name("records.txt")
CONSTANTS: Any = [("daemon_name", "blue"), ("log_type", "Task"), ("pid", 7), ("server_type", "HttpProxy"), ("server_name", "ma\u00efn")]
FORMATS: list[Any] = [
    Text3164(Header3164("g3", 1)),
    Text3164(Header3164("g3", 1, hostname="h"), report_ts=True),
    Structured5424(Header5424("g3", 1)),
    CEE(Header3164("g3", 1)),
    LineEncoder(),
    JournalEncoder("g3"),
]
DURATIONS = ((0.0, 0.0, 0.0, 0.0), (1e-9, 1e-5, 0.00123456, 0.25), (0.5, 0.0009999996, 0.9999996, 123.4567))


def tasks() -> Iterator[tuple[int, Task, tuple[float, ...]]]:
    """With and without a user, a way, an upstream, durations and what must be escaped."""
    for number in range(24):
        way, six = number % 4, number % 5 == 2
        client = ("2001:db8::9", 1234) if six else ("192.0.2.7", 1234 + number)
        server = ("2001:db8::1", 3128) if six else ("192.0.2.1", 3128)
        host = ("example.com", "2001:db8::7", "")[number % 3]
        durations = DURATIONS[number // 4 % 3]
        info, udp_type = ClientInfo(client, server, client), "UdpAssociate" if number % 2 else "UdpConnect"
        task = Task(udp_type, "http_proxy", "main", info, Upstream(host, 443), 100.0)
        task._id = f"{number:032x}"
        task.started_at = 1638354030.125 + number / 8
        task.user = (None, SimpleNamespace(name="root"), SimpleNamespace(name="we'ird\u00b5"), None)[number // 2 % 4]
        task.stage = list(Stage)[number % 8]
        task.wait, task.ready = durations[:2]
        notes = task.connect
        if way:
            notes.escaper, notes.peer, notes.tries, notes.spend = "out'" if number == 7 else "out", ("203.0.113.9", 443), 2, durations[2]
        if way > 1:
            notes.local, notes.egress = ("198.51.100.1", 5), EgressInfo(expire=datetime(2030, 1, 2, tzinfo=UTC) if way == 3 else None)
            notes.bind_ip = ip_address("198.51.100.1") if number % 8 < 4 else None
        yield number, task, durations


def log_all(logger: Logger, number: int, task: Task, durations: tuple[float, ...]) -> None:
    """Records of every type of one task."""
    now = 100.0 + durations[3]
    error = (errors.Finished(), errors.ClosedByClient(), errors.TimeoutByRule(), errors.ClosedByClient('a "quoted" \u4e2d\n'))[number % 4]
    for event in (TaskEvent.CONNECTED, TaskEvent.CLIENT_SHUTDOWN, TaskEvent.FINISHED) if number % 6 else TaskEvent:
        reason = error if event is TaskEvent.FINISHED else None
        log_tcp_connect(logger, task, event, now, error=reason, traffic=(1, number, 3, 1 << 40))
    http = HTTPForwardNotes(
        "GET",
        "http://u:secret@example.com/" + "a%" * number,
        60,
        user_agent="curl" if number % 3 else "",
        pipeline_wait=durations[number % 2],
        reuse_connection=number % 2 == 1,
        rsp_status=200,
        origin_status=404 * (number % 2),
    )
    http.dur_req_send_hdr, http.dur_req_send_all, http.dur_rsp_recv_hdr, http.dur_rsp_recv_all = durations
    ftp = FTPNotes("GET", "ftp://u:secret@example.com/", 100, ConnectNotes())
    ftp.rsp_status = number
    event = (TaskEvent.FINISHED, TaskEvent.FINISHED, TaskEvent.PERIODIC, TaskEvent.CREATED, TaskEvent.CONNECTED)[number % 5]
    reason = error if event is TaskEvent.FINISHED else None
    log_http_forward(logger, task, http, event, now, error=reason, traffic=(1, number, 3, 4))
    log_ftp_over_http(logger, task, ftp, event, now, error=reason, traffic=(1, 2, 0, 0))
    udp = UDPNotes(("192.0.2.1", 5000), ("192.0.2.7", 6000), Upstream("a.test", 53), 1, 2, 3, 4, 5, 6, 7, number)
    log_udp(logger, task, udp, event, now, error=reason)
    escape.log_tcp_connect(logger, task, errors.TimeoutByRule())


def records() -> list[bytes]:
    """Each task in one format after the other, one task in all of them."""
    made: list[bytes] = []
    for number, task, durations in tasks():
        for encoder in FORMATS if number == 3 else FORMATS[number % len(FORMATS) :][:1]:
            constants = encoder.constants(CONSTANTS)

            def log(message: str, fields: Any, encoder: Any = encoder, constants: Any = constants) -> None:
                made.append(encoder.encode(constants, message, fields, 1763900000.125))

            log_all(cast("Logger", SimpleNamespace(log=log)), number, task, durations)
    return made


class BytesTest(SynchronousTestCase):
    """Beside the file."""

    def setUp(self) -> None:
        before = os.environ.get("TZ")
        self.addCleanup(self.zone, before)
        self.zone("UTC")

    @staticmethod
    def zone(name: str | None) -> None:
        if name is None:
            os.environ.pop("TZ", None)
        else:
            os.environ["TZ"] = name
        time.tzset()

    def test_records_are_what_they_were(self) -> None:
        """Twice, so that those by ready templates are too."""
        wanted = WRITTEN.read_bytes().split(BETWEEN)
        self.assertGreater(len(wanted), 200)
        for _ in range(2):
            made = records()
            self.assertEqual(len(made), len(wanted))
            for record, was in zip(made, wanted, strict=True):
                self.assertEqual(record, was)


if __name__ == "__main__":
    BytesTest.zone("UTC")
    WRITTEN.write_bytes(BETWEEN.join(records()))
