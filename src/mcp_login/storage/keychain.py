"""Logins in the operating system's keychain, through keyring. Standard library only at import: the warm path loads it.

One value is one item: service "mcp-login:<key>", user name "mcp-login", and as its password the envelope of
`storage.envelope`. A service name for each record, because some backends rewrite the neighbours under a shared one.
Where a backend takes no item of that size, or replaces one by deleting and adding, there are more items, for as long as
they are needed: `storage.slots` says which. A person may be asked once for each item, so there are as few as can be.

A torn or foreign value is left where it is, and told, until a login replaces it. Its text is not copied anywhere: it may
be another program's secret, and no logout would find the copy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .bounded import BoundedCalls
from .slots import Slots

if TYPE_CHECKING:
    from collections.abc import Hashable
    from contextlib import AbstractAsyncContextManager, AbstractContextManager

    from keyring.backend import KeyringBackend

    from .keyring_backend import KeyringItems

__all__ = ["KeychainStorage"]

#: How long a call waits for another process's write, as a part of the time limit.
_WRITE_SHARE = 0.5


class KeychainStorage:
    """Logins in the operating system's keychain: `login` once, and every later process finds them.

    `timeout` is the limit of each call in seconds; after it the keychain counts as unavailable until it answers.
    `backend` is one of keyring's backends, or its dotted name, to be used as it is. By default it is the one that the
    program or the user's keyring configuration names, else the operating system's; one that would keep nothing, or
    keep it in clear, is refused unless it is given here.

    Methods raise `StorageLocked`, `StorageUnavailable` or `StorageError`.
    """

    name = "keychain"

    #: Others may refresh while it is locked for this process: `storage.spent`.
    can_be_locked = True

    def __init__(self, *, timeout: float = 10.0, backend: KeyringBackend | str | None = None) -> None:
        self._calls = BoundedCalls("The keychain", timeout)
        self._timeout = timeout
        self._backend = backend
        self._items: KeyringItems | None = None

    @property
    def place(self) -> Hashable:
        """Equal for all objects that keep the same logins."""
        # A backend may define equality without a hash.
        return self.name, self._backend if self._backend is None or isinstance(self._backend, str) else id(
            self._backend
        )

    def load_now(self, key: str, timeout: float) -> str | None:
        """`Storage.load` from any thread, in a thread of its own. Raises `TimeoutError` after `timeout` seconds.

        One call to the keychain for a value in one item. Where a crash has interrupted a write, this may be the old value
        until the next write, while `load` finds the new one.
        """
        return self._calls.run_now(lambda: self._load(key, newest=False), timeout)

    async def load(self, key: str) -> str | None:
        """The value of `key`, or None."""
        return await self._calls.run(lambda: self._load(key))

    async def save(self, key: str, value: str) -> None:
        """Save `value` under `key`."""
        await self._calls.run(lambda: self._save(key, value), writes=True)

    async def delete(self, key: str) -> None:
        """Delete `key`."""
        await self._calls.run(lambda: self._delete(key), writes=True)

    async def compare_and_set(self, key: str, expected: str | None, value: str | None) -> bool:
        """Replace the value of `key` by `value` if it is `expected`."""
        return await self._calls.run(lambda: self._compare_and_set(key, expected, value), writes=True)

    def lock(self, key: str) -> AbstractAsyncContextManager[None]:
        """Exclusive use of `key` among processes of one `MCP_LOGIN_HOME`: a lock file, as keychains have none."""
        from .lock import FileLock
        from .paths import lock_path, state_path

        return FileLock(lock_path(state_path() / "locks", key))

    # What follows runs in the thread of a bounded call.

    def _slots(self, key: str) -> Slots:
        if self._items is None:
            from .keyring_backend import KeyringItems

            self._items = KeyringItems(self._backend)
        return Slots(self._items, key)

    def _load(self, key: str, *, newest: bool = True) -> str | None:
        envelope = self._slots(key).read(newest=newest)
        return None if envelope is None else envelope.payload

    def _save(self, key: str, value: str) -> None:
        with self._writing(key):
            slots = self._slots(key)
            slots.write(value, slots.find())

    def _delete(self, key: str) -> None:
        with self._writing(key):
            slots = self._slots(key)
            slots.remove(slots.find())

    def _compare_and_set(self, key: str, expected: str | None, value: str | None) -> bool:
        with self._writing(key):
            slots = self._slots(key)
            found = slots.find()
            envelope = found.whole_value()
            if (None if envelope is None else envelope.payload) != expected:
                return False
            if value is not None:
                slots.write(value, found)
            else:
                slots.remove(found)
            return True

    def _writing(self, key: str) -> AbstractContextManager[None]:
        from .lock import FileLock
        from .paths import lock_path, state_path

        return FileLock(lock_path(state_path() / "locks", key, "write")).blocking(self._timeout * _WRITE_SHARE)
