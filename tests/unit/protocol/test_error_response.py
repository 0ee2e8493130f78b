"""OAuth error answers: what is shown of them, and that our secrets are not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_login.protocol.error_response import error_fields, hint_for, is_unavailable, redact, unavailable
from mcp_login.protocol.message import HttpResponse

secret_text = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=8, max_size=40)
SECRET = "hT9x/QpZ+sV2_wK8"


@given(before=st.text(), secret=secret_text, after=st.text())
def test_a_secret_that_is_echoed_is_never_shown(before: str, secret: str, after: str) -> None:
    assert secret not in redact(before + secret + after, [secret])


@given(text=st.text(), secrets=st.lists(st.text(max_size=20), max_size=4))
def test_redacting_never_fails_and_leaves_no_long_secret(text: str, secrets: list[str]) -> None:
    shown = redact(text, secrets)
    assert not any(secret in shown for secret in secrets if len(secret) >= 8)


@pytest.mark.parametrize(
    "echo",
    [
        SECRET,
        "hT9x%2FQpZ%2BsV2_wK8",
        "hT9x/QpZ",
        "hT9x/QpZ+s...",
        "hT9x\u200b/QpZ\x00+sV2_wK8",
    ],
)
def test_a_secret_is_masked_encoded_in_part_or_with_invisible_characters_in_it(echo: str) -> None:
    shown = redact(f"token '{echo}' is unknown", [SECRET])
    assert "hT9x" not in shown
    assert shown.startswith("token '[…]")
    assert shown.endswith("is unknown")


def test_a_secret_with_quotes_is_masked_where_it_is_escaped() -> None:
    assert redact(r"bad secret p\"ss\\word", ['p"ss\\word']) == "bad secret […]"


def test_a_short_code_is_masked_as_a_word_only() -> None:
    assert redact("code ab is not about cabs", ["ab"]) == "code […] is not about cabs"


def test_a_secret_that_masking_would_put_together_hides_the_whole_text() -> None:
    assert redact("xyz12[…]98zyx", ["xyz12[…]98zyx", "unrelated"]) == "[…]"
    assert redact("xyz12long-secret98zyx", ["long-secret", "xyz12[…]98zyx"]) == ""


def test_every_field_of_an_error_is_redacted() -> None:
    fields = error_fields(
        {"error": SECRET, "error_description": SECRET, "error_uri": f"https://as.example/?{SECRET}"}, [SECRET]
    )
    assert fields is not None
    assert (fields.error, fields.description, fields.uri) == ("[…]", "[…]", "https://as.example/?[…]")
    assert SECRET not in repr(fields)


@pytest.mark.parametrize("error", [None, "", 5, {"message": "no"}, ["invalid_grant"], True])
def test_what_is_no_oauth_error_is_none(error: object) -> None:
    assert error_fields({"error": error}) is None
    assert error_fields({}) is None


def test_the_message_of_older_servers_counts_as_the_description() -> None:
    fields = error_fields(
        {"error": "invalid_request", "error_description": None, "message": "The refresh token is invalid."}
    )
    assert fields is not None
    assert fields.description == "The refresh token is invalid."


@pytest.mark.parametrize(
    "description",
    [
        "AADSTS9010010: The resource parameter provided in the request doesn't match with the requested scopes.",
        "AADSTS901002: The 'resource' request parameter is not supported.",
    ],
)
def test_the_error_of_entra_suggests_to_omit_the_resource(description: str) -> None:
    fields = error_fields({"error": "invalid_target", "error_description": description})
    assert fields is not None
    assert "resource=None" in (hint_for(fields) or "")


def test_an_unknown_error_has_no_hint() -> None:
    fields = error_fields({"error": "consent_required", "error_description": "AADSTS90100100"})
    assert fields is not None
    assert hint_for(fields) is None


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 599])
def test_outages_are_told_by_the_status(status: int) -> None:
    assert is_unavailable(HttpResponse(status, "https://as.example/token"))


@pytest.mark.parametrize("status", [200, 302, 400, 401, 403, 404, 422])
def test_refusals_are_no_outages(status: int) -> None:
    assert not is_unavailable(HttpResponse(status, "https://as.example/token"))


def test_an_outage_says_who_and_when_to_try_again() -> None:
    """RFC 9110 section 10.2.3: Retry-After."""
    response = HttpResponse(503, "https://as.example/token", (("retry-after", "120"),))
    error = unavailable(response, what="token endpoint")
    assert error.retry_after == 120
    assert str(error) == (
        "The token endpoint of as.example answered HTTP 503. Nothing stored was changed; try again in 120 seconds."
    )
