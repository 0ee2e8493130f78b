"""Where the tokens of a session are while its keychain is locked, silent or emptied, and how they get back into it.

Tokens in memory go on; they are saved as soon as the keychain answers, and at the latest when the process ends: see `saving`.
What another process may have made of them meanwhile comes first: see `storage.spent` and `storage.ended`. Runs on the library's
loop only.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from typing import TYPE_CHECKING

from .errors import (
    AuthError,
    StorageError,
    StorageUnreadable,
    TransportError,
    printable,
)
from .obtaining import login_command
from .portal import protect
from .saving import save_later
from .storage.ended import begin_anew
from .storage.index import enter
from .storage.record import Record
from .storage.spent import is_spent, needs_notes, note_tokens
from .storage.wanted import ask_to_save
from .threads import in_thread
from .unsaved import Unsaved, is_ended, is_superseded, settled, waiting_for, waiting_lock

if TYPE_CHECKING:
    from .session import Session

__all__ = ["Keeping", "NewerElsewhere", "Withheld"]

_log = logging.getLogger("mcp_login")

#: How long to try a lock that is free unless another program has unsaved tokens, in seconds.
_TRY_LIMIT = 0.2


class Withheld(AuthError):
    """The refresh token is used up, and the tokens that came of it can't be had just now. No caller of ours sees this.

    `said` is what they are told.
    """

    def __init__(self, said: AuthError) -> None:
        super().__init__(*said.args)
        self.said = said


class NewerElsewhere(Withheld):
    """Another program has them, and may be able to save them soon."""


class Keeping:
    """Reads and writes the record of one session, for one demand."""

    def __init__(self, session: Session) -> None:
        self._session = session
        #: Why the chosen storage could not be read; None: it could.
        self.outage: StorageError | None = None
        #: Whether somebody has logged out.
        self.logged_out: bool = False

    async def chosen_answers(self) -> bool:
        """Whether the chosen storage can be read again, in whose place memory is used."""
        session = self._session
        if session.chosen is None or self.outage is not None:
            return False
        try:
            await session.chosen.load(session.key)
        except StorageUnreadable as error:
            _log.debug("%s: %s", session.shown_url, error)  # it answers; what it has is for `load` to say
        except StorageError as error:
            self.outage = error
            return False
        return True

    async def go_back(self) -> None:
        """Use the chosen storage again, with what was kept in memory. The locks of both are held."""
        session = self._session
        text = await session.storage.load(session.key)
        # What is kept in the chosen storage from now on may be ended there: no copy of it is to come back in the next outage.
        await session.storage.delete(session.key)
        session.go_back()
        _log.info(
            "the %s answers again: the login at %s is kept there from now on", session.storage.name, session.shown_url
        )
        if text is not None:
            # Until it is saved, other sessions of this process find it with what waits.
            save_later(Unsaved.of(session, Record.parse(text), None))

    async def load(self, *, locked: bool) -> tuple[Record | None, str | None]:
        """What is stored by now, or what could not be stored yet and is newer; and the stored text, for comparing.

        `locked`: whether the caller holds the record's lock.
        """
        session = self._session
        waiting = waiting_for(session.storage, session.key)
        before = session.stored = session.stored or (None if waiting is None else waiting.base)
        try:
            text, record, damage = await self._read()
        except StorageError as error:
            return self._held(error), None
        if damage is None:
            session.stored = text or before
        lost = locked and text is None and before is not None
        if lost and await is_ended(session.storage, session.key, before):
            await self._log_out(waiting)
            return None, None
        if waiting is not None and (text is None or not is_superseded(waiting.record, waiting.base, text)):
            return await self._load_waiting(waiting, text, locked=locked)
        if waiting is not None:
            settled(session.storage, session.key)
        elif lost and not (damage is not None and damage.is_newer):
            # Somebody cleaned up the keychain, or damaged it. It was no logout, which would have left word of it. (Tokens that a
            # newer version stored can't be read, but they may have come after ours.)
            record = await self._unspent(session.peek())
        return self._adopted(record), text

    async def _read(self) -> tuple[str | None, Record | None, StorageUnreadable | None]:
        """The stored text, the record in it, and why neither can be had where it is damaged or foreign."""
        session = self._session
        try:
            text = await session.storage.load(session.key)
            record = None if text is None else Record.parse(text)
        except StorageUnreadable as error:
            _log.warning("%s: %s", session.shown_url, error)
            return None, None, error
        if session.chosen is None:
            self.outage = None
        return text, record, None

    async def _load_waiting(
        self, waiting: Unsaved, text: str | None, *, locked: bool
    ) -> tuple[Record | None, str | None]:
        """What waits to be saved, and is newer than `text`; saved, if that can be done by now."""
        if not locked:
            return self._adopted(waiting.record), text
        outcome = await self._save(waiting)
        if outcome == "ended":
            await self._log_out(waiting)
            return None, None
        if outcome == "superseded":
            return await self.load(locked=True)
        return self._adopted(waiting.record), self._session.stored if outcome == "saved" else text

    def _adopted(self, record: Record | None) -> Record | None:
        if record is None or self._session.adopt(record) is None:
            self._session.forget()
            return None
        return record

    def _held(self, error: StorageError) -> Record | None:
        """A keychain that is locked or silent for a while is no reason to ask anybody to log in."""
        session = self._session
        waiting = waiting_for(session.storage, session.key)
        held = session.peek() if waiting is None else waiting.record
        if session.storage_required or held is None:
            raise error
        self.outage = error
        return session.adopt(held)

    async def _log_out(self, unsaved: Unsaved | None) -> None:
        """Somebody has logged out: what this process has of the login is not brought back, nor left alive."""
        session = self._session
        settled(session.storage, session.key)
        session.forget()
        self.logged_out = True
        if unsaved is not None:
            await protect(unsaved.drop())

    # Refresh tokens that were used up

    async def _unspent(self, record: Record | None) -> Record | None:
        return None if record is None or await self.is_spent(record) else record

    async def is_spent(self, record: Record) -> bool:
        """Whether the refresh token of `record` is known to be used up: sent again, it would end the login."""
        session = self._session
        if record.refresh_token is None or not needs_notes(session.chosen or session.storage):
            return False
        return await in_thread(functools.partial(is_spent, session.key, record.refresh_token))

    async def note_spent(self, before: Record, after: Record | None) -> None:
        """Leave word for all processes that the refresh token of `before` was used up: it rotated, or (None) is dead."""
        await self._note(before.refresh_token, None if after is None else after.refresh_token)

    async def _note(self, spent: str | None, fresh: str | None) -> None:
        session = self._session
        if not needs_notes(session.chosen or session.storage):
            return
        try:
            await in_thread(functools.partial(note_tokens, session.key, spent=spent, fresh=fresh))
        except (OSError, StorageError) as error:
            _log.debug("no word of a refresh could be left: %s", type(error).__name__)

    async def require_newest(self) -> None:
        """Raise `NewerElsewhere` where another program has newer tokens than the storage, and tries to save them.

        The record's lock is held, and has to be let go for that.
        """
        session = self._session
        waiting = waiting_for(session.storage, session.key)
        if waiting is not None and waiting.is_own:
            return
        try:
            async with asyncio.timeout(_TRY_LIMIT), waiting_lock(session.storage, session.key):
                if waiting is not None:
                    waiting.take_over()
                return
        except StorageError:
            return  # nothing is known
        except TimeoutError:
            pass
        raise NewerElsewhere(
            TransportError(
                f"Another program has refreshed the login at {session.shown_url}, and could not save its tokens yet. It was "
                "asked to, and tries once more: see that it can write to the storage, and try again, or log in anew with "
                f"`{login_command(session)}`.",
                may_have_acted=False,
            )
        )

    async def is_saved_elsewhere(self, limit: float) -> bool:
        """Ask that program to save its tokens, and wait at most `limit` seconds; whether it has, or is gone."""
        session = self._session
        await in_thread(functools.partial(ask_to_save, session.storage, session.key))
        try:
            async with asyncio.timeout(limit), waiting_lock(session.storage, session.key):
                return True
        except (TimeoutError, StorageError):
            return False

    # Saving

    async def keep_login(self, record: Record) -> None:
        """Save what a login gave, and enter it in the list that `accounts` reads, which holds no secret.

        Nothing is compared: whoever logs in means it.
        """
        session = self._session
        self._report_scopes(record)
        session.adopt(record)
        unsaved = self._unsaved(record, is_login=True)
        known = [record] if unsaved.base is None else [record, Record.parse(unsaved.base)]
        await in_thread(functools.partial(begin_anew, session.storage, session.key, known))
        await self._note(None, record.refresh_token)
        try:
            text = record.dump()
            await session.storage.save(session.key, text)
        except StorageError as error:
            await self._wait(unsaved, error)
            return
        session.stored = text
        settled(session.storage, session.key)
        await in_thread(functools.partial(enter, session.storage, record, session.shown_url))

    async def keep(self, record: Record) -> Record | None:
        """Save what a refresh gave; the record to be used from now on, or None where somebody has logged out meanwhile.

        If it can't be saved, it is still good in this process, and saved when that works.
        """
        session = self._session
        self._report_scopes(record)
        session.adopt(record)
        unsaved = self._unsaved(record)
        try:
            outcome = await unsaved.put()
        except StorageError as error:
            await self._wait(unsaved, error)
            return record
        if outcome == "ended":
            await self._log_out(unsaved)
            return None
        if outcome == "superseded" and session.stored is not None:
            # By somebody who doesn't know our lock, such as a program with an MCP_LOGIN_HOME of its own.
            return session.adopt(Record.parse(session.stored)) or record
        return record

    def _report_scopes(self, record: Record) -> None:
        """Say once what a token is good for that nobody asked for: whoever gets hold of it can use that, too."""
        before = self._session.peek()
        known = () if before is None else before.unrequested_scopes
        unheard = [scope for scope in record.unrequested_scopes if scope not in known]
        if unheard:
            _log.warning(
                "%s granted scopes for %s that nobody asked for (%d): %s. If that is a surprise, log out and ask its operator.",
                printable(record.issuer),
                self._session.shown_url,
                len(unheard),
                # Each is cut, so that a long one doesn't hide the next.
                printable(" ".join(printable(scope, 40) for scope in unheard), 1500),
            )

    def _unsaved(self, record: Record, *, is_login: bool = False) -> Unsaved:
        session = self._session
        waiting = waiting_for(session.storage, session.key)
        base = session.stored or (None if waiting is None else waiting.base)
        # What waits to be saved may be of a login that the list hasn't got yet.
        return Unsaved.of(session, record, base, is_login=is_login or (waiting is not None and waiting.is_login))

    async def _wait(self, unsaved: Unsaved, error: StorageError) -> None:
        """Have `unsaved` wait for its storage; raise `error` if the caller wants to know."""
        # First of all: nobody else has these tokens, and the session may end with this call.
        save_later(unsaved)
        await unsaved.announced.wait()
        if self._session.storage_required:
            raise error
        self._session.warn_unsaved(error)

    async def _save(self, waiting: Unsaved) -> str:
        """Save what could not be saved before. The record's lock is held."""
        try:
            outcome = await protect(waiting.put())
        except StorageError as error:
            _log.debug("%s: still not saved: %s", self._session.shown_url, type(error).__name__)
            if waiting.is_own:
                save_later(waiting)
            return "waits"
        if outcome == "saved":
            self._session.stored = waiting.record.dump()
        return outcome
