"""Whole flows against the MCP SDK 2.x's own server auth, as its "simple auth" example sets it up.

Its quirks: no refresh token, no `iss` in authorization responses, an issuer with a slash at its end, a secret for every
client, since its metadata doesn't list the method `none`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mcp_login import LoginRequired, LoginTimeout
from mcp_login.sync import access_token, login, logout
from tests.flows.support import edit
from tests.real.oidc_provider import fetch_json, foreign_server
from tests.real.people import Visitor
from tests.real.programs import Program, add_with_the_sdk, call_in_processes, request_tool

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.real.server_process import ServerProcess

__all__: list[str] = []

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]

LIFETIME = 3600


class Pair:
    """An authorization server and the MCP server that trusts it; in the SDK's older arrangement they are one."""

    def __init__(self, authorization: ServerProcess, mcp: ServerProcess) -> None:
        self.authorization = authorization
        self.mcp = mcp
        self.issuer = authorization.url.removesuffix("mcp")

    def asked(self) -> list[str]:
        """What the authorization server was asked by clients and people."""
        ours = ("mcp", "introspect")
        return [request.endpoint for request in self.authorization.requests() if request.endpoint not in ours]

    def calls(self) -> list[int]:
        """The answers to what the MCP server was asked for."""
        return [request.status for request in self.mcp.requests() if request.endpoint == "mcp"]

    def clear(self) -> None:
        self.authorization.clear()
        self.mcp.clear()


@pytest.fixture(scope="module")
def whole() -> Iterator[Pair]:
    """An MCP server that is its own authorization server."""
    with foreign_server("sdk_whole", access_token_lifetime=LIFETIME) as server:
        yield Pair(server, server)


@pytest.fixture(scope="module")
def apart() -> Iterator[Pair]:
    """An authorization server, and an MCP server that asks it about tokens (RFC 7662)."""
    with foreign_server("sdk_authorization_server", access_token_lifetime=LIFETIME) as authorization:
        issuer = authorization.url.removesuffix("mcp")
        with foreign_server("sdk_resource_server", issuer=issuer) as mcp:
            yield Pair(authorization, mcp)


@pytest.fixture(params=["whole", "apart"])
def servers(request: pytest.FixtureRequest) -> Pair:
    """Each arrangement."""
    pair: Pair = request.getfixturevalue(request.param)
    pair.clear()
    return pair


@pytest.fixture
def program(servers: Pair, tmp_path: Path) -> Program:
    """A program that nobody has logged in yet, and a person who signs in."""
    return Program(servers.mcp.url, tmp_path / "logins", Visitor())


def test_an_mcp_client_registers_logs_in_and_calls_a_tool(servers: Pair, program: Program) -> None:
    login(program.url, **program.options)
    assert add_with_the_sdk(program) == 5
    assert program.visits == 1
    assert servers.authorization.count("register") == servers.authorization.count("register", status=201) == 1
    assert servers.authorization.count("token") == 1
    assert servers.authorization.count("token", grant_type="authorization_code", resource=program.url) == 1


def test_an_issuer_with_a_slash_at_its_end_is_kept_as_it_stands(servers: Pair, program: Program) -> None:
    known = program.call()
    document = fetch_json(f"{servers.issuer}.well-known/oauth-authorization-server")
    assert document["issuer"] == servers.issuer
    assert "authorization_response_iss_parameter_supported" not in document
    assert program.record.issuer == servers.issuer
    assert "iss" not in program.visitor.answers[0]
    assert (known["scopes"], known["audience"]) == (["mcp"], program.url)


def test_the_secret_that_its_metadata_asks_for_is_used(servers: Pair, program: Program) -> None:
    program.call()
    assert program.record.client.token_endpoint_auth_method == "client_secret_post"
    assert program.record.client.client_secret is not None


def test_the_next_process_asks_the_authorization_server_nothing(servers: Pair, program: Program) -> None:
    first = program.call()
    servers.clear()
    assert call_in_processes(program.url, program.folder) == [{"result": first}]
    assert servers.asked() == []
    assert servers.calls() == [200]


def test_where_nobody_can_be_asked_the_end_of_the_token_is_the_end_of_the_login(
    servers: Pair, program: Program
) -> None:
    """There is no refresh token, so nothing else can be done, and nothing else is tried."""
    program.call()
    assert program.record.refresh_token is None
    servers.authorization.command("expire_access_tokens")
    servers.clear()
    with pytest.raises(LoginRequired):
        program.call(interactive=False)
    assert servers.asked() == []
    assert servers.calls() == [401]


def test_a_token_whose_time_is_over_is_not_even_sent(servers: Pair, program: Program) -> None:
    program.call()
    program.age(LIFETIME + 60)
    servers.clear()
    with pytest.raises(LoginRequired):
        access_token(program.url, storage=program.options["storage"])
    assert servers.asked() == []
    assert servers.calls() == []


def test_where_somebody_can_be_asked_they_are_asked_once_and_nothing_is_registered(
    servers: Pair, program: Program
) -> None:
    client_id = program.call()["client_id"]
    servers.authorization.command("expire_access_tokens")
    servers.clear()
    assert program.call()["client_id"] == client_id
    assert program.visits == 2
    assert servers.authorization.count("register") == 0
    assert servers.authorization.count("token") == 1
    assert servers.calls() == [401, 200]


