"""Authorization server metadata: RFC 8414; MCP specification 2026-07-28, Discovery and Security Considerations."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_login.errors import InvalidResponse, IssuerMismatch, PolicyError
from mcp_login.protocol.authorization_server import (
    AuthorizationServerMetadata,
    authorization_server_metadata_urls,
    default_authorization_server_metadata,
    parse_authorization_server_metadata,
    require_pkce,
)
from mcp_login.protocol.message import HttpResponse

ISSUER = "https://server.example.com"
URL = ISSUER + "/.well-known/oauth-authorization-server"

# RFC 8414 section 3.2
EXAMPLE = {
    "issuer": "https://server.example.com",
    "authorization_endpoint": "https://server.example.com/authorize",
    "token_endpoint": "https://server.example.com/token",
    "token_endpoint_auth_methods_supported": ["client_secret_basic", "private_key_jwt"],
    "token_endpoint_auth_signing_alg_values_supported": ["RS256", "ES256"],
    "userinfo_endpoint": "https://server.example.com/userinfo",
    "jwks_uri": "https://server.example.com/jwks.json",
    "registration_endpoint": "https://server.example.com/register",
    "scopes_supported": ["openid", "profile", "email", "address", "phone", "offline_access"],
    "response_types_supported": ["code", "code token"],
    "service_documentation": "http://server.example.com/service_documentation.html",
    "ui_locales_supported": ["en-US", "en-GB", "en-CA", "fr-FR", "fr-CA"],
}


def parse(document: Any, issuer: str = ISSUER, **options: bool) -> AuthorizationServerMetadata:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return parse_authorization_server_metadata(HttpResponse(200, URL, body=body), issuer=issuer, **options)


# Where it lies


def test_an_issuer_with_a_path_has_three_candidates() -> None:
    """Specification, "Authorization Server Metadata Discovery": "For issuer URLs with path components [...] clients
    MUST try endpoints in the following priority order".
    """
    assert authorization_server_metadata_urls("https://auth.example.com/tenant1") == (
        "https://auth.example.com/.well-known/oauth-authorization-server/tenant1",
        "https://auth.example.com/.well-known/openid-configuration/tenant1",
        "https://auth.example.com/tenant1/.well-known/openid-configuration",
    )


def test_an_issuer_without_a_path_has_two_candidates() -> None:
    """Specification, "Authorization Server Metadata Discovery": "For issuer URLs without path components [...] clients
    MUST try".
    """
    assert authorization_server_metadata_urls("https://auth.example.com") == (
        "https://auth.example.com/.well-known/oauth-authorization-server",
        "https://auth.example.com/.well-known/openid-configuration",
    )


def test_the_examples_of_rfc_8414_section_3_1() -> None:
    """RFC 8414 section 3.1: the requests for https://example.com and https://example.com/issuer1."""
    assert authorization_server_metadata_urls("https://example.com")[0] == (
        "https://example.com/.well-known/oauth-authorization-server"
    )
    assert authorization_server_metadata_urls("https://example.com/issuer1")[0] == (
        "https://example.com/.well-known/oauth-authorization-server/issuer1"
    )


def test_a_terminating_slash_is_left_out_of_the_urls() -> None:
    """RFC 8414 section 3.1: "any terminating "/" MUST be removed before inserting"; OpenID Connect Discovery section
    4.1.
    """
    for issuer in ("https://h.example/", "https://h.example/a/b/"):
        assert authorization_server_metadata_urls(issuer) == authorization_server_metadata_urls(issuer[:-1])


def test_the_path_of_an_issuer_stays_verbatim() -> None:
    assert authorization_server_metadata_urls("https://Login.example:8443/{tenantid}/V2.0/%7ex")[0] == (
        "https://login.example:8443/.well-known/oauth-authorization-server/{tenantid}/V2.0/%7ex"
    )


