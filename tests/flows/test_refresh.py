"""Refreshing: near expiry and on a 401, once for everybody, and never a reason to lose credentials.

DESIGN section 3, "Refreshing"; FIELD-NOTES, "Refresh"; RFC 6749 section 6.
"""

from __future__ import annotations

import dataclasses
import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any, Literal

import pytest

import mcp_login.sync
from mcp_login import FileStorage, InvalidResponse, LoginRequired, TokenErrorResponse, TransportError
from mcp_login.testing import Clock, EmbeddedServer, Fault, Person, RecordedRequest, RegisteredClient, isolated
from tests.flows.support import Login, age, edit, in_threads, login_of, message, store

if TYPE_CHECKING:
    from pathlib import Path

    from mcp_login import OAuth
    from tests.flows.conftest import Serve

__all__: list[str] = []

HOUR = 3600.0


def refreshes(server: EmbeddedServer) -> int:
    return server.count("token", grant_type="refresh_token")


def test_an_expired_token_is_refreshed_before_the_request_and_nothing_else_is_asked(
    serve: Serve, person: Person
) -> None:
    """Expiry, issuer and endpoints not persisted: after a restart the stale token is sent (python-sdk#3250, #1318)."""
    server = serve()
    login = login_of(server, person)
    age(login.storage, server.url, 2 * HOUR)
    server.requests.clear()
    assert login.ask(auth=login.oauth()).status_code == 200
    assert server.requests.endpoints == ["token", "mcp"]
    assert login.windows == 1


def test_a_token_that_is_about_to_expire_is_refreshed_early(serve: Serve, person: Person) -> None:
    server = serve()
    login = login_of(server, person)
    age(login.storage, server.url, HOUR - 20)
    server.requests.clear()
    assert login.ask(auth=login.oauth()).status_code == 200
    assert server.requests.endpoints == ["token", "mcp"]


def test_a_token_that_is_good_for_a_while_is_not_refreshed(serve: Serve, person: Person) -> None:
    server = serve()
    login = login_of(server, person)
    age(login.storage, server.url, HOUR - 120)
    server.requests.clear()
    assert login.ask(auth=login.oauth()).status_code == 200
    assert server.requests.endpoints == ["mcp"]


def test_the_refresh_request_names_client_and_resource_and_goes_to_the_stored_endpoint(
    serve: Serve, person: Person
) -> None:
    server = serve()
    login = login_of(server, person)
    before = login.record
    assert before is not None
    # Discovery would lead elsewhere by now.
    server.faults.resource_metadata = server.faults.server_metadata = Fault(status=500, times=None)
    server.expire_access_tokens()
    assert login.ask().status_code == 200
    sent = server.requests.matching("token", grant_type="refresh_token")[0].params
    assert sent["resource"] == server.resource
    assert sent["client_id"] == before.client.client_id
    assert sent["refresh_token"] == before.refresh_token
    after = login.record
    assert after is not None
    assert after.refresh_token not in (None, before.refresh_token)


def test_a_refused_token_is_refreshed_once_and_the_request_repeated(serve: Serve, person: Person) -> None:
    server = serve()
    login = login_of(server, person)
    server.expire_access_tokens()
    server.requests.clear()
    assert login.ask().status_code == 200
    assert server.requests.endpoints == ["mcp", "token", "mcp"]


def test_on_a_401_the_store_is_read_again_before_anything_is_refreshed(serve: Serve, person: Person) -> None:
    """A peer refreshed and the server revoked my still-unexpired access token (Notion)."""
    server = serve(refresh_revokes_access_tokens=True)
    login = login_of(server, person)
    peer = login.oauth()
    age(login.storage, server.url, 2 * HOUR)
    assert login.ask(auth=peer).status_code == 200
    server.requests.clear()
    assert login.ask().status_code == 200
    assert server.requests.endpoints == ["mcp", "mcp"]


