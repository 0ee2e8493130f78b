"""Registration: "Client Registration" of the specification, RFC 7591, Client ID Metadata Document."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mcp_login.errors import (
    AuthError,
    InvalidResponse,
    IssuerMismatch,
    PolicyError,
    RegistrationErrorResponse,
    TransportError,
)
from mcp_login.protocol.authorization_server import AuthorizationServerMetadata
from mcp_login.protocol.client import ClientInformation, validate_client_metadata_url
from mcp_login.protocol.message import HttpResponse
from mcp_login.protocol.registration import (
    ClientMetadata,
    build_client_metadata_document,
    build_registration_request,
    metadata_document_client,
    parse_registration_response,
    pre_registered_client,
    select_registration,
)

ISSUER = "https://server.example.com"
REGISTER = "https://server.example.com/register"
REDIRECT = "http://127.0.0.1:3000/callback"
CLIENT_URL = "https://app.example.com/oauth/client-metadata.json"


def metadata(**changes: Any) -> AuthorizationServerMetadata:
    return AuthorizationServerMetadata(**({"issuer": ISSUER, "registration_endpoint": REGISTER} | changes))


def parse(data: object, status: int = 201, methods: tuple[str, ...] | None = None, **headers: str) -> ClientInformation:
    body = data if isinstance(data, bytes) else json.dumps(data).encode()
    fields = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return parse_registration_response(
        HttpResponse(status, REGISTER, fields, body),
        issuer=ISSUER,
        metadata=metadata(token_endpoint_auth_methods_supported=methods),
        redirect_uri=REDIRECT,
        secrets=("eyJzb2Z0d2FyZV9pZCI6",),
    )


def refusal(data: object, status: int = 400) -> RegistrationErrorResponse:
    with pytest.raises(RegistrationErrorResponse) as caught:
        parse(data, status)
    return caught.value


class TestClientMetadata:
    def test_the_document_has_what_an_authorization_server_needs(self) -> None:
        """RFC 7591 section 2."""
        client = ClientMetadata(redirect_uris=(REDIRECT,), client_name="Example MCP Client")
        assert client.document() == {
            "redirect_uris": [REDIRECT],
            "client_name": "Example MCP Client",
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "token_endpoint_auth_method": "none",
            "application_type": "native",
        }

    def test_the_refresh_token_grant_is_asked_for(self) -> None:
        """Specification, "Refresh Tokens": clients "SHOULD include `refresh_token` in their `grant_types`"."""
        assert "refresh_token" in ClientMetadata(redirect_uris=(REDIRECT,)).document()["grant_types"]

    @pytest.mark.parametrize(
        "uris",
        [
            ("http://127.0.0.1:3000/callback",),
            ("http://localhost:3000/callback", "http://[::1]:3000/callback"),
            ("https://localhost:3000/callback",),
            (),
        ],
    )
    def test_a_client_on_loopback_is_native(self, uris: tuple[str, ...]) -> None:
        """Specification, "Application Type and Redirect URI Constraints".

        "MCP clients MUST specify an appropriate `application_type` during Dynamic Client Registration. [...] Native
        applications [...] SHOULD use `application_type: "native"`".
        """
        assert ClientMetadata(redirect_uris=uris).document()["application_type"] == "native"

    @pytest.mark.parametrize(
        "uris", [("https://app.example.com/callback",), (REDIRECT, "https://app.example.com/callback")]
    )
    def test_a_remote_client_is_web(self, uris: tuple[str, ...]) -> None:
        """Specification, "Application Type and Redirect URI Constraints": web applications SHOULD use "web"."""
        assert ClientMetadata(redirect_uris=uris).document()["application_type"] == "web"

    def test_the_application_type_can_be_adjusted(self) -> None:
        """Specification: "Clients MAY retry registration with an adjusted `application_type`"."""
        assert ClientMetadata(redirect_uris=(REDIRECT,), application_type="web").application_type == "web"
        assert ClientMetadata(additional={"application_type": "web"}).document()["application_type"] == "web"

    @pytest.mark.parametrize(
        "uri", ["http://app.example.com/cb", "com.example:/cb", "javascript:alert(1)", f"{REDIRECT}#x"]
    )
    def test_a_redirect_uri_is_on_localhost_or_https_without_a_fragment(self, uri: str) -> None:
        """Specification, "Communication Security": "All redirect URIs MUST be either `localhost` or use HTTPS.".

        RFC 6749 section 3.1.2: "The endpoint URI MUST NOT include a fragment component."
        """
        with pytest.raises(PolicyError):
            ClientMetadata(redirect_uris=(uri,))

    def test_additional_metadata_is_merged_verbatim(self) -> None:
        """RFC 7591 section 2: extensions can define more fields."""
        extra = {"policy_uri": "https://app.example.com/policy", "client_name": "Other", "x": {"y": [None]}}
        document = ClientMetadata(redirect_uris=(REDIRECT,), client_name="Example", additional=extra).document()
        assert {name: document[name] for name in extra} == extra

    def test_additional_metadata_cannot_move_the_redirect(self) -> None:
        with pytest.raises(PolicyError, match="callback_port"):
            ClientMetadata(additional={"redirect_uris": ["https://elsewhere.example/cb"]})

    def test_a_misspelt_field_is_an_error(self) -> None:
        with pytest.raises(ValidationError):
            ClientMetadata(redirect_uri=REDIRECT)  # type: ignore[call-arg]

    def test_the_request_is_json(self) -> None:
        """RFC 7591 section 3.1: an HTTP POST with "application/json"."""
        client = ClientMetadata(redirect_uris=(REDIRECT,), client_name="Ünï", scope="a b")
        request = build_registration_request(REGISTER, client)
        assert (request.method, request.url) == ("POST", REGISTER)
        assert request.headers == {"Accept": "application/json", "Content-Type": "application/json"}
        assert json.loads(request.body or b"") == client.document()

    def test_a_software_statement_is_a_secret(self) -> None:
        """RFC 7591 section 2.3."""
        client = ClientMetadata(additional={"software_statement": "eyJhbGciOi"})
        assert build_registration_request(REGISTER, client).secrets == ("eyJhbGciOi",)


class TestSelection:
    """Specification, "Client Registration": "Clients supporting all options SHOULD use the following priority order"."""

    def test_pre_registered_comes_first(self) -> None:
        of = metadata(client_id_metadata_document_supported=True)
        assert select_registration(of, has_pre_registered=True, client_metadata_url=CLIENT_URL) == "pre_registered"

    def test_then_a_metadata_document_where_the_server_supports_it(self) -> None:
        """Specification, "Advertising CIMD Support": "MCP clients SHOULD check for this capability"."""
        of = metadata(client_id_metadata_document_supported=True)
        assert select_registration(of, has_pre_registered=False, client_metadata_url=CLIENT_URL) == "metadata_document"

    def test_then_dynamic_registration(self) -> None:
        of = metadata(client_id_metadata_document_supported=True)
        assert select_registration(of, has_pre_registered=False, client_metadata_url=None) == "dynamic"
        assert select_registration(metadata(), has_pre_registered=False, client_metadata_url=CLIENT_URL) == "dynamic"

    def test_then_the_person_is_asked(self) -> None:
        """ "4. Prompt the user to enter the client information if no other option is available"."""
        of = metadata(registration_endpoint=None)
        assert select_registration(of, has_pre_registered=False, client_metadata_url=CLIENT_URL) is None


class TestMetadataDocument:
    @pytest.mark.parametrize(
        "url",
        ["https://example.com/client.json", CLIENT_URL, "https://example.com:8443/a/", "https://example.com/a..b?v=1"],
    )
    def test_an_https_url_with_a_path_is_a_client_id(self, url: str) -> None:
        """Specification: the `client_id` URL "MUST use the "https" scheme and contain a path component"."""
        validate_client_metadata_url(url)
        client = metadata_document_client(ISSUER, url, REDIRECT)
        assert (client.client_id, client.token_endpoint_auth_method, client.mechanism) == (
            url,
            "none",
            "metadata_document",
        )
        assert (client.issuer, client.redirect_uri, client.client_secret) == (ISSUER, REDIRECT, None)

    @pytest.mark.parametrize(
        "url",
        [
            "http://example.com/client.json",
            "http://localhost/client.json",
            "https://example.com",
            "https://example.com/",
            "https://example.com?/client.json",
            "https://example.com#/client.json",
            "https://example.com/client.json#x",
            "https://example.com/client.json#",
            "https://user@example.com/client.json",
            "https://user:password@example.com/client.json",
            "https://example.com/./client.json",
            "https://example.com/a/../client.json",
            "https://example.com/a/%2E%2e/client.json",
            "https://example.com/a/..",
            "https://example.com/cli ent.json",
            "https://example.com\\client.json",
            "https:///client.json",
            "client.json",
            "",
        ],
    )
    def test_any_other_url_is_refused(self, url: str) -> None:
        """Client ID Metadata Document, section 3.

        The URL MUST have the https scheme and a path, MUST NOT have dot segments, a fragment, a user name or a password.
        """
        with pytest.raises(PolicyError):
            validate_client_metadata_url(url)
        with pytest.raises(PolicyError):
            metadata_document_client(ISSUER, url, REDIRECT)

    @given(st.text())
    def test_any_text_is_a_client_id_or_refused(self, url: str) -> None:
        try:
            validate_client_metadata_url(url)
        except PolicyError:
            return
        assert url.lower().startswith("https://")

    def test_the_document_is_that_of_the_example(self) -> None:
        """Specification, "Example Metadata Document"; "Clients MUST ensure the `client_id` value in the metadata matches
        the document URL exactly".
        """
        client = ClientMetadata(
            client_name="Example MCP Client",
            client_uri="https://app.example.com",
            logo_uri="https://app.example.com/logo.png",
            redirect_uris=("http://127.0.0.1:3000/callback", "http://localhost:3000/callback"),
            grant_types=("authorization_code",),
            additional={"client_id": "https://elsewhere.example/x"},
        )
        assert build_client_metadata_document(CLIENT_URL, client) == {
            "client_id": "https://app.example.com/oauth/client-metadata.json",
            "client_name": "Example MCP Client",
            "client_uri": "https://app.example.com",
            "logo_uri": "https://app.example.com/logo.png",
            "redirect_uris": ["http://127.0.0.1:3000/callback", "http://localhost:3000/callback"],
            "grant_types": ["authorization_code"],
            "response_types": ["code"],
            "token_endpoint_auth_method": "none",
            "application_type": "native",
        }

    def test_a_document_without_a_required_field_is_refused(self) -> None:
        """Specification: it MUST include at least `client_id`, `client_name`, `redirect_uris`."""
        with pytest.raises(PolicyError, match="client_name and redirect_uris"):
            build_client_metadata_document(CLIENT_URL, ClientMetadata())

    @pytest.mark.parametrize(
        "extra",
        [{"client_secret": "x"}, {"client_secret_expires_at": 0}, {"token_endpoint_auth_method": "client_secret_post"}],
    )
    def test_a_public_document_holds_no_secret(self, extra: dict[str, Any]) -> None:
        """Client ID Metadata Document, section 4.1: no shared secret, and no method that takes one."""
        client = ClientMetadata(client_name="x", redirect_uris=(REDIRECT,), additional=extra)
        with pytest.raises(PolicyError, match="public"):
            build_client_metadata_document(CLIENT_URL, client)


class TestRegistrationResponse:
    def test_the_example_of_the_document_is_read(self) -> None:
        """RFC 7591 section 3.2.1, with its example."""
        client = parse(
            {
                "client_id": "s6BhdRkqt3",
                "client_secret": "cf136dc3c1fc93f31185e5885805d",
                "client_id_issued_at": 2893256800,
                "client_secret_expires_at": 2893276800,
                "redirect_uris": ["https://client.example.org/callback", "https://client.example.org/callback2"],
                "grant_types": ["authorization_code", "refresh_token"],
                "client_name": "My Example Client",
                "token_endpoint_auth_method": "client_secret_basic",
                "logo_uri": "https://client.example.org/logo.png",
                "jwks_uri": "https://client.example.org/my_public_keys.jwks",
                "example_extension_parameter": "example_value",
            }
        )
        assert client == ClientInformation(
            issuer=ISSUER,
            client_id="s6BhdRkqt3",
            mechanism="dynamic",
            client_secret="cf136dc3c1fc93f31185e5885805d",
            client_secret_expires_at=2893276800,
            token_endpoint_auth_method="client_secret_basic",
            redirect_uri=REDIRECT,
        )

    def test_the_client_is_bound_to_the_issuer(self) -> None:
        """Specification, "Authorization Server Binding": "keyed by the authorization server's `issuer` identifier"."""
        assert parse({"client_id": "x"}).issuer == ISSUER

    @pytest.mark.parametrize("status", [200, 201])
    def test_a_public_client_has_no_secret(self, status: int) -> None:
        client = parse(
            {"client_id": "x", "client_secret": None, "token_endpoint_auth_method": "client_secret_post"}, status
        )
        assert (client.client_secret, client.token_endpoint_auth_method) == (None, "none")

    @pytest.mark.parametrize(
        ("registered", "methods", "used"),
        [
            ("none", ("client_secret_post",), "client_secret_post"),  # Figma
            (None, ("client_secret_basic", "client_secret_post"), "client_secret_post"),  # Supabase
            (None, None, "client_secret_basic"),
            (7, ("client_secret_basic",), "client_secret_basic"),
        ],
    )
    def test_a_secret_that_was_issued_is_used(
        self, registered: object, methods: tuple[str, ...] | None, used: str
    ) -> None:
        data = {"client_id": "x", "client_secret": "cf136dc3", "token_endpoint_auth_method": registered}
        client = parse(data, methods=methods)
        assert (client.client_secret, client.token_endpoint_auth_method) == ("cf136dc3", used)

    @pytest.mark.parametrize(
        ("value", "expires_at"),
        [
            *((0, None), (None, None), ("0", None), (-1, None), ("soon", None), (10**400, None), ([], None)),
            *((1.7e18, None), ("1e300", None), (999_999_999_999_999.0, 999_999_999_999_999.0)),
            *(("nan", None), ("inf", None), ("1893456000", 1893456000), (1893456000.5, 1893456000.5)),
        ],
        ids=lambda value: str(value)[:12],
    )
    def test_a_secret_without_an_end_does_not_expire(self, value: object, expires_at: float | None) -> None:
        """RFC 7591 section 3.2.1: client_secret_expires_at "or 0 if it will not expire"."""
        client = parse({"client_id": "x", "client_secret": "s", "client_secret_expires_at": value})
        assert client.client_secret_expires_at == expires_at

    @pytest.mark.parametrize("name", ["client_id", "client_secret"])
    @pytest.mark.parametrize("value", ["a\r\nb", "é", 5, ["x"], "a\x00"])
    def test_a_credential_that_cannot_be_sent_is_refused_and_not_quoted(self, name: str, value: object) -> None:
        """RFC 6749 appendix A.1 and A.2."""
        with pytest.raises(InvalidResponse, match=name):
            parse({"client_id": "x"} | {name: value})

    @pytest.mark.parametrize("data", [{}, {"client_id": None}, {"client_id": ""}])
    def test_an_answer_without_a_client_id_is_refused(self, data: object) -> None:
        """RFC 7591 section 3.2.1: "client_id REQUIRED"."""
        with pytest.raises(InvalidResponse, match="no client_id"):
            parse(data)

    @pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"\xff"])
    def test_an_answer_that_is_no_object_is_refused(self, body: bytes) -> None:
        with pytest.raises(InvalidResponse):
            parse(body)

    def test_the_secret_is_not_shown(self) -> None:
        assert "cf136dc3" not in repr(parse({"client_id": "x", "client_secret": "cf136dc3"}))

    @given(st.binary(), st.integers(200, 599))
    def test_any_answer_ends_in_a_client_or_in_an_error_of_ours(self, body: bytes, status: int) -> None:
        with pytest.raises(AuthError):
            parse(body, status)

    @given(
        st.dictionaries(
            st.sampled_from(
                [
                    "client_id",
                    "client_secret",
                    "client_secret_expires_at",
                    "token_endpoint_auth_method",
                    "error",
                    "redirect_uris",
                ]
            ),
            st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text(), max_size=2),
        )
    )
    def test_any_object_ends_in_a_sound_client_or_in_an_error_of_ours(self, data: dict[str, object]) -> None:
        try:
            client = parse(data)
        except AuthError:
            return
        assert client.client_id
        assert client.client_id.isprintable()
        assert (client.token_endpoint_auth_method == "none") == (client.client_secret is None)


class TestRegistrationErrors:
    def test_an_error_has_the_fields_of_the_document(self) -> None:
        """RFC 7591 section 3.2.2, with its example."""
        error = refusal(
            {
                "error": "invalid_redirect_uri",
                "error_description": "The redirection URI http://sketchy.example.com is not allowed by this server.",
            }
        )
        assert error.error == "invalid_redirect_uri"
        assert (
            error.error_description == "The redirection URI http://sketchy.example.com is not allowed by this server."
        )
        assert (error.status_code, error.url) == (400, REGISTER)

    @pytest.mark.parametrize(
        "data",
        [
            {"error": "invalid_redirect_uri"},
            {"error": "invalid_client_metadata", "error_description": "redirect_uris must be https"},
            {"error": "invalid_client_metadata", "error_description": "localhost is not allowed for web clients"},
            {"error": "invalid_request", "message": "redirect URI must use LOCALHOST"},
        ],
    )
    def test_a_redirect_refusal_is_explained(self, data: object) -> None:
        """Specification, "Application Type and Redirect URI Constraints".

        "MCP clients MUST be prepared to handle registration failures due to redirect URI constraints [...]. When a
        registration request is rejected, clients SHOULD surface a meaningful error to the user or developer."
        """
        message = str(refusal(data))
        for word in (REDIRECT, "callback_host=", "callback_port=", "client_id"):
            assert word in message

    def test_a_redirect_refusal_without_an_oauth_error_is_explained(self) -> None:
        """Supabase: 422 with bodies that are not OAuth's."""
        with pytest.raises(InvalidResponse, match="callback_host="):
            parse({"code": 422, "msg": "redirect_uris: invalid URL"}, 422)

    def test_another_refusal_has_no_such_hint(self) -> None:
        assert "callback" not in str(
            refusal({"error": "invalid_client_metadata", "error_description": "unknown scope"})
        )

    @pytest.mark.parametrize("status", [400, 401, 403, 404, 405])
    def test_a_refusal_without_an_oauth_error_says_what_to_do(self, status: int) -> None:
        """Figma registers only known clients, Okta wants a token."""
        with pytest.raises(InvalidResponse, match=rf"HTTP {status} .* give a client_id"):
            parse(b"Forbidden", status)

    def test_an_error_with_success_is_an_error(self) -> None:
        assert refusal({"error": "invalid_client_metadata", "client_id": "x"}, 200).error == "invalid_client_metadata"

    @pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
    def test_an_outage_is_no_refusal(self, status: int) -> None:
        with pytest.raises(TransportError, match="registration endpoint") as caught:
            parse({"error": "invalid_client_metadata"}, status, retry_after="9")
        assert caught.value.retry_after == 9

    @pytest.mark.parametrize("status", [301, 302])
    def test_a_redirect_is_refused(self, status: int) -> None:
        with pytest.raises(InvalidResponse, match=f"HTTP {status}"):
            parse(b"", status, location="https://elsewhere.example")

    def test_an_echoed_secret_is_masked(self) -> None:
        error = refusal({"error": "invalid_software_statement", "error_description": "bad eyJzb2Z0d2FyZV9pZCI6"})
        assert error.error_description == "bad […]"


