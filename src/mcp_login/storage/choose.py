"""The storage that is used where the caller names none."""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING

from mcp_login.errors import StorageError
from mcp_login.surroundings import stand_in

if TYPE_CHECKING:
    from .base import Storage

__all__ = ["default_storage"]


def default_storage() -> Storage:
    """The storage that `MCP_LOGIN_STORAGE` names (keychain, memory or file); without it the keychain.

    One object for each in a process, so that all callers share it. Raises `StorageError` on any other name.
    """
    surroundings = stand_in()
    if surroundings is not None:
        storage: Storage = surroundings.storage
        return storage
    # MCP_LOGIN_HOME moves the files, and a program may set it late: it is part of what is remembered.
    return _storage(os.environ.get("MCP_LOGIN_STORAGE") or "keychain", os.environ.get("MCP_LOGIN_HOME"))


@cache
def _storage(name: str, home: str | None) -> Storage:  # noqa: ARG001 - a key of the cache
    if name == "keychain":
        from .keychain import KeychainStorage

        return KeychainStorage()
    if name == "memory":
        from .memory import MemoryStorage

        return MemoryStorage()
    if name == "file":
        from .file import FileStorage

        return FileStorage()
    raise StorageError(f"MCP_LOGIN_STORAGE is {name[:40]!r}. Set it to keychain, memory or file, or remove it.")
