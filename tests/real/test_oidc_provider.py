"""Whole flows against npm's `oidc-provider`, a certified authorization server, with a FastMCP server that it protects.

Field notes: two processes refresh the same rotating token; the server forgot the client; 401s never become a loop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from mcp_login import AuthorizationErrorResponse, IssuerMismatch, LoginRequired, TokenErrorResponse
from mcp_login.sync import login, logout
from tests.real.documents import DOCUMENTS_ORIGIN, client_document
from tests.real.oidc_provider import OidcProvider, oidc_provider
from tests.real.people import Visitor
from tests.real.programs import Program, add_with_the_sdk, call_in_processes, free_port, jwt_claims, request_tool

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__: list[str] = []

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]

#: What an MCP server asks about a token; nobody else's request.
INTROSPECTION = "introspection"


@pytest.fixture(scope="module")
def running() -> Iterator[OidcProvider]:
    """Both servers, with opaque tokens."""
    with oidc_provider() as provider:
        yield provider


@pytest.fixture
def provider(running: OidcProvider) -> OidcProvider:
    """Both servers as they were at their start, but for what they remember."""
    running.require_scopes("mcp")
    running.clear()
    return running


@pytest.fixture(scope="module")
def jwt_provider() -> Iterator[OidcProvider]:
    """Both servers, with tokens that are JWTs."""
    with oidc_provider(token_format="jwt") as provider:
        yield provider


@pytest.fixture
def program(provider: OidcProvider, tmp_path: Path) -> Program:
    """A program that nobody has logged in yet, and a person who says yes."""
    return Program(provider.mcp_url, tmp_path / "logins", Visitor())


def asked(provider: OidcProvider) -> list[str]:
    """What the authorization server was asked, but for what the MCP server asks it."""
    return [request.endpoint for request in provider.server.requests() if request.endpoint != INTROSPECTION]


def test_an_mcp_client_registers_logs_in_and_calls_a_tool(provider: OidcProvider, program: Program) -> None:
    login(program.url, **program.options)
    assert add_with_the_sdk(program) == 5
    assert program.visits == 1
    assert provider.server.count("registration", status=201) == 1
    assert provider.server.count("authorization") == 1
    assert provider.server.count("token", status=200, grant_type="authorization_code") == 1
    assert provider.server.count("token") == 1
    # what a server that lists `offline_access` gets: it gives a refresh token for an explicit consent only
    assert "prompt=consent" in program.visitor.urls[0]
    assert program.record.refresh_token is not None


def test_the_token_is_for_this_server_and_the_response_names_its_issuer(
    provider: OidcProvider, program: Program
) -> None:
    known = program.call("whoami")
    assert known == {
        "client_id": program.record.client.client_id,
        "scopes": ["mcp"],
        "subject": "alice",
        "audience": provider.mcp_url,
    }
    assert provider.server.count("authorization", resource=provider.mcp_url) == 1
    assert provider.server.count("token", resource=provider.mcp_url) == 1
    assert [answer["iss"] for answer in program.visitor.answers] == [provider.issuer]


def test_a_refused_scope_at_registration_is_left_to_the_authorization_request(
    provider: OidcProvider, program: Program
) -> None:
    """The server knows its resources' scopes, but takes none of them in a registration (RFC 7591 section 2: optional)."""
    program.call()
    registrations = [
        (request.status, request.error) for request in provider.server.requests() if request.endpoint == "registration"
    ]
    assert registrations == [(400, "invalid_client_metadata"), (201, None)]


def test_its_pages_ask_no_other_machine_for_anything(program: Program) -> None:
    """They would ask for a font; the runner takes that out, since a real browser visits them, too."""
    program.call()
    shown = [page.text for page in program.visitor.pages() if "<form" in page.text]
    assert len(shown) == 2
    assert not any("https://" in text for text in shown)


def test_the_next_process_asks_the_authorization_server_nothing(provider: OidcProvider, program: Program) -> None:
    first = program.call()
    provider.clear()
    assert call_in_processes(program.url, program.folder) == [{"result": first}]
    assert asked(provider) == []
    assert [request.status for request in provider.mcp.requests()] == [200]


def test_a_token_that_ended_at_the_server_costs_one_refresh(provider: OidcProvider, program: Program) -> None:
    first = program.call()
    before = program.record
    provider.expire_access_tokens()
    provider.clear()
    assert program.call() == first
    assert asked(provider) == ["token"]
    assert provider.server.count("token", status=200, grant_type="refresh_token", resource=provider.mcp_url) == 1
    assert [request.status for request in provider.mcp.requests()] == [401, 200]
    assert program.record.refresh_token not in (None, before.refresh_token)
    assert program.visits == 1


