"""Servers that mean harm: what they may cost in windows and trust. More of them, as attacks: `tests/hostile`.

Specification, "Step-Up Authorization Flow": "Clients SHOULD implement retry limits".
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest

import mcp_login.sync
from mcp_login import (
    AuthError,
    LoginRequired,
    MemoryStorage,
    OAuth,
    RegistrationErrorResponse,
)
from mcp_login.obtaining import BUDGET
from mcp_login.testing import Fault, Person
from tests.flows.support import Login, call, causes, login_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.flows.conftest import Serve

__all__: list[str] = []


def options(person: Callable[[str], object], **more: Any) -> dict[str, Any]:
    return {
        "storage": MemoryStorage(),
        "on_authorization_url": person,
        "interactive": True,
        "callback_timeout": 10.0,
        **more,
    }


# --- windows


def test_a_server_that_always_wants_other_scopes_gets_a_few_windows(serve: Serve, person: Person) -> None:
    """ "Clients SHOULD implement retry limits": however many requests are made, and whatever each 403 names."""
    server = serve(auto_approve=True, scopes_supported=None, server_scopes_supported=None, required_scopes=())
    login = login_of(server, person)
    for number in range(4):
        challenges = [f'Bearer error="insufficient_scope", scope="s{number}.{turn}"' for turn in range(5)]
        server.faults.mcp_endpoint = None
        server.faults.set("mcp", [Fault(status=403, headers={"WWW-Authenticate": value}) for value in challenges])
        assert login.ask(call("secret")).status_code == 403
    assert login.windows <= 4


def test_scopes_without_number_make_no_address_without_end(serve: Serve, person: Person) -> None:
    server = serve(auto_approve=True)
    server.reconfigure(
        challenge_scope=False, scopes_supported=tuple(f"scope-{n}" for n in range(20_000)), required_scopes=()
    )
    server.reconfigure(server_scopes_supported=None)
    login = Login(server, person)
    with contextlib.suppress(AuthError):
        login.ask()
    assert person.urls
    assert max(map(len, person.urls)) < 20_000
    assert max(len(request.body) for request in server.requests.matching("registration")) < 20_000


# --- what a server says back


def test_a_software_statement_that_a_refusal_quotes_is_masked(
    serve: Serve, person: Person, caplog: pytest.LogCaptureFixture
) -> None:
    """RFC 7591 section 2.3: it is signed, and whoever has it registers as its subject."""
    statement = "eyJhbGciOiJSUzI1NiJ9.c29mdHdhcmU.c2lnbmF0dXJl"
    server = serve()
    server.faults.registration_endpoint = Fault(
        error="invalid_software_statement", error_description=f"unknown statement <{statement}>", times=None
    )
    caplog.set_level("DEBUG")
    with pytest.raises(RegistrationErrorResponse) as caught:
        mcp_login.sync.login(
            server.url, **options(person, additional_client_metadata={"software_statement": statement})
        )
    assert statement in server.requests.matching("registration")[0].body.decode()
    for error in causes(caught.value):
        assert statement not in f"{error} {error!r} {vars(error)}"
    assert statement not in caplog.text


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=503, times=None),
        Fault(body=b"{}", content_type="application/json", times=None),
        Fault(body=b'{"resource": 1}', content_type="application/json", times=None),
        Fault(reset=True, times=None),
        Fault(status=302, headers={"Location": "https://elsewhere.invalid/"}, times=None),
    ],
    ids=["down", "empty", "wrong type", "reset", "redirect"],
)
def test_no_message_shows_the_query_of_the_servers_url(
    serve: Serve, person: Person, caplog: pytest.LogCaptureFixture, fault: Fault
) -> None:
    """Many a server takes an API key there."""
    server = serve()
    server.faults.resource_metadata = fault
    url = f"{server.url}?api_key=SECRETKEY"
    caplog.set_level("INFO", "mcp_login")
    with pytest.raises(AuthError) as caught:
        mcp_login.sync.login(url, **options(person))
    assert "SECRETKEY" not in "".join(map(str, causes(caught.value))) + caplog.text


def test_a_call_that_may_not_ask_and_a_repr_do_not_show_the_query_either(serve: Serve) -> None:
    url = f"{serve().url}?api_key=SECRETKEY"
    with pytest.raises(AuthError) as caught:
        mcp_login.sync.access_token(url, storage=MemoryStorage())
    assert "SECRETKEY" not in f"{caught.value} {OAuth(url, storage=MemoryStorage())!r}"


def test_no_message_and_no_log_shows_the_query_of_the_servers_url(
    serve: Serve, person: Person, caplog: pytest.LogCaptureFixture
) -> None:
    """Some servers take an API key there."""
    caplog.set_level("DEBUG", "mcp_login")
    other = serve(resource_metadata_overrides={"resource": "https://other.example.com/mcp"})
    with pytest.raises(AuthError) as caught:
        mcp_login.sync.login(f"{other.url}?api_key=SECRETKEY", **options(person))
    assert "SECRETKEY" not in str(caught.value)
    server = serve(auto_approve=True)
    given = options(person)
    mcp_login.sync.login(f"{server.url}?api_key=SECRETKEY", **given)
    server.faults.revocation_endpoint = Fault(status=503, times=None)
    mcp_login.sync.logout(f"{server.url}?api_key=SECRETKEY", storage=given["storage"])
    assert "SECRETKEY" not in caplog.text


def test_tokens_that_work_once_cost_a_few_windows_and_then_an_error(serve: Serve, person: Person) -> None:
    """Field notes, "Browser storms"."""
    server = serve(auto_approve=True, refresh_tokens="never")
    login = login_of(server, person)
    before = login.windows
    refused = 0
    for _ in range(10):
        server.revoke_access_tokens()
        try:
            login.ask()
        except LoginRequired as error:
            assert "within 10 minutes" in str(error)  # noqa: PT017 - the loop goes on
            refused += 1
    assert 0 < login.windows - before <= BUDGET
    assert refused > 0


def test_a_token_that_is_still_good_survives_a_dead_refresh_token(serve: Serve, person: Person) -> None:
    """Field notes: "A valid token without a refresh token thrown away at start"."""
    server = serve(auto_approve=True)
    login = login_of(server, person)
    server.revoke_refresh_tokens()
    with pytest.raises(LoginRequired):
        mcp_login.sync.access_token(server.url, storage=login.storage, min_valid_for=5000)
    assert mcp_login.sync.access_token(server.url, storage=login.storage)
