"""Tokens that could not be saved: they wait for their storage, and are saved when it answers, or when the process ends.

Nobody is needed for that: neither the next demand, nor the session that obtained them.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import contextlib
import logging
import os
import random
import threading
import time
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .errors import AuthError, StorageError, StorageLocked, StorageUnavailable
from .portal import portal, protect
from .storage.index import Index, IndexEntry, digest_of
from .storage.record import Record
from .storage.spent import needs_notes
from .surroundings import stand_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .session import Session
    from .storage.base import Storage

__all__ = ["Unsaved", "enter", "is_listed", "save_later", "saving_pauses", "settled", "waiting_for"]

_log = logging.getLogger("mcp_login")

#: The first and the longest pause between two tries to save, in seconds.
_SHORTEST_PAUSE = 1.0
_LONGEST_PAUSE = 15.0

#: A keychain that says "locked" after more seconds than this has asked the person, who said no: how long they are left alone.
_SHORTEST_ANSWER = 3.0
_ASKED_PAUSE = 300.0

#: How long one try waits for whoever has the record's lock, in seconds: they load and save themselves.
_LOCK_LIMIT = 5.0

#: How often one try compares: somebody who doesn't know our lock may be writing.
_COMPARISONS = 3

#: How long the exit of the process waits for the last try, in seconds.
_EXIT_LIMIT = 0.5


@dataclass(eq=False)
class Unsaved:
    """Tokens that wait for their storage. They outlive the session: nobody else has them."""

    storage: Storage
    key: str
    shown_url: str
    record: Record
    #: The text that was last seen in the storage; None: there was none.
    stored: str | None
    session: weakref.ref[Session]
    surroundings: object
    task: asyncio.Task[None] | None = None

    @property
    def is_current(self) -> bool:
        """Whether they are still to be saved."""
        ours = self.surroundings is stand_in()  # not those of a test that is over
        return ours and _waiting.get((id(self.storage), self.key)) is self

    async def save(self) -> bool:
        """Save them where nobody has stored newer ones, and say whether that is settled. Raises `StorageError`."""
        async with contextlib.AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(_LOCK_LIMIT):
                    await stack.enter_async_context(self.storage.lock(self.key))
            except TimeoutError:
                return False
            return not self.is_current or await self._save()

    async def _save(self) -> bool:
        # By comparison, and not by reading first: at exit an interpreter may start no more threads to read in.
        record, stored = self.record, self.stored
        text = record.dump()
        for _ in range(_COMPARISONS):
            if await self.storage.compare_and_set(self.key, stored, text):
                break
            stored = await self.storage.load(self.key)
            if self._is_superseded(record, stored):
                self._settle(stored)
                return True
        else:
            return False
        if self.stored is None:
            enter(self.storage, record, self.shown_url)
        self._settle(text)
        _log.info("the login at %s is saved by now", self.shown_url)
        return True

    def _is_superseded(self, record: Record, stored: str | None) -> bool:
        if stored is None:
            # Gone from the list, too: somebody logged out.
            return self.stored is not None and not is_listed(self.storage, self.key, self.shown_url, record.account)
        with contextlib.suppress(StorageError):
            return Record.parse(stored).obtained_at >= record.obtained_at
        return False

    def _settle(self, stored: str | None) -> None:
        _waiting.pop((id(self.storage), self.key), None)
        session = self.session()
        if session is not None and session.storage is self.storage:
            session.stored = stored
            if session.unsaved is self.record:
                session.unsaved = None


#: What waits to be saved, by its storage's id and its key. Changed on the library's loop only.
_waiting: dict[tuple[int, str], Unsaved] = {}
#: The process that has a last try at its end. A forked one starts its own.
_exit_process = 0


def waiting_for(storage: Storage, key: str) -> Unsaved | None:
    """What waits to be saved under `key` in `storage`."""
    return _waiting.get((id(storage), key))


def settled(storage: Storage, key: str) -> None:
    """Nothing waits for `storage` any more: it was saved, or the login is over."""
    _waiting.pop((id(storage), key), None)


def saving_pauses() -> Iterator[float]:
    """Seconds between tries to save: growing, and jittered so that the logins of a program don't march in step."""
    pause = _SHORTEST_PAUSE
    while True:
        yield pause * random.uniform(0.75, 1.0)  # noqa: S311 - no secret
        pause = min(pause * 2, _LONGEST_PAUSE)


