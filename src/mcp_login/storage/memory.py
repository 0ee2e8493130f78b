"""Logins in the memory of this process: for tests, for containers, and where there is no keychain."""

from __future__ import annotations

import os
import threading
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .base import Storage

__all__ = ["MemoryStorage", "stand_in_for", "standing_in_for"]


class MemoryStorage:
    """Logins that end with this object. Its methods raise nothing; `lock` works between loops and threads."""

    name = "memory"

    def __init__(self) -> None:
        self._values: dict[str, str] = {}
        self._reset()

    def _reset(self) -> None:
        self._guard = threading.Lock()
        self._locked: set[str] = set()
        self._process = os.getpid()

    def __repr__(self) -> str:
        """Without what is stored."""
        return "MemoryStorage()"

    def load_now(self, key: str, timeout: float) -> str | None:  # noqa: ARG002 - it never waits
        """`load`, at once."""
        return self._values.get(key)

    async def load(self, key: str) -> str | None:
        """The value of `key`, or None."""
        return self._values.get(key)

    async def save(self, key: str, value: str) -> None:
        """Save `value` under `key`."""
        with self._guard:
            self._values[key] = value

    async def delete(self, key: str) -> None:
        """Delete `key`."""
        with self._guard:
            self._values.pop(key, None)

    async def compare_and_set(self, key: str, expected: str | None, value: str | None) -> bool:
        """Replace the value of `key` by `value` if it is `expected`."""
        with self._guard:
            if self._values.get(key) != expected:
                return False
            if value is None:
                self._values.pop(key, None)
            else:
                self._values[key] = value
            return True

    def lock(self, key: str) -> AbstractAsyncContextManager[None]:
        """Exclusive use of `key` within this process."""
        return self._lock(key)

    @asynccontextmanager
    async def _lock(self, key: str) -> AsyncIterator[None]:
        import asyncio

        from .lock import pauses, turn

        if self._process != os.getpid():
            self._reset()  # after a fork: whoever held a lock stayed in the parent
        async with turn((id(self), key)):
            waits = pauses()
            while not self._take(key):  # noqa: ASYNC110 - a task of another loop has it, and events cross no loops
                await asyncio.sleep(next(waits))
            try:
                yield
            finally:
                with self._guard:
                    self._locked.discard(key)

    def _take(self, key: str) -> bool:
        with self._guard:
            if key in self._locked:
                return False
            self._locked.add(key)
            return True


_stand_ins: dict[int, tuple[Storage, MemoryStorage]] = {}


def stand_in_for(storage: Storage) -> MemoryStorage:
    """The memory that takes the place of `storage` in this process: one, so that those who shared it still do."""
    if isinstance(storage, MemoryStorage):
        return storage
    # The storage is kept beside its memory, so that no other gets its id. There are few: programs have one.
    return _stand_ins.setdefault(id(storage), (storage, MemoryStorage()))[1]


def standing_in_for(storage: Storage) -> MemoryStorage | None:
    """The memory that took the place of `storage` in this process; None: it never did."""
    return None if isinstance(storage, MemoryStorage) else _stand_ins.get(id(storage), (storage, None))[1]
