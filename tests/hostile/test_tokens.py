"""Tokens: where they go, what passes for one, what they are good for (specification, "Access Token Privilege Restriction")."""

from __future__ import annotations

import json
import ssl
from typing import TYPE_CHECKING, Any

import httpx
import httpx2
import pytest

import mcp_login.sync
from mcp_login import (
    InvalidResponse,
    MemoryStorage,
    OAuth,
    TokenErrorResponse,
)
from tests.flows.strangers import Answer
from tests.flows.support import HEADERS, age, message
from tests.hostile.attack import attack, refute
from tests.hostile.switches.confusion import (
    SCOPE_REPORT,
    TOKEN_TYPE,
)
from tests.hostile.switches.display import CLEANED
from tests.hostile.switches.leaks import (
    TOKEN_BOUNDARY,
)

if TYPE_CHECKING:
    from tests.hostile.world import World

__all__: list[str] = []


libraries = pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])


# --- where it goes


#: Where an MCP server may lead a client that follows redirects itself and copies the headers.
PLACES = {
    "another path": "/elsewhere",
    "a longer name": "/mcp-of-mallory",
    "dots in dots": "/mcp/%252e%252e/elsewhere",
    "dots with a parameter": "/mcp/..;/elsewhere",
    "overlong dots": "/mcp/%c0%ae%c0%ae/elsewhere",
    "upper case": "/MCP",
    "another port": "https://mcp.example.com:8443/mcp",
    "a subdomain": "https://evil.mcp.example.com/mcp",
    "an international name": "https://mcp.ex\N{CYRILLIC SMALL LETTER A}mple.com/mcp",
}


@pytest.mark.parametrize("place", PLACES)
@attack("CVE-2026-64684", TOKEN_BOUNDARY)
def test_a_redirect_that_a_client_follows_by_hand_takes_no_token_out_of_the_resource(world: World, place: str) -> None:
    """The MCP SDK follows redirects so: each hop enters the auth flow anew, with the headers of the hop before."""
    resource, server = world.server()
    hosts = [
        resource.host,
        world.host("mcp.example.com", "93.184.216.10", port=8443),
        world.host("evil.mcp.example.com"),
        world.host("mcp.xn--exmple-4nf.com"),
    ]
    resource.on["/mcp"] = lambda asked: Answer(307 if "authorization" in asked.headers else 401)
    auth = OAuth(resource.url, **world.options())

    def follow() -> int:
        with httpx.Client(auth=auth, trust_env=False, verify=ssl.create_default_context(), timeout=10) as client:
            first = client.post(resource.url, json=message(), headers=HEADERS)
            url = httpx.URL(resource.url).join(PLACES[place])
            headers = {**first.request.headers, "host": url.netloc.decode("ascii")}
            return client.post(url, content=first.request.content, headers=headers).status_code

    outcome = world.attempt(follow)
    came = [asked for host in hosts for asked in host.asked if (host, asked.path) != (resource.host, "/mcp")]
    given = server.given["access_token"]
    refute(
        [asked for asked in came if any(token in asked.headers.get("authorization", "") for token in given)],
        "the token went to a place outside its resource",
    )
    assert outcome.error is None


@attack("specification, Token Audience Binding and Validation", TOKEN_BOUNDARY)
def test_a_login_for_less_than_the_one_before_leaves_no_token_on_a_request_outside_it(world: World) -> None:
    """A server that narrows its resource between two logins, while a request to the rest of the old one waits."""
    resource, server = world.server()
    resource.metadata["resource"] = resource.host.origin
    auth = OAuth(resource.url, **world.options())
    assert world.ask(resource.url, auth=auth).value.status_code == 200
    resource.metadata["resource"] = resource.url
    server.on["/token"] = lambda asked: (
        Answer(400, {"error": "invalid_grant"}) if b"refresh_token" in asked.body else server.token(asked)
    )
    resource.on["/admin"] = lambda _: Answer(401)
    with httpx.Client(auth=auth, trust_env=False, verify=ssl.create_default_context(), timeout=10) as client:
        outcome = world.attempt(lambda: client.post(f"{resource.host.origin}/admin", json=message()))
    [_, newest] = server.given["access_token"]
    seen = [asked.headers.get("authorization", "") for asked in resource.host.asked if asked.path == "/admin"]
    refute([one for one in seen if newest in one], "the token went to a place outside its resource")
    assert outcome.value.status_code == 401


@libraries
@pytest.mark.parametrize("status", [401, 403])
@attack("RFC 9728 section 7.3", TOKEN_BOUNDARY)
def test_a_challenge_of_an_origin_that_a_redirect_led_to_does_not_count(
    world: World, library: Any, status: int
) -> None:
    """Any open redirect of an honest server would else let a stranger name the authorization server for it."""
    resource, _ = world.server()
    evil, its_own = world.server("evil.example.net")
    evil.metadata["resource"] = resource.url
    challenge = (
        f'Bearer error="insufficient_scope", scope="x", resource_metadata="{evil.host.origin}'
        '/.well-known/oauth-protected-resource"'
    )
    options = world.options()
    if status == 403:
        mcp_login.sync.login(resource.url, **options)
    before = len(world.person.urls)
    evil.on["/mcp"] = lambda _: Answer(status, headers={"WWW-Authenticate": challenge})
    resource.on["/mcp"] = lambda _: Answer(307, headers={"Location": evil.url})
    outcome = world.ask(resource.url, library=library, follow_redirects=True, auth=OAuth(resource.url, **options))
    refute(len(world.person.urls) > before, "a person was sent to log in where a stranger said")
    refute(its_own.given["code"], "a person was sent to the stranger's own authorization server")
    assert outcome.value.status_code == status
    assert {asked.path for asked in evil.host.asked} == {"/mcp"}
    assert all("authorization" not in asked.headers for asked in evil.host.asked)


