"""Client authentication: RFC 6749 section 2.3, RFC 7591 section 2."""

from __future__ import annotations

from base64 import b64decode
from urllib.parse import unquote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_login.errors import PolicyError
from mcp_login.protocol.client import ClientInformation, TokenEndpointAuthMethod
from mcp_login.protocol.client_authentication import (
    authenticate,
    authentication_secrets,
    preferred_registration_method,
    select_token_endpoint_auth_method,
)

visible = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1)


def client(
    method: TokenEndpointAuthMethod,
    secret: str | None,
    client_id: str = "s6BhdRkqt3",
    issuer: str = "https://as.example",
) -> ClientInformation:
    return ClientInformation(
        issuer=issuer,
        client_id=client_id,
        mechanism="dynamic",
        client_secret=secret,
        token_endpoint_auth_method=method,
    )


def sent(who: ClientInformation) -> tuple[dict[str, str], dict[str, str]]:
    form: dict[str, str] = {}
    headers: dict[str, str] = {}
    authenticate(who, form, headers)
    return form, headers


def test_basic_credentials_are_those_of_the_example() -> None:
    """RFC 6749 section 2.3.1: "Authorization: Basic czZCaGRSa3F0Mzo3RmpmcDBaQnIxS3REUmJuZlZkbUl3"."""
    form, headers = sent(client("client_secret_basic", "7Fjfp0ZBr1KtDRbnfVdmIw"))
    assert headers == {"Authorization": "Basic czZCaGRSa3F0Mzo3RmpmcDBaQnIxS3REUmJuZlZkbUl3"}
    assert form == {}


def test_credentials_in_the_body_are_those_of_the_example() -> None:
    """RFC 6749 section 2.3.1: "client_id=s6BhdRkqt3&client_secret=7Fjfp0ZBr1KtDRbnfVdmIw"."""
    form, headers = sent(client("client_secret_post", "7Fjfp0ZBr1KtDRbnfVdmIw"))
    assert form == {"client_id": "s6BhdRkqt3", "client_secret": "7Fjfp0ZBr1KtDRbnfVdmIw"}
    assert headers == {}


def test_basic_credentials_are_form_encoded_first() -> None:
    """RFC 6749 section 2.3.1 with appendix B, whose example " %&+£€" becomes "+%25%26%2B%C2%A3%E2%82%AC"."""
    _, headers = sent(client("client_secret_basic", " %&+£€", client_id="a:b"))
    assert b64decode(headers["Authorization"].removeprefix("Basic ")) == b"a%3Ab:+%25%26%2B%C2%A3%E2%82%AC"


@given(client_id=visible, secret=visible)
def test_basic_credentials_can_be_taken_apart_again(client_id: str, secret: str) -> None:
    """RFC 6749 section 2.3.1."""
    _, headers = sent(client("client_secret_basic", secret, client_id=client_id))
    name, _, password = b64decode(headers["Authorization"].removeprefix("Basic ")).decode("ascii").partition(":")
    assert (unquote_plus(name), unquote_plus(password)) == (client_id, secret)


def test_a_public_client_sends_its_id_alone() -> None:
    """RFC 6749 section 4.1.3: "client_id REQUIRED, if the client is not authenticating"."""
    assert sent(client("none", None)) == ({"client_id": "s6BhdRkqt3"}, {})


def test_a_client_that_registered_none_never_sends_its_secret() -> None:
    """RFC 7591 section 2: "none": The client is a public client and does not have a client secret."""
    assert sent(client("none", "secret")) == ({"client_id": "s6BhdRkqt3"}, {})


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_a_client_whose_secret_is_lost_goes_out_as_a_public_one(method: TokenEndpointAuthMethod) -> None:
    """Ours: the server's invalid_client then starts the recovery."""
    assert sent(client(method, None)) == ({"client_id": "s6BhdRkqt3"}, {})


