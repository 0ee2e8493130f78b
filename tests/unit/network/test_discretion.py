"""What HTTP libraries log of our requests: that something happens."""

from __future__ import annotations

import logging

import pytest

from mcp_login.network.discretion import discretion

__all__: list[str] = []

#: Loggers, and lines as their libraries write them: httpx 0.28, httpcore 1.0, hpack 4.2.
LINES = [
    ("httpx", 'HTTP Request: %s %s "%s %d %s"', ("GET", "https://h.example/x?key=s3cret", "HTTP/1.1", 200, "s3cret")),
    ("httpcore.http11", "receive_response_headers.complete return_value=%r", ([(b"location", b"?code=s3cret")],)),
    ("httpcore2.proxy", "start_tls.started password=%s", ("s3cret",)),
    ("hpack.hpack", "Adding %s to the header table", ("b':path'=b'/token?key=s3cret'",)),
    ("hpack.table", "Evicting %s", ("s3cret",)),
]


@pytest.mark.parametrize(("name", "message", "arguments"), LINES, ids=[name for name, *_ in LINES])
def test_of_our_requests_only_that_they_happen_is_logged(
    name: str, message: str, arguments: tuple[object, ...], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger=name)
    with discretion():
        logging.getLogger(name).debug(message, *arguments)
    [ours] = caplog.messages
    assert message.startswith(ours.split(" ")[0])
    assert "s3cret" not in ours


@pytest.mark.parametrize(("name", "message", "arguments"), LINES, ids=[name for name, *_ in LINES])
def test_of_others_requests_all_is_logged(
    name: str, message: str, arguments: tuple[object, ...], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger=name)
    logging.getLogger(name).debug(message, *arguments)
    assert caplog.messages == [message % arguments]
