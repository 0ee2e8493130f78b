"""What the library takes from its surroundings where the caller says nothing, and what stands in for it in a test.

That is: the default storage, the person's browser, whether a person is there, the clock, the data folder, and the client for
the library's own requests. Whoever needs one of them asks `stand_in()` first. It is None in every program that isn't a test,
and is asked once for each session or login, never for a request with a token in memory.

Global to the process, and no context variable: the library's own loop, in a thread of its own, has to see it, too.
`mcp_login.testing.isolated` fills it. Standard library only: the warm path loads it.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import concurrent.futures
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import httpx

__all__ = ["LoginAbandoned", "Surroundings", "clock", "replaced", "stand_in"]


class LoginAbandoned(Exception):
    """Raised by a browser that knows what a real one can't tell: nobody will finish this login. The message says why."""


class Surroundings:
    """What stands in. All of it may be called from any thread.

    `storage`: the default one (`mcp_login.Storage`). `open_browser` opens an address, as `webbrowser.open` does, and may raise
    `LoginAbandoned`. `person_present`: whether there is a person, with a browser; the terminal and variables such as CI don't
    count. `clock` gives seconds since the epoch. `home`: the data folder, in place of MCP_LOGIN_HOME and the user's own.
    `http_client` makes the client for the library's own requests; None: as ever. `started` is told of each piece of work that
    a session begins on the library's loop.
    """

    # No dataclass: making one takes longer than all else in a module that the warm path loads.
    def __init__(
        self,
        *,
        storage: Any,
        open_browser: Callable[[str], bool],
        person_present: Callable[[], bool],
        clock: Callable[[], float],
        home: Path,
        started: Callable[[concurrent.futures.Future[Any]], object],
        http_client: Callable[[], httpx.AsyncClient] | None = None,
    ) -> None:
        self.storage = storage
        self.open_browser = open_browser
        self.person_present = person_present
        self.clock = clock
        self.home = home
        self.started = started
        self.http_client = http_client


_guard = threading.Lock()
#: Those in place, the one that counts last. Never changed in place: it is read without the lock.
_in_place: tuple[Surroundings, ...] = ()


def stand_in() -> Surroundings | None:
    """What stands in for the surroundings now; None: nothing, as in every program that isn't a test."""
    in_place = _in_place
    return in_place[-1] if in_place else None


def clock() -> Callable[[], float]:
    """The clock for what begins now: seconds since the epoch."""
    surroundings = stand_in()
    return time.time if surroundings is None else surroundings.clock


@contextmanager
def replaced(surroundings: Surroundings) -> Iterator[None]:
    """Let `surroundings` stand in inside a `with` block. Blocks may be nested; the innermost counts."""
    global _in_place
    with _guard:
        _in_place = (*_in_place, surroundings)
    try:
        yield
    finally:
        with _guard:
            # By identity, wherever it is: blocks of several threads may end in any order.
            _in_place = tuple(known for known in _in_place if known is not surroundings)