@pytest.mark.parametrize(
    "settings",
    [
        {"rotation": False},
        {"rotation": False, "null_fields": True},
        {"scope_in_answer": "never"},
        {"expires_in": "omit"},
        {"expires_in": "null", "null_fields": True, "rotation": False, "scope_in_answer": "never"},
    ],
    ids=str,
)
def test_what_the_answer_leaves_out_is_kept(serve: Serve, person: Person, settings: dict[str, Any]) -> None:
    """RFC 6749 section 6: without a new refresh token the old one stays; the scope is the one granted before."""
    server = serve()
    login = login_of(server, person)
    before = login.record
    server.reconfigure(**settings)
    server.expire_access_tokens()
    assert login.ask().status_code == 200
    after = login.record
    assert before is not None
    assert after is not None
    assert after.granted_scopes == before.granted_scopes
    assert after.refresh_token is not None
    if settings.get("rotation") is False:
        assert after.refresh_token == before.refresh_token
    assert (after.expires_at is None) == (settings.get("expires_in") in ("omit", "null"))
    server.expire_access_tokens()
    assert login.ask().status_code == 200
    assert login.windows == 1


def test_a_token_of_unknown_life_is_used_until_a_401_says_otherwise(serve: Serve, person: Person) -> None:
    server = serve(expires_in="omit")
    login = login_of(server, person)
    edit(login.storage, server.url, obtained_at=0.0)
    server.requests.clear()
    assert login.ask(auth=login.oauth()).status_code == 200
    assert server.requests.endpoints == ["mcp"]


def test_a_valid_token_without_a_refresh_token_is_used(serve: Serve, person: Person) -> None:
    """goose#11235: a valid token without a refresh token thrown away at start."""
    server = serve(refresh_tokens="never")
    login = login_of(server, person)
    age(login.storage, server.url, HOUR - 20)
    server.requests.clear()
    assert login.ask(auth=login.oauth()).status_code == 200
    assert server.requests.endpoints == ["mcp"]


def test_an_expired_token_without_a_refresh_token_leads_to_a_login(serve: Serve, person: Person) -> None:
    server = serve(refresh_tokens="never")
    login = login_of(server, person)
    age(login.storage, server.url, 2 * HOUR)
    assert login.ask(auth=login.oauth()).status_code == 200
    assert login.windows == 2
    assert refreshes(server) == 0


PASSING = [
    Fault(status=500, times=None, retry_after=60),
    Fault(status=503, times=None, retry_after=60),
    Fault(status=429, times=None, retry_after=60),
    Fault(status=408, times=None, retry_after=60),
    Fault(error="temporarily_unavailable", times=None, retry_after=60),
    Fault(status=400, error="slow_down", times=None, retry_after=60),
    Fault(status=502, body=b"<html>Bad gateway</html>", times=None, retry_after=60),
]


@pytest.mark.parametrize("fault", PASSING, ids=lambda fault: f"{fault.status}-{fault.error}")
def test_a_token_endpoint_that_is_down_costs_neither_the_credentials_nor_a_window(
    serve: Serve, person: Person, fault: Fault
) -> None:
    """goose PR#11995: 5xx, time-outs and `temporarily_unavailable` wipe credentials."""
    server = serve()
    login = login_of(server, person)
    age(login.storage, server.url, 2 * HOUR)
    before = login.record
    server.faults.token_endpoint = fault
    with pytest.raises(TransportError) as caught:
        login.ask(auth=login.oauth())
    assert caught.value.retry_after == 60
    assert "try again" in str(caught.value)
    assert login.record == before
    assert login.windows == 1
    server.faults.clear()
    assert login.ask(auth=login.oauth()).status_code == 200


@pytest.mark.parametrize(
    "fault",
    [
        Fault(body=b"<html>Welcome</html>", times=None),
        Fault(body=b"", times=None),
        Fault(body=b"\xff\xfe", times=None),
        Fault(body=b"[]", content_type="application/json", times=None),
        Fault(body=b'{"access_token": 7}', content_type="application/json", times=None),
        Fault(
            body=b'{"access_token": "a\\r\\nb", "token_type": "bearer"}', content_type="application/json", times=None
        ),
        Fault(status=400, times=None),
        Fault(status=404, times=None),
    ],
    ids=lambda fault: str((fault.status, fault.body)),
)
def test_an_answer_that_is_no_answer_costs_neither_the_credentials_nor_a_window(
    serve: Serve, person: Person, fault: Fault
) -> None:
    server = serve()
    login = login_of(server, person)
    age(login.storage, server.url, 2 * HOUR)
    before = login.record
    server.faults.token_endpoint = fault
    with pytest.raises(InvalidResponse):
        login.ask(auth=login.oauth())
    assert login.record == before
    assert login.windows == 1


