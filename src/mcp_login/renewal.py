"""The slow half of a session: read again, refresh, log in, always under the record's lock. Runs on the library's loop only."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import logging
from typing import TYPE_CHECKING

from .attempt import ATTEMPTS
from .errors import (
    AuthError,
    AuthorizationErrorResponse,
    InvalidResponse,
    PolicyError,
    StorageError,
    StorageLocked,
    StorageUnavailable,
    TokenErrorResponse,
    TransportError,
)
from .flight import Demand, Renewed, unnamed_scopes
from .keeping import Keeping, NewerElsewhere, Withheld
from .obtaining import login_required, opened_http
from .portal import protect
from .protocol.scope import OFFLINE_ACCESS
from .refreshing import UsedUp, refreshed
from .storage.ended import note_ended
from .storage.index import leave
from .threads import in_thread
from .unsaved import settled, waiting_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from .network.http import HttpClient
    from .session import Session
    from .storage.base import Storage
    from .storage.record import Record

__all__ = ["Renewal"]

#: How long to wait for others who refresh the same login, in seconds.
LOCK_LIMIT = 45.0

#: How long to wait for others who log in, in seconds: their own limit is 300 unless the caller chose another.
LOGIN_LOCK_LIMIT = 660.0

#: How long to wait for another program to save the newer tokens that it has, in seconds: it looks every second whether somebody
#: waits, and tries at once, unless a person has declined just that. Where no word can be left, it tries every 15 seconds.
PEER_LIMIT = 20.0

#: Why a login is over that the server has not ended.
_GONE = "whoever used up its refresh token is gone, with the tokens that came of it"

#: Errors of a refresh that trying again later won't mend.
_DEFINITE = (TokenErrorResponse, InvalidResponse, PolicyError)

_log = logging.getLogger("mcp_login")

#: How long it may take to read the resource's metadata for a change, in seconds.
METADATA_LIMIT = 20.0


class _NoLock(AuthError):
    """The storage could not be locked: `said`. No caller of ours sees this."""

    def __init__(self, said: StorageLocked | StorageUnavailable) -> None:
        super().__init__(*said.args)
        self.said = said


class Renewal:
    """Fulfils one demand of one session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._keeping = Keeping(session)

    async def fulfil(self, demand: Demand) -> Renewed:
        """The record that satisfies `demand`: another's, a refreshed one, or one of a new login."""
        deadline = asyncio.get_running_loop().time() + PEER_LIMIT
        while True:
            try:
                return await self._fulfil_or_fall_back(demand)
            except NewerElsewhere as error:
                limit = deadline - asyncio.get_running_loop().time()
                if not await self._keeping.is_saved_elsewhere(limit):
                    if not (demand.explicit and demand.may_ask):
                        raise error.said from None
                    # Whoever asks for a login wants one. The other program takes what comes of it when it can read again.
                    demand = dataclasses.replace(demand, kind="login")
            except Withheld as error:
                raise error.said from None

    async def _fulfil_or_fall_back(self, demand: Demand) -> Renewed:
        session = self._session
        outage: StorageLocked | StorageUnavailable
        try:
            return await self._fulfil(demand)
        except _NoLock as error:
            outage = error.said
            stored = await self._without_lock(demand, outage)
            if stored is not None:
                return Renewed(stored, "adopted")
        except (StorageLocked, StorageUnavailable) as error:
            outage = error
        if session.storage_required:
            raise outage
        session.fall_back(outage)
        self._keeping.outage = outage
        return await self._fulfil(demand)

    async def _without_lock(self, demand: Demand, error: StorageError) -> Record | None:
        """What is stored, where only its lock can't be had: used while it is good, and not refreshed.

        Others who can't have it either would send the same refresh token. None where nothing is stored that could be lost.
        """
        session = self._session
        try:
            record, _ = await self._keeping.load(locked=False)
        except (StorageLocked, StorageUnavailable):
            return None
        if record is None:
            return None
        if self._satisfies(record, demand, session.clock()):
            return record
        if self._is_still_good(record, demand):
            session.rest(record)
            return record
        if record.refresh_token is None:
            return None
        raise error

    async def _fulfil(self, demand: Demand) -> Renewed:
        session = self._session
        if demand.kind == "look":
            record, _ = await self._keeping.load(locked=False)
            if record is None:
                raise login_required(session)
            return Renewed(record, "adopted")
        began = session.clock()
        async with self._locked(demand, session.storage), contextlib.AsyncExitStack() as stack:
            await self._go_back(demand, stack)
            record, text = await self._keeping.load(locked=True)
            if demand.kind in ("useless", "useful"):
                return await self._leave_word(record, text, demand)
            if record is not None and self._satisfies(record, demand, began):
                return Renewed(record, "adopted")
            if record is not None and self._refreshable(record, demand):
                renewed = await self._try_refresh(record, text, demand)
                if renewed is not None:
                    return renewed
                if self._keeping.logged_out:
                    record = None
            if record is not None and demand.kind == "scopes":
                return await self._step_up(record, demand)
            return await self._log_in(record, demand)

    async def _log_in(self, record: Record | None, demand: Demand) -> Renewed:
        from .obtaining import Obtaining

        session = self._session
        if demand.kind == "rejected" and session.login_is_useless:
            # By what was read: another process has just had a person log in, and its tokens are refused like this one.
            demand = dataclasses.replace(demand, may_ask=False)
        return Renewed(await Obtaining(session, self._keeping.keep_login).obtain(demand, record), "login")

    def _has_stepped_up(self, record: Record, demand: Demand) -> bool:
        """Whether others did that often enough, or with these scopes in vain, while this one waited for its turn."""
        session = self._session
        wanted = frozenset(demand.scopes) or unnamed_scopes(record.requested_scopes)
        return session.step_ups >= ATTEMPTS or wanted in session.failed_scopes

    async def _step_up(self, record: Record, demand: Demand) -> Renewed:
        """A login with more scopes, if it is worth one more."""
        if self._has_stepped_up(record, demand):
            return Renewed(record, "nothing")
        return await (self._log_in(record, demand) if demand.scopes else self._ask_for_listed(record, demand))

    async def _ask_for_listed(self, record: Record, demand: Demand) -> Renewed:
        """A login with what the resource lists beyond the scopes that were asked for: the server didn't say what it wants."""
        from .discovery import listed_scopes

        session = self._session
        unnamed = unnamed_scopes(record.requested_scopes)
        known = {OFFLINE_ACCESS, *session.scopes, *record.requested_scopes, *record.granted_scopes}
        listed = await self._ask_resource(listed_scopes, demand)
        if listed is None:
            return Renewed(record, "nothing")
        demand = dataclasses.replace(demand, scopes=tuple(scope for scope in listed if scope not in known))
        if not demand.scopes:
            session.failed_scopes.add(unnamed)
            return Renewed(record, "nothing")
        try:
            return await self._log_in(record, demand)
        except AuthorizationErrorResponse:
            session.failed_scopes.add(unnamed)
            raise

    async def _leave_word(self, record: Record | None, text: str | None, demand: Demand) -> Renewed:
        """Let other objects and processes know whether the server refuses the tokens of this login."""
        session = self._session
        if record is None or text is None:
            raise login_required(session)  # there is no login any more, and nobody waits for this
        refused_at = session.prospects.useless_since if demand.kind == "useless" else None
        if record.refused_at != refused_at:
            record = dataclasses.replace(record, refused_at=refused_at)
            await session.storage.compare_and_set(session.key, text, record.dump())
            session.adopt(record)
        return Renewed(record, "nothing")

    async def _go_back(self, demand: Demand, stack: contextlib.AsyncExitStack) -> None:
        """Use the chosen storage again, in whose place memory is used, if it answers and can be locked: `stack` holds that."""
        session = self._session
        if session.chosen is None or not await self._keeping.chosen_answers():
            return
        try:
            await stack.enter_async_context(self._locked(demand, session.chosen))
        except _NoLock as error:
            self._keeping.outage = error.said
        else:
            await self._keeping.go_back()

    @contextlib.asynccontextmanager
    async def _locked(self, demand: Demand, storage: Storage) -> AsyncIterator[None]:
        """The record's lock. It is held for as long as a person takes to log in, but not for ever by one that is stuck."""
        session = self._session
        limit = LOGIN_LOCK_LIMIT if demand.may_ask else LOCK_LIMIT
        async with contextlib.AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(limit):
                    await stack.enter_async_context(storage.lock(session.key))
            except (StorageLocked, StorageUnavailable) as error:
                raise _NoLock(error) from None
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
            renewed = await protect(refreshed(session, self._keeping, record))
            return None if renewed is None else Renewed(renewed, "refreshed")
        except AuthError as error:
            if self._is_still_good(record, demand):
                # An early refresh that fails costs nothing yet: the token at hand is used while it lasts.
                held = waiting_for(session.storage, session.key)
                if isinstance(error, StorageError) and held is not None and held.record is not record:
                    return Renewed(held.record, "refreshed")  # it didn't fail: its tokens wait for the storage
                _log.info("an early refresh for %s failed: %s", session.shown_url, type(error).__name__)
                session.rest(record, getattr(error, "retry_after", None) or 0.0)
                return Renewed(record, "adopted")
            if isinstance(error, Withheld):
                raise
            why = self._end_of(record, error)
            if why is not None:
                return await self._end(record, text, why, demand)
            if demand.may_ask and await self._has_moved(record, demand):
                _log.info("%s names another authorization server by now: logging in there", session.shown_url)
                return None
            if demand.explicit and demand.may_ask and isinstance(error, _DEFINITE):
                # Whoever asks for a login wants one: the person is asked, and the old tokens stay until there are new ones.
                _log.info("the refresh for %s was refused (%s): logging in", session.shown_url, type(error).__name__)
                return None
            raise

    def _satisfies(self, record: Record, demand: Demand, began: float) -> bool:
        """Whether what is stored by now, perhaps by another process, is what was asked for at the time `began`."""
        if record.access_token == demand.rejected or not self._covers(record, demand):
            return False
        session = self._session
        # One that comes from a time to come was obtained when the clock was wrong, and not since.
        if demand.kind == "login" and not began < record.obtained_at <= session.clock():
            return False
        if demand.kind == "token" and not session.is_fresh(record):
            return False
        return session.is_good(record, demand.min_valid_for)

    def _covers(self, record: Record, demand: Demand) -> bool:
        """Whether the scopes of `demand` were granted, or at least asked for: a server that gives fewer won't give them now.

        A refused token's challenge names scopes too, but they aren't known to be what is missing: a refresh comes first.
        """
        return demand.kind == "rejected" or set(demand.scopes) <= {*record.granted_scopes, *record.requested_scopes}

    def _is_still_good(self, record: Record, demand: Demand) -> bool:
        """Whether the access token of `record` does for `demand`, even if it should be refreshed by now."""
        if demand.kind not in ("token", "rejected") or not self._covers(record, demand):
            return False
        return demand.rejected != record.access_token and self._session.is_good(record, demand.min_valid_for)

    def _refreshable(self, record: Record, demand: Demand) -> bool:
        return (
            record.refresh_token is not None
            and demand.may_refresh
            and demand.kind in ("token", "rejected")
            and self._covers(record, demand)
        )

    # The end

    def _end_of(self, record: Record, error: AuthError) -> str | None:
        """Why the login of `record` is over, if `error` says so."""
        if isinstance(error, UsedUp):
            return _GONE
        if not isinstance(error, TokenErrorResponse):
            return None
        forgotten = error.error == "invalid_client" and record.client.mechanism == "dynamic"
        return error.error if error.ends_session or forgotten else None

    async def _end(self, record: Record, text: str | None, why: str, demand: Demand) -> Renewed | None:
        """The login of `record` is over: its tokens are deleted, if they are still the stored ones, else those are used."""
        session = self._session
        _log.info("the login at %s has ended: %s", session.shown_url, why)
        if why == "invalid_client":
            from .grants.client_registration import forget_client

            await forget_client(session.storage, record.client)
        # Neither offered again from behind a locked keychain, nor saved when that is open.
        settled(session.storage, session.key)
        await self._keeping.note_spent(record, None)
        if demand.rejected != record.access_token and session.is_good(record):
            # Nobody refused the access token, it is only too short-lived for this caller: it stays.
            await self._keeping.keep(dataclasses.replace(record, refresh_token=None))
            return None
        if why != _GONE:
            # Whoever has it in memory need not ask the server once more.
            await in_thread(functools.partial(note_ended, session.storage, session.key, record))
        deleted = text is None or await session.storage.compare_and_set(session.key, text, None)
        if not deleted:
            # Somebody who doesn't know our lock was faster.
            newer, _ = await self._keeping.load(locked=True)
            if newer is not None and self._satisfies(newer, demand, session.clock()):
                return Renewed(newer, "adopted")
        elif self._keeping.outage is None:
            await in_thread(functools.partial(leave, session.storage, session.key))
        session.forget()
        return None

    async def _has_moved(self, record: Record, demand: Demand) -> bool:
        """Whether the server definitely names other authorization servers than the one that doesn't answer any more."""
        from .discovery import named_issuers

        issuers = await self._ask_resource(named_issuers, demand)
        return bool(issuers) and record.issuer not in (issuers or ())

    async def _ask_resource(
        self, question: Callable[[HttpClient, str, str | None], Awaitable[tuple[str, ...]]], demand: Demand
    ) -> tuple[str, ...] | None:
        """What the resource's metadata says by now; None where that can't be had."""
        session = self._session
        try:
            async with asyncio.timeout(METADATA_LIMIT), opened_http(session) as http:
                return await question(http, session.server_url, demand.challenge_url)
        except (AuthError, TimeoutError):
            return None
