"""How long requests don't ask a person again, after they saw a login fail. An explicit `login` may always ask."""

from __future__ import annotations

import httpx
import pytest

import mcp_login.sync
from mcp_login import OAuth, TransportError
from mcp_login.testing import EmbeddedServer, Fault, isolated
from tests.flows.support import HEADERS, message

__all__: list[str] = []


def ask(url: str) -> int:
    with httpx.Client(auth=OAuth(url), trust_env=False, verify=False, timeout=20) as client:
        return client.post(url, json=message(), headers=HEADERS).status_code


@pytest.mark.parametrize(
    ("retry_after", "rest"), [(None, 30.0), (7, 7.0), (100, 100.0), (100000, 600.0), (0, 1.0)], ids=str
)
def test_requests_ask_again_when_the_server_wants_to_be_asked(retry_after: float | None, rest: float) -> None:
    with isolated() as isolation, EmbeddedServer().run() as server:
        server.faults.token_endpoint = Fault(status=503, retry_after=retry_after)
        with pytest.raises(TransportError):
            ask(server.url)
        isolation.clock.advance(rest - 0.5)
        with pytest.raises(TransportError):
            ask(server.url)
        assert len(isolation.person.urls) == 1
        isolation.clock.advance(1.0)
        assert ask(server.url) == 200
        assert len(isolation.person.urls) == 2


def test_a_login_that_is_asked_for_does_not_rest() -> None:
    with isolated() as isolation, EmbeddedServer().run() as server:
        server.faults.token_endpoint = Fault(status=503, retry_after=100)
        with pytest.raises(TransportError):
            ask(server.url)
        assert mcp_login.sync.login(server.url).access_token
        assert len(isolation.person.urls) == 2