@pytest.mark.parametrize(
    "error", ["invalid_request", "unauthorized_client", "unsupported_grant_type", "invalid_scope", "invalid_target"]
)
def test_an_error_that_is_not_about_the_grant_costs_neither_the_credentials_nor_a_window(
    serve: Serve, person: Person, error: str
) -> None:
    server = serve()
    login = login_of(server, person)
    server.expire_access_tokens()
    before = login.record
    server.faults.token_endpoint = Fault(error=error, times=None)
    with pytest.raises(TokenErrorResponse) as caught:
        login.ask()
    assert caught.value.error == error
    assert login.record == before
    assert login.windows == 1


def test_a_short_outage_is_bridged(serve: Serve, person: Person) -> None:
    server = serve()
    login = login_of(server, person)
    server.expire_access_tokens()
    server.faults.token_endpoint = Fault(status=503, times=1)
    assert login.ask().status_code == 200
    assert refreshes(server) == 2


def test_a_retry_after_that_is_short_is_obeyed_and_a_dropped_connection_survived(serve: Serve, person: Person) -> None:
    server = serve()
    login = login_of(server, person)
    server.expire_access_tokens()
    server.faults.token_endpoint = Fault(reset=True, times=1)
    assert login.ask().status_code == 200


def test_a_rotation_whose_answer_was_lost_is_made_good_within_the_servers_grace(serve: Serve, person: Person) -> None:
    """Linear: rotation with grace. The request that broke may have rotated the token: it is offered once more."""
    server = serve(rotation_grace=60)
    login = login_of(server, person)
    server.expire_access_tokens()
    server.faults.token_endpoint = Fault(reset=True, times=1, after_acting=True)
    assert login.ask().status_code == 200
    assert login.windows == 1


