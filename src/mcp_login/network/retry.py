"""Whether a refresh that failed is sent again, and when.

A refresh token that rotates is good for one answer. Where the request certainly had no effect (no connection, or the server
said "not now"), sending it again is free. Where it may have had one (reset, time-out, a gateway's 5xx, garbage), the token is
offered once more, at once, and then no further:

- Nothing rotated: it is the only way on.
- It rotated and the server has a period of grace for a lost answer: it is the only way on, and only while that lasts.
- It rotated, and the server takes a second offer for theft (RFC 9700 section 4.14.2) and ends the whole login: that was lost
  with the answer in any case, since nobody has the new refresh token. A person logs in, once, as they would have had to.

A third offer would only help a server that lost two answers, and would hit one that is busy with the first.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mcp_login.errors import InvalidResponse, TransportError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ATTEMPTS", "BEGIN_LIMIT", "OFFERS", "PAUSES", "RETRY_AFTER_LIMIT", "Retries"]

#: How often one refresh is sent at most.
ATTEMPTS = 3

#: How many of these may have reached the server and had an effect.
OFFERS = 2

#: The pauses between attempts, in seconds, before they are spread.
PAUSES = (0.2, 1.0)

#: A server's Retry-After is obeyed up to this many seconds; beyond, the caller is told.
RETRY_AFTER_LIMIT = 5.0

#: No attempt begins later than so many seconds after the first: others wait for what comes of this refresh.
BEGIN_LIMIT = 22.0


def _random() -> float:
    return os.urandom(1)[0] / 256


class Retries:
    """The attempts of one token request. `clock` gives seconds that only go forwards, `random` a number from 0 to 1."""

    def __init__(self, clock: Callable[[], float], random: Callable[[], float] = _random) -> None:
        self._clock = clock
        self._random = random
        self._began = clock()
        #: How often it was sent so far.
        self.attempts: int = 0
        self._offers = 0

    def pause(self, error: TransportError | InvalidResponse, *, status: int | None = None) -> float | None:
        """How long to wait, in seconds, before the request that ended with `error` is sent again; None: it isn't.

        `status` is that of the answer, if there was a whole one.
        """
        self.attempts += 1
        asked = 0.0
        if isinstance(error, TransportError):
            asked = error.retry_after or 0.0
            self._offers += error.may_have_acted
        elif status is None or 200 <= status < 300:
            # It may have been the tokens.
            self._offers += 1
        else:
            return None
        if self.attempts >= ATTEMPTS or self._offers >= OFFERS or asked > RETRY_AFTER_LIMIT:
            return None
        # Spread, and never shorter than the server asked for: others were told the same.
        pause = asked + PAUSES[self.attempts - 1] * (0.5 + self._random())
        return pause if self._clock() + pause - self._began <= BEGIN_LIMIT else None