def test_two_processes_with_a_dead_token_open_one_browser(servers: Pair, program: Program) -> None:
    first = program.call()
    servers.authorization.command("expire_access_tokens")
    servers.clear()
    assert call_in_processes(program.url, program.folder, count=2, visitor=True) == [{"result": first}] * 2
    assert servers.authorization.count("token") == 1
    assert servers.authorization.count("authorize") == 1


def test_a_client_that_the_server_forgot_registers_anew_at_the_next_login(servers: Pair, program: Program) -> None:
    """Its error is on a page that only the person sees (RFC 6749 section 4.1.2.1), so the first login runs out of time."""
    before = program.call()
    servers.authorization.command("forget_clients")
    servers.authorization.command("expire_access_tokens")
    servers.clear()
    with pytest.raises(LoginTimeout):
        program.call(callback_timeout=0.5)
    assert [page.status for page in program.visitor.pages()][-1] == 400
    assert servers.authorization.count("register") == 0
    [after] = call_in_processes(program.url, program.folder, visitor=True)
    assert after["result"]["client_id"] != before["client_id"]
    assert servers.authorization.count("register", status=201) == 1


def test_a_scope_error_that_names_no_scope_reaches_the_caller_and_asks_nobody_again(
    servers: Pair, program: Program
) -> None:
    """The SDK's 403 has `insufficient_scope` without `scope` (RFC 6750 section 3), and all that its metadata lists was asked
    for: more of the same would not help.
    """
    servers.authorization.command("withhold", scopes=["mcp"])
    try:
        for _ in range(2):
            answer = request_tool(program.url, program.oauth(), "whoami")
            assert answer.status_code == 403
            assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]
            assert " scope=" not in answer.headers["www-authenticate"]
        assert program.visits == 1
        assert servers.authorization.count("token") == 1
    finally:
        servers.authorization.command("withhold", scopes=[])
    login(program.url, force=True, **program.options)
    assert program.call()["scopes"] == ["mcp"]


def request_whoami_bare(program: Program) -> int:
    """The status of a tool call by a program with nothing in memory; a 403 names no scope."""
    answer = request_tool(program.url, program.oauth(), "whoami")
    assert " scope=" not in answer.headers.get("www-authenticate", "")
    return answer.status_code


def log_in_for_less(servers: Pair, program: Program) -> None:
    """A login from a time when the server wanted no scope."""
    servers.authorization.command("withhold", scopes=["mcp"])
    login(program.url, **program.options)
    edit(program.options["storage"], program.url, requested_scopes=(), granted_scopes=())


def test_scopes_that_the_metadata_lists_are_asked_for_where_the_scope_error_names_none(
    servers: Pair, program: Program
) -> None:
    """Specification, "Scope Selection Strategy"."""
    log_in_for_less(servers, program)
    servers.authorization.command("withhold", scopes=[])
    assert [request_whoami_bare(program) for _ in range(2)] == [200] * 2
    assert program.visits == 2
    assert program.record.requested_scopes == ("mcp",)


def test_scopes_that_the_metadata_lists_are_asked_for_once_if_they_are_not_given(
    servers: Pair, program: Program
) -> None:
    log_in_for_less(servers, program)
    try:
        assert [request_whoami_bare(program) for _ in range(3)] == [403] * 3
        assert program.visits == 2
    finally:
        servers.authorization.command("withhold", scopes=[])


def test_logging_out_revokes_where_it_can_be_done(whole: Pair, tmp_path: Path) -> None:
    whole.clear()
    program = Program(whole.mcp.url, tmp_path, Visitor())
    program.call()
    old = program.record.access_token
    result = logout(program.url, **program.options)
    assert (result.deleted, result.revoked, result.error) == (True, True, None)
    assert whole.authorization.count("revoke", status=200) == 1
    assert request_tool(program.url, None, "whoami", headers={"Authorization": f"Bearer {old}"}).status_code == 401
    with pytest.raises(LoginRequired):
        program.call(interactive=False)


def test_a_public_client_is_revoked_too(whole: Pair, tmp_path: Path) -> None:
    """The SDK wants the parameter `client_secret` of clients that have none; RFC 6749 section 2.3.1 lets it be empty."""
    whole.clear()
    program = Program(
        whole.mcp.url,
        tmp_path,
        Visitor(),
        additional_client_metadata={"token_endpoint_auth_method": "none"},
    )
    program.call()
    assert program.record.client.client_secret is None
    old = program.record.access_token
    result = logout(program.url, **program.options)
    assert (result.revoked, result.error) == (True, None)
    assert [request.status for request in whole.authorization.requests() if request.endpoint == "revoke"] == [400, 200]
    assert request_tool(program.url, None, "whoami", headers={"Authorization": f"Bearer {old}"}).status_code == 401


def test_where_no_revocation_is_offered_logging_out_says_so(apart: Pair, tmp_path: Path) -> None:
    program = Program(apart.mcp.url, tmp_path, Visitor())
    program.call()
    result = logout(program.url, **program.options)
    assert (result.deleted, result.revoked, result.error) == (True, None, None)
