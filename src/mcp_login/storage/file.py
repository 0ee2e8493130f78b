"""Logins in files that only their owner can read.

They are not encrypted, so this storage is used only if it is asked for by name.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from mcp_login.errors import StorageUnreadable

from .bounded import BoundedCalls
from .envelope import Envelope, seal, unseal
from .lock import FileLock
from .paths import absolute, data_path, lock_path
from .private_files import broken_path, private_directory, read_private, remove_private, set_aside, write_private

if TYPE_CHECKING:
    from collections.abc import Hashable
    from contextlib import AbstractAsyncContextManager, AbstractContextManager

__all__ = ["FileStorage"]

#: The limit of each call in seconds: a network drive may be slow.
_LIMIT = 10.0


class FileStorage:
    """Logins in a folder, one file (0600) each, named by the SHA-256 of its key and replaced whole.

    `path` is the folder, a string or a `Path`. It is made (0700) if it is missing, and refused if it is another user's or
    others can write to it. By default it is `credentials` in `MCP_LOGIN_HOME`, else in the user's data folder. All that use one
    folder share its locks.

    A file that is torn or another program's is set aside when it is replaced: renamed to end in `.broken`, one for each login,
    until that is deleted.

    Methods raise `StorageUnavailable` or `StorageError`.
    """

    name = "file"

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self._folder = data_path() / "credentials" if path is None else _folder(path)
        self._calls = BoundedCalls(f"The folder {self._folder}", _LIMIT)

    @property
    def lock_folder(self) -> Path:
        """Where its lock files are: what is noted of a login is kept there, too (`storage.paths.note_path`)."""
        return self._folder

    @property
    def place(self) -> Hashable:
        """Equal for all objects that keep the same logins."""
        return self.name, self._folder

    def load_now(self, key: str, timeout: float) -> str | None:
        """`Storage.load` from any thread. Raises `TimeoutError` after `timeout` seconds."""
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
        """Exclusive use of `key` among all processes that use this folder on this machine."""
        return FileLock(lock_path(self._folder, key))

    # What follows runs in the thread of a bounded call.

    def _file(self, key: str) -> Path:
        return lock_path(self._folder, key, "login")

    def _load(self, key: str) -> str | None:
        envelope = self._envelope(key)
        return None if envelope is None else envelope.payload

    def _save(self, key: str, value: str) -> None:
        with self._writing(key):
            try:
                envelope = self._envelope(key)
            except StorageUnreadable:
                envelope = None
                self._set_aside(key)
            self._put(key, value, envelope)

    def _delete(self, key: str) -> None:
        with self._writing(key):
            self._remove(key)

    def _compare_and_set(self, key: str, expected: str | None, value: str | None) -> bool:
        with self._writing(key):
            envelope = self._envelope(key)
            if (None if envelope is None else envelope.payload) != expected:
                return False
            if value is None:
                self._remove(key)
            else:
                self._put(key, value, envelope)
            return True

    def _envelope(self, key: str) -> Envelope | None:
        if self._folder.exists():  # to look for a login makes no folder
            private_directory(self._folder)
        text = read_private(self._file(key))
        return None if text is None else unseal(text, key=key)

    def _set_aside(self, key: str) -> None:
        import logging

        broken = set_aside(self._file(key))
        if broken is not None:
            logging.getLogger("mcp_login").warning("What could not be read is set aside as %s", broken)

    def _remove(self, key: str) -> None:
        file = self._file(key)
        # The one beside it first: who is interrupted here finds a login that can still be deleted.
        if os.path.lexists(broken_path(file)):
            remove_private(broken_path(file))
        remove_private(file)

    def _put(self, key: str, value: str, before: Envelope | None) -> None:
        text = seal(value, key=key, generation=1 if before is None else before.generation + 1)
        write_private(self._file(key), text)

    def _writing(self, key: str) -> AbstractContextManager[None]:
        return FileLock(lock_path(self._folder, key, "write")).blocking(_LIMIT / 2)


def _folder(path: str | os.PathLike[str]) -> Path:
    if not isinstance(path, str | os.PathLike):
        raise TypeError(
            f"The path of a FileStorage is a string or a pathlib.Path, not a value of type {type(path).__name__}."
        )
    if path == "":
        raise ValueError("FileStorage wants the path of a folder; without one it takes the user's own.")
    return absolute(Path(path))
