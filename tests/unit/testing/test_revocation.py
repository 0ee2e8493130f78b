"""How the embedded authorization server forgets: by its revocation endpoint (RFC 7009), and by a test's word."""

from __future__ import annotations

from typing import Any

import pytest

from mcp_login.testing import EmbeddedServer
from tests.unit.testing.flow import Login, rpc

pytestmark = pytest.mark.anyio


def at(**settings: Any) -> Login:
    return Login(EmbeddedServer(auto_approve=True, **settings))


async def works(login: Login, members: dict[str, Any]) -> bool:
    return (await login.mcp(rpc("tools/list"), members["access_token"])).status_code == 200


async def test_forgotten_clients_are_invalid_clients() -> None:
    login = at()
    members = await login.tokens()
    login.server.forget_clients()
    response = await login.refresh(members["refresh_token"])
    assert (response.status_code, response.json()["error"]) == (401, "invalid_client")
    assert await works(login, members)


async def test_access_and_refresh_tokens_can_be_revoked_apart() -> None:
    login = at()
    members = await login.tokens()
    login.server.revoke_access_tokens()
    assert not await works(login, members)
    members = (await login.refresh(members["refresh_token"])).json()
    assert await works(login, members)
    login.server.expire_access_tokens()
    assert not await works(login, members)
    login.server.revoke_refresh_tokens()
    assert (await login.refresh(members["refresh_token"])).status_code == 400


async def revoke(login: Login, **form: str) -> tuple[int, str]:
    response = await login.http.post(login.server.endpoint("revoke"), data=form)
    return response.status_code, response.json()["error"] if response.content else ""


async def test_revoking_a_refresh_token_ends_the_login() -> None:
    """RFC 7009 section 2.1: the authorization server SHOULD also invalidate all access tokens based on the same grant."""
    login = at()
    members = await login.tokens()
    client_id = login.client["client_id"]
    assert await revoke(login, client_id=client_id, token=members["refresh_token"]) == (200, "")
    assert not await works(login, members)
    assert (await login.refresh(members["refresh_token"])).status_code == 400


async def test_revoking_an_access_token_leaves_the_refresh_token() -> None:
    login = at()
    members = await login.tokens()
    await revoke(login, client_id=login.client["client_id"], token=members["access_token"])
    assert not await works(login, members)
    assert (await login.refresh(members["refresh_token"])).status_code == 200


async def test_revocation_needs_the_right_client_and_forgives_unknown_tokens() -> None:
    """RFC 7009 section 2.2: invalid tokens do not cause an error response."""
    login = at()
    members = await login.tokens()
    owner = login.client["client_id"]
    await login.register()
    other = login.client["client_id"]
    assert (await revoke(login, client_id=other, token=members["refresh_token"]))[0] == 400
    assert await revoke(login, client_id=owner, token="made up") == (200, "")
    assert await revoke(login, client_id="somebody", token=members["refresh_token"]) == (401, "invalid_client")
    assert await revoke(login, client_id=owner) == (400, "invalid_request")
    assert await works(login, members)


async def test_there_can_be_no_revocation() -> None:
    login = at(revocation=False)
    await login.register()
    assert (await login.http.post(login.server.endpoint("revoke"), data={"token": "x"})).status_code == 404
    metadata = (await login.http.get("http://127.0.0.1:8000/.well-known/oauth-authorization-server")).json()
    assert not [name for name in metadata if name.startswith("revocation")]


async def test_a_moved_issuer_knows_nothing_of_the_old_ones_tokens_and_clients() -> None:
    """Client registration, "Authorization Server Binding": credentials of another authorization server don't count."""
    login = at()
    members = await login.tokens()
    login.server.reconfigure(issuer_path="/moved")
    assert not await works(login, members)
    assert (await login.refresh(members["refresh_token"])).json()["error"] == "invalid_client"
