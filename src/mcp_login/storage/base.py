"""What a place for credentials has to do.

Values are opaque text, keys are opaque text without secrets. A storage decides nothing: the session does.
`mcp_login.testing.storage_contract` tests any implementation against what is written here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

__all__ = ["Storage", "WarmStorage"]


@runtime_checkable
class Storage(Protocol):
    """A place for credentials, shared by everything that uses the same place.

    All coroutines are run on the library's own asyncio loop. Each raises `StorageError` (`StorageLocked`,
    `StorageUnavailable`, `StorageUnreadable`) and nothing else, and returns within a time limit of its own. No key's value
    and no secret is in any error.
    """

    @property
    def name(self) -> str:
        """A short word for people and for the index: `keychain`, `memory`, `file`."""
        ...

    async def load(self, key: str) -> str | None:
        """The value last saved under `key`, whole, or None. A torn or foreign value is a `StorageUnreadable`.

        The answer is never older than the call: a reader that has just got the lock must see what the last holder
        saved.
        """
        ...

    async def save(self, key: str, value: str) -> None:
        """Save `value` under `key`: after a crash at any point, `load` gives the old or the new value.

        Whatever was there is replaced, torn and foreign values too.
        """
        ...

    async def delete(self, key: str) -> None:
        """Delete `key`, whatever is there; it is no error if it is absent."""
        ...

    async def compare_and_set(self, key: str, expected: str | None, value: str | None) -> bool:
        """Replace the value by `value` (None: delete) if it still is `expected` (None: absent); say whether it was.

        Atomic against `save`, `delete` and `compare_and_set` of all that share this storage. A torn or foreign value
        is a `StorageUnreadable`, and stays.
        """
        ...

    def lock(self, key: str) -> AbstractAsyncContextManager[None]:
        """Exclusive use of `key` among all that share this storage, other processes included.

        Held over a refresh or a login. A holder that dies frees it. It doesn't exclude `load`, `save` and the others.
        Waiting for it has no limit of its own, since logins take minutes: the caller sets one.
        """
        ...


@runtime_checkable
class WarmStorage(Protocol):
    """A storage that can also be read by plain synchronous code, without the library's loop: the warm path."""

    def load_now(self, key: str, timeout: float) -> str | None:
        """`load`, waiting at most `timeout` seconds, from any thread.

        Raises `TimeoutError` when the answer takes longer: the caller then falls back on `load`. Otherwise raises
        what `load` raises.
        """
        ...
