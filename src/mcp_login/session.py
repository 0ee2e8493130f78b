"""One (resource, account): holds its credentials, and has them obtained, refreshed and widened when they no longer do.

The only single-flight point. The warm path (a valid token in memory, else one read of the storage) is plain synchronous code
that imports nothing heavy; the slow one, `renewal`, is handed in and runs on the library's own loop.
"""

from __future__ import annotations

import math
import os
import threading
import time
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

from .errors import AuthError, StorageError, StorageLocked, StorageUnavailable, printable
from .protocol.uri import canonical_resource, is_within
from .storage.base import Storage, WarmStorage
from .storage.record import Record, record_key

if TYPE_CHECKING:
    import concurrent.futures
    from collections.abc import Callable, Coroutine

    import httpx

    from .grants.base import Grant

__all__ = [
    "SERVER_RESOURCE",
    "Demand",
    "Flight",
    "Renewed",
    "ServerResource",
    "Session",
    "StorageWarning",
    "boundary",
]

T = TypeVar("T")

#: How long the warm path blocks its thread for the storage before the slow path takes over, in seconds.
WARM_LIMIT = 0.25

#: A token that has fewer seconds than this left is not sent any more: it would expire on the wire.
EXPIRY_SKEW = 5.0


class StorageWarning(UserWarning):
    """Credentials are kept in memory only, because the chosen storage can't be used."""


class ServerResource:
    """The type of the default of `resource=`: what the server's metadata says."""

    def __repr__(self) -> str:
        return "<from the server's metadata>"


SERVER_RESOURCE = ServerResource()


@dataclass(frozen=True, slots=True)
class Demand:
    """Why the token at hand won't do, and what may be done about it."""

    #: `look`: whatever is stored, without waiting for anybody. `token`: one that is good for a while. `rejected`: another than
    #: that one. `scopes`: one with these scopes. `login`: a new login in any case.
    kind: Literal["look", "token", "rejected", "scopes", "login"]
    #: The token that was refused; None: none was sent.
    rejected: str | None = None
    challenge_url: str | None = None
    #: Scopes that the server, or the caller of `login`, named for this operation.
    scopes: tuple[str, ...] = ()
    may_refresh: bool = True
    may_login: bool = True
    #: Seconds that the token must still be good for.
    min_valid_for: float = EXPIRY_SKEW
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


