"""The embedded authorization server's token endpoint (RFC 6749, RFC 7636, RFC 8707).

Specification, "Token Theft": "For public clients, authorization servers MUST rotate refresh tokens as described in OAuth 2.1
Section 4.3.1".
"""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import parse_qs, quote_plus

import pytest

from mcp_login.testing import Clock, EmbeddedServer
from tests.unit.testing.flow import REDIRECT_URI, Login, rpc

pytestmark = pytest.mark.anyio


def at(**settings: Any) -> Login:
    return Login(EmbeddedServer(clock=Clock(), auto_approve=True, **settings))


def advance(login: Login, seconds: float) -> None:
    assert isinstance(login.server.clock, Clock)
    login.server.clock.advance(seconds)


async def works(login: Login, members: dict[str, Any]) -> bool:
    return (await login.mcp(rpc("tools/list"), members["access_token"])).status_code == 200


async def test_a_code_is_exchanged_for_tokens() -> None:
    login = at()
    members = await login.tokens()
    assert members["token_type"] == "Bearer"
    assert members["expires_in"] == 3600
    assert members["scope"] == "mcp"
    assert await works(login, members)


async def test_an_answer_with_tokens_is_not_cached() -> None:
    """RFC 6749 section 5.1: the Cache-Control response header field with a value of "no-store" MUST be included."""
    login = at()
    assert (await login.exchange(await login.code())).headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"code": "made up"}, "invalid_grant"),
        ({"code": None}, "invalid_request"),
        ({"code_verifier": "x" * 43}, "invalid_grant"),
        ({"code_verifier": "short"}, "invalid_grant"),
        ({"code_verifier": None}, "invalid_request"),
        ({"redirect_uri": f"{REDIRECT_URI}/"}, "invalid_grant"),
        ({"redirect_uri": None}, "invalid_request"),
        ({"resource": "https://other.example"}, "invalid_target"),
        ({"resource": None}, "invalid_target"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"grant_type": None}, "invalid_request"),
        ({"client_id": "somebody"}, "invalid_client"),
        ({"client_id": None}, "invalid_client"),
        ({"client_secret": "unasked"}, "invalid_client"),
        ({"code_verifier": ["a" * 43, "b" * 43]}, "invalid_request"),
    ],
)
async def test_a_mistake_in_a_code_exchange_is_refused(changes: dict[str, Any], error: str) -> None:
    login = at()
    response = await login.exchange(await login.code(), **changes)
    assert response.json()["error"] == error
    assert response.status_code == (401 if error == "invalid_client" else 400)


async def test_a_code_counts_once_and_its_second_use_kills_its_tokens() -> None:
    """RFC 6749 section 4.1.2: used more than once, the server MUST deny the request and SHOULD revoke all tokens."""
    login = at()
    code = await login.code()
    members = (await login.exchange(code)).json()
    assert (await login.exchange(code)).json()["error"] == "invalid_grant"
    assert not await works(login, members)


async def test_a_code_expires() -> None:
    login = at(authorization_code_lifetime=60)
    code = await login.code()
    advance(login, 60)
    assert (await login.exchange(code)).json()["error"] == "invalid_grant"


async def test_a_code_is_only_for_the_client_that_asked() -> None:
    login = at()
    code = await login.code()
    await login.register()
    assert (await login.exchange(code)).json()["error"] == "invalid_grant"


async def test_parameters_count_in_a_form_body_only() -> None:
    login = at()
    await login.register()
    url = login.server.endpoint("token")
    assert (await login.http.post(f"{url}?grant_type=refresh_token", data={"client_id": "x"})).status_code == 400
    assert (await login.http.post(url, json={"grant_type": "refresh_token"})).json()["error"] == "invalid_request"
    assert (await login.http.get(url)).status_code == 400


