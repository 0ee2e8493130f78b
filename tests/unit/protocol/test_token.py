"""Token and revocation endpoints: RFC 6749 sections 4.1.3, 5 and 6, RFC 8707, RFC 7009, and what servers really answer."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from typing import Any, cast
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_login.errors import AuthError, InvalidResponse, PolicyError, TokenErrorResponse, TransportError
from mcp_login.protocol.authorization import (
    AuthorizationRequest,
    AuthorizationResponse,
    validate_authorization_response,
)
from mcp_login.protocol.client import ClientInformation, TokenEndpointAuthMethod
from mcp_login.protocol.message import HttpRequest, HttpResponse
from mcp_login.protocol.token import (
    MAX_EXPIRES_IN,
    TokenResponse,
    build_code_request,
    build_refresh_request,
    build_revocation_request,
    build_token_request,
    parse_revocation_response,
    parse_token_response,
)

ISSUER = "https://server.example.com"
TOKEN_ENDPOINT = "https://server.example.com/token"
STATE = "Yr5mVvPj3xw0KqLzT8eGhA"
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
REFRESH_TOKEN = "tGzv3JOkF0XG5Qx2TlKWIA"


def client(
    method: TokenEndpointAuthMethod = "client_secret_basic",
    secret: str | None = "gX1fBat3bV",
    client_id: str = "s6BhdRkqt3",
    issuer: str = ISSUER,
) -> ClientInformation:
    return ClientInformation(
        issuer=issuer,
        client_id=client_id,
        mechanism="dynamic",
        client_secret=secret,
        token_endpoint_auth_method=method,
    )


def authorization_response() -> AuthorizationResponse:
    request = AuthorizationRequest(
        issuer=ISSUER,
        authorization_endpoint="https://server.example.com/authorize",
        client_id="s6BhdRkqt3",
        redirect_uri="https://client.example.com/cb",
        state=STATE,
        code_verifier=VERIFIER,
    )
    return validate_authorization_response(request, f"code=SplxlOBeZQQYbYS6WxSbIA&state={STATE}")


def form(request: HttpRequest) -> dict[str, str]:
    assert request.body is not None
    parameters = parse_qsl(request.body.decode("ascii"), strict_parsing=True)
    assert len(dict(parameters)) == len(parameters)
    return dict(parameters)


def answer(data: object, status: int = 200, **headers: str) -> HttpResponse:
    body = data if isinstance(data, bytes) else json.dumps(data).encode()
    fields = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return HttpResponse(status, TOKEN_ENDPOINT, fields, body)


def parse(data: object, status: int = 200, **headers: str) -> TokenResponse:
    return parse_token_response(answer(data, status, **headers))


def refusal(data: object, status: int = 400, secrets: tuple[str, ...] = ()) -> TokenErrorResponse:
    with pytest.raises(TokenErrorResponse) as caught:
        parse_token_response(answer(data, status), secrets=secrets)
    return caught.value


TOKENS: dict[str, Any] = {"access_token": "2YotnFZFEjr1zCsicMWpAA", "token_type": "Bearer"}


class TestRequests:
    def test_the_code_is_exchanged_as_in_the_example(self) -> None:
        """RFC 6749 section 4.1.3, with its example; RFC 7636 section 4.5 adds code_verifier.

        "redirect_uri REQUIRED, if the "redirect_uri" parameter was included in the authorization request, and their
        values MUST be identical."
        """
        request = build_code_request(TOKEN_ENDPOINT, client(), authorization_response(), resource=None)
        assert (request.method, request.url) == ("POST", TOKEN_ENDPOINT)
        assert request.headers["Content-Type"] == "application/x-www-form-urlencoded"
        assert request.headers["Authorization"] == "Basic czZCaGRSa3F0MzpnWDFmQmF0M2JW"
        assert form(request) == {
            "grant_type": "authorization_code",
            "code": "SplxlOBeZQQYbYS6WxSbIA",
            "redirect_uri": "https://client.example.com/cb",
            "code_verifier": VERIFIER,
        }

    def test_a_refresh_is_asked_for_as_in_the_example(self) -> None:
        """RFC 6749 section 6, with its example."""
        request = build_refresh_request(TOKEN_ENDPOINT, client(), REFRESH_TOKEN, resource=None)
        assert request.headers["Authorization"] == "Basic czZCaGRSa3F0MzpnWDFmQmF0M2JW"
        assert request.body == b"grant_type=refresh_token&refresh_token=tGzv3JOkF0XG5Qx2TlKWIA"

    def test_the_resource_is_in_every_token_request(self) -> None:
        """Specification, "Token Audience Binding and Validation".

        "MCP clients MUST include the `resource` parameter in authorization and token requests". RFC 8707 section 2.2.
        """
        resource = "https://mcp.example.com/mcp"
        requests = [
            build_code_request(TOKEN_ENDPOINT, client(), authorization_response(), resource=resource),
            build_refresh_request(TOKEN_ENDPOINT, client(), REFRESH_TOKEN, resource=resource),
            build_token_request(TOKEN_ENDPOINT, client(), "client_credentials", {}, resource=resource),
        ]
        assert [form(request)["resource"] for request in requests] == [resource] * 3

    def test_the_resource_is_encoded_as_in_the_example(self) -> None:
        """RFC 8707 section 2.2: "resource=https%3A%2F%2Fcal.example.com%2F"."""
        request = build_refresh_request(TOKEN_ENDPOINT, client(), REFRESH_TOKEN, resource="https://cal.example.com/")
        assert (request.body or b"").endswith(b"&resource=https%3A%2F%2Fcal.example.com%2F")

    def test_scopes_are_sent_on_refresh_if_given(self) -> None:
        """RFC 6749 section 6: "scope OPTIONAL". Entra wants it."""
        with_scopes = build_refresh_request(TOKEN_ENDPOINT, client(), "r", resource=None, scopes=["a", "b"])
        assert form(with_scopes)["scope"] == "a b"
        assert "scope" not in form(build_refresh_request(TOKEN_ENDPOINT, client(), "r", resource=None, scopes=[]))

    def test_a_public_client_identifies_itself(self) -> None:
        """RFC 6749 section 4.1.3: "client_id REQUIRED, if the client is not authenticating"."""
        request = build_refresh_request(TOKEN_ENDPOINT, client("none", None), REFRESH_TOKEN, resource=None)
        assert form(request)["client_id"] == "s6BhdRkqt3"
        assert "Authorization" not in request.headers

    def test_another_grant_brings_its_own_parameters(self) -> None:
        """RFC 8628 section 3.4."""
        grant = "urn:ietf:params:oauth:grant-type:device_code"
        request = build_token_request(
            TOKEN_ENDPOINT, client("none", None), grant, {"device_code": "GmRh"}, resource=None, secrets=["GmRh"]
        )
        assert form(request) == {"grant_type": grant, "device_code": "GmRh", "client_id": "s6BhdRkqt3"}
        assert request.secrets == ("GmRh",)

    def test_json_is_asked_for(self) -> None:
        """GitHub answers form-encoded unless asked."""
        request = build_refresh_request(TOKEN_ENDPOINT, client(), REFRESH_TOKEN, resource=None)
        assert request.headers["Accept"] == "application/json"

    @pytest.mark.parametrize("imposter", ["SplxlOBeZQQYbYS6WxSbIA", None, {"code": "x", "state": STATE}])
    def test_only_a_validated_response_is_exchanged(self, imposter: object) -> None:
        """Specification, "Authorization Response Validation": MUST apply the validation "before transmitting the
        authorization code to any token endpoint".
        """
        with pytest.raises(TypeError, match="validate_authorization_response"):
            build_code_request(TOKEN_ENDPOINT, client(), cast("AuthorizationResponse", imposter), resource=None)
        with pytest.raises(ValueError, match="build_code_request"):
            build_token_request(TOKEN_ENDPOINT, client(), "authorization_code", {"code": "x"}, resource=None)

    @pytest.mark.parametrize("other", [client(issuer="https://other.example"), client(client_id="other")])
    def test_a_code_goes_only_to_the_server_and_for_the_client_it_was_issued_to(self, other: ClientInformation) -> None:
        """Specification, "Mix-Up Attacks" and "Authorization Server Binding"."""
        with pytest.raises(PolicyError, match="Start the login again"):
            build_code_request(TOKEN_ENDPOINT, other, authorization_response(), resource=None)

    def test_a_revocation_names_the_token_and_its_type(self) -> None:
        """RFC 7009 section 2.1, with its example."""
        token = "45ghiukldjahdnhzdauz"
        request = build_revocation_request("https://server.example.com/revoke", client(), token, "refresh_token")
        assert request.headers["Content-Type"] == "application/x-www-form-urlencoded"
        assert request.headers["Authorization"].startswith("Basic ")
        assert request.body == b"token=45ghiukldjahdnhzdauz&token_type_hint=refresh_token"
        without_hint = build_revocation_request("https://server.example.com/revoke", client("none", None), token)
        assert form(without_hint) == {"token": token, "client_id": "s6BhdRkqt3"}

    def test_no_secret_is_in_a_url_or_a_repr(self) -> None:
        """Specification, "Token Requirements": "Access tokens MUST NOT be included in the URI query string"."""
        requests = [
            build_code_request(TOKEN_ENDPOINT, client(), authorization_response(), resource=None),
            build_refresh_request(TOKEN_ENDPOINT, client("client_secret_post"), REFRESH_TOKEN, resource=None),
            build_revocation_request(TOKEN_ENDPOINT, client(), REFRESH_TOKEN),
        ]
        for request in requests:
            for secret in (
                "SplxlOBeZQQYbYS6WxSbIA",
                VERIFIER,
                REFRESH_TOKEN,
                "gX1fBat3bV",
                "czZCaGRSa3F0MzpnWDFmQmF0M2JW",
            ):
                assert secret not in repr(request)
                assert secret not in request.url

    def test_what_no_error_may_quote_travels_with_the_request(self) -> None:
        code = build_code_request(TOKEN_ENDPOINT, client(), authorization_response(), resource=None)
        assert {"SplxlOBeZQQYbYS6WxSbIA", VERIFIER, STATE, "gX1fBat3bV", "czZCaGRSa3F0MzpnWDFmQmF0M2JW"} == set(
            code.secrets
        )
        refresh = build_refresh_request(TOKEN_ENDPOINT, client("none", None), REFRESH_TOKEN, resource=None)
        assert refresh.secrets == (REFRESH_TOKEN,)
        revocation = build_revocation_request(TOKEN_ENDPOINT, client("none", None), "x" * 9)
        assert revocation.secrets == ("x" * 9,)


class TestTokens:
    def test_the_example_of_the_document_is_read(self) -> None:
        """RFC 6749 section 5.1, with its example."""
        body = b"""{
       "access_token":"2YotnFZFEjr1zCsicMWpAA",
       "token_type":"Bearer",
       "expires_in":3600,
       "refresh_token":"tGzv3JOkF0XG5Qx2TlKWIA",
       "example_parameter":"example_value"
     }"""
        assert parse(body, content_type="application/json;charset=UTF-8") == TokenResponse(
            access_token="2YotnFZFEjr1zCsicMWpAA", expires_in=3600, refresh_token="tGzv3JOkF0XG5Qx2TlKWIA"
        )

    def test_a_refresh_token_is_not_presumed(self) -> None:
        """Specification, "Refresh Tokens": clients "MUST NOT assume refresh tokens will be issued"."""
        assert parse(TOKENS).refresh_token is None

    @pytest.mark.parametrize("nothing", [None, ""])
    def test_null_and_empty_mean_absent(self, nothing: object) -> None:
        """A refresh answer that gives null keeps the old refresh token and scope."""
        tokens = parse(TOKENS | {"refresh_token": nothing, "scope": nothing, "expires_in": nothing, "error": nothing})
        assert (tokens.refresh_token, tokens.scopes, tokens.expires_in) == (None, None, None)

    @pytest.mark.parametrize("status", [200, 201, 203])
    def test_any_success_is_read(self, status: int) -> None:
        """Supabase answers 201."""
        assert parse(TOKENS, status).access_token == "2YotnFZFEjr1zCsicMWpAA"

    @pytest.mark.parametrize(
        "content_type", ["application/x-www-form-urlencoded; charset=utf-8", "application/json", "text/plain", ""]
    )
    def test_a_form_is_read(self, content_type: str) -> None:
        """GitHub: form-encoded unless asked for JSON, and sometimes then too."""
        body = b"access_token=gho_16C7e42F292c6912E7710c838347Ae178B4a&scope=repo%2Cgist&token_type=bearer&expires_in=28800"
        tokens = parse(body, content_type=content_type)
        assert tokens.access_token == "gho_16C7e42F292c6912E7710c838347Ae178B4a"
        assert tokens.scopes == ("repo", "gist")
        assert tokens.expires_in == 28800

    def test_json_is_read_whatever_the_content_type_says(self) -> None:
        assert parse(b"\xef\xbb\xbf" + json.dumps(TOKENS).encode(), content_type="text/html").token_type == "Bearer"

    @pytest.mark.parametrize("token_type", ["Bearer", "bearer", "BEARER", None])
    def test_the_token_type_is_bearer_in_any_case(self, token_type: str | None) -> None:
        """RFC 6749 section 5.1: "Value is case insensitive."."""
        assert parse({"access_token": "x", "token_type": token_type}).token_type == "Bearer"
        assert parse({"access_token": "x"}).token_type == "Bearer"

    @pytest.mark.parametrize("token_type", ["user", "DPoP", "mac", "", "Bearer ", 1, ["Bearer"]])
    def test_any_other_token_type_is_refused(self, token_type: object) -> None:
        """RFC 6749 section 7.1: "The client MUST NOT use an access token if it does not understand the token type."."""
        with pytest.raises(InvalidResponse, match="another type"):
            parse({"access_token": "x", "token_type": token_type})

    @pytest.mark.parametrize("name", ["access_token", "refresh_token"])
    @pytest.mark.parametrize(
        "value", ["a\r\nX-Evil: 1", "a\n", "a b", "é", "\x00", "a\u202eb", 5, True, ["x"], {"x": 1}]
    )
    def test_a_token_that_cannot_be_a_token_is_refused_and_not_quoted(self, name: str, value: object) -> None:
        """RFC 6749 appendix A.12 and A.17, RFC 6750 section 2.1."""
        with pytest.raises(InvalidResponse, match=name) as caught:
            parse(TOKENS | {name: value})
        assert "Evil" not in str(caught.value)

    @pytest.mark.parametrize("value", [None, ""])
    def test_an_answer_without_a_token_is_refused(self, value: object) -> None:
        """RFC 6749 section 5.1: "access_token REQUIRED"."""
        with pytest.raises(InvalidResponse, match="without an access_token"):
            parse({"access_token": value, "token_type": "bearer"})

    def test_nested_tokens_are_refused(self) -> None:
        """Slack's `authed_user`: only under a named provider option."""
        with pytest.raises(InvalidResponse):
            parse({"ok": True, "authed_user": {"access_token": "xoxp-1", "token_type": "user"}})

    @pytest.mark.parametrize(
        ("value", "seconds"),
        [
            (3600, 3600),
            ("3600", 3600),
            (" 3600 ", 3600),
            ("3599.5", 3599.5),
            (3599.5, 3599.5),
            ("3.6e3", 3600),
            (0, None),
            ("0", None),
            (-1, None),
            ("-1", None),
            pytest.param(10**400, MAX_EXPIRES_IN, id="huge"),
            (1e300, MAX_EXPIRES_IN),
            ("9" * 30, MAX_EXPIRES_IN),
            ("9" * 31, None),
            ("1e999", None),
            ("nan", None),
            ("inf", None),
            ("1_000", None),
            ("soon", None),
            ("", None),
            (None, None),
            (True, None),
            ([3600], None),
        ],
    )
    def test_the_lifetime_is_a_number_of_seconds_or_unknown(self, value: object, seconds: float | None) -> None:
        """RFC 6749 section 5.1: "expires_in RECOMMENDED"; missing, 0, a string and null are seen in the field."""
        assert parse(TOKENS | {"expires_in": value}).expires_in == seconds

    def test_an_infinite_lifetime_is_unknown(self) -> None:
        assert parse(b'{"access_token": "x", "expires_in": 1e999}').expires_in is None
        assert parse(b'{"access_token": "x", "expires_in": -1e999}').expires_in is None

    @pytest.mark.parametrize("scope", ["a b", "a,b", "a, b", ["a", "b"]])
    def test_scopes_come_with_spaces_commas_or_as_a_list(self, scope: object) -> None:
        """RFC 6749 section 3.3; Slack and GitHub use commas."""
        assert parse(TOKENS | {"scope": scope}).scopes == ("a", "b")

    def test_repr_shows_no_token(self) -> None:
        text = repr(parse(TOKENS | {"refresh_token": REFRESH_TOKEN}))
        assert "2YotnFZFEjr1zCsicMWpAA" not in text
        assert REFRESH_TOKEN not in text

    @pytest.mark.parametrize(
        "body", [b"", b"<html>login</html>", b"[]", b'"x"', b"{", b"\xff\xfe", b"hello", b"[" * 100000]
    )
    def test_what_is_neither_json_nor_a_form_is_refused(self, body: bytes) -> None:
        with pytest.raises(InvalidResponse, match="neither JSON nor a form"):
            parse(body)

    def test_a_form_of_a_size_that_no_form_has_is_refused(self) -> None:
        """To decode one takes eighty times its size."""
        body = b"access_token=" + b"%41" * 20_000
        assert parse(body).access_token == "A" * 20_000
        with pytest.raises(InvalidResponse, match="neither JSON nor a form"):
            parse(body + b"%41" * 5_000)

    @pytest.mark.parametrize("status", [301, 302, 307])
    def test_a_redirect_is_refused(self, status: int) -> None:
        """Ours: never with a secret in the request."""
        with pytest.raises(InvalidResponse, match=f"HTTP {status}"):
            parse(TOKENS, status, location="https://attacker.example")

    @given(st.binary(), st.integers(200, 599))
    def test_any_answer_ends_in_tokens_or_in_an_error_of_ours(self, body: bytes, status: int) -> None:
        with contextlib.suppress(AuthError):
            parse_token_response(HttpResponse(status, TOKEN_ENDPOINT, (), body))

    @given(
        st.dictionaries(
            st.sampled_from(["access_token", "token_type", "expires_in", "refresh_token", "scope", "error", "ok"])
            | st.text(),
            st.recursive(
                st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
                lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
                max_leaves=5,
            ),
        )
    )
    def test_any_object_ends_in_sound_tokens_or_in_an_error_of_ours(self, data: dict[str, object]) -> None:
        try:
            tokens = parse(data)
        except AuthError:
            return
        for token in (tokens.access_token, tokens.refresh_token or "x"):
            assert token
            assert all("!" <= character <= "~" for character in token)
        assert tokens.expires_in is None or 0 <= tokens.expires_in <= MAX_EXPIRES_IN


