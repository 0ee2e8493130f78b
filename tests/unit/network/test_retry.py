"""Whether a refresh that failed is sent again (DESIGN section 3, "Refreshing"; RFC 9700 section 4.14.2)."""

from __future__ import annotations

import pytest

from mcp_login.errors import InvalidResponse, TransportError
from mcp_login.network.retry import ATTEMPTS, BEGIN_LIMIT, OFFERS, RETRY_AFTER_LIMIT, Retries

__all__: list[str] = []

UNSENT = TransportError("refused", may_have_acted=False)
OPEN = TransportError("reset")
GARBAGE = InvalidResponse("neither JSON nor a form", url="https://as.example.com/token")


class Time:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def retries(time: Time | None = None, *, random: float = 0.5) -> Retries:
    return Retries(time or Time(), lambda: random)


def test_what_certainly_had_no_effect_is_sent_again_a_few_times() -> None:
    known = retries()
    pauses = [known.pause(UNSENT) for _ in range(ATTEMPTS)]
    assert None not in pauses[:-1]
    assert pauses[-1] is None
    assert known.attempts == ATTEMPTS > OFFERS


@pytest.mark.parametrize("error", [OPEN, GARBAGE], ids=["reset", "garbage"])
def test_what_may_have_rotated_the_token_is_offered_once_more_and_at_once(
    error: TransportError | InvalidResponse,
) -> None:
    known = retries(random=1.0)
    pause = known.pause(error)
    assert pause is not None
    assert pause < 1
    assert known.pause(error) is None


def test_the_second_offer_is_the_last_whatever_came_between() -> None:
    known = retries()
    assert known.pause(OPEN) is not None
    assert known.pause(UNSENT) is not None
    assert known.pause(OPEN) is None


@pytest.mark.parametrize(("status", "again"), [(200, True), (201, True), (400, False), (404, False), (302, False)])
def test_garbage_is_asked_for_again_only_where_it_may_have_been_the_tokens(status: int, again: bool) -> None:
    assert (retries().pause(GARBAGE, status=status) is not None) == again


def test_pauses_are_spread() -> None:
    """Many processes that met the same outage don't come back in step."""
    pauses = [retries(random=random).pause(UNSENT) or 0 for random in (0.0, 0.5, 1.0)]
    assert pauses == sorted(set(pauses))
    assert len({Retries(Time()).pause(UNSENT) for _ in range(20)}) > 1


def test_a_servers_retry_after_is_the_least_that_is_waited() -> None:
    for random in (0.0, 1.0):
        pause = retries(random=random).pause(TransportError("429", retry_after=3.0, may_have_acted=False))
        assert pause is not None
        assert pause > 3.0


def test_a_long_retry_after_is_left_to_the_caller() -> None:
    asked = TransportError("429", retry_after=RETRY_AFTER_LIMIT + 1, may_have_acted=False)
    assert retries().pause(asked) is None


def test_no_attempt_begins_when_others_have_waited_for_long() -> None:
    time = Time()
    known = retries(time)
    time.now += BEGIN_LIMIT
    assert known.pause(UNSENT) is None
