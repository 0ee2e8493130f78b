"""How long a stored token is used, whatever the clock does (DESIGN section 3, "Refreshing")."""

from __future__ import annotations

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_login.protocol.client import ClientInformation
from mcp_login.storage.lifetime import CLOCK_TOLERANCE, is_good, is_in_doubt, margin, seconds_left, sendable_skew, span
from mcp_login.storage.record import Record

__all__: list[str] = []

NOW = 1_800_000_000.0
DAY = 86400.0
SECONDS = st.floats(-1e12, 1e12)


def record(life: float | None = 3600.0, *, obtained_at: float = NOW) -> Record:
    return Record(
        server_url="https://mcp.example.com/mcp",
        issuer="https://as.example.com",
        client=ClientInformation("https://as.example.com", "client-1", "dynamic"),
        token_endpoint="https://as.example.com/token",
        access_token="token",
        resource="https://mcp.example.com/mcp",
        expires_at=None if life is None else obtained_at + life,
        obtained_at=obtained_at,
    )


def test_a_token_of_unknown_life_is_good_at_any_time() -> None:
    unknown = record(None)
    assert is_good(unknown, 1e9, NOW - DAY)
    assert not is_in_doubt(unknown, NOW - DAY)
    assert span(unknown, margin(unknown, 1.0)) == (-math.inf, math.inf)


@pytest.mark.parametrize(("life", "before"), [(4.0, 0.4), (60.0, 6.0), (600.0, 60.0), (3600.0, 60.0), (1e9, 60.0)])
def test_the_margin_fits_the_life(life: float, before: float) -> None:
    assert margin(record(life), 1.0) == pytest.approx(before)


def test_a_token_that_lives_for_seconds_is_sent_while_most_of_its_life_is_left() -> None:
    short = record(2.0)
    assert is_good(short, sendable_skew(short), NOW + 1.7)
    assert not is_good(short, sendable_skew(short), NOW + 1.9)


def test_a_token_from_the_future_is_in_doubt_and_good_for_being_sent_only() -> None:
    """The clock was set back: nobody knows how long it is good."""
    future = record(obtained_at=NOW + DAY)
    assert is_in_doubt(future, NOW)
    assert is_good(future, sendable_skew(future), NOW)
    assert not is_good(future, 30.0, NOW)
    begin, end = span(future, 60.0)
    assert not begin <= NOW < end


def test_two_machines_whose_clocks_differ_a_little_share_a_login() -> None:
    ahead = record(obtained_at=NOW + CLOCK_TOLERANCE - 1)
    assert not is_in_doubt(ahead, NOW)
    assert seconds_left(ahead, NOW) == 3600.0


def test_a_life_that_ends_before_it_begins_is_over() -> None:
    broken = dataclasses.replace(record(), expires_at=NOW - DAY)
    assert not is_good(broken, 0.0, NOW)
    assert margin(broken, 1.0) == 0.0


@given(life=st.none() | st.floats(1, 3e8), obtained_at=SECONDS, now=SECONDS, spread=st.floats(0.75, 1.25))
def test_no_clock_makes_a_token_good_for_longer_than_it_was_issued_for(
    life: float | None, obtained_at: float, now: float, spread: float
) -> None:
    known = record(life, obtained_at=obtained_at)
    assert seconds_left(known, now) <= (math.inf if life is None else life + 1e-3)
    begin, end = span(known, margin(known, spread))
    if life is not None:
        assert end - begin <= life + CLOCK_TOLERANCE + 1e-3
        if begin <= now < end:
            assert is_good(known, 0.0, now)
            assert not is_in_doubt(known, now)