@pytest.mark.parametrize(
    "issuer",
    [
        "",
        "auth.example.com",
        "https://h.example?x=1",
        "https://h.example/#x",
        "https://u:p@h.example",
        "javascript:x",
        "https://h.example/a b",
    ],
)
def test_what_can_not_be_an_issuer_is_refused(issuer: str) -> None:
    """RFC 8414 section 2: issuer is "a URL that uses the "https" scheme and has no query or fragment components"."""
    with pytest.raises(PolicyError):
        authorization_server_metadata_urls(issuer)


# Whose it is


def test_the_example_of_rfc_8414_is_read() -> None:
    """RFC 8414 section 3.2."""
    metadata = parse(EXAMPLE)
    assert metadata.issuer == "https://server.example.com"
    assert metadata.authorization_endpoint == "https://server.example.com/authorize"
    assert metadata.token_endpoint == "https://server.example.com/token"
    assert metadata.registration_endpoint == "https://server.example.com/register"
    assert metadata.token_endpoint_auth_methods_supported == ("client_secret_basic", "private_key_jwt")
    assert metadata.scopes_supported == ("openid", "profile", "email", "address", "phone", "offline_access")
    assert metadata.code_challenge_methods_supported is None
    assert metadata.grant_types_supported is None
    assert metadata.client_id_metadata_document_supported is False
    assert metadata.authorization_response_iss_parameter_supported is False
    assert metadata.model_extra is not None
    assert metadata.model_extra["userinfo_endpoint"] == "https://server.example.com/userinfo"


def test_the_specifications_example_of_a_forged_issuer_is_rejected() -> None:
    """Specification, "Authorization Server Metadata Discovery": "a document fetched from
    https://attacker.example/.well-known/oauth-authorization-server that contains "issuer": "https://honest.example"
    MUST be rejected".
    """
    response = HttpResponse(
        200,
        "https://attacker.example/.well-known/oauth-authorization-server",
        body=json.dumps(EXAMPLE | {"issuer": "https://honest.example"}).encode(),
    )
    with pytest.raises(IssuerMismatch) as raised:
        parse_authorization_server_metadata(response, issuer="https://attacker.example")
    assert (raised.value.expected, raised.value.received) == ("https://attacker.example", "https://honest.example")


@pytest.mark.parametrize(
    "issuer",
    [
        "https://server.example.com/",
        "https://SERVER.example.com",
        "HTTPS://server.example.com",
        "https://server.example.com:443",
        "https://server%2Eexample.com",
        "https://server.example.com/.",
        " https://server.example.com",
        "https://server.example.com\u200b",
        "",
    ],
)
def test_issuers_are_compared_code_point_for_code_point(issuer: str) -> None:
    """RFC 8414 section 3.3: the issuer "MUST be identical"; RFC 8414 section 4, string operations."""
    with pytest.raises(IssuerMismatch):
        parse(EXAMPLE | {"issuer": issuer})
    with pytest.raises(IssuerMismatch):
        parse(EXAMPLE, issuer=issuer)


def test_an_issuer_with_a_trailing_slash_is_kept_verbatim() -> None:
    issuer = ISSUER + "/"
    assert parse(EXAMPLE | {"issuer": issuer}, issuer=issuer).issuer == issuer


def test_one_trailing_slash_is_tolerated_where_the_caller_says_so() -> None:
    """A named option. The document's spelling is what a later `iss` will be compared with."""
    assert parse(EXAMPLE | {"issuer": ISSUER + "/"}, tolerate_trailing_slash=True).issuer == ISSUER + "/"
    assert parse(EXAMPLE, issuer=ISSUER + "/", tolerate_trailing_slash=True).issuer == ISSUER
    with pytest.raises(IssuerMismatch):
        parse(EXAMPLE | {"issuer": ISSUER + "//"}, tolerate_trailing_slash=True)
    with pytest.raises(IssuerMismatch):
        parse(EXAMPLE | {"issuer": "https://evil.example"}, tolerate_trailing_slash=True)