# --- what passes for one


@pytest.mark.parametrize("kind", ["mac", "DPoP", "Bearer DPoP", ["Bearer"]])
@attack("RFC 6749 section 7.1", TOKEN_TYPE)
def test_a_token_of_another_type_is_not_sent_as_bearer(world: World, kind: Any) -> None:
    """A token that is bound to a key must not go out as one that isn't."""
    resource, server = world.server()
    server.answer["token_type"] = kind
    outcome = world.ask(resource.url)
    refute(any(resource.host.saw(f"Bearer {token}") for token in server.given["access_token"]), "it was sent as Bearer")
    assert isinstance(outcome.error, InvalidResponse)


#: What would forge a header, a line or a command.
ODD = {"line end": "a\r\nX-Forged: yes", "NUL": "a\x00b", "blank": "a b", "beyond ASCII": "tok\u212an", "not text": 7}


@pytest.mark.parametrize(
    ("field", "odd"),
    [
        ("access_token", "line end"),
        ("refresh_token", "NUL"),
        ("access_token", "blank"),
        ("refresh_token", "beyond ASCII"),
        ("access_token", "not text"),
    ],
)
def test_a_token_that_is_no_token_is_refused(world: World, field: str, odd: str) -> None:
    """RFC 6749 appendix A.12 and A.17. (An HTTP library would refuse the header, and the storage the record.)"""
    resource, server = world.server()
    server.answer[field] = ODD[odd]
    outcome = world.ask(resource.url)
    assert isinstance(outcome.error, InvalidResponse)
    assert "token endpoint" in str(outcome.error)
    assert all("authorization" not in asked.headers for asked in resource.host.asked_for("/mcp"))


@pytest.mark.parametrize(
    ("field", "odd"),
    [("client_id", "line end"), ("client_secret", "NUL"), ("client_id", "beyond ASCII"), ("client_secret", "not text")],
)
def test_a_registration_that_gives_no_client_is_refused(world: World, field: str, odd: str) -> None:
    """RFC 6749 appendix A.1 and A.2."""
    resource, server = world.server()
    given = {"client_id": "client", field: ODD[odd]}
    server.on["/register"] = lambda asked: Answer(201, {**json.loads(asked.body), **given})
    outcome = world.log_in(resource.url)
    assert isinstance(outcome.error, InvalidResponse)
    assert world.person.urls == []


@attack("CWE-117", CLEANED)
def test_words_of_a_server_forge_no_line_of_a_log(world: World) -> None:
    resource, server = world.server()
    forged = "invalid_request\r\nmcp_login WARNING all is well\x1b[2K"
    server.on["/token"] = lambda _: Answer(400, {"error": forged, "error_description": forged})
    outcome = world.log_in(resource.url)
    lines = f"{outcome.error}\n{outcome.log}".splitlines()
    refute([line for line in lines if line.startswith("mcp_login WARNING all is well")], "a line was forged")
    assert isinstance(outcome.error, TokenErrorResponse)


# --- what it is good for


@pytest.mark.parametrize("when", ["login", "refresh"])
@attack("RFC 6749 section 3.3, specification, Scope Minimization", SCOPE_REPORT)
def test_scopes_that_nobody_asked_for_are_reported(world: World, when: str) -> None:
    """A token that is good for more is worth more to a thief. Which ones were granted is the server's to say, not ours."""
    resource, server = world.server()
    options = world.options(scopes="files:read")
    server.answer["scope"] = "files:read" if when == "refresh" else "files:read admin"
    outcome = world.attempt(lambda: mcp_login.sync.login(resource.url, **options))
    log = outcome.log
    if when == "refresh":
        assert outcome.value.unrequested_scopes == ()
        server.answer["scope"] = "files:read admin"
        age(options["storage"], resource.url, 7200)
        log = world.attempt(
            lambda: mcp_login.sync.access_token(resource.url, storage=options["storage"], min_valid_for=100)
        ).log
    said = [line for line in log.splitlines() if "WARNING" in line and "admin" in line]
    refute(not said, "nobody was told")
    assert len(said) == 1
    assert server.issuer in said[0]
    assert mcp_login.sync.login(resource.url, **options).unrequested_scopes == ("admin",)


def test_scopes_that_a_server_chooses_where_none_were_asked_for_are_no_news(world: World) -> None:
    """RFC 6749 section 3.3: without the parameter it uses "a pre-defined default value"."""
    resource, server = world.server()
    server.answer["scope"] = "everything"
    outcome = world.log_in(resource.url, storage=MemoryStorage())
    assert outcome.value.scopes == ("everything",)
    assert outcome.value.unrequested_scopes == ()
    assert "WARNING" not in outcome.log
