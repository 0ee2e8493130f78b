"""One (resource, account): holds its credentials, and has them obtained, refreshed and widened when they no longer do.

The only single-flight point. The warm path (a valid token in memory, else one read of the storage) is plain synchronous code
that imports nothing heavy; the slow one, `renewal`, is handed in and runs on the library's own loop.
"""

from __future__ import annotations

import logging
import os
import threading
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from .errors import AuthError, PolicyError, StorageError, printable, without_query
from .flight import Demand, Flight, Prospects, Renewed
from .protocol.uri import canonical_resource, is_within
from .storage import lifetime
from .storage.base import Storage, WarmStorage
from .storage.record import Record, record_key
from .surroundings import clock as clock_of_surroundings
from .surroundings import stand_in

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    import httpx

    from .grants.base import Grant
    from .protocol.client import ClientInformation

__all__ = ["SERVER_RESOURCE", "ServerResource", "Session", "StorageWarning", "boundary"]

T = TypeVar("T")

#: How long the warm path blocks its thread for the storage before the slow path takes over, in seconds.
WARM_LIMIT = 0.25


class StorageWarning(UserWarning):
    """Credentials are kept in memory only, because the chosen storage can't be used."""


class ServerResource:
    """The type of the default of `resource=`: what the server's metadata says."""

    def __repr__(self) -> str:
        return "<from the server's metadata>"


SERVER_RESOURCE = ServerResource()