@pytest.mark.parametrize("issuer", [None, 3, [ISSUER], {"issuer": ISSUER}])
def test_a_document_without_an_issuer_is_nobodys(issuer: object) -> None:
    """RFC 8414 section 2: issuer is REQUIRED."""
    with pytest.raises(IssuerMismatch) as raised:
        parse(EXAMPLE | {"issuer": issuer})
    assert raised.value.received is None


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"issuer": NaN}'])
def test_what_is_no_document_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidResponse):
        parse(body)


# What it promises

ENDPOINTS = [
    "authorization_endpoint",
    "token_endpoint",
    "registration_endpoint",
    "revocation_endpoint",
    "device_authorization_endpoint",
    "pushed_authorization_request_endpoint",
]


@pytest.mark.parametrize("name", ENDPOINTS)
@pytest.mark.parametrize(
    "url",
    [
        "http://server.example.com/x",
        "http://localhost/x",
        "javascript:alert(1)",
        "file:///x",
        "/x",
        "",
        "https://u@h.example/x",
        "https://h.example/x\n",
        "calculator:",
    ],
)
def test_endpoints_are_https(name: str, url: str) -> None:
    """Security considerations, "Communication Security", 1: "All authorization server endpoints MUST be served over
    HTTPS".
    """
    with pytest.raises(PolicyError, match=name):
        parse(EXAMPLE | {name: url})


def test_endpoints_may_be_plain_on_loopback_for_an_issuer_on_loopback() -> None:
    issuer = "http://localhost:9000"
    document = {"issuer": issuer, "token_endpoint": "http://127.0.0.1:9000/token"}
    assert parse(document, issuer=issuer).token_endpoint == "http://127.0.0.1:9000/token"
    with pytest.raises(PolicyError):
        parse(document | {"token_endpoint": "http://h.example/token"}, issuer=issuer)


def test_endpoints_may_be_plain_on_an_intranet_where_the_caller_says_so() -> None:
    issuer = "http://intranet"
    document = {"issuer": issuer, "token_endpoint": "http://intranet/token"}
    with pytest.raises(PolicyError):
        parse(document, issuer=issuer)
    assert parse(document, issuer=issuer, allow_http=True).token_endpoint == "http://intranet/token"


def test_the_issuer_is_checked_before_anything_else() -> None:
    with pytest.raises(IssuerMismatch):
        parse({"issuer": "https://evil.example", "token_endpoint": "http://evil.example"})


def test_null_and_optional_fields_of_a_wrong_type_are_absent() -> None:
    metadata = parse(
        EXAMPLE
        | {
            "registration_endpoint": None,
            "revocation_endpoint": ["https://server.example.com/revoke"],
            "scopes_supported": "openid profile",
            "grant_types_supported": ["authorization_code", None, 1, "refresh_token"],
            "client_id_metadata_document_supported": "perhaps",
            "authorization_response_iss_parameter_supported": None,
        }
    )
    assert metadata.registration_endpoint is None
    assert metadata.revocation_endpoint is None
    assert metadata.scopes_supported is None
    assert metadata.grant_types_supported == ("authorization_code", "refresh_token")
    assert metadata.client_id_metadata_document_supported is False
    assert metadata.authorization_response_iss_parameter_supported is False


def test_support_for_client_id_metadata_documents_is_read() -> None:
    """Client registration, "Advertising CIMD Support": clients "SHOULD check for this capability"."""
    assert parse(EXAMPLE | {"client_id_metadata_document_supported": True}).client_id_metadata_document_supported


def test_the_promise_of_an_iss_parameter_is_read() -> None:
    """RFC 9207 section 3."""
    promised = parse(EXAMPLE | {"authorization_response_iss_parameter_supported": True})
    assert promised.authorization_response_iss_parameter_supported


# PKCE


