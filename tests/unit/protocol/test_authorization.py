"""Authorization requests and responses: RFC 6749 section 4.1, RFC 7636, RFC 8707, RFC 9207, and the specification."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any
from urllib.parse import parse_qs, parse_qsl, quote, unquote, urlencode, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_login.errors import AuthError, AuthorizationErrorResponse, InvalidResponse, IssuerMismatch, PolicyError
from mcp_login.protocol.authorization import (
    AuthorizationRequest,
    AuthorizationResponse,
    authorization_response_from_pasted_text,
    build_authorization_request,
    matches_state,
    validate_authorization_response,
)
from mcp_login.protocol.authorization_server import AuthorizationServerMetadata
from mcp_login.protocol.client import ClientInformation

ISSUER = "https://honest.as.example"
REDIRECT = "http://127.0.0.1:3000/callback"
# RFC 7636 appendix B.
VERIFIER_BYTES = bytes.fromhex("7418dfb49799e0254ffa607dd8adbbba16d4254d69d6bff05b58055853848d79")
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
STATE = "Yr5mVvPj3xw0KqLzT8eGhA"


def request(**changes: Any) -> AuthorizationRequest:
    fields: dict[str, Any] = {
        "issuer": ISSUER,
        "authorization_endpoint": "https://honest.as.example/authorize",
        "client_id": "s6BhdRkqt3",
        "redirect_uri": REDIRECT,
        "state": STATE,
        "code_verifier": VERIFIER,
        "scopes": ("files:read",),
        "resource": "https://mcp.example.com",
    }
    return AuthorizationRequest(**(fields | changes))


def sent(authorization_request: AuthorizationRequest) -> dict[str, str]:
    parameters = parse_qsl(urlsplit(authorization_request.url).query, keep_blank_values=True, strict_parsing=True)
    assert len(dict(parameters)) == len(parameters), "RFC 6749 section 3.1: no parameter more than once"
    return dict(parameters)


def metadata(**changes: Any) -> AuthorizationServerMetadata:
    fields: dict[str, Any] = {
        "issuer": ISSUER,
        "authorization_endpoint": "https://honest.as.example/authorize",
        "token_endpoint": "https://honest.as.example/token",
    }
    return AuthorizationServerMetadata(**(fields | changes))


def build(of: AuthorizationServerMetadata | None = None, **changes: Any) -> AuthorizationRequest:
    client = ClientInformation(issuer=ISSUER, client_id="s6BhdRkqt3", mechanism="dynamic")
    arguments: dict[str, Any] = {
        "client": client,
        "redirect_uri": REDIRECT,
        "state_bytes": bytes(range(32)),
        "verifier_bytes": VERIFIER_BYTES,
        "resource": "https://mcp.example.com",
    }
    return build_authorization_request(of or metadata(), **(arguments | changes))


class TestRequest:
    def test_the_url_has_the_parameters_of_a_code_request_with_pkce(self) -> None:
        """RFC 6749 section 4.1.1; RFC 7636 section 4.3, with the challenge of appendix B."""
        authorization_request = build(scopes=["files:read", "files:write"])
        assert sent(authorization_request) == {
            "response_type": "code",
            "client_id": "s6BhdRkqt3",
            "redirect_uri": REDIRECT,
            "scope": "files:read files:write",
            "state": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8",
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
            "resource": "https://mcp.example.com",
        }
        assert authorization_request.code_verifier == VERIFIER

    def test_the_resource_is_sent_as_in_the_example(self) -> None:
        """Specification, "Canonical Server URI": "&resource=https%3A%2F%2Fmcp.example.com".

        "MCP clients MUST send this parameter regardless of whether authorization servers support it."
        """
        assert "&resource=https%3A%2F%2Fmcp.example.com" in request().url

    def test_the_resource_is_sent_verbatim(self) -> None:
        """Specification, "Resource Parameter Implementation": it MUST identify the MCP server."""
        assert sent(request(resource="https://MCP.example.com/?a=b c"))["resource"] == "https://MCP.example.com/?a=b c"

    def test_the_resource_is_left_out_only_by_name(self) -> None:
        """Ours, for Entra: a named option omits `resource`."""
        assert "resource" not in sent(request(resource=None))

    def test_the_challenge_method_is_s256(self) -> None:
        """Specification, "Authorization Code Protection": "MCP clients MUST use the `S256` code challenge method"."""
        assert sent(request())["code_challenge_method"] == "S256"

    def test_the_verifier_is_not_in_the_url(self) -> None:
        """RFC 7636 section 4.3: the code verifier itself stays with the client."""
        assert VERIFIER not in request().url

    def test_the_issuer_of_the_validated_metadata_is_recorded_beside_verifier_and_state(self) -> None:
        """Specification, "Authorization Response Validation".

        "Before redirecting the user-agent, the client MUST record the `issuer` value from the selected authorization
        server's validated metadata document and associate it with the same per-request record used to store the PKCE
        code verifier (and the `state` value, if used)."
        """
        authorization_request = build(metadata(authorization_response_iss_parameter_supported=True))
        assert authorization_request.issuer == ISSUER
        assert authorization_request.iss_parameter_supported
        assert authorization_request.code_verifier == VERIFIER
        assert authorization_request.state

    def test_a_client_of_another_authorization_server_is_refused(self) -> None:
        """Specification, "Authorization Server Binding".

        "clients MUST NOT reuse client credentials from a different authorization server".
        """
        stranger = ClientInformation(issuer="https://other.as.example", client_id="x", mechanism="dynamic")
        with pytest.raises(IssuerMismatch, match="registered with another"):
            build(client=stranger)

    def test_a_server_without_an_authorization_endpoint_is_refused(self) -> None:
        """RFC 8414 section 2: it is REQUIRED unless no grant types use it."""
        with pytest.raises(InvalidResponse, match="authorization_endpoint"):
            build(metadata(authorization_endpoint=None))

    @pytest.mark.parametrize(
        "uri", ["http://localhost:3000/callback", "http://[::1]:3000/callback", "https://app.example.com/callback"]
    )
    def test_a_redirect_uri_is_on_localhost_or_https(self, uri: str) -> None:
        """Specification, "Communication Security": "All redirect URIs MUST be either `localhost` or use HTTPS."."""
        assert sent(request(redirect_uri=uri))["redirect_uri"] == uri

    @pytest.mark.parametrize(
        "uri", ["http://app.example.com/callback", "javascript:alert(1)", "com.example.app:/cb", ""]
    )
    def test_any_other_redirect_uri_is_refused(self, uri: str) -> None:
        """Specification, "Communication Security": "All redirect URIs MUST be either `localhost` or use HTTPS."."""
        with pytest.raises(PolicyError):
            request(redirect_uri=uri)

    def test_without_scopes_the_parameter_is_left_out(self) -> None:
        """Specification, "Scope Selection Strategy": omitting the `scope` parameter if nothing is known."""
        assert "scope" not in sent(request(scopes=()))

    def test_too_little_randomness_is_refused(self) -> None:
        """RFC 6749 section 10.10: the probability of guessing "MUST be less than or equal to 2^(-128)"."""
        with pytest.raises(ValueError, match="state_bytes"):
            build(state_bytes=b"short")
        with pytest.raises(ValueError, match="code verifier"):
            build(verifier_bytes=b"short")

    def test_the_query_of_the_endpoint_is_retained(self) -> None:
        """RFC 6749 section 3.1: the query "MUST be retained when adding additional query parameters"."""
        url = request(authorization_endpoint="https://honest.as.example/authorize?tenant=a%20b&p=&x").url
        assert url.startswith("https://honest.as.example/authorize?tenant=a%20b&p=&x&response_type=code&")

    def test_the_query_of_the_endpoint_does_not_override_ours(self) -> None:
        """RFC 6749 section 3.1: "parameters MUST NOT be included more than once"."""
        endpoint = "https://honest.as.example/authorize?client_id=evil&st%61te=evil&resource=evil&k=v"
        parameters = sent(request(authorization_endpoint=endpoint))
        assert (parameters["client_id"], parameters["state"], parameters["k"]) == ("s6BhdRkqt3", STATE, "v")
        assert parameters["resource"] == "https://mcp.example.com"

    def test_a_fragment_of_the_endpoint_is_dropped(self) -> None:
        """RFC 6749 section 3.1: "The endpoint URI MUST NOT include a fragment component."."""
        url = request(authorization_endpoint="https://honest.as.example/authorize#x?y").url
        assert "#" not in url
        assert url.startswith("https://honest.as.example/authorize?response_type=code")

    def test_offline_access_asks_for_consent(self) -> None:
        """OpenID Connect Core section 11: "prompt consent" must be used with offline_access."""
        assert sent(request(scopes=("a", "offline_access")))["prompt"] == "consent"
        assert "prompt" not in sent(request(scopes=("a",)))

    @pytest.mark.parametrize("prompt", ["login", "select_account consent"])
    def test_the_callers_prompt_counts(self, prompt: str) -> None:
        """Ours: `prompt=consent` unless the caller set one."""
        assert sent(request(scopes=("offline_access",), extra_params={"prompt": prompt}))["prompt"] == prompt

    def test_an_empty_value_leaves_a_parameter_out(self) -> None:
        """RFC 6749 section 3.1: parameters without a value are treated as omitted."""
        assert "prompt" not in sent(request(scopes=("offline_access",), extra_params={"prompt": ""}))

    def test_the_caller_can_add_parameters(self) -> None:
        """RFC 6749 section 8.2. Auth0 wants `audience`, Google `access_type`."""
        parameters = sent(request(extra_params={"audience": "https://api.example", "access_type": "offline"}))
        assert (parameters["audience"], parameters["access_type"]) == ("https://api.example", "offline")

    @pytest.mark.parametrize(
        "name",
        [
            "client_id",
            "redirect_uri",
            "state",
            "code_challenge",
            "code_challenge_method",
            "response_type",
            "scope",
            "resource",
            "response_mode",
            "request",
            "request_uri",
        ],
    )
    def test_the_caller_cannot_set_a_parameter_of_the_protocol(self, name: str) -> None:
        """Ours: a login that was changed from outside would not be the one that is checked."""
        with pytest.raises(PolicyError, match=name):
            request(extra_params={name: "x"})

    def test_repr_shows_no_secret(self) -> None:
        text = repr(request(extra_params={"id_token_hint": "eyJhbGciOi"}))
        assert STATE not in text
        assert VERIFIER not in text
        assert "eyJhbGciOi" not in text

    @given(
        query=st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="#")),
        extra=st.dictionaries(st.text(min_size=1).map(lambda name: f"x_{name}"), st.text(min_size=1)),
        resource=st.text(min_size=1),
    )
    def test_whatever_the_endpoint_and_the_caller_add_ours_arrives_once(
        self, query: str, extra: dict[str, str], resource: str
    ) -> None:
        """RFC 6749 section 3.1."""
        endpoint = f"https://honest.as.example/authorize?{query}"
        url = request(authorization_endpoint=endpoint, extra_params=extra, resource=resource).url
        parameters = parse_qs(urlsplit(url).query, keep_blank_values=True)
        expected = {"state": STATE, "client_id": "s6BhdRkqt3", "resource": resource, "code_challenge": CHALLENGE}
        for name, value in {**expected, **extra}.items():
            assert parameters[name] == [value]
        assert urlsplit(url).fragment == ""


def response(**parameters: str) -> str:
    return urlencode({"state": STATE, **parameters})


class TestState:
    """Specification, "Open Redirection".

    "MCP clients SHOULD use and verify state parameters in the authorization code flow and discard any results that do
    not include or have a mismatch with the original state."
    """

    def test_the_state_of_the_request_matches(self) -> None:
        assert matches_state(request(), response(code="x"))

    @pytest.mark.parametrize(
        "query",
        [
            "",
            "code=x",
            "state=&code=x",
            "state=other&code=x",
            f"state={STATE}x&code=x",
            f"state={STATE[:-1]}&code=x",
            f"state={STATE.lower()}&code=x",
            f"state={STATE}&state={STATE}",
            f"state={STATE}&state=other",
            f"state=other&st%61te={STATE}",
            f"state={STATE}" + "&a=b" * 1000,
            "state=\udcff",
            "state=%FF",
            "state=é",
        ],
    )
    def test_any_other_state_does_not(self, query: str) -> None:
        assert not matches_state(request(), query)
        with pytest.raises(InvalidResponse, match="state"):
            validate_authorization_response(request(), query)

    def test_the_state_is_checked_before_everything_else(self) -> None:
        """Ours (cloudflare/agents PR#1926): nothing of a response without the state is looked at."""
        with pytest.raises(InvalidResponse) as caught:
            validate_authorization_response(request(), "state=other&error=access_denied&iss=https://attacker.example")
        assert not isinstance(caught.value, IssuerMismatch)
        assert "access_denied" not in str(caught.value)

    @given(st.text())
    def test_matching_never_fails(self, query: str) -> None:
        assert matches_state(request(), query) is False

    @given(st.text(st.sampled_from("stae=&%2Bcodirs#?;+é\udcff"), max_size=80))
    def test_a_hostile_query_ends_in_an_error_of_ours(self, query: str) -> None:
        with pytest.raises(AuthError):
            validate_authorization_response(request(), query)


class TestIssuer:
    """Specification, "Authorization Response Validation".

    "On receiving the authorization response, MCP clients MUST apply the validation in RFC9207 Section 2.4 before
    transmitting the authorization code to any token endpoint".
    """

    def test_promised_and_present_it_is_compared(self) -> None:
        """The table's row 1, with the response of RFC 9207 section 2.1."""
        query = (
            "code=x1848ZT64p4IirMPT0R-X3141MFPTuBX-VFL_cvaplMH58&state=ZWVlNDBlYzA1NjdkMDNhYjg3ZjUxZjAyNGQzMTM2NzI"
            "&iss=https%3A%2F%2Fhonest.as.example"
        )
        asked = request(iss_parameter_supported=True, state="ZWVlNDBlYzA1NjdkMDNhYjg3ZjUxZjAyNGQzMTM2NzI")
        validated = validate_authorization_response(asked, query)
        assert validated.code == "x1848ZT64p4IirMPT0R-X3141MFPTuBX-VFL_cvaplMH58"
        assert validated.request is asked

    def test_promised_and_absent_the_response_is_rejected(self) -> None:
        """The table's row 2: "Reject the response"."""
        with pytest.raises(IssuerMismatch, match="names no issuer") as caught:
            validate_authorization_response(request(iss_parameter_supported=True), response(code="x"))
        assert caught.value.received is None

    def test_not_promised_and_present_it_is_compared(self) -> None:
        """The table's row 3: "compares a present `iss` against the recorded issuer regardless of advertisement"."""
        assert validate_authorization_response(request(), response(code="x", iss=ISSUER)).code == "x"
        with pytest.raises(IssuerMismatch):
            validate_authorization_response(request(), response(code="x", iss="https://attacker.example"))

    def test_not_promised_and_absent_the_login_proceeds(self) -> None:
        """The table's row 4: "Proceed"."""
        assert validate_authorization_response(request(), response(code="x")).code == "x"

    @pytest.mark.parametrize("promised", [True, False])
    @pytest.mark.parametrize(
        "received",
        [
            "",
            "https://honest.as.example/",
            "https://honest.as.example:443",
            "HTTPS://honest.as.example",
            "https://Honest.as.example",
            "https://hones%74.as.example",
            "https://honest.as.example ",
            "https://honest.as.example.",
            "https://honest.as.exampl\u0435",
            "http://honest.as.example",
        ],
    )
    def test_the_issuer_is_compared_without_normalisation(self, received: str, promised: bool) -> None:
        """Specification: "clients MUST NOT apply scheme or host case folding, default-port elision, trailing-slash, or
        percent-encoding normalization (RFC 3986 Sections 6.2.2-6.2.3) before comparison."
        """
        with pytest.raises(IssuerMismatch):
            validate_authorization_response(request(iss_parameter_supported=promised), response(code="x", iss=received))

    def test_the_issuer_is_form_decoded_once_before_the_comparison(self) -> None:
        """Specification: "After decoding the `iss` value from the application/x-www-form-urlencoded response"."""
        odd = "https://as.example/a%20b+c"
        validated = validate_authorization_response(
            request(issuer=odd), f"state={STATE}&code=x&iss=https%3A//as.example/a%2520b%2Bc"
        )
        assert validated.code == "x"
        with pytest.raises(IssuerMismatch):
            validate_authorization_response(request(issuer=odd), f"state={STATE}&code=x&iss=https://as.example/a%20b+c")

    @pytest.mark.parametrize("promised", [True, False])
    def test_nothing_of_a_mismatching_error_response_is_shown(self, promised: bool) -> None:
        """Specification, "Authorization Response Validation".

        "on mismatch the client MUST NOT act on or display `error`, `error_description`, or `error_uri`."
        """
        query = response(
            error="access_denied",
            error_description="call 555-1234",
            error_uri="https://attacker.example/help",
            iss="https://attacker.example",
        )
        with pytest.raises(IssuerMismatch) as caught:
            validate_authorization_response(request(iss_parameter_supported=promised), query)
        shown = f"{caught.value} {caught.value.reason} {caught.value!r}"
        for hostile in ("access_denied", "555-1234", "attacker.example"):
            assert hostile not in shown
        assert caught.value.expected == ISSUER

    def test_an_error_response_without_a_promised_issuer_is_rejected(self) -> None:
        """Specification: "This validation applies equally to error responses"."""
        with pytest.raises(IssuerMismatch):
            validate_authorization_response(request(iss_parameter_supported=True), response(error="access_denied"))

    @given(st.text())
    def test_only_the_recorded_issuer_passes(self, received: str) -> None:
        """RFC 9207 section 2.4, by RFC 3986 section 6.2.1."""
        query = f"state={STATE}&code=x&iss={quote(received, safe='', errors='replace')}"
        with pytest.raises(IssuerMismatch):
            validate_authorization_response(request(), query)

    def test_what_names_itself_the_issuer_is_kept_without_the_state_and_the_code(self) -> None:
        query = response(code="SplxlOBeZQQYbYS6WxSbIA", iss=f"https://evil.example/{STATE}/SplxlOBeZQQYbYS6WxSbIA")
        with pytest.raises(IssuerMismatch) as caught:
            validate_authorization_response(request(), query)
        assert caught.value.received == "https://evil.example/[…]/[…]"


class TestResponse:
    @pytest.mark.parametrize("code", ["a\r\nb", "\x00", "\ud800", "\u202e"])
    def test_a_code_that_could_not_be_sent_is_refused(self, code: str) -> None:
        """RFC 6749 appendix A.11: code = 1*VSCHAR."""
        query = f"state={STATE}&code={code}".replace("\r\n", "%0D%0A")
        with pytest.raises(InvalidResponse, match="characters that no code has"):
            validate_authorization_response(request(), query)

    @pytest.mark.parametrize("name", ["code", "iss", "error"])
    def test_a_repeated_parameter_is_refused(self, name: str) -> None:
        """RFC 6749 section 3.1: "Request and response parameters MUST NOT be included more than once."."""
        with pytest.raises(InvalidResponse, match=f"repeats '{name}'"):
            validate_authorization_response(request(), response(code="x", iss=ISSUER) + f"&{name}=y&{name}=z")

    def test_a_response_with_neither_code_nor_error_is_refused(self) -> None:
        """RFC 6749 section 4.1.2: "code REQUIRED"."""
        for query in (response(), response(code="")):
            with pytest.raises(InvalidResponse, match="neither a code nor an error"):
                validate_authorization_response(request(), query)

    def test_unknown_parameters_are_ignored(self) -> None:
        """RFC 6749 section 4.1.2: "The client MUST ignore unrecognized response parameters."."""
        assert validate_authorization_response(request(), response(code="x", session_state="1", hd="y")).code == "x"

    def test_the_code_is_decoded(self) -> None:
        assert validate_authorization_response(request(), f"state={STATE}&code=4%2F0A%2Bb+c").code == "4/0A+b c"

    def test_an_error_has_the_fields_of_the_document(self) -> None:
        """RFC 6749 section 4.1.2.1, with its example error=access_denied."""
        query = response(
            error="access_denied", error_description="The person said no", error_uri="https://honest.as.example/help"
        )
        with pytest.raises(AuthorizationErrorResponse) as caught:
            validate_authorization_response(request(), query)
        assert caught.value.error == "access_denied"
        assert caught.value.error_description == "The person said no"
        assert caught.value.error_uri == "https://honest.as.example/help"
        assert "allow the access" in str(caught.value)

    def test_an_error_with_a_code_is_an_error(self) -> None:
        with pytest.raises(AuthorizationErrorResponse):
            validate_authorization_response(request(), response(code="x", error="server_error"))

    def test_a_repeated_description_is_not_shown(self) -> None:
        query = response(error="access_denied") + "&error_description=a&error_description=b"
        with pytest.raises(AuthorizationErrorResponse) as caught:
            validate_authorization_response(request(), query)
        assert caught.value.error_description is None

    def test_what_the_server_quotes_of_the_request_is_masked(self) -> None:
        query = response(
            error="invalid_request", error_description=f"bad {STATE} {VERIFIER} dzFqM29HcQ", code="dzFqM29HcQ"
        )
        with pytest.raises(AuthorizationErrorResponse) as caught:
            validate_authorization_response(request(), query)
        assert caught.value.error_description == "bad […] […] […]"

    def test_no_error_quotes_the_state_or_the_code(self) -> None:
        for query in (
            response(code="dzFqM29HcQ") + "&code=dzFqM29HcQ",
            response(code="dzFqM29HcQ", iss="https://x.example"),
            "state=c3RhdGU0Mg&code=dzFqM29HcQ",
        ):
            with pytest.raises(InvalidResponse) as caught:
                validate_authorization_response(request(), query)
            assert "dzFqM29HcQ" not in repr(caught.value)
            assert "c3RhdGU0Mg" not in repr(caught.value)
            assert STATE not in repr(caught.value)

    def test_the_error_of_entra_suggests_to_omit_the_resource(self) -> None:
        """Entra ID v2 (claude-code#73460)."""
        query = response(
            error="invalid_target",
            error_description="AADSTS9010010: The resource parameter provided in the request doesn't match",
        )
        with pytest.raises(AuthorizationErrorResponse, match="resource=None"):
            validate_authorization_response(request(), query)

    def test_a_validated_response_is_made_by_the_validation_only(self) -> None:
        """Ours: so the unsafe order can't be written."""
        with pytest.raises(TypeError):
            AuthorizationResponse(request(), "x", object())
        with pytest.raises(TypeError):
            AuthorizationResponse(request(), "x")  # type: ignore[call-arg]

    def test_a_validated_response_cannot_be_changed(self) -> None:
        validated = validate_authorization_response(request(), response(code="x"))
        with pytest.raises(dataclasses.FrozenInstanceError):
            validated.code = "y"  # type: ignore[misc]
        with pytest.raises((TypeError, ValueError)):
            dataclasses.replace(validated, code="y")  # type: ignore[call-arg]

    def test_repr_shows_no_code(self) -> None:
        assert "dzFqM29HcQ" not in repr(validate_authorization_response(request(), response(code="dzFqM29HcQ")))


class TestPasted:
    """Ours: what a person pastes where no browser reaches the listener."""

    @pytest.mark.parametrize(
        "text",
        [
            f"{REDIRECT}?code=4%2F0AeQYxz&state={STATE}",
            f"  {REDIRECT}?code=4%2F0AeQYxz&state={STATE}\n",
            f'"{REDIRECT}?code=4%2F0AeQYxz&state={STATE}"',
            f"<{REDIRECT}?code=4%2F0AeQYxz&state={STATE}>",
            f"{REDIRECT}?code=4%2F0AeQYxz&\r\nstate={STATE}",
            f"{REDIRECT}?code=4%2F0AeQYxz&state={STATE}#_=_",
            f"http://localhost:9/elsewhere?code=4%2F0AeQYxz&state={STATE}",
            f"?code=4%2F0AeQYxz&state={STATE}",
            f"code=4%2F0AeQYxz&state={STATE}",
            "4/0AeQYxz",
            "4%2F0AeQYxz",
        ],
    )
    def test_the_url_its_query_or_the_code_are_accepted(self, text: str) -> None:
        query = authorization_response_from_pasted_text(request(), text)
        assert validate_authorization_response(request(), query).code == "4/0AeQYxz"

    def test_a_pasted_error_is_an_error(self) -> None:
        query = authorization_response_from_pasted_text(request(), f"{REDIRECT}?error=access_denied&state={STATE}")
        with pytest.raises(AuthorizationErrorResponse):
            validate_authorization_response(request(), query)

    def test_a_pasted_url_is_not_believed_more_than_a_redirect(self) -> None:
        query = authorization_response_from_pasted_text(request(), f"{REDIRECT}?code=x&state=other")
        with pytest.raises(InvalidResponse):
            validate_authorization_response(request(), query)

    def test_a_bare_code_does_not_get_round_a_promised_issuer(self) -> None:
        """RFC 9207 section 2.4: without `iss` the response is rejected."""
        with pytest.raises(InvalidResponse, match="whole address") as caught:
            authorization_response_from_pasted_text(request(iss_parameter_supported=True), "dzFqM29HcQ")
        assert "dzFqM29HcQ" not in repr(caught.value)

    def test_the_address_of_the_login_page_is_recognised(self) -> None:
        with pytest.raises(InvalidResponse, match="login page") as caught:
            authorization_response_from_pasted_text(request(), request().url)
        assert STATE not in repr(caught.value)

    @pytest.mark.parametrize(
        "text", ["", "  ", "y", "hello", "yes please", "https://mcp.example.com/", "https://x.example/?a=b", "cöde"]
    )
    def test_anything_else_is_refused_with_what_to_paste(self, text: str) -> None:
        with pytest.raises(InvalidResponse, match="Paste the whole address"):
            authorization_response_from_pasted_text(request(), text)

    @given(st.text())
    def test_whatever_is_pasted_ends_in_a_query_or_an_error_of_ours(self, text: str) -> None:
        with contextlib.suppress(AuthError):
            query = authorization_response_from_pasted_text(request(), text)
            validate_authorization_response(request(), query)

    @pytest.mark.parametrize("code", ["Splx%2FlOBe#ZQQ", "Splx%2FlOBe&iss=evil", "Splx%2FlOBe+ZQQ"])
    def test_a_bare_code_with_escapes_brings_no_other_parameter(self, code: str) -> None:
        query = authorization_response_from_pasted_text(request(), code)
        assert validate_authorization_response(request(), query).code == unquote(code)

    @given(
        st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="%&=?#:\"'<>`"), min_size=8)
    )
    def test_a_bare_code_arrives_as_it_is(self, code: str) -> None:
        query = authorization_response_from_pasted_text(request(), code)
        assert validate_authorization_response(request(), query).code == code