class Session:
    """The credentials of one account at one MCP server.

    Safe to use from any number of threads and event loops. `clock` gives seconds since the epoch.
    """

    def __init__(
        self,
        server_url: str,
        *,
        account: str | None = None,
        storage: Storage,
        grant: Callable[[], Grant],
        renew: Callable[[Session, Demand], Coroutine[Any, Any, Renewed]],
        client_id: str | None = None,
        scopes: tuple[str, ...] = (),
        resource: str | ServerResource | None = SERVER_RESOURCE,
        interactive: bool | None = None,
        storage_required: bool = False,
        http_client: Callable[[], httpx.AsyncClient] | None = None,
        allow_private_network: bool = False,
        trust_pkce: bool = False,
        tolerate_trailing_slash: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.server_url: str = canonical_resource(server_url, allow_http=allow_private_network)
        self.account = account
        self.key: str = record_key(self.server_url, account)
        self.scopes = scopes
        self.resource = resource
        self.interactive = interactive
        self.storage: Storage = storage
        self.storage_required = storage_required
        self.grant = grant
        self._renew = renew
        self.client_id = client_id
        self.http_client = http_client
        self.allow_private_network = allow_private_network
        self.trust_pkce = trust_pkce
        self.tolerate_trailing_slash = tolerate_trailing_slash
        self.clock = clock
        #: Scope sets that a step-up was tried for without effect (specification, "Step-Up Authorization Flow").
        self.failed_scopes: set[frozenset[str]] = set()
        #: Whether the server refused a token that was fresh from a login: until it accepts one, another window won't help.
        self.login_is_useless: bool = False
        #: When (seconds since the epoch) and how the last login failed.
        self.last_failure: tuple[float, AuthError] | None = None
        self._record: Record | None = None
        #: The Authorization header of the token in memory, and until when (seconds since the epoch) it may be sent unseen.
        self._header = ""
        self._good_until = 0.0
        self._absent = False
        self._covered: dict[str, bool] = {}
        self._warned = False
        # Reentrant: a future that is done, or is cancelled here, calls back at once.
        self._guard = threading.RLock()
        self._flights: dict[Demand, Flight] = {}
        #: Until then (seconds since the epoch) no early refresh is tried.
        self._rest_until = 0.0
        # Many sessions that were opened together shouldn't all refresh in the same second.
        self._jitter = 0.75 + os.urandom(1)[0] / 512

    # The warm path

    def header_for(self, url: str) -> str | None:
        """The Authorization header for a request to `url`, where nothing needs to be looked at again: the warmest path."""
        if self._covered.get(url) and self.clock() < self._good_until:
            return self._header
        return None

    def usable(self) -> Record | None:
        """The record, if its access token can be sent now: from memory, else by one read of the storage."""
        record = self._record
        if record is None:
            record = self._read()
        if record is None or not self.is_good(record, self.margin(record)):
            return None
        return record

    def accepted(self) -> None:
        """The server took a token."""
        self.login_is_useless = False

    def rest(self, record: Record) -> None:
        """An early refresh of `record` failed: the next one waits for half of the time that is left."""
        if record.expires_at is not None:
            now = self.clock()
            self._rest_until = now + (record.expires_at - now) / 2
            self.adopt(record)

    def peek(self) -> Record | None:
        """The record in memory, whatever its state."""
        return self._record

    def is_good(self, record: Record, seconds: float = EXPIRY_SKEW) -> bool:
        """Whether the access token of `record` may be sent for another `seconds`."""
        return not record.expires_within(seconds, self.clock())

    def margin(self, record: Record) -> float:
        """How long before its expiry the token is refreshed, in seconds: a tenth of its life, 60 at most."""
        if record.expires_at is None:
            return 0.0
        life = record.expires_at - record.obtained_at
        skew = min(EXPIRY_SKEW, life * 0.1)
        return skew if self.clock() < self._rest_until else max(min(60.0, life * 0.1) * self._jitter, skew)

    def covers(self, url: str) -> bool:
        """Whether a token of this session may go to `url`: same origin, under the resource's path."""
        known = self._covered.get(url)
        if known is None:
            if len(self._covered) > 256:
                self._covered.clear()
            record = self._record
            known = is_within(url, boundary(record) if record is not None else self.server_url)
            self._covered[url] = known
        return known

    def warn_outside(self, url: str) -> None:
        """Say once that requests leave the resource, and how an old transport can be allowed to."""
        if self._warned:
            return
        self._warned = True
        import logging

        logging.getLogger("mcp_login").warning(
            "No token is sent to %s: it lies outside the resource %s. If the server's transport needs it (messages beside the "
            "event stream), pass OAuth the URL above both, or resource= with it.",
            printable(url.partition("?")[0]),
            self.server_url,
        )

    @property
    def is_unread(self) -> bool:
        """Whether it is still unknown what the storage holds."""
        return self._record is None and not self._absent

    def _read(self) -> Record | None:
        storage = self.storage
        if self._absent or not isinstance(storage, WarmStorage):
            return None
        try:
            text = storage.load_now(self.key, WARM_LIMIT)
            if text is not None:
                return self.adopt(Record.parse(text))
        except (TimeoutError, StorageError):
            return None  # the slow path waits longer, and explains
        self.forget()
        return None

    def adopt(self, record: Record) -> Record | None:
        """Take `record` into memory. None where it belongs to another client than the caller gave."""
        if self.client_id is not None and record.client.client_id != self.client_id:
            return None
        self._record = record
        self._absent = False
        self._covered = {}
        self._header = "Bearer " + record.access_token
        self._good_until = math.inf if record.expires_at is None else record.expires_at - self.margin(record)
        return record

    def forget(self) -> None:
        """Nothing is stored. Looked at again when the server refuses a request."""
        self._record = None
        self._absent = True
        self._good_until = 0.0
        self._covered = {}

    # The slow path

    def demand(self, demand: Demand, *, abandonable: bool = False) -> Flight:
        """Start what `demand` asks for, or join those who already did.

        `abandonable`: the work ends when nobody waits for it any more (`release`).
        """
        from .portal import portal

        with self._guard:
            flight = self._flights.get(demand)
            if flight is None or flight.future.done():
                flight = Flight(portal().submit(lambda: self._fulfil(demand)), demand)
                flight.abandonable = abandonable
                self._flights[demand] = flight
                flight.future.add_done_callback(lambda _: self._landed(demand))
            elif not abandonable:
                flight.abandonable = False
            flight.waiters += 1
            return flight

    def release(self, flight: Flight) -> None:
        """A caller no longer waits for `flight`; the last one ends it, if nobody but abandoners waited."""
        with self._guard:
            flight.waiters -= 1
            if flight.abandonable and flight.waiters <= 0:
                flight.future.cancel()

    def _landed(self, demand: Demand) -> None:
        with self._guard:
            flight = self._flights.get(demand)
            if flight is not None and flight.future.done():
                del self._flights[demand]

    async def _fulfil(self, demand: Demand) -> Renewed:
        try:
            return await self._renew(self, demand)
        except (StorageLocked, StorageUnavailable) as error:
            if self.storage_required:
                raise
            self._fall_back(error)
            return await self._renew(self, demand)

    def _fall_back(self, error: AuthError) -> None:
        from .storage.memory import MemoryStorage

        self.storage = MemoryStorage()
        warnings.warn(
            f"Credentials for {self.server_url} are kept in memory only and will be gone with this process: {error}",
            StorageWarning,
            stacklevel=2,
        )


def boundary(record: Record) -> str:
    """Where a token of `record` may go: its resource if that is a URL above the server's, else the server's URL alone."""
    return record.resource if is_within(record.server_url, record.resource) else record.server_url
