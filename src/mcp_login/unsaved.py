"""Tokens that a storage has not got yet: how they get into it, and what this process has of them.

As long as they wait, others are kept from offering the refresh token that they replace: a lock of their own (`waiting_lock`)
tells that somebody has newer ones, and is free again when that process dies. See `saving` for when it is tried.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import threading
import weakref
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from .errors import StorageError, StorageUnavailable
from .revoking import revoke_orphan
from .storage.ended import was_ended
from .storage.index import enter
from .storage.record import Record
from .storage.replacing import replace_stored
from .surroundings import stand_in
from .threads import in_thread

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    import httpx

    from .protocol.client import ClientInformation
    from .session import Session
    from .storage.base import Storage

__all__ = [
    "Unsaved",
    "all_that_wait",
    "is_derived",
    "is_ended",
    "is_superseded",
    "settled",
    "wait_in_place",
    "waiting_for",
    "waiting_lock",
]

_log = logging.getLogger("mcp_login")

#: How long one try waits for whoever has the record's lock, in seconds: they load and save themselves.
_LOCK_LIMIT = 5.0


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


async def is_ended(storage: Storage, key: str, base: str | None) -> bool:
    """Whether the login whose text `base` was in the storage, and is gone from it, was ended by somebody."""
    if base is None:
        return False
    with contextlib.suppress(StorageError):
        record = Record.parse(base)
        return await in_thread(functools.partial(was_ended, storage, key, record))
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
    #: Whether they came of a login, which the list of logins is to have; a refresh changes nothing there.
    is_login: bool = False
    #: Whose they are: a process that was forked meanwhile has a copy.
    process: int = field(default_factory=os.getpid)
    #: Whether others can know of them by now, as far as they ever will.
    announced: asyncio.Event = field(default_factory=asyncio.Event)
    #: Whether they don't wait any more, so that others need not wait for them.
    over: asyncio.Event = field(default_factory=asyncio.Event)

    @classmethod
    def of(cls, session: Session, record: Record, base: str | None, *, is_login: bool = False) -> Unsaved:
        """`record`, which `session` made of what `base` holds, or got by a login."""
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
            is_login=is_login or base is None,
        )

    @property
    def is_current(self) -> bool:
        """Whether they are still to be saved."""
        ours = self.surroundings is stand_in()  # not those of a test that is over
        return ours and waiting_for(self.storage, self.key) is self

    @property
    def is_own(self) -> bool:
        """Whether they are this process's own. Of a copy the other process makes use: two that do would lose the login."""
        return self.process == os.getpid()

    def take_over(self) -> None:
        """The process whose they were is gone. The `waiting_lock` is held."""
        self.process = os.getpid()

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
        before = waiting_for(self.storage, self.key)
        found: str | None = None

        async def is_better(there: str | None) -> bool:
            nonlocal found
            found = there
            if there is None:
                return await is_ended(self.storage, self.key, self.base)
            return is_superseded(self.record, self.base, there)

        outcome = await replace_stored(self.storage, self.key, self.base, text, unless=is_better)
        if outcome == "contended":
            raise StorageUnavailable("Other programs change the stored login all the time. Try again.")
        if outcome == "stays":
            self._settle(found, before)
            return "ended" if found is None else "superseded"
        self._settle(text, before)
        if self.is_login:
            await in_thread(functools.partial(enter, self.storage, self.record, self.shown_url))
        return "saved"

    def let_go(self) -> None:
        """End the work that saves them."""
        if self.task is not None and self.is_own:
            # At exit this is another thread than the loop's, which may be closed.
            with contextlib.suppress(RuntimeError):
                self.task.get_loop().call_soon_threadsafe(self.over.set)

    async def drop(self) -> None:
        """Somebody has logged out, and couldn't revoke these."""
        _log.info("somebody has logged out at %s: tokens that came after that are revoked", self.shown_url)
        await revoke_orphan(self, self.record, self.client)

    def _settle(self, stored: str | None, before: Unsaved | None) -> None:
        """`stored` is in the storage: these, or those `before` them, wait no more. Newer ones may by now, and go on."""
        if before is not None:
            _end_wait(self.storage, self.key, before)
        session = self.session()
        if session is not None and session.storage is self.storage:
            session.stored = stored


#: What waits to be saved, by its storage's id and its key.
_waiting: dict[tuple[int, str], Unsaved] = {}
#: Held for a change of it: the last try at exit is made by another thread than the loop's.
_guard = threading.Lock()


def _after_fork() -> None:
    global _guard
    _guard = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def waiting_for(storage: Storage, key: str) -> Unsaved | None:
    """The newest tokens of this process for `key` that `storage` has not got yet, or a copy of its parent's."""
    return _waiting.get((id(storage), key))


def all_that_wait() -> list[Unsaved]:
    """Those of this process that are still to be saved."""
    with _guard:
        waiting = list(_waiting.values())
    return [one for one in waiting if one.is_own and one.is_current]


def wait_in_place(unsaved: Unsaved) -> Unsaved | None:
    """From now on `unsaved` waits; what waited in its place."""
    place = (id(unsaved.storage), unsaved.key)
    with _guard:
        before = _waiting.get(place)
        _waiting[place] = unsaved
    return before


def settled(storage: Storage, key: str) -> None:
    """Nothing waits for `storage` any more: it was saved, or the login is over."""
    _end_wait(storage, key, None)


def _end_wait(storage: Storage, key: str, only: Unsaved | None) -> None:
    """End the wait of `only` (None: of whatever waits), unless others wait in its place by now."""
    place = (id(storage), key)
    with _guard:
        waiting = _waiting.get(place)
        if waiting is None or only not in (None, waiting):
            return
        del _waiting[place]
    waiting.let_go()