class TestErrors:
    def test_an_error_has_the_fields_of_the_document(self) -> None:
        """RFC 6749 section 5.2, with its example error=invalid_request."""
        error = refusal({"error": "invalid_request", "error_description": "no", "error_uri": "https://as.example/e"})
        assert (error.error, error.error_description, error.error_uri) == (
            "invalid_request",
            "no",
            "https://as.example/e",
        )
        assert error.status_code == 400
        assert error.url == TOKEN_ENDPOINT
        assert not error.ends_session

    @pytest.mark.parametrize("status", [200, 400, 401, 403])
    def test_invalid_grant_ends_the_session_with_any_status(self, status: int) -> None:
        """RFC 6749 section 5.2. FastMCP answers 401, GitHub 200."""
        assert refusal({"error": "invalid_grant"}, status).ends_session

    @pytest.mark.parametrize(
        "error",
        [
            "bad_refresh_token",
            "bad_verification_code",
            "invalid_refresh_token",
            "token_revoked",
            "invalid_code",
            "expired_token",
        ],
    )
    def test_a_providers_word_for_it_ends_the_session(self, error: str) -> None:
        """GitHub, Slack, Zoho; RFC 8628 section 3.5 for expired_token."""
        assert refusal({"ok": False, "error": error}, 200).ends_session

    @pytest.mark.parametrize(
        "description",
        [
            "Obot: refresh_token is invalid",
            "The refresh token is invalid.",
            "Invalid refresh token",
            "invalid refresh_token",
            "Invalid or expired refresh token.",
            "Refresh token has expired",
            "refresh token expired",
            "Refresh token has been revoked",
            "Refresh token was already used",
            "Refresh token not found",
            "refresh token is no longer valid",
            "The refresh token passed is incorrect or expired.",
            "The token request is invalid.",
        ],
    )
    def test_a_vague_error_that_names_the_dead_refresh_token_ends_the_session(self, description: str) -> None:
        """obot#7501, league/oauth2-server#993, metabase#80389: invalid_request for a dead refresh token."""
        assert refusal({"error": "invalid_request", "error_description": description}).ends_session
        assert refusal({"error": "unauthorized_client", "message": description}, 401).ends_session

    @pytest.mark.parametrize(
        "description",
        [
            "",
            "refresh_token is required",
            "Missing refresh_token parameter",
            "The refresh token parameter is malformed",
            "Invalid refresh_token parameter",
            "Invalid refresh token request",
            "invalid scope for the refresh token",
            "Invalid client for refresh token grant",
            "The refresh token is not expired yet",
            "The refresh token is valid, but the resource is invalid",
            "The request is invalid.",
            "Token expired",
        ],
    )
    def test_a_vague_error_that_does_not_say_so_leaves_the_session_alive(self, description: str) -> None:
        """Ours: a session ends only on a definite answer."""
        assert not refusal({"error": "invalid_request", "error_description": description}).ends_session

    @pytest.mark.parametrize("error", ["invalid_client", "invalid_scope", "invalid_target", "access_denied", "x"])
    def test_any_other_error_leaves_the_session_alive(self, error: str) -> None:
        description = "refresh token is invalid"
        assert not refusal({"error": error, "error_description": description}).ends_session

    def test_an_error_in_a_form_is_read(self) -> None:
        """GitHub."""
        body = b"error=bad_verification_code&error_description=The+code+passed+is+incorrect+or+expired."
        error = refusal(body, 200)
        assert error.error_description == "The code passed is incorrect or expired."
        assert error.ends_session

    def test_a_failure_that_is_not_named_is_refused(self) -> None:
        """Slack: `ok: false` as 200."""
        with pytest.raises(InvalidResponse, match="not why"):
            parse({"ok": False, "access_token": "x"})

    def test_an_error_beside_a_token_is_an_error(self) -> None:
        assert refusal(TOKENS | {"error": "invalid_scope"}, 200).error == "invalid_scope"

    @pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
    @pytest.mark.parametrize("body", [b"", b"<html>", b'{"error": "invalid_grant"}', b'{"error": "invalid_client"}'])
    def test_an_outage_is_no_refusal(self, status: int, body: bytes) -> None:
        """goose PR#11995: 5xx wiped credentials. Atlassian answers a stale client with an HTML 500."""
        with pytest.raises(TransportError) as caught:
            parse(body, status, retry_after="7")
        assert caught.value.retry_after == 7

    @pytest.mark.parametrize(
        ("status", "data", "acted"),
        [
            (408, {}, False),
            (429, {}, False),
            (429, {"error": "invalid_grant"}, False),
            (400, {"error": "slow_down"}, False),
            (503, {"error": "temporarily_unavailable"}, False),
            (200, {"error": "server_error"}, True),
            (500, {"error": "server_error"}, True),
            (500, {"error": "invalid_grant"}, True),
            (502, {}, True),
            (503, {}, True),
            (504, {}, True),
        ],
    )
    def test_it_is_told_whether_the_server_may_have_acted(self, status: int, data: object, acted: bool) -> None:
        """429 (RFC 6585 section 4) and named errors turn a request away; a gateway's 5xx says nothing of the server behind."""
        with pytest.raises(TransportError) as caught:
            parse(data, status)
        assert caught.value.may_have_acted is acted

    def test_a_retry_after_that_is_a_date_counts_from_the_answers_own_date(self) -> None:
        """RFC 9110 section 10.2.3. The server's clock may be years off: both are of that clock."""
        with pytest.raises(TransportError, match="in 7 seconds") as caught:
            parse({}, 503, retry_after="Sun, 06 Nov 1994 08:49:44 GMT", date="Sun, 06 Nov 1994 08:49:37 GMT")
        assert caught.value.retry_after == 7

    @pytest.mark.parametrize("error", ["temporarily_unavailable", "slow_down", "server_error", "ratelimited"])
    @pytest.mark.parametrize("status", [200, 400, 401])
    def test_an_error_that_passes_is_no_refusal(self, error: str, status: int) -> None:
        """RFC 6749 section 4.1.2.1 and RFC 8628 section 3.5 name them."""
        with pytest.raises(TransportError, match=error) as caught:
            parse({"error": error}, status, retry_after="7")
        assert caught.value.retry_after == 7

    @pytest.mark.parametrize(
        ("status", "data"),
        [
            (422, {"code": 422, "error_code": "validation_failed", "msg": "Invalid"}),
            (401, {"detail": "Unauthorized"}),
            (401, {}),
            (400, {"error": {"code": 400, "status": "INVALID_ARGUMENT"}}),
            (404, []),
        ],
    )
    def test_a_failure_without_an_oauth_error_ends_nothing(self, status: int, data: object) -> None:
        """Supabase: 422 with bodies that are not OAuth's."""
        with pytest.raises(InvalidResponse, match=f"HTTP {status}"):
            parse(data, status)

    def test_an_echoed_secret_is_masked(self) -> None:
        request = build_refresh_request(TOKEN_ENDPOINT, client("client_secret_post"), REFRESH_TOKEN, resource=None)
        error = refusal(
            {"error": "invalid_request", "error_description": f"got {(request.body or b'').decode()}"},
            secrets=request.secrets,
        )
        assert REFRESH_TOKEN not in f"{error} {error!r} {vars(error)}"
        assert "gX1fBat3bV" not in f"{error} {error!r} {vars(error)}"

    def test_a_dialect_is_recognised_even_where_the_token_is_quoted(self) -> None:
        description = f"refresh token '{REFRESH_TOKEN}' is invalid"
        error = refusal({"error": "invalid_request", "error_description": description}, secrets=(REFRESH_TOKEN,))
        assert error.ends_session
        assert error.error_description == "refresh token '[…]' is invalid"

    @given(
        secret=st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=8), around=st.text(max_size=20)
    )
    def test_no_error_quotes_a_secret(self, secret: str, around: str) -> None:
        data = {"error": "invalid_grant", "error_description": around + secret + around, "error_uri": secret + around}
        for body in (json.dumps(data).encode(), urlencode(data, errors="replace").encode()):
            with pytest.raises(TokenErrorResponse) as caught:
                parse_token_response(HttpResponse(400, "https://a.example", (), body), secrets=(secret,))
            error = caught.value
            assert secret not in (error.error_description or "")
            assert secret not in (error.error_uri or "")

    def test_the_error_of_entra_suggests_to_omit_the_resource(self) -> None:
        """Entra ID v2 (microsoft/vscode#321249)."""
        error = refusal({"error": "invalid_target", "error_description": "AADSTS9010010: The resource parameter ..."})
        assert "resource=None" in str(error)


