"""Logging out where the server wants the parameter `client_secret` of clients that have no secret.

The MCP SDK's and FastMCP's servers refuse to revoke without it. RFC 6749 section 2.3.1: a client may leave the parameter out
if the secret is empty; so it may send it empty, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import mcp_login.sync
from mcp_login import TokenErrorResponse
from mcp_login.testing import Fault
from tests.flows.support import login_of

if TYPE_CHECKING:
    from mcp_login.testing import Person
    from mcp_login.testing.request_log import RecordedRequest
    from tests.flows.conftest import Serve

__all__: list[str] = []


def lacks_the_parameter(request: RecordedRequest) -> bool:
    return "client_secret=" not in request.body.decode()


def wants_the_parameter(error: str = "invalid_request") -> Fault:
    """What such a server answers to a request without it."""
    return Fault(error=error, error_description="client_secret: Field required", times=None, when=lacks_the_parameter)


def test_both_tokens_are_revoked_with_an_empty_secret(serve: Serve, person: Person) -> None:
    server = serve()
    login = login_of(server, person)
    record = login.record
    assert record is not None
    assert record.client.client_secret is None
    server.faults.revocation_endpoint = wants_the_parameter()
    result = mcp_login.sync.logout(server.url, storage=login.storage)
    assert (result.deleted, result.revoked, result.error) == (True, True, None)
    assert [lacks_the_parameter(request) for request in server.requests.matching("revocation")] == [True, False] * 2


def test_the_parameter_is_not_sent_unless_it_is_wanted(serve: Serve, person: Person) -> None:
    server = serve()
    login = login_of(server, person)
    assert mcp_login.sync.logout(server.url, storage=login.storage).revoked is True
    assert all(lacks_the_parameter(request) for request in server.requests.matching("revocation"))


def test_another_refusal_is_not_answered_with_an_empty_secret(serve: Serve, person: Person) -> None:
    server = serve()
    login = login_of(server, person)
    server.faults.revocation_endpoint = wants_the_parameter("unsupported_token_type")
    assert mcp_login.sync.logout(server.url, storage=login.storage).revoked is False
    assert [lacks_the_parameter(request) for request in server.requests.matching("revocation")] == [True, True]


def test_a_server_that_refuses_the_empty_secret_too_is_asked_no_third_time(serve: Serve, person: Person) -> None:
    server = serve()
    login = login_of(server, person)
    server.faults.revocation_endpoint = Fault(
        error="invalid_request", error_description="client_secret: must not be empty", times=None
    )
    result = mcp_login.sync.logout(server.url, storage=login.storage)
    assert (result.deleted, result.revoked) == (True, False)
    assert server.count("revocation") == 4


def test_a_refused_revocation_does_not_advise_to_log_in_again(serve: Serve, person: Person) -> None:
    server = serve()
    login = login_of(server, person)
    server.faults.revocation_endpoint = Fault(error="unsupported_token_type", times=None)
    error = mcp_login.sync.logout(server.url, storage=login.storage).error
    assert isinstance(error, TokenErrorResponse)
    assert "Log in" not in str(error)
    assert "lives on until it expires" in str(error)
