"""Whole flows against FastMCP 4's authorization servers: InMemoryOAuthProvider, and OAuthProxy before `oidc-provider`.

Field notes: `invalid_grant` with status 401; registered secrets; a proxy whose tokens are not its upstream's.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest

from mcp_login import AuthorizationErrorResponse, IssuerMismatch, LoginRequired
from mcp_login.sync import login, logout
from tests.real.documents import DOCUMENTS_HOST, DOCUMENTS_ORIGIN, client_document, tls_documents_server
from tests.real.oidc_provider import OidcProvider, fetch_json, foreign_server, oidc_provider
from tests.real.people import Visitor
from tests.real.programs import Program, add_with_the_sdk, call_in_processes, free_port, jwt_claims, request_tool

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.real.server_process import ServerProcess

__all__: list[str] = []

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]


def tokens_asked(server: ServerProcess) -> list[tuple[str | None, int]]:
    """The grants that the token endpoint was asked for, and how it answered."""
    return [(request.grant_type, request.status) for request in server.requests() if request.endpoint == "token"]


def calls(server: ServerProcess) -> list[int]:
    """The answers to what the MCP server was asked for."""
    return [request.status for request in server.requests() if request.endpoint == "mcp"]


def asked(server: ServerProcess) -> list[str]:
    """What the authorization server was asked."""
    return [request.endpoint for request in server.requests() if request.endpoint != "mcp"]


# --- InMemoryOAuthProvider -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def running() -> Iterator[ServerProcess]:
    """An MCP server that is its own authorization server and says yes to everybody."""
    with foreign_server("fastmcp_in_memory", scopes=["mcp"]) as server:
        yield server


@pytest.fixture
def memory(running: ServerProcess) -> ServerProcess:
    """The same, with nothing told of yet."""
    running.clear()
    return running


@pytest.fixture
def program(memory: ServerProcess, tmp_path: Path) -> Program:
    """A program that nobody has logged in yet."""
    return Program(memory.url, tmp_path / "logins", Visitor())


def test_an_mcp_client_registers_logs_in_and_calls_a_tool(memory: ServerProcess, program: Program) -> None:
    login(program.url, **program.options)
    assert add_with_the_sdk(program) == 5
    assert program.visits == 1
    assert memory.count("register") == memory.count("register", status=201) == 1
    assert tokens_asked(memory) == [("authorization_code", 200)]
    known = program.call()
    assert (known["scopes"], known["audience"]) == (["mcp"], None)
    assert "iss" not in program.visitor.answers[0]


def test_the_next_process_asks_the_authorization_server_nothing(memory: ServerProcess, program: Program) -> None:
    first = program.call()
    memory.clear()
    assert call_in_processes(program.url, program.folder) == [{"result": first}]
    assert (asked(memory), calls(memory)) == ([], [200])


def test_a_token_that_ended_at_the_server_costs_one_refresh(memory: ServerProcess, program: Program) -> None:
    first = program.call()
    before = program.record
    memory.command("expire_access_tokens")
    memory.clear()
    assert program.call() == first
    assert asked(memory) == ["token"]
    assert tokens_asked(memory) == [("refresh_token", 200)]
    assert calls(memory) == [401, 200]
    assert program.record.refresh_token not in (None, before.refresh_token)
    assert program.visits == 1


def test_two_processes_refresh_once(memory: ServerProcess, program: Program) -> None:
    """The old tokens die at a refresh: who came second with the old refresh token would have none."""
    first = program.call()
    before = program.record
    program.age()
    memory.clear()
    assert call_in_processes(program.url, program.folder, count=2) == [{"result": first}] * 2
    assert tokens_asked(memory) == [("refresh_token", 200)]
    for token in (before.access_token, before.refresh_token):
        assert memory.command("has_token", token=token) == {"known": False}


def test_an_ended_login_that_is_told_with_status_401_needs_a_person(memory: ServerProcess, program: Program) -> None:
    program.call()
    memory.command("revoke_refresh_tokens")
    memory.command("expire_access_tokens")
    memory.clear()
    for _ in range(2):
        with pytest.raises(LoginRequired):
            program.call(interactive=False)
    assert tokens_asked(memory) == [("refresh_token", 401)]
    assert program.call()["scopes"] == ["mcp"]
    assert program.visits == 2
    assert memory.count("register") == 0


def test_a_client_that_the_server_forgot_registers_anew(memory: ServerProcess, program: Program) -> None:
    before = program.call()["client_id"]
    memory.command("forget_clients")
    memory.command("expire_access_tokens")
    memory.clear()
    assert program.call()["client_id"] != before
    assert memory.count("register", status=201) == 1
    assert tokens_asked(memory) == [("refresh_token", 401), ("authorization_code", 200)]


def test_logging_out_revokes_both_tokens(memory: ServerProcess, program: Program) -> None:
    program.call()
    record = program.record
    assert memory.command("has_token", token=record.access_token) == {"known": True}
    result = logout(program.url, **program.options)
    assert (result.deleted, result.revoked, result.error) == (True, True, None)
    for token in (record.access_token, record.refresh_token):
        assert memory.command("has_token", token=token) == {"known": False}
    old = {"Authorization": f"Bearer {record.access_token}"}
    assert request_tool(program.url, None, "whoami", headers=old).status_code == 401


def test_a_public_client_is_revoked_too(memory: ServerProcess, tmp_path: Path) -> None:
    """It refuses to revoke for clients without a secret that leave its parameter out; RFC 6749 section 2.3.1: empty."""
    public = {"token_endpoint_auth_method": "none"}
    program = Program(memory.url, tmp_path, Visitor(), additional_client_metadata=public)
    program.call()
    record = program.record
    assert record.client.client_secret is None
    assert logout(program.url, **program.options).revoked is True
    assert [request.status for request in memory.requests() if request.endpoint == "revoke"] == [400, 200] * 2
    assert memory.command("has_token", token=record.refresh_token) == {"known": False}


# --- OAuthProxy before oidc-provider ---------------------------------------------------------------------------------


class Proxied:
    """The proxy, which is the MCP server, too, and the authorization server behind it."""

    def __init__(self, proxy: ServerProcess, upstream: OidcProvider, documents: dict[str, object]) -> None:
        self.proxy = proxy
        self.upstream = upstream
        self.documents = documents
        self.issuer = proxy.url.removesuffix("mcp")

    def clear(self) -> None:
        self.proxy.clear()
        self.upstream.clear()


@pytest.fixture(scope="module")
def running_proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    """Both; the proxy is the one client that the authorization server behind it knows."""
    client = {"client_id": "the-proxy", "client_secret": secrets.token_urlsafe(32)}
    documents: dict[str, object] = {}
    with (
        oidc_provider(registration=False) as upstream,
        tls_documents_server(documents, tmp_path_factory.mktemp("authority")) as (port, trusted),
        foreign_server(
            "fastmcp_proxy",
            environment={"SSL_CERT_FILE": str(trusted)},
            names={DOCUMENTS_HOST: port},
            upstream=upstream.issuer,
            client=client,
            scopes=["mcp"],
        ) as proxy,
    ):
        origin = proxy.url.removesuffix("/mcp")
        upstream.add_client(
            **client,
            redirect_uris=[f"{origin}/auth/callback"],
            grant_types=["authorization_code", "refresh_token"],
            response_types=["code"],
        )
        upstream.allow_resource(proxy.url)
        yield Proxied(proxy, upstream, documents)


@pytest.fixture
def proxied(running_proxy: Proxied) -> Proxied:
    """The same, with nothing told of yet."""
    running_proxy.clear()
    return running_proxy


@pytest.fixture
def behind(proxied: Proxied, tmp_path: Path) -> Program:
    """A program that nobody has logged in yet at the proxy."""
    return Program(proxied.proxy.url, tmp_path / "logins", Visitor())


def upstream_tokens(proxied: Proxied) -> list[tuple[str | None, int]]:
    """What the authorization server behind the proxy was asked for, and how it answered."""
    return tokens_asked(proxied.upstream.server)


def test_a_person_consents_at_the_proxy_and_logs_in_behind_it(proxied: Proxied, behind: Program) -> None:
    login(behind.url, **behind.options)
    assert add_with_the_sdk(behind) == 5
    assert behind.visits == 1
    assert proxied.proxy.count("register", status=201) == 1
    assert proxied.upstream.server.count("registration") == 0
    assert proxied.proxy.count("consent", method="POST") == 1
    assert tokens_asked(proxied.proxy) == [("authorization_code", 200)]
    assert upstream_tokens(proxied) == [("authorization_code", 200)]
    known = behind.call()
    assert (known["subject"], known["scopes"], known["audience"]) == ("alice", ["mcp"], behind.url)


def test_the_proxys_token_is_its_own(proxied: Proxied, behind: Program) -> None:
    """Its clients never see the tokens of the authorization server behind it."""
    behind.call()
    claims = jwt_claims(behind.record.access_token)
    assert (claims["iss"], claims["aud"]) == (proxied.issuer, behind.url)
    assert claims["client_id"] == behind.record.client.client_id != "the-proxy"


def test_the_proxy_names_itself_in_its_answers(proxied: Proxied, behind: Program) -> None:
    behind.call()
    document = fetch_json(f"{proxied.issuer}.well-known/oauth-authorization-server")
    assert document["authorization_response_iss_parameter_supported"] is True
    assert [answer["iss"] for answer in behind.visitor.answers] == [document["issuer"]] == [proxied.issuer]


def test_an_answer_in_another_name_than_the_proxys_is_refused(proxied: Proxied, tmp_path: Path) -> None:
    def as_its_upstream(answer: dict[str, str]) -> None:
        answer["iss"] = proxied.upstream.issuer

    program = Program(proxied.proxy.url, tmp_path, Visitor(alters=as_its_upstream))
    with pytest.raises(IssuerMismatch):
        program.call()
    assert tokens_asked(proxied.proxy) == []


def test_who_says_no_at_the_proxy_never_reaches_what_is_behind_it(proxied: Proxied, tmp_path: Path) -> None:
    program = Program(proxied.proxy.url, tmp_path, Visitor(denies=True))
    with pytest.raises(AuthorizationErrorResponse) as caught:
        program.call()
    assert caught.value.error == "access_denied"
    assert proxied.upstream.server.count("authorization") == 0
    assert tokens_asked(proxied.proxy) == []


def test_the_next_process_asks_nobody_for_a_token(proxied: Proxied, behind: Program) -> None:
    first = behind.call()
    proxied.clear()
    assert call_in_processes(behind.url, behind.folder) == [{"result": first}]
    assert (asked(proxied.proxy), calls(proxied.proxy)) == ([], [200])
    assert upstream_tokens(proxied) == []


def test_a_refresh_goes_through_the_proxy_once_and_rotates(proxied: Proxied, behind: Program) -> None:
    first = behind.call()
    before = behind.record
    behind.age()
    proxied.clear()
    assert behind.call() == first
    assert asked(proxied.proxy) == ["token"]
    assert tokens_asked(proxied.proxy) == upstream_tokens(proxied) == [("refresh_token", 200)]
    assert behind.record.refresh_token not in (None, before.refresh_token)
    assert behind.visits == 1


def test_two_processes_refresh_once_through_the_proxy(proxied: Proxied, behind: Program) -> None:
    first = behind.call()
    behind.age()
    proxied.clear()
    assert call_in_processes(behind.url, behind.folder, count=2) == [{"result": first}] * 2
    assert tokens_asked(proxied.proxy) == upstream_tokens(proxied) == [("refresh_token", 200)]


def test_a_login_that_ended_behind_the_proxy_needs_a_person(proxied: Proxied, behind: Program) -> None:
    behind.call()
    proxied.upstream.revoke_refresh_tokens()
    proxied.upstream.expire_access_tokens()
    proxied.clear()
    for _ in range(2):
        with pytest.raises(LoginRequired):
            behind.call(interactive=False)
    assert tokens_asked(proxied.proxy) == [("refresh_token", 401)]
    assert behind.call()["subject"] == "alice"
    assert behind.visits == 2


def test_logging_out_revokes_at_the_proxy_and_behind_it(proxied: Proxied, behind: Program) -> None:
    """The proxy's clients are public, and its revocation endpoint wants their secret: an empty one will do."""
    behind.call()
    old = behind.record.access_token
    proxied.clear()
    result = logout(behind.url, **behind.options)
    assert (result.deleted, result.revoked, result.error) == (True, True, None)
    assert proxied.upstream.server.count("revocation", status=200) == 1
    headers = {"Authorization": f"Bearer {old}"}
    assert request_tool(behind.url, None, "whoami", headers=headers).status_code == 401


def test_a_client_metadata_document_takes_the_place_of_a_registration(proxied: Proxied, tmp_path: Path) -> None:
    port = free_port()
    address = f"{DOCUMENTS_ORIGIN}/agents/client.json"
    proxied.documents[address] = client_document(address, port)
    visitor = Visitor()
    program = Program(proxied.proxy.url, tmp_path, visitor, client_metadata_url=address, callback_port=port)
    first = program.call()
    assert first["subject"] == "alice"
    assert program.record.client.client_id == address
    assert proxied.proxy.count("register") == 0
    assert any("A documented agent" in page.text for page in visitor.pages())
    program.age()
    assert program.call() == first
    assert tokens_asked(proxied.proxy) == [("authorization_code", 200), ("refresh_token", 200)]
    assert logout(program.url, **program.options).revoked is True
