"""Where the tokens of a session are while its keychain is locked, silent or emptied, and how they get back into it.

Tokens in memory go on; they are saved as soon as the keychain answers, and at the latest when the process ends. What another
process may have made of them meanwhile comes first: see `storage.spent`. Runs on the library's loop only.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from .errors import StorageError, StorageLocked, StorageUnavailable, printable
from .portal import protect
from .saving import enter, is_listed, save_later, settled, waiting_for
from .storage.record import Record
from .storage.spent import is_spent, needs_notes, note_spent

if TYPE_CHECKING:
    from .session import Session

__all__ = ["Keeping"]

_log = logging.getLogger("mcp_login")


class Keeping:
    """Reads and writes the record of one session, for one demand."""

    def __init__(self, session: Session) -> None:
        self._session = session
        #: Why the chosen storage could not be read; None: it could.
        self.outage: StorageLocked | StorageUnavailable | None = None

    async def go_back(self) -> bool:
        """Whether the chosen storage answers again, in whose place memory was used. The memory's lock is held."""
        session = self._session
        chosen = session.chosen
        if chosen is None or self.outage is not None:
            return False
        try:
            await chosen.load(session.key)
        except (StorageLocked, StorageUnavailable) as error:
            self.outage = error
            return False
        except StorageError as error:
            _log.debug("%s: %s", session.shown_url, error)  # it answers; what it has is for `load` to say
        text = await session.storage.load(session.key)
        held = None if text is None else Record.parse(text)
        if held is not None and (session.unsaved is None or session.unsaved.obtained_at < held.obtained_at):
            session.unsaved = held
        # What is kept in the chosen storage from now on may be ended there: no copy of it is to come back in the next outage.
        await session.storage.delete(session.key)
        _log.info("the %s answers again: the login at %s is kept there from now on", chosen.name, session.shown_url)
        session.go_back()
        # Until it is saved, other sessions of this process find it with what waits.
        save_later(session)
        return True

    async def load(self, *, locked: bool) -> tuple[Record | None, str | None]:
        """What is stored by now, or what could not be stored yet and is newer; and the stored text, for comparing.

        `locked`: whether the caller holds the record's lock.
        """
        session = self._session
        deleted = False
        try:
            text = await session.storage.load(session.key)
            record = None if text is None else Record.parse(text)
        except (StorageLocked, StorageUnavailable) as error:
            return self._held(error), None
        except StorageError as error:
            _log.warning("%s: %s", session.shown_url, error)
            text, record = None, None
        else:
            deleted = self._heard(text) and locked
        if deleted and not await self._in_the_list():
            self._logged_out()
            return None, None
        if self._adopt_unsaved(record):
            record = session.unsaved
            if locked and record is not None and await self._save(record):
                text = session.stored
        elif record is not None:
            session.unsaved = None  # somebody has stored newer ones
        elif deleted:
            # Somebody cleaned up the keychain. It was no logout: that would have taken the login from the list, too.
            record = self._unspent(session.peek())
        if record is None or session.adopt(record) is None:
            session.forget()
            return None, text
        return record, text

    def _heard(self, text: str | None) -> bool:
        """The storage answered with `text`; whether there was something, and now there isn't."""
        session = self._session
        if session.chosen is None:
            self.outage = None
        waiting = waiting_for(session.storage, session.key)
        before = session.stored or (None if waiting is None else waiting.stored)
        session.stored = text or before
        return text is None and before is not None

    def _held(self, error: StorageLocked | StorageUnavailable) -> Record | None:
        """A keychain that is locked or silent for a while is no reason to ask anybody to log in."""
        session = self._session
        held = session.peek()
        if self._adopt_unsaved(held):
            held = session.unsaved
        if session.storage_required or held is None:
            raise error
        self.outage = error
        return session.adopt(held)

    def _adopt_unsaved(self, record: Record | None) -> bool:
        """Whether this process has tokens that are newer than `record` and not stored yet: `session.unsaved`, then."""
        session = self._session
        waiting = waiting_for(session.storage, session.key)
        # Another session of this process may have obtained them.
        for one in (session.unsaved, None if waiting is None else waiting.record):
            if one is not None and (record is None or record.obtained_at < one.obtained_at):
                record = session.unsaved = one
        return record is not None and record is session.unsaved

    async def _in_the_list(self) -> bool:
        session = self._session
        if session.storage.name == "memory":
            return False
        return await asyncio.to_thread(is_listed, session.storage, session.key, session.shown_url, session.account)

    def _logged_out(self) -> None:
        session = self._session
        settled(session.storage, session.key)
        session.unsaved = None
        session.forget()

    def _unspent(self, record: Record | None) -> Record | None:
        return None if record is None or self.is_outdated(record) else record

    def is_outdated(self, record: Record) -> bool:
        """Whether another process has used up the refresh token of `record`: sent again, it would end the login."""
        session = self._session
        return (
            record.refresh_token is not None
            and needs_notes(session.chosen or session.storage)
            and is_spent(session.key, record.refresh_token)
        )

    def note_spent(self, before: Record, after: Record | None) -> None:
        """Leave word for all processes that the refresh token of `before` was used up: it rotated, or (None) is dead."""
        session = self._session
        token = before.refresh_token
        rotated = after is None or token != after.refresh_token
        if token is None or not rotated or not needs_notes(session.chosen or session.storage):
            return
        try:
            note_spent(session.key, token)
        except (OSError, StorageError) as error:
            _log.debug("no word of a refresh could be left: %s", type(error).__name__)

    async def keep_login(self, record: Record) -> None:
        """Save what a login gave, and enter it in the list that `accounts` reads: no secret, and nothing depends on it."""
        if await self.keep(record):
            await asyncio.to_thread(enter, self._session.storage, record, self._session.shown_url)

    async def keep(self, record: Record) -> bool:
        """Save `record`, and say whether it is saved. If not, it is still good in this process, and saved when that works.

        Nothing is compared: everybody who writes a record holds its lock, and the newest tokens are the ones to keep.
        """
        session = self._session
        self._report_scopes(record)
        session.adopt(record)
        session.unsaved = record
        try:
            await self._store(record)
        except StorageError as error:
            # First of all: nobody else has these tokens, and the session may end with this call.
            if isinstance(error, (StorageLocked, StorageUnavailable)):
                save_later(session)
            if session.storage_required:
                raise
            session.warn_unsaved(error)
            return False
        return True

    def _report_scopes(self, record: Record) -> None:
        """Say once what a token is good for that nobody asked for: whoever gets hold of it can use that, too."""
        before = self._session.peek()
        known = () if before is None else before.unrequested_scopes
        unheard = [scope for scope in record.unrequested_scopes if scope not in known]
        if unheard:
            _log.warning(
                "%s granted more for %s than was asked for: %s. If you don't expect that, log out and ask its operator.",
                printable(record.issuer),
                self._session.shown_url,
                printable(" ".join(unheard)),
            )

    async def _save(self, record: Record) -> bool:
        """Save what could not be saved before, and say whether that worked. The record's lock is held."""
        session = self._session
        new = session.stored is None
        try:
            await protect(self._store(record))
        except StorageError as error:
            _log.debug("%s: still not saved: %s", session.shown_url, type(error).__name__)
            if isinstance(error, (StorageLocked, StorageUnavailable)):
                save_later(session)
            return False
        if new:
            await asyncio.to_thread(enter, session.storage, record, session.shown_url)
        return True

    async def _store(self, record: Record) -> None:
        session = self._session
        text = record.dump()
        await session.storage.save(session.key, text)
        session.stored, session.unsaved = text, None
        settled(session.storage, session.key)
