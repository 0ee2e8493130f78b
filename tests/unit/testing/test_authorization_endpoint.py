"""The embedded authorization server's authorization endpoint.

Specification, "Open Redirection": "Authorization servers MUST validate exact redirect URIs against pre-registered values to
prevent redirection attacks." RFC 6749 section 4.1.2.1: where the redirect URI or the client is wrong, the server "MUST NOT
automatically redirect the user-agent to the invalid redirection URI".
"""

from __future__ import annotations

from typing import Any

import pytest

from mcp_login.testing import EmbeddedServer, Fault
from tests.unit.testing.flow import REDIRECT_URI, Login, answer_of

pytestmark = pytest.mark.anyio


async def registered(**settings: Any) -> Login:
    login = Login(EmbeddedServer(**settings))
    assert (await login.register()).status_code == 201
    return login


async def test_a_person_sees_a_page_that_names_client_resource_scopes_and_where_it_leads() -> None:
    """Client registration, "Localhost Redirect URI Risks": MUST clearly display the redirect URI hostname."""
    login = await registered()
    page = await login.authorize()
    assert page.status_code == 200
    for shown in ("Test client", login.server.resource, "<code>mcp</code>", "<code>127.0.0.1:49200</code>"):
        assert shown in page.text


async def test_what_strangers_say_is_escaped_on_the_page() -> None:
    login = Login(EmbeddedServer(server_scopes_supported=None))
    await login.register(client_name="<script>alert(1)</script>")
    page = await login.authorize(scope="<b>")
    assert "<script>" not in page.text
    assert "<b>" not in page.text
    assert "&lt;script&gt;" in page.text


async def test_the_page_runs_nothing_is_kept_nowhere_and_can_not_be_framed() -> None:
    page = await (await registered()).authorize()
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "form-action 'self' http://127.0.0.1:49200;" in policy
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["referrer-policy"] == "no-referrer"


async def test_approval_leads_back_with_code_state_and_issuer() -> None:
    """RFC 9207 section 2: "the authorization server ... MUST indicate its identity by including the iss parameter"."""
    login = await registered()
    response = await login.decide(await login.authorize(state="x&y=z #?"))
    assert response.status_code == 303
    answer = answer_of(response)
    assert answer["state"] == "x&y=z #?"
    assert answer["iss"] == login.server.issuer
    assert answer["code"] in login.server.secrets()
    assert [a.decision for a in login.server.authorizations] == ["approved"]


async def test_a_denial_leads_back_with_access_denied() -> None:
    login = await registered()
    answer = answer_of(await login.decide(await login.authorize(), "deny"))
    assert answer["error"] == "access_denied"
    assert answer["state"] == "a state"
    assert answer["iss"] == login.server.issuer
    assert "code" not in answer
    assert [a.decision for a in login.server.authorizations] == ["denied"]


async def test_a_question_is_answered_once() -> None:
    login = await registered()
    page = await login.authorize()
    await login.decide(page)
    assert (await login.decide(page)).status_code == 400


async def test_auto_approval_redirects_at_once() -> None:
    login = await registered(auto_approve=True)
    response = await login.authorize()
    assert response.status_code == 302
    assert "code" in answer_of(response)


@pytest.mark.parametrize(
    "changes",
    [
        {"client_id": "somebody"},
        {"client_id": None},
        {"redirect_uri": None},
        {"redirect_uri": "http://127.0.0.1:49201/callback"},
        {"redirect_uri": "http://localhost:49200/callback"},
        {"redirect_uri": f"{REDIRECT_URI}/"},
        {"redirect_uri": f"{REDIRECT_URI}?a=b"},
        {"redirect_uri": "https://evil.example/callback"},
    ],
)
async def test_nobody_is_redirected_for_an_unknown_client_or_redirect_uri(changes: dict[str, str | None]) -> None:
    response = await (await registered(auto_approve=True)).authorize(**changes)
    assert response.status_code == 400
    assert "location" not in response.headers
    assert response.headers["content-type"].startswith("text/html")