BROKEN: dict[str, dict[str, Any]] = {
    "reset": {"reset": True},
    "truncated": {"truncate": True},
    "500": {"status": 500},
    "502": {"status": 502, "body": b"<html>Bad gateway</html>"},
    "503": {"status": 503},
    "504": {"status": 504},
    "server_error": {"error": "server_error"},
    "garbage": {"body": b"<html>Welcome</html>"},
    "half of an answer": {"body": b'{"access_token": "a', "content_type": "application/json"},
    "nothing": {"body": b""},
}
TURNED_AWAY: dict[str, dict[str, Any]] = {
    "408": {"status": 408},
    "429": {"status": 429},
    "temporarily_unavailable": {"error": "temporarily_unavailable"},
    "slow_down": {"error": "slow_down"},
}


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refreshes that failed are sent again without a pause."""
    monkeypatch.setattr("mcp_login.network.retry.PAUSES", (0.0, 0.0))


@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize("fault", BROKEN.values(), ids=BROKEN)
def test_a_refresh_that_may_have_been_acted_on_is_offered_once_more(
    serve: Serve, person: Person, fault: dict[str, Any]
) -> None:
    """RFC 9700 section 4.14.2: a server may grant grace for an answer that was lost. There is no third offer."""
    server = serve(rotation_grace=600)
    login = login_of(server, person)
    server.expire_access_tokens()
    before = login.record
    server.faults.token_endpoint = Fault(**fault, times=None)
    with pytest.raises((TransportError, InvalidResponse)):
        login.ask()
    assert refreshes(server) == 2
    assert login.record == before
    assert login.windows == 1
    server.faults.clear()
    assert login.ask().status_code == 200
    assert login.windows == 1


@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize("fault", TURNED_AWAY.values(), ids=TURNED_AWAY)
def test_a_refresh_that_was_turned_away_is_sent_a_few_times(
    serve: Serve, person: Person, fault: dict[str, Any]
) -> None:
    server = serve()
    login = login_of(server, person)
    server.expire_access_tokens()
    server.faults.token_endpoint = Fault(**fault, times=None)
    with pytest.raises(TransportError, match=r"could not be refreshed \(3 attempts\), and stays stored"):
        login.ask()
    assert refreshes(server) == 3
    assert login.windows == 1


@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize(
    ("endpoint", "said"),
    [
        ("http://127.0.0.1:{port}/token", "was refused"),
        ("http://nowhere.invalid/token", "could not be resolved"),
    ],
)
def test_a_token_endpoint_that_cannot_be_reached_costs_nothing(
    serve: Serve, person: Person, closed_port: int, endpoint: str, said: str
) -> None:
    server = serve()
    login = login_of(server, person, allow_private_network=True)
    age(login.storage, server.url, 2 * HOUR)
    before = edit(login.storage, server.url, token_endpoint=endpoint.format(port=closed_port))
    with pytest.raises(TransportError, match=rf"\(3 attempts\).*{said}") as caught:
        login.ask(auth=login.oauth())
    assert not caught.value.may_have_acted
    assert login.record == before
    assert login.windows == 1


@pytest.mark.parametrize("fault", BROKEN.values(), ids=BROKEN)
def test_the_only_copy_of_a_rotated_token_that_was_destroyed_costs_one_login(
    serve: Serve, person: Person, fault: dict[str, Any]
) -> None:
    """The strictest server: the second offer ends the whole login. It was lost already, and the person is asked once."""
    server = serve()
    login = login_of(server, person)
    server.expire_access_tokens()
    server.faults.token_endpoint = Fault(**fault, after_acting="truncate" not in fault)
    assert [login.ask().status_code for _ in range(3)] == [200] * 3
    assert login.windows == 2
    assert server.reuse_detections == 1


@pytest.mark.parametrize("fault", BROKEN.values(), ids=BROKEN)
def test_a_rotated_token_whose_answer_was_destroyed_is_had_again_within_the_grace(
    serve: Serve, person: Person, fault: dict[str, Any]
) -> None:
    server = serve(rotation_grace=30)
    login = login_of(server, person)
    server.expire_access_tokens()
    server.faults.token_endpoint = Fault(**fault, after_acting="truncate" not in fault)
    assert login.ask().status_code == 200
    assert login.windows == 1
    assert server.reuse_detections == 0


def test_a_retry_after_that_is_a_date_reaches_the_caller(serve: Serve, person: Person) -> None:
    """RFC 9110 section 10.2.3."""
    server = serve()
    login = login_of(server, person)
    server.expire_access_tokens()
    in_an_hour = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    server.faults.token_endpoint = Fault(status=503, times=None, retry_after=in_an_hour)
    with pytest.raises(TransportError) as caught:
        login.ask()
    assert caught.value.retry_after == pytest.approx(HOUR, abs=10)
    assert refreshes(server) == 1


def test_a_code_that_the_server_did_not_see_is_sent_again(serve: Serve, person: Person) -> None:
    """A person's login isn't lost to a server that is busy for a moment. A code that it may have seen comes only once."""
    server = serve()
    login = Login(server, person)
    server.faults.token_endpoint = Fault(status=429)
    assert login.ask().status_code == 200
    assert server.count("token", grant_type="authorization_code") == 2
    other = Login(server, person)
    server.faults.token_endpoint = Fault(reset=True)
    with pytest.raises(TransportError):
        other.ask()
    assert server.count("token", grant_type="authorization_code") == 3


def test_after_an_early_refresh_that_was_told_to_wait_the_next_one_waits(serve: Serve, person: Person) -> None:
    clock = Clock()
    with isolated(clock=clock):
        server = serve(clock=clock)
        login = login_of(server, person)
        clock.advance(HOUR - 40)
        server.faults.token_endpoint = Fault(status=429, retry_after=30)
        assert login.ask().status_code == 200
        clock.advance(25)  # more than half of what was left
        assert login.ask().status_code == 200
        assert refreshes(server) == 1
        clock.advance(6)
        assert login.ask().status_code == 200
        assert refreshes(server) == 2


def test_an_early_refresh_that_fails_leaves_the_valid_token_in_use(serve: Serve, person: Person) -> None:
    """Cloudflare: an early refresh may get 400 or 429. An early refresh is refused while the access token is still valid."""
    for fault in (
        Fault(error="invalid_grant", times=None),
        Fault(status=429, times=None, retry_after=60),
        Fault(status=400, times=None),
    ):
        server = serve()
        login = login_of(server, person, storage=None)
        age(login.storage, server.url, HOUR - 20)
        before = login.record
        server.faults.token_endpoint = fault
        auth = login.oauth()
        for _ in range(3):
            assert login.ask(auth=auth).status_code == 200
        assert login.record == before
        # ... and the server isn't asked by each request.
        assert refreshes(server) == 1
    assert len(person.urls) == 3


def test_a_slow_early_refresh_does_not_hold_up_a_request_whose_token_is_good(
    serve: Serve, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DESIGN: "Every wait has a limit"."""
    monkeypatch.setattr("mcp_login.attempt.EARLY_PATIENCE", 0.1)
    server = serve()
    login = login_of(server, person)
    age(login.storage, server.url, HOUR - 20)
    go = threading.Event()
    server.faults.token_endpoint = Fault(wait_for=go)
    assert login.ask(auth=login.oauth()).status_code == 200
    go.set()


