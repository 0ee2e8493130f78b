"""Protected resource metadata: RFC 9728 sections 2 and 3; MCP specification 2026-07-28, Authorization Server Discovery."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_login.errors import InvalidResponse, PolicyError
from mcp_login.protocol.message import HttpResponse
from mcp_login.protocol.resource import (
    ProtectedResourceMetadata,
    parse_protected_resource_metadata,
    protected_resource_metadata_urls,
)

SERVER = "https://mcp.example.com/public/mcp"
WELL_KNOWN = "https://mcp.example.com/.well-known/oauth-protected-resource"


def parse(document: Any, server_url: str = SERVER) -> ProtectedResourceMetadata:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return parse_protected_resource_metadata(HttpResponse(200, WELL_KNOWN, body=body), server_url=server_url)


def about(resource: str, server_url: str = SERVER) -> ProtectedResourceMetadata:
    return parse({"resource": resource, "authorization_servers": ["https://as.example.com"]}, server_url)


# Where it lies


def test_the_well_known_uris_are_asked_in_the_specifications_order() -> None:
    """Specification, "Protected Resource Metadata Discovery Requirements": at the path of the endpoint, then at the
    root; "otherwise, they MUST fall back to constructing and requesting the well-known URIs in the order listed
    above".
    """
    assert protected_resource_metadata_urls("https://example.com/public/mcp") == (
        "https://example.com/.well-known/oauth-protected-resource/public/mcp",
        "https://example.com/.well-known/oauth-protected-resource",
    )


def test_the_url_of_the_challenge_is_used_when_present() -> None:
    """Specification, "Protected Resource Metadata Discovery Requirements": clients "MUST [...] use the resource
    metadata URL from the parsed WWW-Authenticate headers when present".
    """
    url = "https://other.example/Metadata?x=1"
    assert protected_resource_metadata_urls(SERVER, url) == (url,)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/.well-known/oauth-protected-resource",
        "javascript:alert(1)",
        "file:///etc/passwd",
        "https://u@h.example/x",
        "https://h.example/a b",
    ],
)
def test_what_is_no_url_counts_as_missing_from_the_challenge(url: str) -> None:
    assert protected_resource_metadata_urls(SERVER, url) == protected_resource_metadata_urls(SERVER)


@pytest.mark.parametrize("server", ["https://resource.example.com", "https://resource.example.com/"])
def test_without_a_path_there_is_one_uri(server: str) -> None:
    """RFC 9728 section 3.1, first example."""
    assert protected_resource_metadata_urls(server) == (
        "https://resource.example.com/.well-known/oauth-protected-resource",
    )


def test_the_path_is_inserted_behind_the_well_known_part() -> None:
    """RFC 9728 section 3.1, second example."""
    assert protected_resource_metadata_urls("https://resource.example.com/resource1")[0] == (
        "https://resource.example.com/.well-known/oauth-protected-resource/resource1"
    )


def test_a_query_is_inserted_with_the_path() -> None:
    """RFC 9728 section 3.1: "between the host component and the path and/or query components"; "any terminating slash
    following the host component MUST be removed".
    """
    assert protected_resource_metadata_urls("https://h.example/mcp?t=1") == (
        "https://h.example/.well-known/oauth-protected-resource/mcp?t=1",
        "https://h.example/.well-known/oauth-protected-resource",
    )
    assert protected_resource_metadata_urls("https://h.example/?t=1")[0] == (
        "https://h.example/.well-known/oauth-protected-resource?t=1"
    )


def test_a_trailing_slash_is_tried_verbatim_and_without() -> None:
    assert protected_resource_metadata_urls("https://H.example:443/mcp/") == (
        "https://h.example/.well-known/oauth-protected-resource/mcp/",
        "https://h.example/.well-known/oauth-protected-resource/mcp",
        "https://h.example/.well-known/oauth-protected-resource",
    )


def test_what_is_no_server_url_is_refused() -> None:
    with pytest.raises(PolicyError):
        protected_resource_metadata_urls("mcp.example.com")


# What it says


def test_the_example_of_rfc_9728_is_read() -> None:
    """RFC 9728 section 3.2, with the resource of the request of section 3.1."""
    metadata = parse(
        {
            "resource": "https://resource.example.com",
            "authorization_servers": ["https://as1.example.com", "https://as2.example.net"],
            "bearer_methods_supported": ["header", "body"],
            "scopes_supported": ["profile", "email", "phone"],
            "resource_documentation": "https://resource.example.com/resource_documentation.html",
        },
        "https://resource.example.com",
    )
    assert metadata.resource == "https://resource.example.com"
    assert metadata.authorization_servers == ("https://as1.example.com", "https://as2.example.net")
    assert metadata.bearer_methods_supported == ("header", "body")
    assert metadata.scopes_supported == ("profile", "email", "phone")
    assert metadata.resource_documentation == "https://resource.example.com/resource_documentation.html"
    assert metadata.resource_name is None


@pytest.mark.parametrize(
    "resource",
    [
        SERVER,
        SERVER + "/",
        "https://mcp.example.com/public",
        "https://mcp.example.com/public/",
        "https://mcp.example.com",
        "https://mcp.example.com/",
        "HTTPS://MCP.example.com:443/public/mcp",
    ],
)
def test_the_resource_is_the_server_or_an_ancestor_and_stays_verbatim(resource: str) -> None:
    """RFC 9728 section 3.3; ancestors by path segments are our own choice."""
    assert about(resource).resource == resource


@pytest.mark.parametrize(
    "resource",
    [
        "https://evil.example/public/mcp",
        "https://mcp.example.com/public/mcp2",
        "https://mcp.example.com/public/mcp/deeper",
        "https://mcp.example.com/pub",
        "https://mcp.example.com/other",
        "https://mcp.example.com:8443/public/mcp",
        "http://mcp.example.com/public/mcp",
        "https://sub.mcp.example.com/public/mcp",
        "https://example.com/public/mcp",
        "https://mcp.example.com/public/mcp#fragment",
        "https://mcp.example.com/public/mcp#",
        "https://mcp.example.com/public/mcp?tenant=1",
        "https://mcp.example.com/public/..",
        "https://mcp.example.com@evil.example/public/mcp",
        "https://evil.example\\@mcp.example.com/public/mcp",
        "mcp.example.com",
        "urn:example:mcp",
        "*",
        "",
    ],
)
def test_another_resource_is_refused_and_both_are_named(resource: str) -> None:
    """RFC 9728 section 3.3: "If these values are not identical, the data contained in the response MUST NOT be used.";
    section 7.3, impersonation; MCP specification: clients "MUST identify the MCP server that the client intends to use
    the token with".
    """
    with pytest.raises(InvalidResponse) as raised:
        about(resource)
    assert SERVER in raised.value.reason
    assert resource.isprintable()
    assert repr(resource) in raised.value.reason


def test_a_resource_with_the_servers_own_query_is_accepted() -> None:
    assert about("https://h.example/mcp?t=1", "https://h.example/mcp?t=1").resource == "https://h.example/mcp?t=1"
    assert about("https://h.example/mcp", "https://h.example/mcp?t=1").resource == "https://h.example/mcp"
    with pytest.raises(InvalidResponse):
        about("https://h.example/mcp?t=2", "https://h.example/mcp?t=1")


def test_the_order_of_authorization_servers_is_kept_verbatim() -> None:
    """Specification, "Authorization Server Location": documents "can define multiple authorization servers"; which one
    is the client's choice.
    """
    servers = ["https://b.example/", "https://A.example", "https://b.example/x/"]
    assert parse({"resource": SERVER, "authorization_servers": servers}).authorization_servers == tuple(servers)


@pytest.mark.parametrize("servers", [None, [], "https://as.example", 3, {}])
def test_a_document_may_name_no_authorization_server(servers: object) -> None:
    """RFC 9728 section 2 makes the field optional. Discovery decides what that means."""
    assert parse({"resource": SERVER, "authorization_servers": servers}).authorization_servers == ()
    assert parse({"resource": SERVER}).authorization_servers == ()


def test_optional_fields_of_a_wrong_type_are_dropped() -> None:
    metadata = parse(
        {
            "resource": SERVER,
            "scopes_supported": "read write",
            "bearer_methods_supported": {"header": True},
            "resource_name": 7,
            "resource_documentation": None,
            "dpop_bound_access_tokens_required": ["yes"],
            "dpop_signing_alg_values_supported": ["ES256", None, 3],
        }
    )
    assert metadata.scopes_supported is None
    assert metadata.bearer_methods_supported is None
    assert metadata.resource_name is None
    assert metadata.dpop_bound_access_tokens_required is False
    assert metadata.dpop_signing_alg_values_supported == ("ES256",)


def test_undefined_and_empty_scopes_are_told_apart() -> None:
    assert parse({"resource": SERVER}).scopes_supported is None
    assert parse({"resource": SERVER, "scopes_supported": []}).scopes_supported == ()


def test_unknown_fields_are_kept_and_do_no_harm() -> None:
    """RFC 9728 section 3.2: "Other metadata parameters MAY also be used"."""
    metadata = parse(
        {"resource": SERVER, "x_vendor": [1], "model_config": "x", "__class__": "y", "resource_name#ja": "z"}
    )
    assert metadata.model_extra is not None
    assert metadata.model_extra["x_vendor"] == [1]


@pytest.mark.parametrize(
    "document", [{}, {"resource": None}, {"resource": 3}, {"resource": [SERVER]}, [], b"<html>", b""]
)
def test_a_document_without_a_resource_is_refused(document: object) -> None:
    """RFC 9728 section 2: resource is REQUIRED."""
    with pytest.raises(InvalidResponse):
        parse(document)


def test_a_document_can_not_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        about(SERVER).resource = "https://evil.example"  # type: ignore[misc]


_json = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(st.characters(codec=None), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
_fields = st.sampled_from([*ProtectedResourceMetadata.model_fields, "x", "\ud800", "model_fields"])


@given(st.dictionaries(_fields, _json), st.booleans())
def test_any_document_is_read_or_refused(document: dict[str, object], right: bool) -> None:
    body = json.dumps(document | ({"resource": SERVER} if right else {})).encode()
    try:
        metadata = parse(body)
    except InvalidResponse:
        return
    assert metadata.resource == SERVER
    assert all(isinstance(issuer, str) for issuer in metadata.authorization_servers)


@given(st.text() | st.text("/.%2eE\\?#@:mcpubli", max_size=30).map(lambda rest: "https://mcp.example.com" + rest))
def test_any_resource_is_judged(resource: str) -> None:
    try:
        metadata = about(resource)
    except InvalidResponse:
        return
    assert metadata.resource == resource
    assert ".." not in resource


@pytest.mark.parametrize(
    ("asked", "believed"),
    [
        (WELL_KNOWN, True),
        (f"{WELL_KNOWN}/public/mcp", True),
        ("HTTPS://mcp.example.com:443/.well-known/oauth-protected-resource", True),
        ("https://mcp.example.com/public/mcp/metadata", False),
        ("https://mcp.example.com/public/mcp/.well-known/oauth-protected-resource", False),
        ("https://mcp.example.com/.well-known/oauth-protected-resource-of-mine", False),
        ("https://mcp.example.com/.well-known/oauth-protected-resource/../../public/mcp/metadata", False),
        ("https://elsewhere.example/.well-known/oauth-protected-resource", False),
    ],
)
def test_an_ancestor_is_believed_only_at_a_well_known_uri_of_the_servers_origin(asked: str, believed: bool) -> None:
    """Ours; RFC 9728 section 7.3: who has but a path of a host must not get tokens for all of it."""

    def parsed(resource: str) -> ProtectedResourceMetadata:
        body = json.dumps({"resource": resource, "authorization_servers": ["https://as.example.com"]}).encode()
        return parse_protected_resource_metadata(
            HttpResponse(200, asked, body=body), server_url=SERVER, asked_url=asked
        )

    assert parsed(SERVER).resource == SERVER
    assert parsed(f"{SERVER}/").resource == f"{SERVER}/"
    if believed:
        assert parsed("https://mcp.example.com").resource == "https://mcp.example.com"
    else:
        with pytest.raises(InvalidResponse, match="Log in with the address"):
            parsed("https://mcp.example.com")