async def test_basic_authentication_is_checked_with_its_form_encoding() -> None:
    """RFC 6749 section 2.3.1: identifier and password are encoded using application/x-www-form-urlencoded."""
    login = at()
    await login.register(token_endpoint_auth_method="client_secret_basic")
    secret = login.client["client_secret"]
    assert quote_plus(secret) != secret

    async def basic(password: str) -> int:
        credentials = base64.b64encode(f"{login.client['client_id']}:{password}".encode()).decode()
        form = {"grant_type": "authorization_code", "code": await login.code(), "client_id": None}
        form |= {"redirect_uri": REDIRECT_URI, "code_verifier": "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"}
        response = await login.token(form, headers={"Authorization": f"Basic {credentials}"})
        assert ("www-authenticate" in response.headers) == (response.status_code == 401)
        return response.status_code

    assert await basic(quote_plus(secret)) == 200
    assert await basic(secret) == 401
    assert await basic("wrong") == 401


async def test_a_client_authenticates_by_the_method_it_registered_and_no_other() -> None:
    login = at()
    await login.register(token_endpoint_auth_method="client_secret_post")
    secret = login.client["client_secret"]
    assert (await login.exchange(await login.code(), client_secret=secret)).status_code == 200
    assert (await login.exchange(await login.code())).status_code == 401
    assert (await login.exchange(await login.code(), client_secret="wrong")).status_code == 401
    pair = base64.b64encode(f"{login.client['client_id']}:{quote_plus(secret)}".encode()).decode()
    refused = await login.token({"grant_type": "refresh_token"}, headers={"Authorization": f"Basic {pair}"})
    assert refused.json()["error"] == "invalid_client"


async def test_two_authentication_methods_at_once_are_refused() -> None:
    """RFC 6749 section 2.3: the client MUST NOT use more than one authentication method in each request."""
    login = at()
    await login.register(token_endpoint_auth_method="client_secret_post")
    form = {"grant_type": "refresh_token", "client_secret": login.client["client_secret"]}
    response = await login.token(form, headers={"Authorization": "Basic YTpi"})
    assert response.json()["error"] == "invalid_request"


async def test_a_client_secret_expires() -> None:
    login = at(client_secret_lifetime=10)
    await login.register(token_endpoint_auth_method="client_secret_post")
    assert login.client["client_secret_expires_at"] == 1_800_000_010
    advance(login, 10)
    response = await login.exchange(await login.code(), client_secret=login.client["client_secret"])
    assert response.json()["error"] == "invalid_client"


async def test_a_refresh_rotates_and_keeps_the_old_access_token() -> None:
    login = at()
    first = await login.tokens()
    second = (await login.refresh(first["refresh_token"])).json()
    assert second["refresh_token"] != first["refresh_token"]
    assert await works(login, first)
    assert await works(login, second)


async def test_a_rotated_refresh_token_that_comes_back_kills_the_family() -> None:
    login = at()
    first = await login.tokens()
    second = (await login.refresh(first["refresh_token"])).json()
    assert (await login.refresh(first["refresh_token"])).json()["error"] == "invalid_grant"
    assert login.server.reuse_detections == 1
    assert (await login.refresh(second["refresh_token"])).json()["error"] == "invalid_grant"
    assert not await works(login, second)


async def test_another_login_of_the_same_client_survives_a_detection() -> None:
    login = at()
    first, other = await login.tokens(), await login.tokens()
    await login.refresh(first["refresh_token"])
    await login.refresh(first["refresh_token"])
    assert await works(login, other)
    assert (await login.refresh(other["refresh_token"])).status_code == 200


async def test_reuse_within_the_grace_period_is_no_reuse() -> None:
    login = at(rotation_grace=30)
    first = await login.tokens()
    await login.refresh(first["refresh_token"])
    advance(login, 29)
    assert (await login.refresh(first["refresh_token"])).status_code == 200
    advance(login, 1)
    assert (await login.refresh(first["refresh_token"])).status_code == 400
    assert login.server.reuse_detections == 1


async def test_reuse_without_detection_is_refused_and_harms_nobody() -> None:
    login = at(reuse_detection=False)
    first = await login.tokens()
    second = (await login.refresh(first["refresh_token"])).json()
    assert (await login.refresh(first["refresh_token"])).status_code == 400
    assert login.server.reuse_detections == 0
    assert await works(login, second)