def test_invalid_grant_ends_the_session_and_asks_the_person_once(serve: Serve, person: Person) -> None:
    server = serve()
    login = login_of(server, person)
    server.expire_access_tokens()
    server.revoke_refresh_tokens()
    assert login.ask().status_code == 200
    assert login.windows == 2
    assert refreshes(server) == 1


@pytest.mark.parametrize(
    "settings",
    [
        {"invalid_grant_status": 401},
        {"token_errors": "as_200"},
        {"token_errors": "ok_false"},
        {
            "dead_refresh_token_error": "invalid_request",
            "dead_refresh_token_description": "The refresh token is invalid or expired.",
        },
        {"dead_refresh_token_error": "bad_refresh_token"},
    ],
    ids=str,
)
def test_a_providers_own_words_for_a_dead_refresh_token_are_understood(
    serve: Serve, person: Person, settings: dict[str, Any]
) -> None:
    server = serve(**settings)
    login = login_of(server, person)
    server.expire_access_tokens()
    server.revoke_refresh_tokens()
    assert login.ask().status_code == 200
    assert login.windows == 2


def test_invalid_grant_without_a_person_says_that_a_login_is_required_and_deletes_the_dead_tokens(
    serve: Serve, person: Person
) -> None:
    server = serve()
    login = login_of(server, person)
    age(login.storage, server.url, 2 * HOUR)
    server.revoke_refresh_tokens()
    with pytest.raises(LoginRequired):
        mcp_login.sync.access_token(server.url, **login.options)
    assert login.record is None
    assert login.windows == 1


def test_invalid_grant_deletes_only_what_failed(serve: Serve, person: Person) -> None:
    """claude-code#84440, goose#12016: the loser of a race gets `invalid_grant` and wipes the winner's tokens."""
    server = serve()
    login = login_of(server, person)
    good = age(login.storage, server.url, 2 * HOUR)
    go = threading.Event()
    server.faults.token_endpoint = Fault(error="invalid_grant", wait_for=go)
    outcome: list[object] = []

    def token() -> None:
        try:
            outcome.append(mcp_login.sync.access_token(server.url, **login.options))
        except Exception as error:  # noqa: BLE001 - looked at below
            outcome.append(error)

    thread = threading.Thread(target=token)
    thread.start()
    server.requests.wait_for("token", grant_type="refresh_token")
    # A program that takes no lock writes meanwhile.
    winners = dataclasses.replace(
        good, access_token="the-winners-token", expires_at=(good.expires_at or 0) + 4 * HOUR, refresh_token="newer"
    )
    store(login.storage, winners)
    go.set()
    thread.join(10)
    assert login.record == winners
    assert isinstance(outcome[0], (str, LoginRequired))


def test_the_loser_of_a_race_takes_the_winners_token(serve: Serve, person: Person) -> None:
    """FIELD-NOTES: "re-read the store"; DESIGN: "adopt another's"."""
    server = serve()
    login = login_of(server, person)
    server.expire_access_tokens()
    winner = login_of(server, Person.approves()).record
    assert winner is not None
    go = threading.Event()
    server.faults.token_endpoint = Fault(error="invalid_grant", wait_for=go)
    answers: list[int] = []
    thread = threading.Thread(target=lambda: answers.append(login.ask().status_code))
    thread.start()
    server.requests.wait_for("token", grant_type="refresh_token")
    store(login.storage, winner)
    go.set()
    thread.join(10)
    assert answers == [200]
    assert login.windows == 1
    assert login.record == winner


def test_a_server_that_refuses_every_token_causes_one_refresh_and_one_window(serve: Serve, person: Person) -> None:
    """Refresh works, the next request still gets 401: one refresh, then one new authorization, never a loop."""
    server = serve()
    login = login_of(server, person)
    server.faults.mcp_endpoint = Fault(status=401, times=None, headers={"WWW-Authenticate": "Bearer"})
    server.requests.clear()
    assert login.ask().status_code == 401
    assert login.windows == 2
    assert refreshes(server) == 1
    assert server.count("mcp") == 3