class TestRevocation:
    @pytest.mark.parametrize("body", [b"", b"{}", b"<html>", b'{"error": "x"}'])
    @pytest.mark.parametrize("status", [200, 202, 204])
    def test_success_is_told_by_the_status_alone(self, status: int, body: bytes) -> None:
        """RFC 7009 section 2.2: "The content of the response body is ignored by the client"."""
        parse_revocation_response(HttpResponse(status, "https://as.example/revoke", (), body))

    def test_an_unavailable_server_means_that_the_token_still_lives(self) -> None:
        """RFC 7009 section 2.2.1: with 503 "the client must assume the token still exists and may retry"; Retry-After."""
        with pytest.raises(TransportError, match="revocation endpoint") as caught:
            parse_revocation_response(HttpResponse(503, "https://as.example/revoke", (("retry-after", "30"),)))
        assert caught.value.retry_after == 30

    def test_a_refusal_has_its_error(self) -> None:
        """RFC 7009 section 2.2.1: unsupported_token_type. The echo of the token is masked."""
        data = {"error": "unsupported_token_type", "error_description": f"not {REFRESH_TOKEN}"}
        with pytest.raises(TokenErrorResponse, match="unsupported_token_type") as caught:
            parse_revocation_response(answer(data, 400), secrets=(REFRESH_TOKEN,))
        assert str(caught.value).startswith("The revocation endpoint refused the request: unsupported_token_type")
        assert caught.value.error_description == "not […]"

    @pytest.mark.parametrize("status", [302, 404, 405])
    def test_anything_else_is_refused(self, status: int) -> None:
        with pytest.raises(InvalidResponse, match=f"HTTP {status}"):
            parse_revocation_response(HttpResponse(status, "https://as.example/revoke", (), b"<html>"))

    @given(st.binary(), st.integers(200, 599))
    def test_any_answer_is_a_success_or_an_error_of_ours(self, body: bytes, status: int) -> None:
        try:
            parse_revocation_response(HttpResponse(status, "https://as.example/revoke", (), body))
        except AuthError:
            assert status >= 300


def test_a_refresh_loads_neither_pydantic_nor_an_http_library() -> None:
    """Ours: the refresh path starts fast."""
    program = (
        "import sys, mcp_login.protocol.token\n"
        "print(sorted({m.partition('.')[0] for m in sys.modules} & {'pydantic', 'httpx', 'anyio', 'asyncio', 'logging'}))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=20)
    assert result.stdout.strip() == "[]"
