"""Where the embedded server keeps its metadata (RFC 9728, RFC 8414), and what its challenges say (RFC 6750, RFC 9110)."""

from __future__ import annotations

from typing import Any

import pytest

from mcp_login.testing import EmbeddedServer
from tests.unit.testing.flow import Login, rpc

pytestmark = pytest.mark.anyio

ORIGIN = "http://127.0.0.1:8000"
RESOURCE = f"{ORIGIN}/.well-known/oauth-protected-resource"
SERVER = "/.well-known/oauth-authorization-server"
OIDC = "/.well-known/openid-configuration"


async def found(server: EmbeddedServer, *urls: str) -> list[str]:
    """Those of `urls` that have a JSON document."""
    async with server.http_client() as http:
        return [url for url in urls if (await http.get(url)).headers.get("content-type") == "application/json"]


@pytest.mark.parametrize(
    ("settings", "place"),
    [
        ({}, f"{RESOURCE}/mcp"),
        ({"resource_metadata": "root"}, RESOURCE),
        ({"resource_metadata": "custom"}, f"{ORIGIN}/metadata/resource.json"),
        ({"resource_metadata": "absent"}, None),
        ({"mcp_path": "/tenants/7/mcp"}, f"{RESOURCE}/tenants/7/mcp"),
        ({"mcp_path": ""}, RESOURCE),
        ({"mcp_path": "/"}, RESOURCE),
        ({"resource_path": ""}, RESOURCE),
    ],
)
async def test_resource_metadata_is_in_one_place_and_the_challenge_names_it(
    settings: dict[str, Any], place: str | None
) -> None:
    server = EmbeddedServer(**settings)
    path = server.configuration.mcp_path
    everywhere = {f"{RESOURCE}{path}", RESOURCE, f"{RESOURCE}/mcp", f"{ORIGIN}/metadata/resource.json"}
    assert await found(server, *everywhere) == ([] if place is None else [place])
    response = await Login(server).mcp(rpc("tools/list"))
    assert response.status_code == 401
    challenge = response.headers["www-authenticate"]
    assert (f'resource_metadata="{place}"' in challenge) == (place is not None)


async def test_resource_metadata_names_resource_issuer_and_scopes() -> None:
    """Discovery: the document MUST include authorization_servers; SHOULD NOT list offline_access."""
    server = EmbeddedServer(refresh_tokens="offline_access", issuer_path="/tenant", resource_path="")
    async with server.http_client() as http:
        document = (await http.get(RESOURCE)).json()
    assert document["resource"] == server.resource == ORIGIN
    assert document["authorization_servers"] == [server.issuer] == [f"{ORIGIN}/tenant"]
    assert document["scopes_supported"] == ["mcp"]


@pytest.mark.parametrize(
    ("issuer_path", "place", "expected"),
    [
        ("", "oauth", SERVER),
        ("", "oidc", OIDC),
        ("/tenant", "oauth", f"{SERVER}/tenant"),
        ("/tenant", "oidc", f"{OIDC}/tenant"),
        ("/tenant", "oidc_appended", f"/tenant{OIDC}"),
        ("/", "oauth", SERVER),
    ],
)
async def test_server_metadata_is_in_the_places_it_is_told(issuer_path: str, place: Any, expected: str) -> None:
    server = EmbeddedServer(issuer_path=issuer_path, server_metadata=(place,))
    paths = {SERVER, OIDC, f"{SERVER}/tenant", f"{OIDC}/tenant", f"/tenant{OIDC}"}
    assert await found(server, *(ORIGIN + path for path in paths)) == [ORIGIN + expected]
    async with server.http_client() as http:
        document = (await http.get(ORIGIN + expected)).json()
    assert document["issuer"] == ORIGIN + issuer_path
    base = ORIGIN + issuer_path.rstrip("/")
    assert document["token_endpoint"] == f"{base}/token"
    assert document["code_challenge_methods_supported"] == ["S256"]


async def test_a_legacy_server_has_no_metadata_and_its_endpoints_at_the_origin() -> None:
    """Specification of 2025-03-26: without metadata clients use /authorize, /token and /register."""
    server = EmbeddedServer(resource_metadata="absent", server_metadata=(), auto_approve=True)
    assert not await found(server, RESOURCE, f"{RESOURCE}/mcp", ORIGIN + SERVER, ORIGIN + OIDC)
    assert [server.endpoint(name) for name in ("authorize", "token")] == [f"{ORIGIN}/authorize", f"{ORIGIN}/token"]
    assert (await Login(server).tokens())["access_token"]
    assert server.requests.count("resource_metadata") == 2
    assert server.requests.count("server_metadata") == 2