@pytest.mark.parametrize("refreshable", ["always", "never"])
def test_however_often_it_is_asked_such_a_server_causes_no_further_window(
    serve: Serve, person: Person, refreshable: Literal["always", "never"]
) -> None:
    """The server's 401 stands."""
    server = serve(refresh_tokens=refreshable)
    server.faults.mcp_endpoint = Fault(status=401, times=None, headers={"WWW-Authenticate": "Bearer"})
    login = Login(server, person)
    answers = [login.ask().status_code for _ in range(5)]
    assert answers == [401] * 5
    assert login.windows == 1


def test_many_requests_at_once_to_such_a_server_cause_one_window(serve: Serve, person: Person) -> None:
    server = serve()
    server.faults.mcp_endpoint = Fault(status=401, times=None, headers={"WWW-Authenticate": "Bearer"})
    login = Login(server, person)
    answers = in_threads(10, lambda _: login.ask().status_code)
    assert answers == [401] * 10
    assert login.windows == 1


REFUSED = Fault(status=401, times=None, headers={"WWW-Authenticate": "Bearer"})


def views(login: Login, folder: Path, count: int) -> list[OAuth]:
    """Objects as other processes have them: they share nothing but the folder."""
    return [login.oauth(storage=FileStorage(folder)) for _ in range(count)]


@pytest.mark.parametrize("refreshable", ["always", "never"])
def test_such_a_server_causes_no_window_of_other_objects_and_processes_either(
    serve: Serve, person: Person, tmp_path: Path, refreshable: Literal["always", "never"]
) -> None:
    """One of them had a person log in, in vain, and has left word of that."""
    server = serve(refresh_tokens=refreshable)
    server.faults.mcp_endpoint = REFUSED
    login = Login(server, person, storage=FileStorage(tmp_path))
    for auth in views(login, tmp_path, 4):
        assert [login.ask(auth=auth).status_code for _ in range(2)] == [401] * 2
    assert login.windows == 1


def test_many_objects_at_once_at_such_a_server_cause_one_window(serve: Serve, person: Person, tmp_path: Path) -> None:
    server = serve()
    login = login_of(server, person, storage=FileStorage(tmp_path))
    server.faults.mcp_endpoint = REFUSED
    auths = views(login, tmp_path, 8)
    assert in_threads(8, lambda number: login.ask(auth=auths[number]).status_code) == [401] * 8
    assert login.windows == 2


def test_word_of_a_login_in_vain_is_taken_back_when_a_token_is_let_through(
    serve: Serve, person: Person, tmp_path: Path
) -> None:
    server = serve()
    login = Login(server, person, storage=FileStorage(tmp_path))
    server.faults.mcp_endpoint = Fault(status=401, times=2, headers={"WWW-Authenticate": "Bearer"})
    first, second, third = views(login, tmp_path, 3)
    assert login.ask(auth=first).status_code == 401
    server.expire_access_tokens()
    assert login.ask(auth=second).status_code == 200  # refreshed
    server.expire_access_tokens()
    server.revoke_refresh_tokens()
    assert login.ask(auth=third).status_code == 200
    assert login.windows == 2
    record = login.record
    assert record is not None
    assert record.refused_at is None


def test_a_method_that_needs_no_token_says_nothing_of_the_token(serve: Serve, person: Person) -> None:
    """Each initialize is let through, each call refused: a loop of windows."""
    server = serve(anonymous_methods=("initialize",))
    server.faults.mcp_endpoint = Fault(
        status=401,
        times=None,
        headers={"WWW-Authenticate": "Bearer"},
        when=lambda request: request.params.get("method") != "initialize",
    )
    login = Login(server, person)
    start = message("initialize", protocolVersion="2025-11-25")
    for _ in range(3):
        login.ask(start)
        assert login.ask().status_code == 401
    assert login.windows == 1


@pytest.mark.parametrize("status", [429, 500, 503])
def test_an_outage_in_between_says_nothing_of_the_token(serve: Serve, person: Person, status: int) -> None:
    server = serve()
    login = Login(server, person)
    for _ in range(3):
        server.faults.mcp_endpoint = REFUSED
        assert login.ask().status_code == 401
        server.faults.mcp_endpoint = Fault(status=status)
        assert login.ask().status_code == status
    assert login.windows == 1


