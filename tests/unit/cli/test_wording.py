"""What the library says in Python's words, the command says in options, and nothing twice."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from keyring.backends.fail import Keyring
from keyring.errors import InitError, KeyringLocked

from mcp_login import errors
from mcp_login.cli.failure import failure_of
from mcp_login.cli.wording import in_options
from mcp_login.network.policy import AddressSpace, NetworkPolicy
from mcp_login.protocol.error_response import error_fields, hint_for
from mcp_login.storage.keyring_backend import first_choice, storage_error

if TYPE_CHECKING:
    from collections.abc import Callable

__all__: list[str] = []


def shown(error: errors.AuthError) -> tuple[str, str]:
    """The error and the hint as the command ends with them."""
    failure = failure_of(error)
    return failure.message, failure.hint or ""


def refused(code: str, description: str | None = None) -> errors.TokenErrorResponse:
    """An OAuth error with the library's own advice."""
    fields = error_fields({"error": code, "error_description": description})
    assert fields is not None
    return errors.TokenErrorResponse(code, error_description=fields.description, hint=hint_for(fields))


def raised(call: Callable[[], object]) -> errors.AuthError:
    with pytest.raises(errors.AuthError) as caught:
        call()
    return caught.value


def test_a_refusal_is_told_once_and_ends_with_a_full_stop() -> None:
    fields = error_fields({"error": "access_denied"})
    assert fields is not None
    error = errors.AuthorizationErrorResponse("access_denied", url="https://a/b", hint=hint_for(fields))
    assert shown(error) == (
        "The authorization server refused the login: access_denied [https://a/b].",
        "Start the login again and allow the access.",
    )


@pytest.mark.parametrize(
    ("error", "option"),
    [
        (refused("invalid_scope"), "--scope"),
        (refused("invalid_request", "AADSTS9010010: no"), "--no-resource"),
        (refused("invalid_client"), "log in anew (--force), or check --client-id"),
        (errors.TokenErrorResponse("other"), "--force"),
        (errors.RegistrationErrorResponse("other"), "--client-id"),
    ],
    ids=["scope", "resource", "unknown", "force", "client-id"],
)
def test_advice_names_options_and_no_keywords(error: errors.ErrorResponse, option: str) -> None:
    message, hint = shown(error)
    assert option in hint
    assert hint.endswith(".")
    assert option not in message
    assert not re.search(r"\w=|client_id\b", f"{message} {hint}")


def test_a_server_s_own_words_are_left_as_they_are() -> None:
    message, _ = shown(refused("invalid_scope", "say scopes= or resource=None"))
    assert "(say scopes= or resource=None)" in message


@pytest.mark.parametrize("url", ["http://mcp.example.com/mcp", "https://10.0.0.1/mcp"])
def test_a_private_network_is_allowed_by_an_option(url: str) -> None:
    message, _ = shown(raised(lambda: NetworkPolicy().check_url(url, floor=AddressSpace.PUBLIC)))
    assert "--allow-private-network." in message
    assert "allow_private_network" not in message


def test_metadata_that_is_silent_about_pkce_can_be_trusted_and_metadata_without_s256_cannot() -> None:
    silent = errors.InvalidResponse("the metadata has no code_challenge_methods_supported", url="https://a")
    assert "--trust-pkce" in shown(silent)[1]
    assert shown(errors.InvalidResponse("the metadata doesn't list S256", url="https://a"))[1] == ""


def keychain_errors() -> dict[str, errors.AuthError]:
    """What the library says of keychains that fail."""
    backend = Keyring()  # type: ignore[no-untyped-call]
    return {
        "locked": storage_error(KeyringLocked(), backend),
        "gone": storage_error(InitError(), backend),
        "failing": storage_error(ValueError(), backend),
        "none": raised(first_choice),
    }


@pytest.mark.parametrize("kind", ["locked", "gone", "failing", "none"])
def test_where_the_keychain_fails_a_file_is_offered_once_and_memory_never(kind: str) -> None:
    message, hint = shown(keychain_errors()[kind])
    assert message.endswith(".")
    assert ".." not in message.replace("...", "")
    assert "MCP_LOGIN_STORAGE" not in message
    assert "--storage file" in hint
    assert "export MCP_LOGIN_STORAGE=file" in hint
    assert "memory" not in f"{message} {hint}"


def test_another_storage_is_not_offered_where_a_folder_has_to_be_corrected() -> None:
    said = "Can't read /a: denied. Set MCP_LOGIN_HOME to a folder you can write to."
    assert shown(errors.StorageUnavailable(said)) == (said, "")


def test_parameters_of_a_url_are_no_keywords() -> None:
    assert in_options("https://a/?scopes=a&issuer=b") == "https://a/?scopes=a&issuer=b"
    assert in_options("Give issuer= to be sure.") == "Give --issuer to be sure."