def test_a_token_whose_time_is_over_is_refreshed_before_it_is_sent(provider: OidcProvider, program: Program) -> None:
    program.call()
    program.age()
    provider.clear()
    program.call()
    assert asked(provider) == ["token"]
    assert [request.status for request in provider.mcp.requests()] == [200]


def test_two_processes_refresh_once_and_keep_the_family_alive(provider: OidcProvider, program: Program) -> None:
    """The server ends every token of a login when an old refresh token comes back: so none may."""
    first = program.call()
    for _ in range(2):
        provider.expire_access_tokens()
        provider.clear()
        assert call_in_processes(program.url, program.folder, count=2) == [{"result": first}] * 2
        assert [
            (request.grant_type, request.status)
            for request in provider.server.requests()
            if request.endpoint == "token"
        ] == [("refresh_token", 200)]
    assert program.visits == 1


def test_an_old_refresh_token_ends_the_family_and_the_next_call_says_so(
    provider: OidcProvider, program: Program
) -> None:
    """What the server does when somebody else used a refresh token that was replaced (RFC 9700 section 4.14.2)."""
    program.call()
    old = program.record
    program.age()
    program.call()
    stolen = {
        "grant_type": "refresh_token",
        "client_id": old.client.client_id,
        "refresh_token": old.refresh_token or "",
        "resource": provider.mcp_url,
    }
    answer = httpx.post(old.token_endpoint, data=stolen, trust_env=False, verify=False)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
    assert provider.introspect(program.record.access_token) == {"active": False}
    with pytest.raises(LoginRequired):
        program.call(interactive=False)


def test_logging_out_revokes_both_tokens_at_the_server(provider: OidcProvider, program: Program) -> None:
    program.call()
    record = program.record
    assert provider.introspect(record.access_token)["active"] is True
    result = logout(program.url, **program.options)
    assert (result.deleted, result.revoked, result.error) == (True, True, None)
    assert provider.introspect(record.access_token) == {"active": False}
    assert provider.introspect(record.refresh_token or "") == {"active": False}
    old = {"Authorization": f"Bearer {record.access_token}"}
    assert request_tool(program.url, None, "whoami", headers=old).status_code == 401
    with pytest.raises(LoginRequired):
        program.call(interactive=False)


def test_a_login_that_was_ended_at_the_server_needs_a_person_and_is_no_loop(
    provider: OidcProvider, program: Program
) -> None:
    program.call()
    provider.revoke_refresh_tokens()
    provider.expire_access_tokens()
    provider.clear()
    for _ in range(2):
        with pytest.raises(LoginRequired):
            program.call(interactive=False)
    assert [request.error for request in provider.server.requests() if request.endpoint == "token"] == ["invalid_grant"]
    provider.clear()
    assert program.call()["subject"] == "alice"
    assert program.visits == 2
    assert provider.server.count("registration") == 0
    assert provider.server.count("token") == 1


def test_a_client_that_the_server_forgot_registers_anew(provider: OidcProvider, program: Program) -> None:
    before = program.call()["client_id"]
    provider.forget_clients()
    provider.expire_access_tokens()
    provider.clear()
    with pytest.raises(LoginRequired):
        program.call(interactive=False)
    assert provider.server.count("registration") == 0
    assert program.call()["client_id"] != before
    assert provider.server.count("registration", status=201) == 1
    assert program.visits == 2


def test_who_says_no_gets_the_servers_own_word_for_it(provider: OidcProvider, tmp_path: Path) -> None:
    program = Program(provider.mcp_url, tmp_path, Visitor(denies=True))
    with pytest.raises(AuthorizationErrorResponse) as caught:
        program.call()
    assert caught.value.error == "access_denied"
    assert [answer["error"] for answer in program.visitor.answers] == ["access_denied"]
    assert provider.server.count("token") == 0
    assert program.visits == 1


@pytest.mark.parametrize("sent", ["https://attacker.example", None], ids=["another issuer", "no issuer"])
def test_a_response_that_does_not_name_this_issuer_is_refused(
    sent: str | None, provider: OidcProvider, tmp_path: Path
) -> None:
    """RFC 9207 section 2.4; the server's metadata says that it names itself."""

    def alter(answer: dict[str, str]) -> None:
        answer.pop("iss")
        if sent is not None:
            answer["iss"] = sent

    program = Program(provider.mcp_url, tmp_path, Visitor(alters=alter))
    with pytest.raises(IssuerMismatch) as caught:
        program.call()
    assert (caught.value.expected, caught.value.received) == (provider.issuer, sent)
    assert provider.server.count("token") == 0


