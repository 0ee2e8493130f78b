"""Work on a login: what is wanted, who waits for it, what came of it, and whether more of it would help."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    import concurrent.futures
    from collections.abc import Callable, Iterable

    from .storage.record import Record

__all__ = ["REFUSAL_REST", "Demand", "Flight", "Prospects", "Renewed", "unnamed_scopes"]

#: For how long word of a login whose tokens are refused keeps other objects from asking a person again, in seconds.
REFUSAL_REST = 600.0


@dataclass(frozen=True, slots=True)
class Demand:
    """Why the token at hand won't do, and what may be done about it."""

    #: `look`: whatever is stored, without waiting for anybody. `token`: one that is good for a while. `rejected`: another than
    #: that one. `scopes`: one with these scopes, or with those that the resource lists. `login`: a new login in any case.
    #: `useless`, `useful`: word for other objects and processes of whether the login's tokens are refused.
    kind: Literal["look", "token", "rejected", "scopes", "login", "useless", "useful"]
    #: The token that was refused; None: none was sent.
    rejected: str | None = field(default=None, repr=False)
    challenge_url: str | None = None
    #: Scopes that the server, or the caller of `login`, named for this operation.
    scopes: tuple[str, ...] = ()
    may_refresh: bool = True
    #: Whether a person may be asked, as far as this demand is concerned.
    may_ask: bool = True
    #: Seconds that the token must still be good for; None: as long as it takes to send it.
    min_valid_for: float | None = None
    #: Whether the server is known to ask for a login. False: find out first.
    challenged: bool = True
    #: Whether the caller asked for a login in so many words: then a login that just failed is no reason not to try.
    explicit: bool = False
    #: Whether no earlier registration is to be used: the server may have forgotten it, and tells only the browser.
    anew: bool = False


class Renewed(NamedTuple):
    """What came of a demand: a record, and how it was come by."""

    record: Record
    #: `nothing`: it is the record of before, and there is no way to a better one.
    how: Literal["adopted", "refreshed", "login", "nothing"]


def unnamed_scopes(requested: Iterable[str]) -> frozenset[str]:
    """What stands in a set of scope sets for those that a server wants beyond `requested` without naming them."""
    return frozenset(("", *requested))


class Flight:
    """Work under way on the library's loop, which any number of callers wait for."""

    def __init__(self, future: concurrent.futures.Future[Renewed], demand: Demand) -> None:
        self.future = future
        self.demand = demand
        self.waiters = 0
        self.abandonable = False

    def result(self, timeout: float | None = None) -> Renewed:
        """Wait in a thread."""
        from .portal import wait_sync

        return wait_sync(self.future, timeout)

    async def wait(self) -> Renewed:
        """Wait on the caller's event loop; a cancellation leaves the work alone."""
        from .portal import wait

        return await wait(self.future)


class Prospects:
    """Whether another login would help: not while the server refuses what the last one gave.

    `clock` gives seconds since the epoch.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        #: When the server refused a token that was fresh from a login, in seconds since the epoch; None: it didn't.
        self.useless_since: float | None = None
        self._token = ""
        #: Whether that is only known from what is stored.
        self._hearsay = False
        self._heeded: float | None = None

    def refused(self, token: str) -> bool:
        """The server refused `token`, which is fresh from a login or comes after one that was; whether that is news."""
        self._token = token
        if self.useless_since is not None:
            return False
        self.useless_since = self._heeded = self._clock()
        self._hearsay = False
        return True

    def accepted(self, token: str) -> bool:
        """The server let `token` through; whether that changes something."""
        if self.useless_since is None:
            return False
        # The very token that it refused says little: some methods need none.
        if token == self._token and 0 <= self._clock() - self.useless_since < REFUSAL_REST:
            return False
        self.useless_since = None
        return True

    def heed(self, record: Record) -> None:
        """What another object or process has stored: its login was of no use, or is by now."""
        at = record.refused_at
        if at is None:
            if self._hearsay:
                self.useless_since, self._hearsay = None, False
        elif at != self._heeded and 0 <= self._clock() - at < REFUSAL_REST:
            self.useless_since = self._heeded = at
            self._token, self._hearsay = record.access_token, True
