"""Work on a login: what is wanted, who waits for it, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    import concurrent.futures

    from .storage.record import Record

__all__ = ["EXPIRY_SKEW", "Demand", "Flight", "Renewed"]

#: A token that has fewer seconds than this left is not sent any more: it would expire on the wire.
EXPIRY_SKEW = 5.0


@dataclass(frozen=True, slots=True)
class Demand:
    """Why the token at hand won't do, and what may be done about it."""

    #: `look`: whatever is stored, without waiting for anybody. `token`: one that is good for a while. `rejected`: another than
    #: that one. `scopes`: one with these scopes. `login`: a new login in any case.
    kind: Literal["look", "token", "rejected", "scopes", "login"]
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


class Renewed(NamedTuple):
    """What came of a demand: a record, and how it was come by."""

    record: Record
    how: Literal["adopted", "refreshed", "login"]


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