async def test_without_rotation_the_answer_holds_no_refresh_token() -> None:
    login = at(rotation=False)
    first = await login.tokens()
    assert "refresh_token" not in (await login.refresh(first["refresh_token"])).json()
    assert (await login.refresh(first["refresh_token"])).status_code == 200


async def test_a_refresh_can_kill_the_access_tokens_of_before() -> None:
    login = at(refresh_revokes_access_tokens=True)
    first = await login.tokens()
    second = (await login.refresh(first["refresh_token"])).json()
    assert not await works(login, first)
    assert await works(login, second)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"resource": "https://other.example"}, "invalid_target"),
        ({"resource": None}, "invalid_target"),
        ({"scope": "mcp secret:read"}, "invalid_scope"),
        ({"refresh_token": "made up"}, "invalid_grant"),
        ({"refresh_token": None}, "invalid_request"),
    ],
)
async def test_a_mistake_in_a_refresh_is_refused_and_the_token_lives(changes: dict[str, Any], error: str) -> None:
    login = at()
    members = await login.tokens()
    assert (await login.refresh(members["refresh_token"], **changes)).json()["error"] == error
    assert (await login.refresh(members["refresh_token"])).status_code == 200


async def test_a_refresh_may_narrow_the_scope() -> None:
    login = at()
    members = await login.tokens(scope="mcp secret:read")
    narrowed = (await login.refresh(members["refresh_token"], scope="mcp")).json()
    assert narrowed["scope"] == "mcp"
    again = (await login.refresh(narrowed["refresh_token"])).json()
    assert again["scope"] == "mcp secret:read"


async def test_a_refresh_token_is_only_for_its_client() -> None:
    login = at()
    members = await login.tokens()
    await login.register()
    assert (await login.refresh(members["refresh_token"])).json()["error"] == "invalid_grant"


async def test_lifetimes_follow_the_clock() -> None:
    login = at(access_token_lifetime=10, refresh_token_lifetime=100)
    members = await login.tokens()
    advance(login, 10)
    assert not await works(login, members)
    members = (await login.refresh(members["refresh_token"])).json()
    assert await works(login, members)
    advance(login, 100)
    assert (await login.refresh(members["refresh_token"])).json()["error"] == "invalid_grant"


async def test_who_did_not_register_for_refresh_tokens_gets_none() -> None:
    """RFC 7591 section 2: grant_types, if omitted, defaults to the authorization code grant only."""
    login = at()
    await login.register(grant_types=None)
    members = await login.tokens()
    assert "refresh_token" not in members
    assert (await login.refresh("any")).json()["error"] == "unauthorized_client"


async def test_refresh_tokens_can_depend_on_offline_access_with_consent() -> None:
    """OpenID Connect Core section 11: offline_access is ignored unless the prompt parameter contains consent."""
    login = at(refresh_tokens="offline_access")
    assert "refresh_token" not in await login.tokens()
    assert "refresh_token" not in await login.tokens(scope="mcp offline_access")
    assert "refresh_token" in await login.tokens(scope="mcp offline_access", prompt="consent")
    metadata = (await login.http.get("http://127.0.0.1:8000/.well-known/oauth-authorization-server")).json()
    assert "offline_access" in metadata["scopes_supported"]


async def test_refresh_tokens_can_be_withheld() -> None:
    assert "refresh_token" not in await at(refresh_tokens="never").tokens()


@pytest.mark.parametrize(("style", "value"), [("string", "3600"), ("null", None), ("number", 3600)])
async def test_expires_in_has_several_spellings(style: Any, value: object) -> None:
    assert (await at(expires_in=style).tokens())["expires_in"] == value


async def test_expires_in_can_be_left_out() -> None:
    assert "expires_in" not in await at(expires_in="omit").tokens()


