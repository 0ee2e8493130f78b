"""Errors can be passed on, and hold nothing but what they say.

DESIGN section 2, "Errors": each can be pickled, and many callers that share one failure get an error each.
"""

from __future__ import annotations

import copy
import pickle
from typing import TYPE_CHECKING

import pytest

from mcp_login import errors

if TYPE_CHECKING:
    from collections.abc import Callable

    from mcp_login.errors import AuthError

__all__: list[str] = []

ERRORS = [
    errors.AuthError("message"),
    errors.TransportError("message", url="https://as.example.com/token", retry_after=3.0),
    errors.InvalidResponse("reason", url="https://as.example.com/token?key=1"),
    errors.IssuerMismatch(expected="https://a.example", received=None, url="https://a.example/x"),
    errors.IssuerMismatch(expected="https://a.example", received="https://b.example", url="u", reason="told so"),
    errors.ErrorResponse("server_error"),
    errors.AuthorizationErrorResponse("access_denied", error_description="No", error_uri="https://a.example/e"),
    errors.TokenErrorResponse("invalid_grant", status_code=400, url="https://a.example/token", ends_session=True),
    errors.RegistrationErrorResponse("invalid_redirect_uri", hint="Do this"),
    errors.PolicyError("message"),
    errors.LoginRequired("message", resource="https://mcp.example.com", scopes=["a", "b"]),
    errors.LoginNotNeeded("message"),
    errors.LoginTimeout("message", seconds=1.5),
    errors.RegistrationRequired("message", issuer="https://a.example"),
    errors.RedirectPortTaken("message", port=8080),
    errors.StorageError("message"),
    errors.StorageLocked("message"),
    errors.StorageUnavailable("message"),
    errors.StorageUnreadable("message"),
]
each = pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)


def same(one: AuthError, other: AuthError) -> bool:
    return type(one) is type(other) and one.args == other.args and vars(one) == vars(other)


def test_no_kind_of_error_is_left_out() -> None:
    offered = {getattr(errors, name) for name in errors.__all__}
    kinds = {kind for kind in offered if isinstance(kind, type)}
    assert kinds == {type(error) for error in ERRORS}


@each
def test_an_error_can_be_pickled(error: AuthError) -> None:
    """Worker processes and task queues pass errors on."""
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(error, protocol))
        assert same(error, again)
        assert str(again) == str(error)


@each
def test_an_error_can_be_copied(error: AuthError) -> None:
    assert same(error, copy.copy(error))
    assert same(error, copy.deepcopy(error))


@each
def test_a_twin_says_the_same_and_has_no_past(error: AuthError) -> None:
    """The frames of a traceback hold tokens and codes, and a tracker of errors writes them down."""

    def fail() -> None:
        try:
            raise ValueError("quotes a secret")  # noqa: TRY301
        except ValueError as cause:
            raise error from cause

    with pytest.raises(type(error)) as caught:
        fail()
    twin = caught.value.twin()
    assert same(error, twin)
    assert twin is not error
    assert (twin.__traceback__, twin.__cause__, twin.__context__) == (None, None, None)


def test_an_error_about_a_url_leaves_its_query_out() -> None:
    error = errors.InvalidResponse("reason", url="https://mcp.example.com/mcp?api_key=SECRETKEY")
    assert error.url == "https://mcp.example.com/mcp"
    assert "SECRETKEY" not in str(error)


@pytest.mark.parametrize(
    "made",
    [
        lambda url: errors.TransportError("said", url=url),
        lambda url: errors.InvalidResponse("wrong", url=url),
        lambda url: errors.TokenErrorResponse("invalid_grant", url=url),
    ],
)
def test_the_url_of_an_error_is_whole_for_programs_and_short_in_the_message(
    made: Callable[[str], errors.TransportError | errors.InvalidResponse | errors.TokenErrorResponse],
) -> None:
    url = f"https://mcp.example.com/{'p' * 1000}"
    error = made(f"{url}?key=s3cret")
    assert error.url == url
    assert len(str(error)) < 500
    assert "s3cret" not in repr(error.__dict__)
    assert len(made(url * 100).url or "") == 8000


def test_two_issuers_that_differ_late_are_told_apart() -> None:
    base = f"https://as.example.com/{'p' * 400}/"
    error = errors.IssuerMismatch(expected=f"{base}a", received=f"{base}b", url="https://mcp.example.com")
    assert (error.expected, error.received) == (f"{base}a", f"{base}b")
    assert errors.RegistrationRequired("said", issuer=f"{base}a").issuer == f"{base}a"
    assert len(str(error)) < 800
