"""Logins in the operating system's keychain, through keyring. Standard library only at import: the warm path loads it.

Items. One value is one item: service "mcp-login:<key>", user name "mcp-login", and as its password the envelope of
`storage.envelope`. A service name for each record, because some backends rewrite the neighbours under a shared one.

Names that are kept free for later versions, so that they can spread a value over several items and change it without
a moment in which it is missing: slot 0 is the item above, the other slot is "mcp-login/1:<key>"; of the two, the
higher generation whose checksum fits is the value. Part n (from 2) of slot s is "mcp-login/<s>.<n>:<key>"; the
header's third number says how many.

Limits of this version: Windows takes 1,280 characters a value (a longer one is a `StorageError`), and on macOS, where
the backend replaces by deleting and adding, a crash between the two loses the record: the next use asks for a login.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mcp_login.errors import StorageError

from .bounded import BoundedCalls
from .envelope import Envelope, seal, unseal

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager, AbstractContextManager

    from keyring.backend import KeyringBackend

__all__ = ["KeychainStorage"]

_USERNAME = "mcp-login"

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

    def __init__(self, *, timeout: float = 10.0, backend: KeyringBackend | str | None = None) -> None:
        self._calls = BoundedCalls("The keychain", timeout)
        self._timeout = timeout
        self._backend = None if isinstance(backend, str) else backend
        self._backend_name = backend if isinstance(backend, str) else None
        #: Whether the backend has answered or was named: else it is the platform's, and may turn out not to work here.
        self._settled = self._backend is not None

    def load_now(self, key: str, timeout: float) -> str | None:
        """`Storage.load` from any thread, in a thread of its own. Raises `TimeoutError` after `timeout` seconds."""
        return self._calls.run_now(lambda: self._load(key), timeout)

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

    def _load(self, key: str) -> str | None:
        envelope = self._envelope(key)
        return None if envelope is None else envelope.payload

    def _save(self, key: str, value: str) -> None:
        with self._writing(key):
            try:
                envelope = self._envelope(key)
            except StorageError as error:
                if type(error) is not StorageError:  # locked or unavailable
                    raise
                envelope = None  # torn or foreign: replaced
            self._put(key, value, envelope)

    def _delete(self, key: str) -> None:
        with self._writing(key):
            self._remove(key)

    def _compare_and_set(self, key: str, expected: str | None, value: str | None) -> bool:
        with self._writing(key):
            envelope = self._envelope(key)
            if (None if envelope is None else envelope.payload) != expected:
                return False
            if value is not None:
                self._put(key, value, envelope)
            elif envelope is not None:
                self._remove(key)
            return True

    def _envelope(self, key: str) -> Envelope | None:
        text = self._ask("get_password", key)
        return None if text is None else unseal(text, key=key)

    def _put(self, key: str, value: str, before: Envelope | None) -> None:
        self._ask("set_password", key, seal(value, key=key, generation=1 if before is None else before.generation + 1))

    def _remove(self, key: str) -> None:
        if self._ask("get_password", key) is not None:  # most backends raise where there is nothing to delete
            self._ask("delete_password", key)

    def _writing(self, key: str) -> AbstractContextManager[None]:
        from .lock import FileLock
        from .paths import lock_path, state_path

        return FileLock(lock_path(state_path() / "locks", key, "write")).blocking(self._timeout * _WRITE_SHARE)

    def _ask(self, method: str, key: str, *value: str) -> str | None:
        """Call one of keyring's three methods; its errors become ours, without a chain."""
        from .keyring_backend import first_choice, last_choice, named, storage_error

        if self._backend is None:
            if self._backend_name is not None:
                self._backend, self._settled = named(self._backend_name), True
            else:
                self._backend, self._settled = first_choice()
        backend = self._backend
        problem = None
        try:
            answer = getattr(backend, method)(f"mcp-login:{key}", _USERNAME, *value)
            self._settled = True
        except Exception as error:  # noqa: BLE001 - whatever a third party's backend raises
            problem = storage_error(error, backend)
        if problem is None:
            return answer if isinstance(answer, str) else None
        if self._settled or type(backend).viable:
            self._settled = True
            raise problem
        # The platform's keychain doesn't work here: only now look at everything that is installed.
        self._backend, self._settled = last_choice(), True
        return self._ask(method, key, *value)