class TestPreRegistered:
    """Specification, "Pre-registration": "MCP clients SHOULD support an option for static client credentials"."""

    def register(self, of: AuthorizationServerMetadata | None = None, **changes: Any) -> ClientInformation:
        arguments: dict[str, Any] = {
            "issuer": ISSUER,
            "client_id": "x",
            "client_secret": None,
            "redirect_uri": REDIRECT,
        }
        return pre_registered_client(of or metadata(), **(arguments | changes))

    def test_a_public_client_needs_its_id_alone(self) -> None:
        assert self.register() == ClientInformation(
            issuer=ISSUER, client_id="x", mechanism="pre_registered", redirect_uri=REDIRECT
        )

    def test_credentials_for_another_server_are_an_error(self) -> None:
        """Specification, "Authorization Server Binding".

        "If the authorization server indicated by protected resource metadata no longer matches the one the credentials
        were registered with, clients SHOULD surface an error rather than silently attempting to use mismatched
        credentials."
        """
        with pytest.raises(IssuerMismatch, match="Register with the new one") as caught:
            self.register(issuer="https://old.example")
        assert (caught.value.expected, caught.value.received) == ("https://old.example", ISSUER)

    def test_without_a_named_issuer_the_server_found_is_recorded(self) -> None:
        """Specification: clients "MUST associate those credentials with the specific authorization server"."""
        assert self.register(issuer=None).issuer == ISSUER

    @pytest.mark.parametrize(
        ("methods", "used"),
        [
            (None, "client_secret_basic"),
            (("client_secret_post",), "client_secret_post"),
            (("client_secret_basic", "client_secret_post"), "client_secret_basic"),
            (("none",), "client_secret_basic"),
        ],
    )
    def test_a_secret_is_used_by_a_method_that_the_metadata_allows(
        self, methods: tuple[str, ...] | None, used: str
    ) -> None:
        """RFC 7591 section 2: without a method that was agreed on, "the default is client_secret_basic"."""
        of = metadata(token_endpoint_auth_methods_supported=methods)
        assert self.register(of, client_secret="s").token_endpoint_auth_method == used

    def test_a_method_that_the_caller_names_counts(self) -> None:
        of = metadata(token_endpoint_auth_methods_supported=("client_secret_post",))
        named = self.register(of, client_secret="s", token_endpoint_auth_method="client_secret_basic")
        assert named.token_endpoint_auth_method == "client_secret_basic"

    @pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
    def test_a_method_that_needs_a_secret_wants_one(self, method: str) -> None:
        with pytest.raises(PolicyError, match="needs a client_secret"):
            self.register(token_endpoint_auth_method=method)

    @pytest.mark.parametrize("credentials", [{"client_id": ""}, {"client_id": "é"}, {"client_secret": "tajné-heslo"}])
    def test_credentials_that_cannot_be_sent_are_refused_and_not_quoted(self, credentials: dict[str, Any]) -> None:
        """RFC 6749 appendix A.1 and A.2."""
        with pytest.raises(PolicyError) as caught:
            self.register(None, **credentials)
        assert "tajné" not in str(caught.value)
