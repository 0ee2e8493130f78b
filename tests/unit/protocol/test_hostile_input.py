"""What is read in a stranger's documents, where the stranger means harm.

RFC 3986 section 5.2.4 (dot segments), RFC 6749 sections 3.1, 3.3 and 5.1, RFC 8414 section 2.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_login.errors import PolicyError
from mcp_login.protocol.authorization import AuthorizationRequest, build_authorization_request
from mcp_login.protocol.authorization_server import AuthorizationServerMetadata, authorization_server_metadata_urls
from mcp_login.protocol.client import ClientInformation
from mcp_login.protocol.message import HttpResponse
from mcp_login.protocol.scope import MAX_CHARACTERS, MAX_SCOPES, format_scope, parse_scope, select_scopes
from mcp_login.protocol.token import MAX_EXPIRES_IN, parse_token_response
from mcp_login.protocol.uri import canonical_resource, is_within

__all__: list[str] = []

RESOURCE = "https://mcp.example.com/tenant/mcp"
ISSUER = "https://as.example.com"


# --- where a token may go


@pytest.mark.parametrize(
    "climb",
    [
        "..",
        "%2e%2e",
        ".%2E",
        "%252e%252e",
        "%25252e%25252e",
        "..;",
        "..;x=1",
        "%2e%2e%3bx",
        "..%2f",
        "..%5c",
        # Overlong encodings of a dot (RFC 3629 section 3): no UTF-8, but decoders exist that read them.
        "%c0%ae%c0%ae",
        "%C0%2E%C0%2E",
        "%e0%80%ae%e0%80%ae",
        "%c0%ae.",
        "%25c0%25ae%25c0%25ae",
        # Bytes that are no text at all.
        "%ff",
        "%fe%ff",
        "%80",
    ],
)
def test_a_path_that_some_server_takes_for_a_way_up_gets_no_token(climb: str) -> None:
    assert not is_within(f"{RESOURCE}/{climb}/admin", RESOURCE)
    assert not is_within(f"https://mcp.example.com/{climb}/admin", "https://mcp.example.com")


def test_bytes_that_are_no_text_are_not_taken_for_each_other() -> None:
    """A replacement character stands for any of them."""
    assert not is_within("https://mcp.example.com/%FE/x", "https://mcp.example.com/%FF")
    assert not is_within("https://mcp.example.com/a%C0%AFb", "https://mcp.example.com/a%EF%BF%BDb")


@pytest.mark.parametrize("path", ["%c3%a9", "%E2%82%AC", "a%20b", "100%25", "%7euser", "..a", "a..", "..."])
def test_an_honest_path_gets_its_token(path: str) -> None:
    assert is_within(f"{RESOURCE}/{path}", RESOURCE)


@given(
    st.lists(st.sampled_from(["%c0", "%ae", "%2e", ".", "/", "%2f", ";", "%25", "%ff", "a", "\\", "%5c"]), max_size=9)
)
def test_no_mixture_of_these_leaves_the_resource(parts: list[str]) -> None:
    path = "".join(parts)
    if is_within(f"{RESOURCE}/{path}", RESOURCE):
        assert ".." not in path.replace("%2e", ".").replace("%2f", "/").split("/")


@pytest.mark.parametrize("climb", ["..", "%2e%2e", "..;a", "%c0%ae%c0%ae", "%ff"])
def test_a_server_url_with_a_way_up_is_refused(climb: str) -> None:
    with pytest.raises(PolicyError):
        canonical_resource(f"https://mcp.example.com/{climb}/mcp")


# --- the issuer


@pytest.mark.parametrize(
    "path", ["/..", "/tenant/../other", "/./tenant", "/%2e%2e/x", "/a/.%2E/b", "/a%2f..%2fb", "/a%5c..%5cb", "/a/%2e"]
)
def test_an_issuer_with_dot_segments_is_refused(path: str) -> None:
    """Its documents would be fetched from somewhere else on the host: from a user's files, say."""
    with pytest.raises(PolicyError, match="dot segments"):
        authorization_server_metadata_urls(ISSUER + path)