async def test_answers_can_be_form_encoded_unless_json_is_asked_for() -> None:
    login = at(token_answer="form_unless_asked", scope_separator=",")
    response = await login.exchange(await login.code(scope="mcp secret:read"))
    assert response.headers["content-type"].startswith("application/x-www-form-urlencoded")
    members = {name: values[0] for name, values in parse_qs(response.text).items()}
    assert members["scope"] == "mcp,secret:read"
    form = {"grant_type": "refresh_token", "refresh_token": members["refresh_token"]}
    assert (await login.token(form, headers={"Accept": "application/json"})).json()["access_token"]


async def test_answers_can_be_form_encoded_whatever_is_asked_for() -> None:
    login = at(token_answer="form")
    await login.register()
    response = await login.token({"grant_type": "refresh_token"}, headers={"Accept": "application/json"})
    assert parse_qs(response.text)["error"] == ["invalid_request"]


async def test_errors_can_come_as_200() -> None:
    login = at(token_errors="as_200")
    response = await login.exchange(await login.code(), code_verifier="x" * 43)
    assert (response.status_code, response.json()["error"]) == (200, "invalid_grant")
    login.server.reconfigure(token_errors="ok_false")
    response = await login.exchange("made up")
    assert (response.status_code, response.json()["ok"]) == (200, False)


async def test_success_can_come_as_201_with_null_for_what_is_not_there() -> None:
    login = at(token_status=201, null_fields=True, rotation=False, expires_in="omit", scope_in_answer="never")
    first = await login.exchange(await login.code())
    assert first.status_code == 201
    second = (await login.refresh(first.json()["refresh_token"])).json()
    assert (second["refresh_token"], second["scope"], second["expires_in"]) == (None, None, None)


async def test_scope_can_be_left_out_where_it_is_what_was_asked_for() -> None:
    login = at(scope_in_answer="unless_equal")
    assert "scope" not in await login.tokens(scope="mcp secret:read")
    login.server.reconfigure(granted_scopes=("mcp",))
    assert (await login.tokens(scope="mcp secret:read"))["scope"] == "mcp"


async def test_a_dead_refresh_token_can_have_a_dialect() -> None:
    login = at(
        dead_refresh_token_error="invalid_request",
        dead_refresh_token_description="The refresh token was revoked.",
    )
    members = await login.tokens()
    login.server.revoke_refresh_tokens()
    answer = (await login.refresh(members["refresh_token"])).json()
    assert answer == {"error": "invalid_request", "error_description": "The refresh token was revoked."}


async def test_invalid_grant_can_come_as_401() -> None:
    login = at(invalid_grant_status=401)
    await login.register()
    assert (await login.refresh("made up")).status_code == 401


async def test_access_tokens_can_be_long() -> None:
    assert len((await at(access_token_length=3000).tokens())["access_token"]) >= 3000


async def test_a_server_that_refuses_resource_does_so_at_every_endpoint() -> None:
    """Field notes: Microsoft Entra ID, AADSTS9010010."""
    login = at(resource_parameter="refused")
    response = await login.exchange(await login.code(resource=None))
    assert response.json()["error"] == "invalid_target"
    response = await login.exchange(await login.code(resource=None), resource=None)
    members = response.json()
    assert await works(login, members)
    assert (await login.refresh(members["refresh_token"])).json()["error"] == "invalid_target"
    assert (await login.refresh(members["refresh_token"], resource=None)).status_code == 200


@pytest.mark.parametrize("header", ["Basic", "Basic !", "Basic YWJj", "Basic /w==", "Bearer YTpi"])
async def test_a_header_that_is_not_that_of_basic_authentication_is_refused(header: str) -> None:
    login = at()
    await login.register()
    response = await login.token({"grant_type": "refresh_token"}, headers={"Authorization": header})
    assert (response.status_code, response.json()["error"]) == (401, "invalid_client")


async def test_header_and_body_may_not_name_two_clients() -> None:
    login = at()
    await login.register()
    response = await login.token({"grant_type": "refresh_token"}, headers={"Authorization": "Basic YTpi"})
    assert (response.status_code, response.json()["error"]) == (400, "invalid_request")
