"""The embedded MCP server: which tokens it takes, and enough of the protocol for any client.

Specification, "Access Token Privilege Restriction": "MCP servers MUST only accept tokens specifically intended for
themselves".
"""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from mcp_login.testing import EmbeddedServer
from tests.unit.testing.flow import Login, call, rpc

pytestmark = pytest.mark.anyio

META = "io.modelcontextprotocol/"


def open_to_all() -> Login:
    return Login(EmbeddedServer(protected=False))


def stateless(method: str, **params: Any) -> dict[str, Any]:
    return rpc(method, **params, _meta={f"{META}protocolVersion": "2026-07-28"})


async def test_the_tools_answer_with_a_token() -> None:
    login = Login(EmbeddedServer(auto_approve=True))
    token = (await login.tokens())["access_token"]
    who = (await login.mcp(call("whoami"), token)).json()["result"]
    assert who["structuredContent"] == {"client_id": login.client["client_id"], "scopes": ["mcp"]}
    added = (await login.mcp(call("add", a=1, b=2.5), token)).json()["result"]
    assert added["content"] == [{"type": "text", "text": "3.5"}]
    assert (await login.mcp(call("add", a="x"), token)).json()["result"]["isError"] is True


async def test_an_unknown_token_is_invalid() -> None:
    """Specification, "Token Handling": invalid or expired tokens MUST receive a HTTP 401 response."""
    response = await Login(EmbeddedServer()).mcp(rpc("ping"), "made up")
    assert response.status_code == 401
    assert 'error="invalid_token"' in response.headers["www-authenticate"]


async def test_a_token_in_the_url_is_refused() -> None:
    """Specification, "Token Requirements": access tokens MUST NOT be included in the URI query string."""
    login = Login(EmbeddedServer(auto_approve=True))
    token = (await login.tokens())["access_token"]
    response = await login.http.post(login.server.url, params={"access_token": token}, json=rpc("ping"))
    assert response.status_code == 400


async def test_another_scheme_is_no_token() -> None:
    response = await Login(EmbeddedServer()).mcp(rpc("ping"), Authorization="Basic YTpi")
    assert response.status_code == 401
    assert 'error="invalid_request"' in response.headers["www-authenticate"]


async def test_a_token_for_another_resource_of_the_same_authorization_server_is_refused() -> None:
    issuer = EmbeddedServer(auto_approve=True)
    other = EmbeddedServer(authorization_server=issuer, origin="http://127.0.0.1:8001")
    assert other.issuer == issuer.issuer
    login = Login(issuer)
    ours = (await login.tokens())["access_token"]
    assert (await login.mcp(rpc("ping"), ours)).status_code == 200
    assert (await Login(other).mcp(rpc("ping"), ours)).status_code == 401


async def test_two_servers_can_have_one_authorization_server() -> None:
    issuer = EmbeddedServer(auto_approve=True)
    other = EmbeddedServer(authorization_server=issuer, origin="http://127.0.0.1:8001")
    login = Login(issuer)
    response = await login.exchange(await login.code(resource=other.resource), resource=other.resource)
    assert (await Login(other).mcp(rpc("ping"), response.json()["access_token"])).status_code == 200
    async with other.http_client() as http:
        document = (await http.get("http://127.0.0.1:8001/.well-known/oauth-protected-resource/mcp")).json()
    assert document["authorization_servers"] == [issuer.issuer]


async def test_a_server_can_move_to_another_authorization_server() -> None:
    server = EmbeddedServer(auto_approve=True)
    login = Login(server)
    token = (await login.tokens())["access_token"]
    other = EmbeddedServer(auto_approve=True, origin="http://127.0.0.1:8001")
    server.use_authorization_server(other)
    assert server.issuer == "http://127.0.0.1:8001"
    assert (await login.mcp(rpc("ping"), token)).status_code == 401


async def test_a_tool_can_need_a_scope_of_its_own() -> None:
    """Specification, "Scope Challenge Handling": 403, with the scopes of the operation together in one challenge."""
    login = Login(EmbeddedServer(auto_approve=True))
    token = (await login.tokens())["access_token"]
    response = await login.mcp(call("secret"), token)
    assert response.status_code == 403
    challenge = response.headers["www-authenticate"]
    assert 'error="insufficient_scope"' in challenge
    assert 'scope="mcp secret:read"' in challenge
    assert "resource_metadata=" in challenge
    token = (await login.tokens(scope="mcp secret:read"))["access_token"]
    assert (await login.mcp(call("secret"), token)).status_code == 200


async def test_every_request_can_need_a_scope() -> None:
    login = Login(EmbeddedServer(auto_approve=True))
    token = (await login.tokens(scope="secret:read"))["access_token"]
    assert (await login.mcp(rpc("ping"), token)).status_code == 403