def test_an_issuer_with_dots_in_its_name_is_none_of_those() -> None:
    assert authorization_server_metadata_urls(f"{ISSUER}/v2.0/..a")


# --- the authorization endpoint's own query


def request_to(endpoint: str, **changes: Any) -> AuthorizationRequest:
    metadata = AuthorizationServerMetadata(issuer=ISSUER, authorization_endpoint=endpoint)
    arguments: dict[str, Any] = {
        "redirect_uri": "http://127.0.0.1:1/callback",
        "state_bytes": bytes(32),
        "verifier_bytes": bytes(32),
        "resource": None,
        **changes,
    }
    return build_authorization_request(metadata, ClientInformation(ISSUER, "client", "dynamic"), **arguments)


@pytest.mark.parametrize(
    "name",
    [
        "request",
        "request_uri",
        "response_mode",
        "response_type",
        "client_id",
        "redirect_uri",
        "state",
        "%73tate",
        "code_challenge",
        "code_challenge_method",
        "scope",
        "resource",
    ],
)
def test_the_endpoints_query_can_not_say_what_the_request_says_or_leaves_out(name: str) -> None:
    """RFC 6749 section 3.1 has the query retained; what the request means is not the metadata's to decide."""
    query = urlsplit(request_to(f"{ISSUER}/authorize?tenant=1&{name}=theirs").url).query
    values = parse_qsl(query)
    assert ("tenant", "1") in values
    assert "theirs" not in dict(values).values()
    assert len(values) == len(dict(values))


# --- scopes


def test_no_more_scopes_than_an_honest_server_has_are_read() -> None:
    scopes = [f"scope-{number}" for number in range(60_000)]
    assert parse_scope(scopes) == tuple(scopes[:MAX_SCOPES])
    assert parse_scope(" ".join(scopes)) == tuple(scopes[:MAX_SCOPES])
    assert parse_scope(["x" * (MAX_CHARACTERS + 1), "mcp"]) == ()


@given(st.lists(st.text("abc:./", min_size=1, max_size=900), max_size=40))
def test_what_is_asked_for_has_a_limit_in_characters(scopes: list[str]) -> None:
    chosen = select_scopes(
        requested=(), challenged=scopes, previous=scopes, supported_by_resource=scopes, supported_by_server=scopes
    )
    assert len(chosen) <= MAX_SCOPES
    assert len(format_scope(chosen) or "") <= MAX_CHARACTERS


def test_the_scopes_that_the_caller_wants_are_not_crowded_out() -> None:
    """What comes last is left out: that is never what the caller asked for."""
    crowd = [f"scope-{number}" for number in range(1000)]
    chosen = select_scopes(
        requested=["mine"], challenged=crowd, previous=crowd, supported_by_resource=crowd, supported_by_server=crowd
    )
    assert chosen[0] == "mine"
    assert len(chosen) == MAX_SCOPES


# --- lifetimes


def lifetime(value: object) -> float | None:
    body = json.dumps({"access_token": "token", "token_type": "Bearer", "expires_in": value}).encode()
    return parse_token_response(HttpResponse(200, f"{ISSUER}/token", (), body)).expires_in


@pytest.mark.parametrize("value", [0, -1, -(10**30), 0.0, "0", "-5", None, True, [], {}, "soon", "1e9999", "nan", ""])
def test_a_lifetime_that_says_nothing_is_unknown(value: object) -> None:
    """A token that were born dead would be refreshed before each request, or the person asked again."""
    assert lifetime(value) is None


@pytest.mark.parametrize("value", [10**12, 10**400, "999999999999", 1e300])
def test_a_lifetime_beyond_all_measure_is_cut(value: object) -> None:
    assert lifetime(value) == MAX_EXPIRES_IN
