"""Clocks that jump, stand still and differ, and lives that servers tell in all kinds of ways.

DESIGN section 3, "Refreshing"; RFC 6749 section 5.1; FIELD-NOTES, "Refresh".
"""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import pytest

import mcp_login.sync
from mcp_login.testing import Clock, Fault, isolated
from tests.flows.support import Login, edit, login_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mcp_login.testing import EmbeddedServer, Person
    from tests.flows.conftest import Serve

__all__: list[str] = []

NOW = 1_800_000_000.0
HOUR = 3600.0
DAY = 24 * HOUR


class Settable(Clock):
    """A clock that people and time servers set, back too."""

    def __init__(self) -> None:
        super().__init__(NOW)
        self.ahead = 0.0

    def __call__(self) -> float:
        return super().__call__() + self.ahead


@pytest.fixture
def clock() -> Iterator[Settable]:
    """The machine's own."""
    clock = Settable()
    with isolated(clock=clock):
        yield clock


def refreshes(server: EmbeddedServer) -> int:
    return server.count("token", grant_type="refresh_token")


def tokens_sent(server: EmbeddedServer) -> int:
    return len({request.access_token for request in server.requests.matching("mcp")} - {None})


def test_a_laptop_that_slept_refreshes_once_and_sends_no_stale_token(
    serve: Serve, person: Person, clock: Settable
) -> None:
    """The wall clock goes on in its sleep, the monotonic one doesn't."""
    server = serve(clock=clock)
    login = login_of(server, person)
    clock.advance(8 * HOUR)
    server.requests.clear()
    assert login.ask().status_code == 200
    assert server.requests.endpoints == ["token", "mcp"]


def test_a_clock_that_is_set_forwards_costs_one_refresh(serve: Serve, person: Person, clock: Settable) -> None:
    server = serve(clock=Clock(NOW))
    login = login_of(server, person)
    clock.ahead = DAY
    assert [login.ask().status_code for _ in range(3)] == [200] * 3
    assert refreshes(server) == 1


@pytest.mark.parametrize("fresh_object", [True, False], ids=["next process", "same process"])
def test_a_clock_that_is_set_back_costs_one_refresh(
    serve: Serve, person: Person, clock: Settable, fresh_object: bool
) -> None:
    """What was obtained in the future is not trusted till then: nobody knows how long it is good."""
    clock.ahead = 30 * DAY
    server = serve(clock=Clock(NOW))
    login = login_of(server, person)
    clock.ahead = 0.0
    auth = login.oauth() if fresh_object else login.auth
    assert [login.ask(auth=auth).status_code for _ in range(3)] == [200] * 3
    assert refreshes(server) == 1
    record = login.record
    assert record is not None
    assert (record.obtained_at, record.expires_at) == (NOW, NOW + HOUR)


def test_a_token_in_doubt_is_used_while_it_cannot_be_refreshed(serve: Serve, person: Person, clock: Settable) -> None:
    clock.ahead = 30 * DAY
    server = serve(clock=Clock(NOW))
    login = login_of(server, person)
    clock.ahead = 0.0
    server.faults.token_endpoint = Fault(status=429, times=None, retry_after=60)
    assert [login.ask().status_code for _ in range(3)] == [200] * 3
    assert refreshes(server) == 1
    server.faults.clear()
    clock.advance(HOUR / 2 + 1)  # half of what it can have left at most
    assert login.ask().status_code == 200
    assert refreshes(server) == 2
    assert login.windows == 1


def test_a_token_in_doubt_that_cannot_be_refreshed_is_used_until_a_401(
    serve: Serve, person: Person, clock: Settable
) -> None:
    clock.ahead = 30 * DAY
    server = serve(clock=Clock(NOW), refresh_tokens="never")
    login = login_of(server, person)
    clock.ahead = 0.0
    assert login.ask(auth=login.oauth()).status_code == 200
    assert login.windows == 1
    server.expire_access_tokens()
    assert login.ask().status_code == 200
    assert login.windows == 2


def test_access_token_does_not_promise_what_is_in_doubt(serve: Serve, person: Person, clock: Settable) -> None:
    clock.ahead = 30 * DAY
    server = serve(clock=Clock(NOW))
    login = login_of(server, person)
    before = login.record
    clock.ahead = 0.0
    assert before is not None
    assert mcp_login.sync.access_token(server.url, storage=login.storage) != before.access_token


def test_a_step_of_a_second_back_costs_nothing(serve: Serve, person: Person, clock: Settable) -> None:
    server = serve(clock=Clock(NOW))
    login = login_of(server, person)
    clock.ahead = -1.0
    assert login.ask(auth=login.oauth()).status_code == 200
    assert refreshes(server) == 0