def test_s256_among_the_methods_is_enough() -> None:
    """Security considerations, "Authorization Code Protection": clients "MUST verify PKCE support before proceeding"."""
    require_pkce(parse(EXAMPLE | {"code_challenge_methods_supported": ["plain", "S256", None]}))


@pytest.mark.parametrize("methods", [None, "S256", {"S256": True}])
def test_a_server_that_does_not_mention_pkce_is_refused(methods: object) -> None:
    """Specification, "Authorization Code Protection": "If code_challenge_methods_supported is absent, [...] MCP
    clients MUST refuse to proceed"; the same for OpenID Connect Discovery.
    """
    with pytest.raises(InvalidResponse, match="code_challenge_methods_supported") as raised:
        require_pkce(parse(EXAMPLE | {"code_challenge_methods_supported": methods}))
    assert raised.value.url == ISSUER


@pytest.mark.parametrize("methods", [[], ["plain"], ["s256"], ["S512"]])
@pytest.mark.parametrize("trusted", [False, True])
def test_a_server_that_lists_other_methods_alone_is_refused(methods: list[str], trusted: bool) -> None:
    """Specification, "Authorization Code Protection": clients "MUST use the S256 code challenge method"."""
    with pytest.raises(InvalidResponse, match="S256"):
        require_pkce(parse(EXAMPLE | {"code_challenge_methods_supported": methods}), trusted=trusted)


def test_silence_about_pkce_is_forgiven_where_the_caller_says_so() -> None:
    """A named option: some providers support PKCE and don't say so."""
    require_pkce(parse(EXAMPLE), trusted=True)


# No document at all


def test_a_server_without_metadata_has_the_endpoints_of_2025_03_26() -> None:
    """MCP specification 2025-03-26, Authorization, "Fallbacks for Servers without Metadata Discovery"."""
    metadata = default_authorization_server_metadata("https://api.example.com")
    assert metadata.issuer == "https://api.example.com"
    assert metadata.authorization_endpoint == "https://api.example.com/authorize"
    assert metadata.token_endpoint == "https://api.example.com/token"
    assert metadata.registration_endpoint == "https://api.example.com/register"
    require_pkce(metadata)


def test_the_default_endpoints_are_at_the_origin() -> None:
    """2025-03-26, "Authorization Base URL": "determined from the MCP server URL by discarding any existing path
    component".
    """
    metadata = default_authorization_server_metadata("https://api.example.com:8443/v1/mcp")
    assert metadata.token_endpoint == "https://api.example.com:8443/token"


def test_default_endpoints_are_https() -> None:
    with pytest.raises(PolicyError):
        default_authorization_server_metadata("http://api.example.com")
    assert default_authorization_server_metadata("http://127.0.0.1:1").token_endpoint == "http://127.0.0.1:1/token"
    assert default_authorization_server_metadata("http://intranet", allow_http=True).issuer == "http://intranet"


# Anything else

_json = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(st.characters(codec=None), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
_fields = st.sampled_from([*AuthorizationServerMetadata.model_fields, "x", "\ud800"])


@given(st.dictionaries(_fields, _json), st.booleans())
def test_any_document_is_read_or_refused(document: dict[str, object], right: bool) -> None:
    try:
        metadata = parse(document | ({"issuer": ISSUER} if right else {}))
    except (InvalidResponse, PolicyError):
        return
    assert metadata.issuer == ISSUER
    for name in ENDPOINTS:
        endpoint = getattr(metadata, name)
        assert endpoint is None or endpoint.lower().startswith("https://")


@given(st.text() | st.text("htps:/@.%?#[]a1").map(lambda rest: "https://" + rest))
def test_any_issuer_has_candidates_on_its_own_origin_or_is_refused(issuer: str) -> None:
    try:
        urls = authorization_server_metadata_urls(issuer)
    except PolicyError:
        return
    assert len(urls) in (2, 3)
    assert all(url.lower().startswith(urls[0].partition("/.well-known/")[0].lower() + "/") for url in urls)