@pytest.mark.parametrize("method", ["none", "client_secret_basic", "client_secret_post"])
def test_one_method_is_used_in_a_request(method: TokenEndpointAuthMethod) -> None:
    """RFC 6749 section 2.3: "The client MUST NOT use more than one authentication method in each request"."""
    form, headers = sent(client(method, "7Fjfp0ZBr1KtDRbnfVdmIw"))
    assert ("client_secret" in form) + ("Authorization" in headers) == (0 if method == "none" else 1)


def test_private_key_jwt_without_an_assertion_is_refused() -> None:
    with pytest.raises(PolicyError, match="private_key_jwt"):
        sent(client("private_key_jwt", None))


def test_private_key_jwt_takes_the_assertion_that_the_grant_signed() -> None:
    """Specification, "Client ID Metadata Documents": clients MAY use private_key_jwt."""
    form = {"client_assertion": "signed"}
    authenticate(client("private_key_jwt", None), form, {})
    assert form == {"client_assertion": "signed", "client_id": "s6BhdRkqt3"}


@pytest.mark.parametrize(
    ("supported", "registered", "chosen"),
    [
        # What was registered, unless the metadata excludes it.
        (None, "client_secret_post", "client_secret_post"),
        (None, "client_secret_basic", "client_secret_basic"),
        (["client_secret_post", "client_secret_basic"], "client_secret_basic", "client_secret_basic"),
        (["client_secret_post"], "client_secret_basic", "client_secret_post"),
        (["client_secret_basic", "none"], "client_secret_post", "client_secret_basic"),
        (["private_key_jwt"], "client_secret_basic", "client_secret_basic"),
        # Figma: a secret with the method none, and the metadata wants client_secret_post.
        (["client_secret_post"], "none", "client_secret_post"),
        # Supabase: a secret and no method.
        (["client_secret_basic", "client_secret_post", "none"], None, "client_secret_post"),
        (["client_secret_basic", "none"], None, "client_secret_basic"),
        # Methods that this library doesn't speak.
        (["client_secret_jwt", "client_secret_basic"], "client_secret_jwt", "client_secret_basic"),
        (["private_key_jwt", "none"], None, "client_secret_post"),
        # RFC 8414 section 2: "If omitted, the default is "client_secret_basic"".
        (None, None, "client_secret_basic"),
        (None, "none", "client_secret_basic"),
        ([], None, "client_secret_basic"),
    ],
)
def test_a_secret_that_was_issued_is_used_by_a_method_that_the_metadata_allows(
    supported: list[str] | None, registered: str | None, chosen: str
) -> None:
    """RFC 8414 section 2, RFC 7591 section 3.2.1, and servers that return a secret with another method or none."""
    assert select_token_endpoint_auth_method(supported=supported, registered=registered, has_secret=True) == chosen


@given(
    supported=st.none() | st.lists(st.sampled_from(["client_secret_post", "client_secret_basic", "none", "x"])),
    registered=st.none() | st.text(),
)
def test_without_a_secret_there_is_nothing_to_prove(supported: list[str] | None, registered: str | None) -> None:
    assert select_token_endpoint_auth_method(supported=supported, registered=registered, has_secret=False) == "none"


@pytest.mark.parametrize(
    ("supported", "asked"),
    [
        (None, "none"),
        ([], "none"),
        (["client_secret_basic", "none"], "none"),
        (["client_secret_basic"], "client_secret_basic"),
        (["client_secret_basic", "client_secret_post"], "client_secret_post"),
        (["private_key_jwt"], "none"),
    ],
)
def test_a_native_client_registers_without_a_secret_where_it_may(supported: list[str] | None, asked: str) -> None:
    """RFC 8252 section 8.5: secrets distributed to native apps "SHOULD NOT be treated as confidential"."""
    assert preferred_registration_method(supported) == asked


def test_the_values_that_no_error_may_quote_are_named() -> None:
    assert authentication_secrets(client("none", None)) == ()
    assert authentication_secrets(client("client_secret_basic", "7Fjfp0ZBr1KtDRbnfVdmIw")) == (
        "7Fjfp0ZBr1KtDRbnfVdmIw",
        "czZCaGRSa3F0Mzo3RmpmcDBaQnIxS3REUmJuZlZkbUl3",
    )
