# SPDX-License-Identifier: Apache-2.0
"""Protocols by port, and limits of telling them apart."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from g3.config.values.dpi import PortMapValue, ProtocolInspectionValue
from g3.proto.inspection import CLIENT_PORTS, EXPECTED, SERVER_PORTS, Expected, MaybeProtocol, PortMap, ProtocolInspection, SizeLimits
from tests.unit.config.samples import parse, refusal

EMPTY = PortMap()
HTTP, SMTP = MaybeProtocol.HTTP, MaybeProtocol.SMTP


class PortMapTests(SynchronousTestCase):
    def read(self, text: str, base: PortMap = EMPTY) -> PortMap:
        made = parse(PortMapValue(base), text)
        assert isinstance(made, PortMap)
        return made

    def test_a_map_or_a_list_of_maps(self) -> None:
        """One protocol or several; TLS forms are the protocol with TLS before it."""
        for text in ("{80: http, 443: [https, smtp]}", "[{port: 80, protocol: HTTP}, {port: '443', protocol: [http+tls, smtp]}]"):
            made = self.read(text)
            self.assertEqual(made.get(80), Expected((HTTP,)))
            self.assertEqual(made.get(443), Expected((HTTP, SMTP), True))
            self.assertEqual(made.get(81), Expected())

    def test_what_is_given_is_added_to_what_is_built_in(self) -> None:
        """As upstream: the built-in protocol stays first."""
        made = self.read("{80: smtp, 7: ssl}", SERVER_PORTS)
        self.assertEqual(made.get(80).protocols, (HTTP, SMTP))
        self.assertEqual(made.get(7), Expected((), True))
        self.assertEqual(made.get(25).protocols, (SMTP,))
        self.assertNotEqual(made, SERVER_PORTS)
        self.assertEqual(self.read("{}", SERVER_PORTS), SERVER_PORTS)
        self.assertEqual(hash(made), hash(self.read("{80: smtp, 7: tls}", SERVER_PORTS)))

    def test_mistakes_are_told(self) -> None:
        """Unknown protocols, bad ports, other keys, other kinds."""
        for text, why in (
            ("{80: htpt}", 'unknown protocol "htpt"; did you mean "http"'),
            ("{80: 1}", "protocol"),
            ("{http: 80}", "a port"),
            ("{70000: http}", "70000 is not a port"),
            ("[80]", "a map of port and protocol"),
            ("[{port: 80}]", '"protocol" is missing'),
            ("[{protocol: http}]", '"port" is missing'),
            ("[{port: 80, protocl: http}]", 'did you mean "protocol"'),
            ("http", "a map or a list of maps"),
        ):
            self.assertIn(why, refusal(PortMapValue(EMPTY), text))

    def test_a_dump_reads_the_same(self) -> None:
        """Only what was given is dumped."""
        value = PortMapValue(SERVER_PORTS)
        made = self.read("{80: [https, smtp], 7: ssl}", SERVER_PORTS)
        self.assertEqual(value.dump(made), [{"port": 80, "protocol": ["http", "smtp", "tls"]}, {"port": 7, "protocol": ["tls"]}])
        again = self.read(str(value.dump(made)), SERVER_PORTS)
        self.assertEqual(again, made)

    def test_the_built_in_maps_are_upstream_s(self) -> None:
        """Some of the thirty, and the one of clients."""
        for port, word in ((21, "ftp"), (443, "https"), (465, "submissions"), (3550, "ssmpp"), (8883, "secure-mqtt"), (8080, "http")):
            self.assertEqual(SERVER_PORTS.get(port), EXPECTED[word])
        self.assertEqual(len(SERVER_PORTS.base), 30)
        self.assertEqual(CLIENT_PORTS.get(6881), EXPECTED["bt"])


class InspectionTests(SynchronousTestCase):
    def test_all_keys(self) -> None:
        """With either spelling of the limits."""
        text = (
            "{inspect_max_depth: 5, data0_buffer_size: 8K, data0_wait_timeout: 30s, data0_read_timeout: 2s, data0_size_limit: "
            "{ftp_server_greeting_msg: 1K, http_request_uri: 2K, imap_greeting_msg: 600, nats_server_info_line: 3K, ldap_request_msg: 1KiB}}"
        )
        limits = SizeLimits(ftp_greeting_msg=1000, http_request_uri=2000, imap_greeting_msg=600, nats_info_line=3000, ldap_request_msg=1024)
        self.assertEqual(
            parse(ProtocolInspectionValue(), text),
            ProtocolInspection(inspect_max_depth=5, data0_buffer_size=8000, data0_wait_timeout=30.0, data0_read_timeout=2.0, data0_size_limit=limits),
        )

    def test_nothing_is_the_defaults(self) -> None:
        """Of upstream."""
        self.assertEqual(parse(ProtocolInspectionValue(), "{}"), ProtocolInspection())