def save_later(session: Session, pauses: Callable[[], Iterator[float]] = saving_pauses) -> asyncio.Task[None] | None:
    """Save `session.unsaved` as soon as its storage answers. The session itself is not kept alive by that.

    `pauses` gives the seconds between the tries. On the library's loop only. Returns the work, if there is any.
    """
    record = session.unsaved
    if record is None or session.storage.name == "memory":
        return None
    place = (id(session.storage), session.key)
    waiting = _waiting.get(place)
    if waiting is not None and waiting.task is not None and waiting.task.get_loop() is asyncio.get_running_loop():
        waiting.record, waiting.session = record, weakref.ref(session)
        waiting.stored = session.stored or waiting.stored
        return waiting.task
    waiting = Unsaved(
        session.storage, session.key, session.shown_url, record, session.stored, weakref.ref(session), stand_in()
    )
    _waiting[place] = waiting
    waiting.task = asyncio.get_running_loop().create_task(_try_again(waiting, pauses()))
    _try_at_exit()
    return waiting.task


async def _try_again(waiting: Unsaved, pauses: Iterator[float]) -> None:
    for pause in pauses:
        await asyncio.sleep(pause)
        if not waiting.is_current:
            break
        began = time.monotonic()
        try:
            if await protect(waiting.save()):
                break
        except (StorageLocked, StorageUnavailable) as error:
            _log.debug("%s: still not saved: %s", waiting.shown_url, type(error).__name__)
            if isinstance(error, StorageLocked) and time.monotonic() - began > _SHORTEST_ANSWER:
                await asyncio.sleep(_ASKED_PAUSE)
        except StorageError as error:
            # It answers, and takes no value of this kind: that won't change by waiting.
            _log.debug("%s: not saved: %s", waiting.shown_url, error)
            break
    if _waiting.get((id(waiting.storage), waiting.key)) is waiting:
        del _waiting[id(waiting.storage), waiting.key]


def _try_at_exit() -> None:
    """From the first tokens that wait on, the end of the process is the last chance to save them."""
    global _exit_process
    if _exit_process == os.getpid():
        return
    _exit_process = os.getpid()
    ending = threading.Event()
    # Started now, as an interpreter that is ending starts no more threads. A keychain that hangs holds up this one only.
    thread = threading.Thread(target=_last_try, args=(ending,), name="mcp-login last save", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # it is ending already
        return

    def end() -> None:
        if _exit_process != os.getpid() or not _waiting:
            return
        # Others' storages are run on the library's loop, which is closed after this: it was there first.
        tries = [portal().submit(one.save) for one in _current() if not needs_notes(one.storage)]
        ending.set()
        thread.join(_EXIT_LIMIT)
        concurrent.futures.wait(tries, _EXIT_LIMIT)

    atexit.register(end)


def _last_try(ending: threading.Event) -> None:
    ending.wait()
    for waiting in _current():
        if needs_notes(waiting.storage):
            with contextlib.suppress(Exception):
                asyncio.run(waiting.save())


def _current() -> list[Unsaved]:
    return [waiting for waiting in list(_waiting.values()) if waiting.is_current]


def is_listed(storage: Storage, key: str, shown_url: str, account: str | None) -> bool:
    """Whether the list of logins has this one. Where there is no telling it has not: a logout counts more than a login."""
    with contextlib.suppress(OSError, AuthError):
        wanted, digests = (shown_url, account, storage.name), ("", digest_of(key))
        return any(
            (entry.server_url, entry.account, entry.storage) == wanted and entry.digest in digests
            for entry in Index().entries()
        )
    return False


def enter(storage: Storage, record: Record, shown_url: str) -> None:
    """Enter the login in the list of logins. Raises nothing."""
    if storage.name == "memory":
        return
    entry = IndexEntry(
        # Without queries, which may hold a key. A server without a document is its own resource, query and all.
        server_url=shown_url,
        account=record.account,
        storage=storage.name,
        issuer=record.issuer,
        resource=record.resource.partition("?")[0],
        scopes=record.granted_scopes,
        updated_at=record.obtained_at,
        digest=digest_of(record.key),
    )
    try:
        Index().put(entry)
    except (OSError, AuthError) as error:
        _log.warning("the list of logins could not be updated: %s", type(error).__name__)