@pytest.mark.parametrize("off", [-30 * DAY, -HOUR, HOUR, 30 * DAY])
def test_a_server_whose_clock_is_wrong_is_as_good_as_any(
    serve: Serve, person: Person, clock: Settable, off: float
) -> None:
    """`expires_in` is a duration: what the server's clock says, and its Date, play no part."""
    theirs = Clock(NOW + off)
    server = serve(clock=theirs)
    login = login_of(server, person)
    record = login.record
    assert record is not None
    assert (record.obtained_at, record.expires_at) == (NOW, NOW + HOUR)
    for moved in (clock, theirs):
        moved.advance(HOUR - 120)
    assert login.ask().status_code == 200
    assert refreshes(server) == 0
    for moved in (clock, theirs):
        moved.advance(120)
    assert login.ask().status_code == 200
    assert refreshes(server) == 1
    assert tokens_sent(server) == 2


@pytest.mark.parametrize("refresh", [False, True], ids=["login", "refresh"])
def test_a_life_counts_from_the_request_and_not_from_a_slow_answer(
    serve: Serve, person: Person, clock: Settable, refresh: bool
) -> None:
    server = serve(clock=clock)
    login = login_of(server, person) if refresh else Login(server, person)
    server.expire_access_tokens()
    go = threading.Event()
    server.faults.token_endpoint = Fault(wait_for=go)
    began = clock()
    thread = threading.Thread(target=login.ask)
    thread.start()
    server.requests.wait_for("token", grant_type="refresh_token" if refresh else "authorization_code")
    clock.advance(15)
    go.set()
    thread.join(10)
    record = login.record
    assert record is not None
    assert (record.obtained_at, record.expires_at) == (began, began + HOUR)


@pytest.mark.parametrize(
    ("told", "life"),
    [
        (None, None),
        (0, None),
        (-5, None),
        ("", None),
        ("soon", None),
        (True, None),
        ([3600], None),
        (7200, 7200),
        ("7200", 7200),
        (" 7200 ", 7200),
        (90.5, 90.5),
        ("9e2", 900),
        (10**400, 10 * 365 * DAY),
        ("9" * 29, 10 * 365 * DAY),
    ],
    ids=lambda value: str(value)[:12],
)
def test_whatever_a_server_says_of_a_life_a_login_is_usable(
    serve: Serve, person: Person, clock: Settable, told: Any, life: float | None
) -> None:
    """Nothing, or nonsense: unknown, and a 401 tells."""
    server = serve(clock=clock)
    login = login_of(server, person)
    token = login.record
    assert token is not None
    answer = {"access_token": token.access_token, "token_type": "Bearer", "expires_in": told}
    edit(login.storage, server.url, expires_at=NOW - 1, obtained_at=NOW - HOUR)
    # It names the old token, which is still good at the server.
    server.faults.token_endpoint = Fault(body=json.dumps(answer).encode(), content_type="application/json")
    auth = login.oauth()
    assert [login.ask(auth=auth).status_code for _ in range(2)] == [200] * 2
    record = login.record
    assert record is not None
    assert record.expires_at == (None if life is None else NOW + life)
    assert refreshes(server) == 1
    if life is None:
        server.expire_access_tokens()
        assert login.ask(auth=auth).status_code == 200
        assert refreshes(server) == 2
    assert login.windows == 1


@pytest.mark.parametrize("life", [2.0, 4.0, 30.0, 60.0])
def test_a_short_life_is_used_for_the_most_of_it(serve: Serve, person: Person, clock: Settable, life: float) -> None:
    server = serve(clock=clock, access_token_lifetime=life)
    login = login_of(server, person)
    clock.advance(life * 0.8)
    assert login.ask().status_code == 200
    assert refreshes(server) == 0
    clock.advance(life * 0.15)
    assert login.ask().status_code == 200
    assert refreshes(server) == 1


def test_many_sessions_do_not_refresh_in_the_same_second(serve: Serve, person: Person, clock: Settable) -> None:
    server = serve(clock=clock)
    login = login_of(server, person)
    record = login.record
    assert record is not None
    auths = [login.oauth() for _ in range(30)]
    for auth in auths:
        assert login.ask(auth=auth).status_code == 200
    # Each has the token in memory, and none sees what another one stores: what counts is when each first looks.
    first: dict[int, float] = {}
    refreshed = 0
    clock.advance(HOUR - 80)
    for _ in range(40):
        clock.advance(1)
        for number, auth in enumerate(auths):
            server.requests.clear()
            assert login.ask(auth=auth).status_code == 200
            [sent] = server.requests.matching("mcp")
            refreshed += refreshes(server)
            if sent.access_token != record.access_token:
                first.setdefault(number, clock())
    assert len(set(first.values())) > 5
    assert refreshed == 1
