"""Tokens on their way into a storage, and those that it doesn't take: they wait for it, until it answers or the process ends.

Nobody is needed for that: neither the next demand, nor the session that obtained them. As long as they wait, others are kept
from offering the refresh token that they replace: a lock of their own (`waiting_lock`) tells that somebody has newer ones, and
is free again when that process dies.
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
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from .errors import StorageError, StorageLocked, StorageUnavailable
from .portal import portal, protect
from .revoking import revoke_orphan
from .storage.index import enter, is_listed
from .storage.record import Record
from .storage.replacing import replace_stored
from .storage.spent import needs_notes
from .surroundings import stand_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractAsyncContextManager

    import httpx

    from .protocol.client import ClientInformation
    from .session import Session
    from .storage.base import Storage

__all__ = [
    "Unsaved",
    "is_derived",
    "is_superseded",
    "save_later",
    "saving_pauses",
    "settled",
    "waiting_for",
    "waiting_lock",
]

_log = logging.getLogger("mcp_login")

#: The first and the longest pause between two tries to save, in seconds.
_SHORTEST_PAUSE = 1.0
_LONGEST_PAUSE = 15.0

#: A keychain that says "locked" after more seconds than this has asked the person, who said no: how long they are left alone.
_SHORTEST_ANSWER = 3.0
_ASKED_PAUSE = 300.0

#: How long one try waits for whoever has the record's lock, in seconds: they load and save themselves.
_LOCK_LIMIT = 5.0

#: How long tokens that begin to wait try to say so, in seconds: it is a lock that nobody holds for long but others that wait.
_ANNOUNCE_LIMIT = 1.0

#: How long the exit of the process waits for the last try, in seconds.
_EXIT_LIMIT = 0.5


def waiting_lock(storage: Storage, key: str) -> AbstractAsyncContextManager[None]:
    """What a process holds while it has tokens for `key` that are newer than the stored ones, and tries to save them."""
    return storage.lock(f"unsaved {key}")


def is_derived(stored: str, base: str | None) -> bool:
    """Whether the text `stored` still holds the tokens of `base`, from which a refresh has made others.

    By the tokens and not by any clock: one that was set back since `base` was stored would call the new ones old.
    """
    return stored == base or (base is not None and _tokens(stored) == _tokens(base) is not None)


def is_superseded(record: Record, base: str | None, stored: str) -> bool:
    """Whether `stored` is a peer's and newer than `record`, which was made of `base`. What can't be read is not."""
    if is_derived(stored, base):
        return False
    with contextlib.suppress(StorageError):
        return Record.parse(stored).obtained_at >= record.obtained_at
    return False


def _tokens(text: str) -> tuple[str, str | None] | None:
    with contextlib.suppress(StorageError):
        record = Record.parse(text)
        return record.access_token, record.refresh_token
    return None


@dataclass(eq=False)
class Unsaved:
    """Tokens for a storage. They outlive the session that obtained them: nobody else has them."""

    storage: Storage
    key: str
    shown_url: str
    record: Record
    #: The text in the storage that they were made of, as it was last seen; None: there was none.
    base: str | None
    #: To revoke them by, if somebody logs out before they are saved.
    client: ClientInformation
    allow_private_network: bool
    http_client: Callable[[], httpx.AsyncClient] | None
    session: weakref.ref[Session]
    surroundings: object
    task: asyncio.Task[None] | None = None
    #: Whether others can know of them by now, as far as they ever will.
    announced: asyncio.Event = field(default_factory=asyncio.Event)
    #: Whether they don't wait any more, so that others need not wait for them.
    over: asyncio.Event = field(default_factory=asyncio.Event)

    @classmethod
    def of(cls, session: Session, record: Record, base: str | None) -> Unsaved:
        """`record`, which `session` made of what `base` holds."""
        return cls(
            session.storage,
            session.key,
            session.shown_url,
            record,
            base,
            session.current_client(record),
            session.allow_private_network,
            session.http_client,
            weakref.ref(session),
            stand_in(),
        )

    @property
    def is_current(self) -> bool:
        """Whether they are still to be saved."""
        ours = self.surroundings is stand_in()  # not those of a test that is over
        return ours and _waiting.get((id(self.storage), self.key)) is self

    async def save(self) -> None:
        """Save them where nobody has stored newer ones, unless the record's lock can't be had soon. Raises `StorageError`."""
        async with contextlib.AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(_LOCK_LIMIT):
                    await stack.enter_async_context(self.storage.lock(self.key))
            except TimeoutError:
                return
            if self.is_current and await self.put() == "ended":
                await self.drop()

    async def put(self) -> Literal["saved", "superseded", "ended"]:
        """Save them unless a peer has stored newer ones (`superseded`) or somebody has logged out (`ended`).

        The record's lock is held. Raises `StorageError`.
        """
        text = self.record.dump()
        found: str | None = None

        async def is_better(there: str | None) -> bool:
            nonlocal found
            found = there
            if there is None:
                return self.base is not None and not self._is_listed()
            return is_superseded(self.record, self.base, there)

        outcome = await replace_stored(self.storage, self.key, self.base, text, unless=is_better)
        if outcome == "contended":
            raise StorageUnavailable("Other programs change the stored login all the time. Try again.")
        if outcome == "stays":
            self._settle(found)
            return "ended" if found is None else "superseded"
        if self.base is None:
            enter(self.storage, self.record, self.shown_url)
        self._settle(text)
        return "saved"

    def let_go(self) -> None:
        """End the work that saves them."""
        if self.task is not None:
            # At exit this is another thread than the loop's, which may be closed.
            with contextlib.suppress(RuntimeError):
                self.task.get_loop().call_soon_threadsafe(self.over.set)

    async def drop(self) -> None:
        """Somebody has logged out, and couldn't revoke these."""
        _log.info("somebody has logged out at %s: tokens that came after that are revoked", self.shown_url)
        await revoke_orphan(self, self.record, self.client)

    def _is_listed(self) -> bool:
        return is_listed(self.storage, self.key, self.shown_url, self.record.account)

    def _settle(self, stored: str | None) -> None:
        settled(self.storage, self.key)
        session = self.session()
        if session is not None and session.storage is self.storage:
            session.stored = stored


