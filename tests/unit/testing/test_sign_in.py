"""A login that is there before the test begins is the one that a person's login would have left."""

from __future__ import annotations

import dataclasses
from typing import Any

import anyio
import httpx
import pytest

import mcp_login.sync
from mcp_login import MemoryStorage, OAuth
from mcp_login.storage.record import Record, client_key, parse_client
from mcp_login.testing import EmbeddedServer, Isolation, Person, RegisteredClient, isolated
from tests.flows.support import stored

__all__: list[str] = []

MINE = RegisteredClient(
    client_id="mine", client_secret="a secret of mine", token_endpoint_auth_method="client_secret_basic"
)


def shape(record: Record | None) -> dict[str, Any]:
    """All of a record that isn't new at each login."""
    assert record is not None
    found = {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}
    client = found.pop("client")
    return {
        **found,
        "access_token": bool(found["access_token"]),
        "refresh_token": bool(found["refresh_token"]),
        "client": (client.issuer, client.mechanism, client.token_endpoint_auth_method, client.client_name),
        "client_secret": bool(client.client_secret),
    }


@pytest.mark.parametrize(
    ("settings", "options"),
    [
        ({}, {}),
        ({}, {"scopes": ("secret:read",), "account": "work"}),
        ({}, {"scopes": "secret:read", "client_name": "My agent"}),
        ({"granted_scopes": ("mcp",)}, {"scopes": ("secret:read",)}),
        ({"separate_authorization_server": True, "issuer_path": "/tenant"}, {}),
        ({"resource_path": "", "challenge_scope": False}, {}),
        ({"refresh_tokens": "never", "revocation": False, "expires_in": "omit"}, {}),
        ({"refresh_tokens": "offline_access", "server_scopes_supported": ("mcp", "offline_access")}, {}),
        ({"token_endpoint_auth_methods": ("client_secret_post",)}, {}),
        ({"registration_answer": "secret_despite_none", "client_secret_lifetime": 60.0}, {}),
        ({"registration": ("dynamic",), "mcp_path": ""}, {}),
    ],
)
def test_it_is_the_login_that_a_person_would_have_left(settings: dict[str, Any], options: dict[str, Any]) -> None:
    with isolated() as isolation, EmbeddedServer(**settings).run() as server:
        account = options.get("account")
        mcp_login.sync.login(server.url, **options)
        by_person = shape(stored(isolation.storage, server.url, account))
        server.sign_in(**options)
        assert shape(stored(isolation.storage, server.url, account)) == by_person


def listed(isolation: Isolation, server: EmbeddedServer) -> int:
    with httpx.Client(auth=OAuth(server.url), trust_env=False, verify=False) as http:
        return http.post(server.url, json={"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).status_code


def test_it_is_used_without_a_person_and_without_any_other_request() -> None:
    with isolated(person=Person("absent")) as isolation, EmbeddedServer().run() as server:
        credentials = server.sign_in()
        assert server.requests.endpoints == []
        assert server.authorizations == []
        assert listed(isolation, server) == 200
        assert server.requests.endpoints == ["mcp"]
        assert server.requests[0].access_token == credentials.access_token
        assert credentials.access_token in server.secrets()


@pytest.mark.parametrize("methods", [("none",), ("client_secret_post",), ("client_secret_basic",)])
def test_it_is_refreshed_and_revoked_like_any_other(methods: Any) -> None:
    with (
        isolated(person=Person("absent")) as isolation,
        EmbeddedServer(token_endpoint_auth_methods=methods).run() as server,
    ):
        server.sign_in()
        isolation.clock.advance(3601)
        assert listed(isolation, server) == 200
        assert server.count("token", grant_type="refresh_token") == 1
        assert mcp_login.sync.logout(server.url).revoked is True
        assert stored(isolation.storage, server.url) is None


def test_the_next_login_uses_its_registration() -> None:
    with isolated() as isolation, EmbeddedServer().run() as server:
        credentials = server.sign_in(client_name="My agent")
        mcp_login.sync.logout(server.url)
        mcp_login.sync.login(server.url, client_name="My agent")
        assert server.count("registration") == 0
        assert server.authorizations[0].client_id == credentials.client_id
        text = isolation.storage.load_now(client_key(server.issuer, "My agent"), 1)  # type: ignore[attr-defined]
        assert parse_client(text).client_id == credentials.client_id


def test_a_client_that_was_registered_by_hand_can_be_signed_in() -> None:
    with isolated(person=Person("absent")), EmbeddedServer(clients=(MINE,)).run() as server:
        assert server.sign_in(client_id="mine").client_id == "mine"
        options: Any = {"client_id": "mine", "client_secret": "a secret of mine"}
        token = mcp_login.sync.access_token(server.url, min_valid_for=7200, **options)
        assert token in server.secrets()
        assert server.count("token", grant_type="refresh_token") == 1


def test_it_is_the_only_client_where_nobody_registers() -> None:
    with isolated(), EmbeddedServer(clients=(MINE,), registration=("pre_registered",)).run() as server:
        assert server.sign_in().client_id == "mine"
    with isolated(), pytest.raises(ValueError, match="registers no client"):
        EmbeddedServer(registration=()).sign_in()
    with isolated(), pytest.raises(ValueError, match="no client 'other'"):
        EmbeddedServer().sign_in(client_id="other")


def test_another_authorization_server_issues_the_tokens() -> None:
    with (
        isolated(person=Person("absent")) as isolation,
        EmbeddedServer().run() as shared,
        EmbeddedServer(authorization_server=shared).run() as server,
    ):
        assert server.sign_in().issuer == shared.issuer
        assert listed(isolation, server) == 200


def test_any_storage_can_be_given_also_from_a_running_loop() -> None:
    storage = MemoryStorage()

    async def agent() -> None:
        server = EmbeddedServer()
        credentials = server.sign_in(storage, account="work")
        record = stored(storage, server.url, "work")
        assert record is not None
        assert record.access_token == credentials.access_token

    for backend in ("asyncio", "trio"):
        anyio.run(agent, backend=backend)


def test_without_a_storage_and_outside_of_a_test_nothing_is_written() -> None:
    with pytest.raises(ValueError, match="your own keychain"):
        EmbeddedServer().sign_in()