class Session:
    """The credentials of one account at one MCP server.

    Safe to use from any number of threads and event loops. `clock` gives seconds since the epoch; None: that
    of the surroundings.
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
        client_secret: str | None = None,
        issuer: str | None = None,
        scopes: tuple[str, ...] = (),
        resource: str | ServerResource | None = SERVER_RESOURCE,
        interactive: bool | None = None,
        machine: bool = False,
        storage_required: bool = False,
        http_client: Callable[[], httpx.AsyncClient] | None = None,
        allow_private_network: bool = False,
        trust_pkce: bool = False,
        tolerate_trailing_slash: bool = False,
        clock: Callable[[], float] | None = None,
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
        self._client_secret = client_secret
        #: Whether the grant needs no person, as far as is known without loading it.
        self.machine = machine
        self.issuer = issuer
        self.http_client = http_client
        self.allow_private_network = allow_private_network
        self.trust_pkce = trust_pkce
        self.tolerate_trailing_slash = tolerate_trailing_slash
        self.clock: Callable[[], float] = clock_of_surroundings() if clock is None else clock
        self._surroundings = stand_in()
        #: Scope sets that a step-up was tried for without effect (specification, "Step-Up Authorization Flow").
        self.failed_scopes: set[frozenset[str]] = set()
        self.prospects: Prospects = Prospects(self.clock)
        #: Logins for more scopes since a request was last let through.
        self.step_ups: int = 0
        #: The text that was last seen in the storage; None: there was none.
        self.stored: str | None = None
        #: The storage that was chosen, while memory takes its place.
        self.chosen: Storage | None = None
        self._record: Record | None = None
        #: The Authorization header of the token in memory, and between which times (seconds since the epoch) it may be sent
        #: unseen.
        self._header = ""
        self._good_from = self._good_until = 0.0
        #: Headers of this session that may still be on somebody's request.
        self._issued: list[str] = []
        self._absent = False
        #: Whether the storage didn't answer in time for the warm path: the slow one has the next word.
        self._slow = False
        self._covered: dict[str, bool] = {}
        self._warned = False
        # Reentrant: a future that is done, or is cancelled here, calls back at once.
        self._guard = threading.RLock()
        self._pid = os.getpid()
        self._flights: dict[Demand, Flight] = {}
        #: Between these times (seconds since the epoch) no early refresh is tried.
        self._rest = (0.0, 0.0)
        # Many sessions that were opened together shouldn't all refresh in the same second.
        self._jitter = 0.75 + os.urandom(1)[0] / 512

    # The warm path

    def authorize(self, request: Any) -> bool:
        """Put the token in memory on `request`, if nothing needs to be looked at again: the warmest path.

        The caller's frame never holds the header: it is in the traceback of what is raised there later.
        """
        if self._covered.get(str(request.url)) and self._good_from <= self.clock() < self._good_until:
            request.headers["Authorization"] = self._header
            return True
        return False

    def usable(self) -> Record | None:
        """The record, if its access token can be sent now: from memory, else by one read of the storage."""
        record = self._record
        if record is None:
            record = self._read()
        return record if record is not None and self.is_fresh(record) else None

    @property
    def login_is_useless(self) -> bool:
        """Whether the server refuses the tokens of a login that a person has just made: another window won't help."""
        return self.prospects.useless_since is not None

    @property
    def on_watch(self) -> bool:
        """Whether the next request that is let through changes something (`accepted`)."""
        return self.prospects.useless_since is not None or self.step_ups > 0

    def accepted(self, token: str) -> None:
        """The server let a request with `token` through."""
        self.step_ups = 0
        if self.prospects.accepted(token):
            self.demand(Demand("useful", may_ask=False))

    def refused(self, token: str) -> None:
        """The server refused `token`, which is fresh from a login, or comes after one that was."""
        if self.prospects.refused(token):
            self.demand(Demand("useless", may_ask=False))

    def rest(self, record: Record, seconds: float = 0.0) -> None:
        """An early refresh of `record` failed: the next one waits for `seconds`, and for half of the time that is left."""
        if record.expires_at is not None:
            now = self.clock()
            self._rest = (now, now + max(lifetime.seconds_left(record, now) / 2, seconds))
            self.adopt(record)

    def peek(self) -> Record | None:
        """The record in memory, whatever its state."""
        return self._record

    def is_good(self, record: Record, seconds: float | None = None) -> bool:
        """Whether the access token of `record` may be sent for another `seconds`; None: for as long as sending takes."""
        return lifetime.is_good(record, lifetime.sendable_skew(record) if seconds is None else seconds, self.clock())

    def is_fresh(self, record: Record) -> bool:
        """Whether the access token of `record` may be sent without a refresh before."""
        now = self.clock()
        in_doubt = lifetime.is_in_doubt(record, now) and not self._rests(now)
        return not in_doubt and lifetime.is_good(record, self._margin(record, now), now)

    def _margin(self, record: Record, now: float) -> float:
        # After an early refresh that failed, the next one comes as late as possible.
        return lifetime.sendable_skew(record) if self._rests(now) else lifetime.margin(record, self._jitter)

    def _rests(self, now: float) -> bool:
        return self._rest[0] <= now < self._rest[1]

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
        logging.getLogger("mcp_login").warning(
            "No token is sent to %s: it lies outside the resource %s. If the server's transport needs it (messages beside the "
            "event stream), pass OAuth the URL above both, or resource= with it.",
            printable(without_query(url)),
            self.shown_url,
        )

    def warn_redirected(self, url: str) -> None:
        """Say that the HTTP client followed a redirect out of the resource: within the origin it took the token along."""
        logging.getLogger("mcp_login").warning(
            "A redirect led to %s, outside the resource %s; within the origin the HTTP client carries the token along. Set "
            "follow_redirects=False where other paths of the origin belong to somebody else.",
            printable(without_query(url)),
            self.shown_url,
        )

    @property
    def is_unread(self) -> bool:
        """Whether it is still unknown what the storage holds."""
        return self._record is None and not self._absent

    def _read(self) -> Record | None:
        storage = self.storage
        if self._absent or self._slow or not isinstance(storage, WarmStorage):
            return None
        self._require_own_surroundings()
        try:
            text = storage.load_now(self.key, WARM_LIMIT)
            if text is not None:
                record, self.stored = Record.parse(text), text
                return self.adopt(record)
        except (TimeoutError, StorageError):
            # The slow path waits longer, and explains. Nobody else's loop is held up meanwhile.
            self._slow = True
            return None
        self.forget()
        return None

    def adopt(self, record: Record) -> Record | None:
        """Take `record` into memory. None where it belongs to another client or issuer than the caller gave."""
        if not self._is_ours(record):
            return None
        self._record = record
        self._absent = self._slow = False
        self._covered = {}
        self._header = header = "Bearer " + record.access_token
        if header not in self._issued:
            self._issued = [*self._issued[-7:], header]
        now = self.clock()
        self._good_from, self._good_until = lifetime.span(record, self._margin(record, now))
        if self._rests(now):
            self._good_until = min(self._good_until, self._rest[1])
        self.prospects.heed(record)
        return record

    def _is_ours(self, record: Record) -> bool:
        """Specification, "Authorization Server Binding": a client given by the caller is used at its own issuer only."""
        if self.issuer is not None and record.issuer != self.issuer:
            return False
        if self.client_id is None:
            return True
        return record.client.client_id == self.client_id and record.client.mechanism == "pre_registered"

    def current_client(self, record: Record) -> ClientInformation:
        """The client of `record` as it authenticates now: with the secret the caller gave, where it is that very client."""
        client = record.client
        if self._client_secret is None or self.client_id is None or not self._is_ours(record):
            return client
        method = client.token_endpoint_auth_method
        return replace(
            client,
            client_secret=self._client_secret,
            # It was public when it logged in: RFC 7591 section 2 has the default of a client with a secret.
            token_endpoint_auth_method="client_secret_basic" if method == "none" else method,
        )

    def is_issued(self, header: str) -> bool:
        """Whether `header` carries a token of this session, even one that was replaced since."""
        return header in self._issued

    def forget(self) -> None:
        """Nothing is stored. Looked at again when the server refuses a request."""
        self._record = self.stored = None
        self._absent = True
        self._slow = False
        self._good_until = 0.0
        self._covered = {}

    # The slow path

    def demand(self, demand: Demand, *, abandonable: bool = False) -> Flight:
        """Start what `demand` asks for, or join those who already did.

        `abandonable`: the work ends when nobody waits for it any more (`release`).
        """
        from .portal import portal

        self._require_own_surroundings()
        if self._pid != os.getpid():
            # After a fork: the work stayed in the parent, and so may have a holder of the lock.
            self._guard, self._flights, self._pid = threading.RLock(), {}, os.getpid()
        with self._guard:
            flight = self._flights.get(demand)
            if flight is None or flight.future.done():
                flight = Flight(portal().submit(lambda: self._renew(self, demand)), demand)
                flight.abandonable = abandonable
                self._flights[demand] = flight
                if self._surroundings is not None:
                    self._surroundings.started(flight.future)
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

    def fall_back(self, error: AuthError) -> None:
        """Go on in memory. Where warnings are errors, this one comes before anybody is asked to log in."""
        from .storage.memory import stand_in_for

        memory = stand_in_for(self.storage)
        if memory is not self.storage:
            _warn(f"{self._in_memory_only(error)} Where memory is meant, that setting says so without this warning.")
            self.chosen, self.storage, self.stored = self.storage, memory, None

    def go_back(self) -> None:
        """Use the chosen storage again; the warm path looks there, too."""
        if self.chosen is not None:
            self.storage, self.chosen, self.stored = self.chosen, None, None
            self._absent = self._slow = False

    def warn_unsaved(self, error: AuthError) -> None:
        """Say that credentials which were just obtained are kept in memory only."""
        message = self._in_memory_only(error)
        try:
            _warn(message)
        except StorageWarning:
            # Where warnings are errors, this one must not take the place of the result.
            logging.getLogger("mcp_login").warning("%s", message)

    def _in_memory_only(self, error: AuthError) -> str:
        return f"Credentials for {self.shown_url} are kept in memory only, and are gone with this process: {error}"

    def _require_own_surroundings(self) -> None:
        """A test never reaches the storage or the person of those who run it, nor those of another test."""
        if self._surroundings is not stand_in():
            raise PolicyError(
                f"The OAuth object for {self.shown_url} was made outside the test that uses it (or is used after that test), so "
                "its storage is not the test's. Make it inside: in a function or a fixture, not while a module is imported."
            )

    @property
    def shown_url(self) -> str:
        """The server's URL for people, without its query: that may hold a key."""
        return without_query(self.server_url)


def boundary(record: Record) -> str:
    """Where a token of `record` may go: its resource if that is a URL above the server's, else the server's URL alone."""
    return record.resource if is_within(record.server_url, record.resource) else record.server_url


def _warn(message: str) -> None:
    # Said by no line of the caller's program, nor of any value to one: it comes from the library's own thread.
    warnings.warn_explicit(message, StorageWarning, "<mcp_login>", 1, module="mcp_login")