def test_a_login_by_hand_is_a_way_out(serve: Serve, person: Person) -> None:
    server = serve()
    login = Login(server, person)
    server.faults.mcp_endpoint = REFUSED
    assert login.ask().status_code == 401
    mcp_login.sync.login(server.url, force=True, **login.options)
    assert login.windows == 2
    server.faults.clear()
    assert login.ask().status_code == 200


def test_a_token_that_was_adopted_first_makes_no_second_window(serve: Serve, person: Person) -> None:
    server = serve()
    login = login_of(server, person)
    age(login.storage, server.url, 2 * HOUR)
    assert login.ask(auth=login.oauth()).status_code == 200  # the store holds a newer token than `login.auth`
    server.faults.mcp_endpoint = Fault(status=401, times=None, headers={"WWW-Authenticate": "Bearer"})
    assert [login.ask().status_code for _ in range(3)] == [401] * 3
    assert login.windows == 2


def test_a_server_that_takes_tokens_again_may_ask_for_a_login_again(serve: Serve, person: Person) -> None:
    server = serve()
    server.faults.mcp_endpoint = Fault(status=401, times=3, headers={"WWW-Authenticate": "Bearer"})
    login = Login(server, person)
    assert login.ask().status_code == 401
    assert login.ask().status_code == 200
    server.expire_access_tokens()
    server.revoke_refresh_tokens()
    assert login.ask().status_code == 200
    assert login.windows == 2


def test_a_secret_that_the_caller_renewed_is_used_for_the_refresh(serve: Serve, person: Person) -> None:
    def registered(secret: str) -> RegisteredClient:
        return RegisteredClient(
            client_id="agent",
            client_secret=secret,
            redirect_uris=("http://127.0.0.1/callback",),
            accepted_auth_methods=("client_secret_basic", "client_secret_post"),
        )

    server = serve(clients=(registered("first"),), any_loopback_port=True)
    login = login_of(server, person, client_id="agent", client_secret="first")
    server.reconfigure(clients=(registered("second"),))
    server.expire_access_tokens()
    assert login.ask(auth=login.oauth(client_secret="second")).status_code == 200
    assert login.windows == 1


def test_access_token_refreshes_a_token_that_is_not_good_for_long_enough(serve: Serve, person: Person) -> None:
    server = serve()
    login = login_of(server, person)
    before = login.record
    assert before is not None
    assert mcp_login.sync.access_token(server.url, storage=login.storage) == before.access_token
    assert mcp_login.sync.access_token(server.url, min_valid_for=2 * HOUR, storage=login.storage) != before.access_token
    assert refreshes(server) == 1


def test_access_token_tells_of_an_outage(serve: Serve, person: Person) -> None:
    server = serve()
    login = login_of(server, person)
    age(login.storage, server.url, 2 * HOUR)
    server.faults.token_endpoint = Fault(status=503, times=None, retry_after=60)
    with pytest.raises(TransportError):
        mcp_login.sync.access_token(server.url, storage=login.storage)
    assert login.record is not None


def test_no_lock_is_held_while_a_request_is_on_the_wire(serve: Serve, person: Person) -> None:
    """python-sdk#3209: a lock held across the whole request, event streams included: one slow call blocks all."""
    server = serve()
    login = login_of(server, person)
    go = threading.Event()

    def slow(request: RecordedRequest) -> bool:
        return request.params.get("name") == "add"

    server.faults.mcp_endpoint = Fault(wait_for=go, when=slow)
    answers: list[int] = []
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "add", "arguments": {"a": 1, "b": 2}}}
    thread = threading.Thread(target=lambda: answers.append(login.ask(body).status_code))
    thread.start()
    server.requests.wait_for("mcp", name="add")
    server.expire_access_tokens()
    assert login.ask().status_code == 200  # a refresh, too
    assert answers == []
    go.set()
    thread.join(10)
    assert answers == [200]


def test_a_token_that_lives_for_seconds_is_refreshed_once_by_many(serve: Serve, person: Person) -> None:
    """FIELD-NOTES, "Concurrency": what is new for its lifetime is adopted, however short that is."""
    server = serve(access_token_lifetime=4.0)
    login = login_of(server, person)
    age(login.storage, server.url, 10)
    server.requests.clear()
    assert in_threads(20, lambda _: login.ask(auth=login.oauth()).status_code) == [200] * 20
    assert server.count("token", grant_type="refresh_token") == 1