async def test_nobody_is_redirected_for_a_redirect_uri_that_is_there_twice() -> None:
    login = await registered(auto_approve=True)
    response = await login.authorize(redirect_uri=[REDIRECT_URI, REDIRECT_URI])
    assert response.status_code == 400


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": None}, "unsupported_response_type"),
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge": "short"}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"scope": "mcp unknown"}, "invalid_scope"),
        ({"scope": "mcp  secret:read"}, "invalid_scope"),
        ({"resource": None}, "invalid_target"),
        ({"resource": "http://127.0.0.1:8000/other"}, "invalid_target"),
        ({"resource": "http://127.0.0.1:8000/mcp/"}, "invalid_target"),
        ({"resource": "HTTP://127.0.0.1:8000/mcp"}, "invalid_target"),
        ({"scope": ["mcp", "mcp"]}, "invalid_request"),
        ({"prompt": "none"}, "consent_required"),
    ],
)
async def test_other_mistakes_go_back_to_the_client(changes: dict[str, Any], error: str) -> None:
    answer = answer_of(await (await registered()).authorize(**changes))
    assert answer["error"] == error
    assert answer["state"] == "a state"
    assert answer["iss"] == "http://127.0.0.1:8000"


async def test_a_resource_may_be_left_out_where_it_is_optional_but_not_be_wrong() -> None:
    login = await registered(auto_approve=True, resource_parameter="optional")
    assert "code" in answer_of(await login.authorize(resource=None))
    assert answer_of(await login.authorize(resource="https://other.example"))["error"] == "invalid_target"


async def test_a_server_that_refuses_resource_says_so_as_entra_does() -> None:
    login = await registered(auto_approve=True, resource_parameter="refused")
    assert "AADSTS9010010" in answer_of(await login.authorize())["error_description"]
    assert "code" in answer_of(await login.authorize(resource=None))


async def test_state_is_passed_through_and_not_made_up() -> None:
    login = await registered(auto_approve=True)
    assert "state" not in answer_of(await login.authorize(state=None))


@pytest.mark.parametrize(
    ("rule", "sent", "advertised"),
    [
        ("on", "http://127.0.0.1:8000", True),
        ("unadvertised", "http://127.0.0.1:8000", None),
        ("withheld", None, True),
        ("wrong", "http://127.0.0.1:8000/another-issuer", True),
        ("off", None, None),
    ],
)
async def test_iss_follows_its_rule(rule: Any, sent: str | None, advertised: bool | None) -> None:
    login = await registered(auto_approve=True, iss=rule)
    assert answer_of(await login.authorize()).get("iss") == sent
    metadata = (await login.http.get("http://127.0.0.1:8000/.well-known/oauth-authorization-server")).json()
    assert metadata.get("authorization_response_iss_parameter_supported") is advertised


async def test_another_loopback_port_is_accepted_only_where_told_so() -> None:
    """RFC 8252 section 7.3: the authorization server MUST allow any port to be specified at the time of the request."""
    login = await registered(auto_approve=True, any_loopback_port=True)
    response = await login.authorize(redirect_uri="http://127.0.0.1:50000/callback")
    assert response.headers["location"].startswith("http://127.0.0.1:50000/callback?")
    for other in ("http://127.0.0.1:50000/other", "http://localhost:49200/callback", "http://a@127.0.0.1:1/callback"):
        assert (await login.authorize(redirect_uri=other)).status_code == 400


async def test_the_endpoints_own_query_has_to_survive() -> None:
    """RFC 6749 section 3.1: the query of the endpoint URI MUST be retained when adding additional query parameters."""
    login = await registered(auto_approve=True, authorization_endpoint_query="tenant=7")
    assert (await login.authorize()).status_code == 400
    assert (await login.authorize(tenant="7")).status_code == 302
    metadata = (await login.http.get("http://127.0.0.1:8000/.well-known/oauth-authorization-server")).json()
    assert metadata["authorization_endpoint"] == "http://127.0.0.1:8000/authorize?tenant=7"


async def test_an_error_can_be_made_to_come_back_by_redirect() -> None:
    login = await registered()
    login.server.faults.authorization_endpoint = Fault(error="temporarily_unavailable")
    assert answer_of(await login.authorize())["error"] == "temporarily_unavailable"
    assert (await login.authorize()).status_code == 200


async def test_forgotten_clients_get_an_error_page_only() -> None:
    login = await registered(auto_approve=True)
    login.server.forget_clients()
    response = await login.authorize()
    assert response.status_code == 400
    assert "location" not in response.headers


async def test_fewer_scopes_can_be_granted_than_were_asked_for() -> None:
    login = await registered(auto_approve=True, granted_scopes=("mcp",))
    members = await login.tokens(scope="mcp secret:read")
    assert members["scope"] == "mcp"
    (authorization,) = login.server.authorizations
    assert authorization.requested_scopes == ("mcp", "secret:read")
    assert authorization.granted_scopes == ("mcp",)
