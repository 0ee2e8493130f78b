"""The slow half of a session: read again, refresh, log in, always under the record's lock. Runs on the library's loop only."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from typing import TYPE_CHECKING

from .errors import (
    AuthError,
    InvalidResponse,
    StorageError,
    StorageLocked,
    StorageUnavailable,
    TokenErrorResponse,
    TransportError,
)
from .flight import Demand, Renewed
from .network.policy import AddressSpace
from .obtaining import login_required, opened_http
from .portal import protect
from .protocol.token import TokenResponse, build_refresh_request, parse_token_response
from .storage.index import Index, IndexEntry
from .storage.record import Record

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .protocol.message import HttpResponse
    from .session import Session

__all__ = ["Renewal"]

#: How long to wait for others who refresh the same login, in seconds.
LOCK_LIMIT = 45.0

#: How long to wait for others who log in, in seconds: their own limit is 300 unless the caller chose another.
LOGIN_LOCK_LIMIT = 660.0

_log = logging.getLogger("mcp_login")

#: Attempts at one refresh, and the waits between them in seconds, where the server or the network is down.
REFRESH_WAITS = (0.2, 1.0)

#: How long it may take to find out whether the authorization server is another by now, in seconds.
MOVED_LIMIT = 20.0

#: A server's Retry-After is obeyed up to this many seconds; beyond, the caller is told.
RETRY_AFTER_LIMIT = 5.0


class Renewal:
    """Fulfils one demand of one session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def fulfil(self, demand: Demand) -> Renewed:
        """The record that satisfies `demand`: another's, a refreshed one, or one of a new login."""
        session = self._session
        if demand.kind == "look":
            record, _ = await self._load()
            if record is None:
                raise login_required(session)
            return Renewed(record, "adopted")
        began = session.clock()
        async with self._locked(demand):
            record, text = await self._load()
            if record is not None and self._satisfies(record, demand, began):
                return Renewed(record, "adopted")
            if record is not None and self._refreshable(record, demand):
                renewed = await self._try_refresh(record, text, demand)
                if renewed is not None:
                    return renewed
            from .obtaining import Obtaining

            return Renewed(await Obtaining(session, self._keep_login).obtain(demand, record), "login")

    @contextlib.asynccontextmanager
    async def _locked(self, demand: Demand) -> AsyncIterator[None]:
        """The record's lock. It is held for as long as a person takes to log in, but not for ever by one that is stuck."""
        session = self._session
        limit = LOGIN_LOCK_LIMIT if demand.may_ask else LOCK_LIMIT
        async with contextlib.AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(limit):
                    await stack.enter_async_context(session.storage.lock(session.key))
            except TimeoutError:
                raise TransportError(
                    f"Another login or refresh at {session.shown_url} has been under way for {limit:g} seconds. Finish it, "
                    "or end that process, and try again.",
                    url=session.shown_url,
                ) from None
            yield

    async def _try_refresh(self, record: Record, text: str | None, demand: Demand) -> Renewed | None:
        """The refreshed record; None where only a login helps."""
        session = self._session
        try:
            return Renewed(await protect(self._refresh(record)), "refreshed")
        except AuthError as error:
            if demand.rejected != record.access_token and session.is_good(record, demand.min_valid_for):
                # An early refresh that fails costs nothing yet: the token at hand is used while it lasts.
                _log.info("an early refresh for %s failed: %s", session.shown_url, type(error).__name__)
                session.rest(record)
                return Renewed(record, "adopted")
            if isinstance(error, TokenErrorResponse) and self._is_end(record, error):
                return await self._end(record, text, error, demand)
            if demand.may_ask and await self._has_moved(record, demand):
                _log.info("%s names another authorization server by now: logging in there", session.shown_url)
                return None
            if demand.explicit and demand.may_ask and isinstance(error, (TokenErrorResponse, InvalidResponse)):
                # Whoever asks for a login wants one: the person is asked, and the old tokens stay until there are new ones.
                _log.info("the refresh for %s was refused (%s): logging in", session.shown_url, type(error).__name__)
                return None
            raise

    # Reading

    async def _load(self) -> tuple[Record | None, str | None]:
        """What is stored by now, or what could not be stored yet and is newer; and the stored text, for comparing."""
        session = self._session
        try:
            text = await session.storage.load(session.key)
            record = None if text is None else Record.parse(text)
        except (StorageLocked, StorageUnavailable) as error:
            held = session.unsaved or session.peek()
            if session.storage_required or held is None:
                raise
            # A keychain that is locked or silent for a while is no reason to ask anybody to log in.
            session.unsaved = held
            session.warn_unsaved(error)
            return session.adopt(held), None
        except StorageError as error:
            _log.warning("%s: %s", session.shown_url, error)
            text, record = None, None
        unsaved = session.unsaved
        if unsaved is not None and (record is None or record.obtained_at < unsaved.obtained_at):
            record = unsaved
        if record is None or session.adopt(record) is None:
            session.forget()
            return None, text
        return record, text

    def _satisfies(self, record: Record, demand: Demand, began: float) -> bool:
        """Whether what is stored by now, perhaps by another process, is what was asked for at the time `began`."""
        if record.access_token == demand.rejected or not self._covers(record, demand):
            return False
        if demand.kind == "login" and record.obtained_at <= began:
            return False
        session = self._session
        if demand.kind == "token" and not session.is_good(record, session.margin(record)):
            return False
        return session.is_good(record, demand.min_valid_for)

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
        _log.debug("refreshed the token for %s", session.shown_url)
        return renewed

    async def _send_refresh(self, record: Record) -> TokenResponse:
        session = self._session
        assert record.refresh_token is not None  # noqa: S101 - _refreshable saw it
        request = build_refresh_request(
            record.token_endpoint,
            session.current_client(record),
            record.refresh_token,
            resource=record.resource if record.sends_resource else None,
            # RFC 6749 section 6: left out, it is what was granted. Where the resource is left out, too, only scopes are left to
            # say what the token is for (Entra ID).
            scopes=() if record.sends_resource else record.granted_scopes,
        )
        floor = AddressSpace[record.address_space.upper()]
        async with opened_http(session) as http:
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

    def _is_end(self, record: Record, error: TokenErrorResponse) -> bool:
        forgotten = error.error == "invalid_client" and record.client.mechanism == "dynamic"
        return error.ends_session or forgotten

    async def _end(self, record: Record, text: str | None, error: TokenErrorResponse, demand: Demand) -> Renewed | None:
        """The login of `record` is over: its tokens are deleted, if they are still the stored ones, else those are used."""
        session = self._session
        _log.info("the login at %s has ended: %s", session.shown_url, error.error)
        if error.error == "invalid_client":
            from .grants.client_registration import forget_client

            await forget_client(session.storage, record.client)
        session.unsaved = None
        if demand.rejected != record.access_token and session.is_good(record):
            # Nobody refused the access token, it is only too short-lived for this caller: it stays.
            await self._keep(dataclasses.replace(record, refresh_token=None))
            return None
        deleted = text is None or await session.storage.compare_and_set(session.key, text, None)
        if not deleted:
            # Somebody who doesn't know our lock was faster.
            newer, _ = await self._load()
            if newer is not None and self._satisfies(newer, demand, session.clock()):
                return Renewed(newer, "adopted")
        session.forget()
        return None

    async def _has_moved(self, record: Record, demand: Demand) -> bool:
        """Whether the server definitely names other authorization servers than the one that doesn't answer any more."""
        from .discovery import named_issuers

        session = self._session
        try:
            async with asyncio.timeout(MOVED_LIMIT), opened_http(session) as http:
                issuers = await named_issuers(http, session.server_url, demand.challenge_url)
        except (AuthError, TimeoutError):
            return False
        return bool(issuers) and record.issuer not in issuers

    # Both

    async def _keep_login(self, record: Record) -> None:
        """Save what a login gave, and enter it in the list that `accounts` reads: no secret, and nothing depends on it."""
        if not await self._keep(record) or self._session.storage.name == "memory":
            return
        entry = IndexEntry(
            # Without its query, which may hold a key.
            server_url=self._session.shown_url,
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

    async def _keep(self, record: Record) -> bool:
        """Save `record`, and say whether it is saved. If not, it is still good in this process, and saved next time.

        Nothing is compared: everybody who writes a record holds its lock, and the newest tokens are the ones to keep.
        """
        session = self._session
        session.adopt(record)
        session.unsaved = record
        try:
            await session.storage.save(session.key, record.dump())
        except StorageError as error:
            if session.storage_required:
                raise
            session.warn_unsaved(error)
            return False
        session.unsaved = None
        return True