async def test_some_methods_can_be_anonymous() -> None:
    login = Login(EmbeddedServer(anonymous_methods=("initialize", "notifications/initialized")))
    assert (await login.mcp(rpc("initialize", protocolVersion="2025-11-25"))).status_code == 200
    assert (await login.mcp(rpc("notifications/initialized", message_id=None))).status_code == 202
    assert (await login.mcp(call("whoami"))).status_code == 401
    assert (await login.mcp(rpc("initialize"), "made up")).status_code == 401


async def test_a_server_can_be_open_to_all_and_has_no_metadata_then() -> None:
    login = open_to_all()
    assert (await login.mcp(call("whoami"))).json()["result"]["structuredContent"]["client_id"] is None
    assert (await login.http.get("http://127.0.0.1:8000/.well-known/oauth-protected-resource/mcp")).status_code == 404


@pytest.mark.parametrize(
    ("asked", "answered"),
    [("2025-11-25", "2025-11-25"), ("2025-03-26", "2025-03-26"), ("1999-01-01", "2025-11-25"), (None, "2025-11-25")],
)
async def test_initialize_agrees_on_a_revision(asked: str | None, answered: str) -> None:
    response = await open_to_all().mcp(rpc("initialize", protocolVersion=asked))
    assert response.json()["result"]["protocolVersion"] == answered


async def test_discovery_of_the_revision_without_initialize_is_answered() -> None:
    headers = {"MCP_Protocol_Version": "2026-07-28", "Mcp_Method": "server/discover"}
    result = (await open_to_all().mcp(stateless("server/discover"), **headers)).json()["result"]
    assert "2026-07-28" in result["supportedVersions"]
    assert result["resultType"] == "complete"


@pytest.mark.parametrize(
    ("message", "headers", "code"),
    [
        (stateless("ping"), {}, -32020),
        (stateless("ping"), {"MCP_Protocol_Version": "2026-07-28"}, -32020),
        (stateless("ping"), {"MCP_Protocol_Version": "2026-07-28", "Mcp_Method": "other"}, -32020),
        (
            stateless("tools/call", name="add"),
            {"MCP_Protocol_Version": "2026-07-28", "Mcp_Method": "tools/call"},
            -32020,
        ),
        (rpc("ping"), {"MCP_Protocol_Version": "1999-01-01"}, -32022),
    ],
)
async def test_headers_that_are_not_those_of_the_message_are_refused(
    message: dict[str, Any], headers: dict[str, str], code: int
) -> None:
    response = await open_to_all().mcp(message, **headers)
    assert response.status_code == 400
    assert response.json()["error"]["code"] == code


async def test_an_unknown_method_is_an_error() -> None:
    response = await open_to_all().mcp(rpc("resources/list"))
    assert (response.status_code, response.json()["error"]["code"]) == (200, -32601)
    headers = {"MCP_Protocol_Version": "2026-07-28", "Mcp_Method": "initialize"}
    response = await open_to_all().mcp(stateless("initialize"), **headers)
    assert (response.status_code, response.json()["error"]["code"]) == (404, -32601)


async def test_an_unknown_tool_is_an_error() -> None:
    assert (await open_to_all().mcp(call("other"))).json()["error"]["code"] == -32602


@pytest.mark.parametrize(("body", "code"), [(b"{", -32700), (b"[]", -32600), (b'{"id": 1}', -32600)])
async def test_what_is_no_message_is_an_error(body: bytes, code: int) -> None:
    login = open_to_all()
    response = await login.http.post(login.server.url, content=body)
    assert (response.status_code, response.json()["error"]["code"]) == (400, code)


async def test_params_have_to_be_an_object() -> None:
    message = {"jsonrpc": "2.0", "id": 1, "method": "ping", "params": [1]}
    assert (await open_to_all().mcp(message)).json()["error"]["code"] == -32602


async def test_there_is_no_event_stream() -> None:
    login = open_to_all()
    assert (await login.http.get(login.server.url)).status_code == 405
    assert (await login.mcp(rpc("ping"), Accept="text/event-stream")).status_code == 406


async def test_requests_of_other_origins_are_refused() -> None:
    """Transports: servers MUST validate the Origin header on all incoming connections to prevent DNS rebinding attacks."""
    assert (await open_to_all().mcp(rpc("ping"), Origin="https://evil.example")).status_code == 403
    assert (await open_to_all().mcp(rpc("ping"), Origin="http://127.0.0.1:8000")).status_code == 200


async def test_headers_can_be_added_to_answers() -> None:
    login = Login(EmbeddedServer(mcp_headers={"X-Extra": "yes"}))
    assert (await login.mcp(rpc("ping"))).headers["x-extra"] == "yes"


async def test_in_process_clients_may_name_the_server_as_they_like() -> None:
    login = open_to_all()
    response = await login.http.post("https://mcp.example.com/mcp", json=rpc("ping"))
    assert response.status_code == httpx.codes.OK
