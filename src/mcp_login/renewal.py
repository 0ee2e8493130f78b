"""The slow half of a session: read again, refresh, log in, always under the record's lock. Runs on the library's loop only."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from typing import TYPE_CHECKING

from .errors import (
    AuthError,
    AuthorizationErrorResponse,
    IssuerMismatch,
    LoginRequired,
    LoginTimeout,
    StorageError,
    TokenErrorResponse,
    TransportError,
)
from .network.http import HttpClient
from .network.policy import AddressSpace, NetworkPolicy
from .portal import protect
from .protocol.token import TokenResponse, build_refresh_request, parse_token_response
from .session import SERVER_RESOURCE, Demand, Renewed, Session
from .storage.index import Index, IndexEntry
from .storage.record import Record

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .discovery import Discovery
    from .protocol.message import HttpResponse

__all__ = ["Renewal", "open_http"]

#: How long to wait for others who refresh the same login, in seconds.
LOCK_LIMIT = 45.0

#: How long to wait for others who log in, in seconds: their own limit is 300 unless the caller chose another.
LOGIN_LOCK_LIMIT = 660.0

#: How long after a login that a person refused or didn't finish requests don't ask again, in seconds.
FAILURE_REST = 30.0

_log = logging.getLogger("mcp_login")

#: Attempts at one refresh, and the waits between them in seconds, where the server or the network is down.
REFRESH_WAITS = (0.2, 1.0)

#: A server's Retry-After is obeyed up to this many seconds; beyond, the caller is told.
RETRY_AFTER_LIMIT = 5.0


def open_http(session: Session) -> HttpClient:
    """The client for the requests of `session` to strangers. To be closed."""
    return HttpClient(NetworkPolicy(allow_private_network=session.allow_private_network), session.http_client)


class Renewal:
    """Fulfils one demand of one session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def fulfil(self, demand: Demand) -> Renewed:
        """The record that satisfies `demand`: another's, a refreshed one, or one of a new login."""
        if demand.kind == "look":
            record, _ = await self._load()
            if record is None:
                raise self._login_required(())
            return Renewed(record, "adopted")
        async with self._locked(demand):
            record, text = await self._load()
            if record is not None and self._satisfies(record, demand):
                return Renewed(record, "adopted")
            if record is not None and self._refreshable(record, demand):
                renewed = await self._try_refresh(record, text, demand)
                if renewed is not None:
                    return renewed
            return Renewed(await self._login(demand, record), "login")

    @contextlib.asynccontextmanager
    async def _locked(self, demand: Demand) -> AsyncIterator[None]:
        """The record's lock. It is held for as long as a person takes to log in, but not for ever by one that is stuck."""
        session = self._session
        limit = LOGIN_LOCK_LIMIT if demand.may_login else LOCK_LIMIT
        async with contextlib.AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(limit):
                    await stack.enter_async_context(session.storage.lock(session.key))
            except TimeoutError:
                raise TransportError(
                    f"Another process has been busy with the login at {session.server_url} for {limit:g} seconds. "
                    "Finish it there, or end that process, and try again.",
                    url=session.server_url,
                ) from None
            yield

    async def _try_refresh(self, record: Record, text: str | None, demand: Demand) -> Renewed | None:
        """The refreshed record; None where the session has ended and only a login helps."""
        session = self._session
        try:
            return Renewed(await protect(self._refresh(record)), "refreshed")
        except AuthError as error:
            if demand.rejected != record.access_token and session.is_good(record, demand.min_valid_for):
                # An early refresh that fails costs nothing yet: the token at hand is used while it lasts.
                _log.info("an early refresh for %s failed: %s", session.server_url, type(error).__name__)
                session.rest(record)
                return Renewed(record, "adopted")
            if isinstance(error, TokenErrorResponse) and await self._ended(record, text, error):
                return None
            raise

    # Reading

    async def _load(self) -> tuple[Record | None, str | None]:
        session = self._session
        text = await session.storage.load(session.key)
        if text is None:
            session.forget()
            return None, None
        try:
            record = Record.parse(text)
        except StorageError as error:
            _log.warning("%s: %s", session.server_url, error)
            return None, text
        if session.adopt(record) is None:
            return None, text
        return record, text

    def _satisfies(self, record: Record, demand: Demand) -> bool:
        """Whether what is stored by now, perhaps by another process, is what was asked for."""
        if demand.kind == "login" or record.access_token == demand.rejected or not self._covers(record, demand):
            return False
        early = self._session.margin(record) if demand.kind == "token" else 0.0
        return self._session.is_good(record, max(demand.min_valid_for, early))

    def _covers(self, record: Record, demand: Demand) -> bool:
        """Whether the scopes of `demand` were granted, or at least asked for: a server that gives fewer won't give them now.

        A refused token's challenge names scopes too, but they aren't known to be what is missing: a refresh comes first.
        """
        return demand.kind == "rejected" or set(demand.scopes) <= {*record.granted_scopes, *record.requested_scopes}

    # Refreshing

    def _refreshable(self, record: Record, demand: Demand) -> bool:
        return (
            record.refresh_token is not None
            and demand.may_refresh
            and demand.kind in ("token", "rejected")
            and self._covers(record, demand)
        )

    async def _refresh(self, record: Record) -> Record:
        """RFC 6749 section 6: one token request, to the endpoint and with the client that are stored with the token."""
        session = self._session
        answer = await self._send_refresh(record)
        now = session.clock()
        renewed = dataclasses.replace(
            record,
            access_token=answer.access_token,
            refresh_token=answer.refresh_token or record.refresh_token,
            expires_at=None if answer.expires_in is None else now + answer.expires_in,
            obtained_at=now,
            granted_scopes=record.granted_scopes if answer.scopes is None else answer.scopes,
        )
        await self._keep(renewed)
        _log.debug("refreshed the token for %s", record.server_url)
        return renewed

    async def _send_refresh(self, record: Record) -> TokenResponse:
        session = self._session
        assert record.refresh_token is not None  # noqa: S101 - _refreshable saw it
        request = build_refresh_request(
            record.token_endpoint,
            session.grant().current_client(record.client),
            record.refresh_token,
            resource=record.resource if record.sends_resource else None,
            # RFC 6749 section 6: left out, it is what was granted. Where the resource is left out, too, only scopes are left to
            # say what the token is for (Entra ID).
            scopes=() if record.sends_resource else record.granted_scopes,
        )
        floor = AddressSpace[record.address_space.upper()]
        async with self._http() as http:
            for wait in (*REFRESH_WAITS, None):
                try:
                    response: HttpResponse = await http.send(request, floor=floor)
                    return parse_token_response(response, secrets=request.secrets)
                except TransportError as error:
                    # The tokens stay. Whether the server acted on a request that broke is not known: it may have rotated, and
                    # then offering the old token once more is all that can be done.
                    if wait is None or (error.retry_after or 0) > RETRY_AFTER_LIMIT:
                        raise
                    await asyncio.sleep(max(wait, error.retry_after or 0))
        raise AssertionError("unreachable")

    async def _ended(self, record: Record, text: str | None, error: TokenErrorResponse) -> bool:
        """Whether `error` is the end of the login of `record`; its tokens are deleted then, if they are still the stored ones."""
        session = self._session
        forgotten = error.error == "invalid_client" and record.client.mechanism == "dynamic"
        if not (error.ends_session or forgotten):
            return False
        _log.info("the login at %s has ended: %s", session.server_url, error.error)
        if forgotten:
            from .grants.client_registration import forget_client

            await forget_client(session.storage, record.client)
        if text is not None:
            await session.storage.compare_and_set(session.key, text, None)
        session.forget()
        return True

    # Logging in

    async def _login(self, demand: Demand, previous: Record | None) -> Record:
        from .discovery import discover
        from .grants.base import Order

        session = self._session
        grant = session.grant()
        if not demand.may_login or (grant.needs_person and not await self._may_ask()):
            raise self._login_required(demand.scopes)
        self._check_recent_failure(demand)
        try:
            async with self._http() as http:
                demand = await self._with_challenge(http, demand)
                discovery = await discover(
                    http,
                    session.server_url,
                    challenge_url=demand.challenge_url,
                    challenged=demand.challenged,
                    issuer=grant.issuer,
                    preferred_issuer=previous.issuer if previous is not None else None,
                    allow_http=session.allow_private_network,
                    trust_pkce=session.trust_pkce,
                    tolerate_trailing_slash=session.tolerate_trailing_slash,
                )
                self._check_binding(grant.client_id, previous, discovery)
                order = Order(
                    discovery=discovery,
                    account=session.account,
                    requested_scopes=session.scopes,
                    challenged_scopes=demand.scopes,
                    previous_scopes=self._previous_scopes(previous, discovery),
                    resource=self._resource(discovery),
                )
                record = await grant.obtain(order, http, session.storage, self._keep_login)
        except (AuthorizationErrorResponse, LoginTimeout) as error:
            session.last_failure = (session.clock(), error)
            raise
        session.last_failure = None
        return record

    async def _with_challenge(self, http: HttpClient, demand: Demand) -> Demand:
        """`demand` with what the server says to an anonymous request, where it hasn't been asked yet."""
        if demand.challenged:
            return demand
        from .discovery import find_challenge

        challenged, challenge = await find_challenge(http, self._session.server_url)
        return dataclasses.replace(
            demand,
            challenged=challenged,
            challenge_url=challenge.resource_metadata if challenge else None,
            scopes=tuple(dict.fromkeys((*demand.scopes, *(challenge.scopes if challenge else ())))),
        )

    def _login_required(self, scopes: tuple[str, ...]) -> LoginRequired:
        session = self._session
        return LoginRequired(
            f"{session.server_url} needs a login, and this call may not ask a person for one. "
            f"Run `mcp-login login {session.server_url}`, or await login({session.server_url!r}).",
            resource=session.server_url,
            scopes=dict.fromkeys((*session.scopes, *scopes)),
        )

    def _check_recent_failure(self, demand: Demand) -> None:
        """A person who just said no isn't asked again by the next request, only by a call that means to."""
        failure = self._session.last_failure
        if failure is not None and not demand.explicit and self._session.clock() - failure[0] < FAILURE_REST:
            raise failure[1]

    async def _may_ask(self) -> bool:
        if self._session.interactive is not None:
            return self._session.interactive
        from .browser.terminal import person_present

        return await asyncio.to_thread(person_present)

    def _check_binding(self, client_id: str | None, previous: Record | None, discovery: Discovery) -> None:
        """Specification, "Authorization Server Binding": a pre-registered client is not taken to another issuer."""
        if client_id is None or previous is None or previous.client.mechanism != "pre_registered":
            return
        if previous.client.client_id == client_id and previous.issuer != discovery.server.issuer:
            raise IssuerMismatch(
                expected=previous.issuer,
                received=discovery.server.issuer,
                url=discovery.server_url,
                reason=(
                    f"client_id was registered with the issuer {previous.issuer!r}, but the server now names "
                    f"{discovery.server.issuer!r}. Check with its operator; then log out, and log in with the new client_id"
                ),
            )

    def _previous_scopes(self, previous: Record | None, discovery: Discovery) -> tuple[str, ...]:
        if previous is None or previous.issuer != discovery.server.issuer:
            return ()
        return tuple(dict.fromkeys((*previous.requested_scopes, *previous.granted_scopes)))

    def _resource(self, discovery: Discovery) -> str | None:
        chosen = self._session.resource
        if chosen is SERVER_RESOURCE:
            return discovery.resource
        assert chosen is None or isinstance(chosen, str)  # noqa: S101
        return chosen

    # Both

    @contextlib.asynccontextmanager
    async def _http(self) -> AsyncIterator[HttpClient]:
        http = open_http(self._session)
        try:
            yield http
        finally:
            await http.aclose()

    async def _keep_login(self, record: Record) -> None:
        """Save what a login gave, and enter it in the list that `accounts` reads: no secret, and nothing depends on it."""
        await self._keep(record)
        if self._session.storage.name == "memory":
            return
        entry = IndexEntry(
            server_url=record.server_url,
            account=record.account,
            storage=self._session.storage.name,
            issuer=record.issuer,
            resource=record.resource,
            scopes=record.granted_scopes,
            updated_at=record.obtained_at,
        )
        try:
            await asyncio.to_thread(Index().put, entry)
        except (OSError, AuthError) as error:
            _log.warning("the list of logins could not be updated: %s", type(error).__name__)

    async def _keep(self, record: Record) -> None:
        """Save `record`; tokens that can't be saved are still good in this process.

        Nothing is compared: everybody who writes a record holds its lock, and the newest tokens are the ones to keep.
        """
        session = self._session
        session.adopt(record)
        try:
            await session.storage.save(session.key, record.dump())
        except StorageError as error:
            if session.storage_required:
                raise
            _log.warning("the new token for %s could not be stored: %s", session.server_url, error)