#: What waits to be saved, by its storage's id and its key. Changed on the library's loop only.
_waiting: dict[tuple[int, str], Unsaved] = {}
#: The process that has a last try at its end. A forked one starts its own.
_exit_process = 0


def waiting_for(storage: Storage, key: str) -> Unsaved | None:
    """The newest tokens of this process for `key` that `storage` has not got yet."""
    return _waiting.get((id(storage), key))


def settled(storage: Storage, key: str) -> None:
    """Nothing waits for `storage` any more: it was saved, or the login is over."""
    waiting = _waiting.pop((id(storage), key), None)
    if waiting is not None:
        waiting.let_go()


def saving_pauses() -> Iterator[float]:
    """Seconds between tries to save: growing, and jittered so that the logins of a program don't march in step."""
    pause = _SHORTEST_PAUSE
    while True:
        yield pause * random.uniform(0.75, 1.0)  # noqa: S311 - no secret
        pause = min(pause * 2, _LONGEST_PAUSE)


def save_later(
    unsaved: Unsaved, *, again: bool = True, pauses: Callable[[], Iterator[float]] = saving_pauses
) -> asyncio.Task[None] | None:
    """Keep `unsaved` for all sessions of this process that share the storage, and save it as soon as that answers.

    `again`: whether to try again at all before the next refresh or the end of the process. `pauses` gives the seconds between
    the tries. The session is not kept alive. On the library's loop only. Returns the work, if there is any.
    """
    if unsaved.storage.name == "memory":
        unsaved.announced.set()
        return None
    place = (id(unsaved.storage), unsaved.key)
    before = _waiting.get(place)
    _waiting[place] = unsaved
    _try_at_exit()
    if before is not None and before.task is not None and _is_under_way(before.task):
        # Its work goes on with these.
        unsaved.task, unsaved.announced, unsaved.over = before.task, before.announced, before.over
    elif again:
        unsaved.announced, unsaved.over = asyncio.Event(), asyncio.Event()
        unsaved.task = asyncio.get_running_loop().create_task(_announce_and_try_again(unsaved, pauses()))
    else:
        unsaved.announced.set()
    return unsaved.task


def _is_under_way(task: asyncio.Task[None]) -> bool:
    """Whether `task` is this process's own, and not of one that this was forked from."""
    return task.get_loop() is asyncio.get_running_loop() and not task.done()


async def _announce_and_try_again(first: Unsaved, pauses: Iterator[float]) -> None:
    try:
        async with contextlib.AsyncExitStack() as stack:
            with contextlib.suppress(TimeoutError, StorageError):
                async with asyncio.timeout(_ANNOUNCE_LIMIT):
                    await stack.enter_async_context(waiting_lock(first.storage, first.key))
            first.announced.set()
            await _try_again((id(first.storage), first.key), first.over, pauses)
    finally:
        first.announced.set()


async def _try_again(place: tuple[int, str], over: asyncio.Event, pauses: Iterator[float]) -> None:
    for pause in pauses:
        waiting = None if await _is_set_within(over, pause) else _waiting.get(place)
        if waiting is None:
            break
        if not waiting.is_current:  # a test is over
            settled(waiting.storage, waiting.key)
            break
        began = time.monotonic()
        try:
            await protect(waiting.save())
        except (StorageLocked, StorageUnavailable) as error:
            _log.debug("%s: still not saved: %s", waiting.shown_url, type(error).__name__)
            if isinstance(error, StorageLocked) and time.monotonic() - began > _SHORTEST_ANSWER:
                await _is_set_within(over, _ASKED_PAUSE)
        except StorageError as error:
            _log.debug("%s: not saved: %s", waiting.shown_url, error)
            break


async def _is_set_within(event: asyncio.Event, seconds: float) -> bool:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()


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