def test_a_jwt_names_the_mcp_server_as_its_audience(jwt_provider: OidcProvider, tmp_path: Path) -> None:
    program = Program(jwt_provider.mcp_url, tmp_path, Visitor())
    assert program.call()["audience"] == jwt_provider.mcp_url
    claims = jwt_claims(program.record.access_token)
    assert (claims["aud"], claims["iss"]) == (jwt_provider.mcp_url, jwt_provider.issuer)
    assert claims["scope"] == "mcp"


def test_a_jwt_that_can_not_be_revoked_is_told_and_the_login_ended(jwt_provider: OidcProvider, tmp_path: Path) -> None:
    """RFC 7009 section 2.2.1: the MCP server reads the token itself, so only time ends it; the refresh token is dead."""
    program = Program(jwt_provider.mcp_url, tmp_path, Visitor())
    program.call()
    record = program.record
    result = logout(program.url, **program.options)
    assert (result.deleted, result.revoked) == (True, False)
    assert isinstance(result.error, TokenErrorResponse)
    assert result.error.error == "unsupported_token_type"
    assert "lives on until it expires" in str(result.error)
    assert record.access_token not in str(result.error)
    assert jwt_provider.introspect(record.refresh_token or "") == {"active": False}


def test_a_token_for_another_resource_is_refused_and_there_is_no_loop(provider: OidcProvider, tmp_path: Path) -> None:
    other = "https://other.example/mcp"
    provider.allow_resource(other)
    program = Program(provider.mcp_url, tmp_path, Visitor(), resource=other)
    answer = request_tool(program.url, program.oauth(), "whoami")
    assert answer.status_code == 401
    assert (program.visits, provider.server.count("token"), provider.server.count("token", resource=other)) == (1, 1, 1)
    assert provider.mcp.count("mcp") == 2


def test_a_resource_that_the_server_does_not_know_is_its_error(provider: OidcProvider, tmp_path: Path) -> None:
    program = Program(provider.mcp_url, tmp_path, Visitor(), resource="https://unknown.example/mcp")
    with pytest.raises(AuthorizationErrorResponse) as caught:
        program.call()
    assert caught.value.error == "invalid_target"
    assert program.visits == 1


def test_a_client_metadata_document_takes_the_place_of_a_registration(provider: OidcProvider, tmp_path: Path) -> None:
    port = free_port()
    address = f"{DOCUMENTS_ORIGIN}/client.json"
    provider.documents[address] = client_document(address, port)
    program = Program(provider.mcp_url, tmp_path, Visitor(), client_metadata_url=address, callback_port=port)
    assert program.call()["client_id"] == address
    assert provider.server.count("registration") == 0
    provider.expire_access_tokens()
    assert program.call()["client_id"] == address
    assert program.visits == 1
    assert provider.server.count("token", status=200, grant_type="refresh_token", client_id=address) == 1


def test_a_scope_that_turns_out_to_be_needed_is_asked_for_besides_the_others(
    provider: OidcProvider, program: Program
) -> None:
    assert program.call()["scopes"] == ["mcp"]
    provider.require_scopes("mcp", "files:write")
    provider.clear()
    with pytest.raises(LoginRequired) as caught:
        program.call(interactive=False)
    assert "files:write" in caught.value.scopes
    assert program.visits == 1
    assert program.call()["scopes"] == ["files:write", "mcp"]
    assert program.visits == 2
    [request] = [request for request in provider.server.requests() if request.endpoint == "authorization"]
    assert set((request.scope or "").split()) == {"mcp", "files:write", "offline_access"}
    provider.clear()
    assert program.call()["scopes"] == ["files:write", "mcp"]
    assert asked(provider) == []


def test_a_login_in_the_keychain_serves_the_next_process(
    provider: OidcProvider, secret_service: dict[str, str]
) -> None:
    [first] = call_in_processes(provider.mcp_url, None, visitor=True, environment=secret_service)
    provider.clear()
    assert call_in_processes(provider.mcp_url, None, environment=secret_service) == [first]
    assert asked(provider) == []
    provider.expire_access_tokens()
    assert call_in_processes(provider.mcp_url, None, count=2, environment=secret_service) == [first] * 2
    assert asked(provider) == ["token"]
