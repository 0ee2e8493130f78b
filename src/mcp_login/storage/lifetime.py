"""How long a stored access token may be used, by a clock that may have been set meanwhile.

The clock is the machine's own, in seconds since the epoch: it goes on while a laptop sleeps, and means the same to every
process. `expires_in` counts from the answer, so the server's clock plays no part, nor does its `Date`: ours measures both
ends. It is counted from the moment of the request, since a slow answer was made some time before it came.

Set forwards, the clock makes a token look expired: it is refreshed once. Set back, it would make it look good for ever: so a
token that was obtained in the future is in doubt. It is refreshed, and until that works used as one of unknown life is.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .record import Record

__all__ = [
    "CLOCK_TOLERANCE",
    "EXPIRY_SKEW",
    "is_good",
    "is_in_doubt",
    "margin",
    "seconds_left",
    "sendable_skew",
    "span",
]

#: A token that has fewer seconds than this left is not sent any more: it would expire on the wire.
EXPIRY_SKEW = 5.0

#: How far in the future a record may have been obtained, in seconds: the clocks of two machines differ a little.
CLOCK_TOLERANCE = 60.0

#: The longest time before its expiry that a token is refreshed, in seconds, before that is spread.
_LONGEST_MARGIN = 60.0


def _life(record: Record) -> float:
    return math.inf if record.expires_at is None else max(record.expires_at - record.obtained_at, 0.0)


def seconds_left(record: Record, now: float) -> float:
    """How long the token is good from `now` (seconds since the epoch): never longer than it was when it was issued."""
    return math.inf if record.expires_at is None else min(record.expires_at - now, _life(record))


def is_in_doubt(record: Record, now: float) -> bool:
    """Whether the clock was set back since the token was obtained, so that nobody knows how long it is good."""
    return record.expires_at is not None and now < record.obtained_at - CLOCK_TOLERANCE


def sendable_skew(record: Record) -> float:
    """How many seconds must be left for the token to be sent: of one that lives for seconds only, a tenth of its life."""
    return min(EXPIRY_SKEW, _life(record) * 0.1)


def is_good(record: Record, seconds: float, now: float) -> bool:
    """Whether the token is good for more than `seconds` from `now`; one in doubt is good for being sent."""
    if is_in_doubt(record, now):
        return seconds <= EXPIRY_SKEW
    return seconds_left(record, now) > seconds


def margin(record: Record, spread: float) -> float:
    """How long before its expiry the token is refreshed, in seconds: a tenth of its life, 60 at most, times `spread`."""
    if record.expires_at is None:
        return 0.0
    return max(min(_LONGEST_MARGIN, _life(record) * 0.1) * spread, sendable_skew(record))


def span(record: Record, margin: float) -> tuple[float, float]:
    """Between which two times (seconds since the epoch) the token is good without another look, `margin` before its end."""
    if record.expires_at is None:
        return -math.inf, math.inf
    return record.obtained_at - CLOCK_TOLERANCE, record.expires_at - margin