@pytest.mark.parametrize("status", [200, 400, 401, 403, 405, 404, 500])
async def test_an_absent_document_is_answered_as_told(status: int) -> None:
    server = EmbeddedServer(absent_status=status, resource_metadata="root")
    async with server.http_client() as http:
        response = await http.get(f"{RESOURCE}/mcp")
    assert response.status_code == status
    assert response.headers["content-type"].startswith("text/html" if status == 200 else "text/plain")


async def test_members_of_the_documents_can_be_replaced_and_left_out() -> None:
    server = EmbeddedServer(
        resource_metadata_overrides={"resource": "https://other.example", "scopes_supported": ...},
        server_metadata_overrides={"issuer": None, "token_endpoint": ...},
    )
    async with server.http_client() as http:
        resource = (await http.get(f"{RESOURCE}/mcp")).json()
        document = (await http.get(ORIGIN + SERVER)).json()
    assert resource["resource"] == "https://other.example"
    assert "scopes_supported" not in resource
    assert document["issuer"] is None
    assert "token_endpoint" not in document


async def test_support_can_go_unadvertised() -> None:
    server = EmbeddedServer(
        advertise_pkce=False,
        advertise_auth_methods=False,
        scopes_supported=None,
        server_scopes_supported=None,
    )
    async with server.http_client() as http:
        document = (await http.get(ORIGIN + SERVER)).json()
        resource = (await http.get(f"{RESOURCE}/mcp")).json()
    assert "code_challenge_methods_supported" not in document
    assert "token_endpoint_auth_methods_supported" not in document
    assert "scopes_supported" not in document
    assert "scopes_supported" not in resource


async def test_metadata_is_only_for_reading() -> None:
    async with EmbeddedServer().http_client() as http:
        assert (await http.post(f"{RESOURCE}/mcp")).status_code == 405


async def test_an_authorization_server_of_its_own_origin_answers_there_only() -> None:
    server = EmbeddedServer(separate_authorization_server=True)
    assert server.issuer == "http://127.0.0.1:9000"
    places = [
        f"{ORIGIN}{SERVER}",
        f"{server.issuer}{SERVER}",
        f"{server.issuer}/.well-known/oauth-protected-resource/mcp",
    ]
    assert await found(server, *places, f"{RESOURCE}/mcp") == [f"{server.issuer}{SERVER}", f"{RESOURCE}/mcp"]
    login = Login(server)
    assert (await login.http.post(f"{server.issuer}/mcp", json=rpc("ping"))).status_code == 404
    assert (await login.http.post(f"{ORIGIN}/token")).status_code == 404
    assert server.requests.count("unknown") == 2


async def test_a_challenge_says_what_the_resource_needs() -> None:
    """Specification, "Scope Selection Strategy": SHOULD include scope. RFC 6750 section 3.1: no error without credentials."""
    challenge = (await Login(EmbeddedServer()).mcp(rpc("tools/list"))).headers["www-authenticate"]
    assert challenge == f'Bearer scope="mcp", resource_metadata="{RESOURCE}/mcp"'


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"challenge": False}, []),
        ({"challenge_scope": False}, [f'Bearer resource_metadata="{RESOURCE}/mcp"']),
        ({"challenge_resource_metadata": False}, ['Bearer scope="mcp"']),
        ({"challenge_resource_metadata": False, "challenge_scope": False}, ["Bearer"]),
        (
            {"other_challenges": ("Negotiate", 'Basic realm="a, b"'), "challenge_resource_metadata": False},
            ["Negotiate", 'Basic realm="a, b"', 'Bearer scope="mcp"'],
        ),
        (
            {"other_challenges": ("Negotiate",), "challenges_in_one_line": True, "challenge_resource_metadata": False},
            ['Negotiate, Bearer scope="mcp"'],
        ),
    ],
)
async def test_challenges_come_as_told(settings: dict[str, Any], expected: list[str]) -> None:
    response = await Login(EmbeddedServer(**settings)).mcp(rpc("tools/list"))
    assert response.status_code == 401
    assert response.headers.get_list("www-authenticate") == expected
