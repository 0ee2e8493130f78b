"""Where this library keeps its files. `MCP_LOGIN_HOME` replaces the user's own folders.

Whoever asks for a folder is told `StorageUnavailable` where there is none, as for a user id without a home.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from mcp_login.errors import StorageUnavailable, printable
from mcp_login.surroundings import stand_in

if TYPE_CHECKING:
    from collections.abc import Callable

    from .base import Storage

__all__ = ["absolute", "data_path", "lock_path", "note_path", "own_folders", "state_path"]

_APP = "mcp-login"


def data_path() -> Path:
    """The folder of the index and of `FileStorage`: `MCP_LOGIN_HOME`, else the user's data folder."""
    home = _home()
    if home is not None:
        return home
    import platformdirs  # not on the warm path

    return _users_own(lambda: platformdirs.user_data_path(_APP, appauthor=False))


def state_path() -> Path:
    """The folder of locks: `MCP_LOGIN_HOME/state`, else the user's state folder."""
    home = _home()
    if home is not None:
        return home / "state"
    import platformdirs

    return _users_own(lambda: platformdirs.user_state_path(_APP, appauthor=False))


def own_folders(path: Path) -> list[Path]:
    """The folders from this library's own one down to `path`; `path` alone where it lies elsewhere.

    Each of them counts: whoever may write to one decides what the next one is.
    """
    if _home() is None and _APP not in (part.lower() for part in path.parts):
        return [
            path
        ]  # not on the warm path: to ask for the user's folders, whose last part this is, loads platformdirs
    for root_of in (data_path, state_path):
        try:
            root = root_of()
        except StorageUnavailable:
            continue  # what has no place holds no path
        if path.is_relative_to(root):
            return [folder for folder in (*reversed(path.parents), path) if folder.is_relative_to(root)]
    return [path]


def lock_path(directory: Path, key: str, kind: str = "lock") -> Path:
    """The lock file of `key` in `directory`: named by a hash, since keys are URLs. `kind` is its ending."""
    import hashlib

    return directory / f"{hashlib.sha256(key.encode('utf-8', 'surrogatepass')).hexdigest()}.{kind}"


def note_path(storage: Storage, key: str, kind: str) -> Path:
    """The file of a note of that `kind` on the record `key`: beside its lock, where that is a file of the storage's own."""
    folder: Path | None = getattr(storage, "lock_folder", None)
    return lock_path(folder or state_path() / "locks", f"{storage.name} {key}", kind)


def _home() -> Path | None:
    surroundings = stand_in()
    if surroundings is not None:
        return surroundings.home
    home = os.environ.get("MCP_LOGIN_HOME")
    return _set_home(home) if home else None


@cache
def _set_home(home: str) -> Path:
    # Once: a program that goes to another folder would no longer meet its own locks.
    return absolute(Path(home))


def absolute(path: Path) -> Path:
    """`path` with the folder that a leading `~` stands for, and from the root. Raises `StorageUnavailable`."""
    try:
        return path.expanduser().absolute()
    except RuntimeError:
        raise _homeless(str(path)) from None
    except OSError:  # the folder that the program runs in was removed
        raise StorageUnavailable(
            f"{printable(str(path), 60)} leads nowhere: the current folder is gone. Give the whole path from the root."
        ) from None


def _users_own(ask: Callable[[], Path]) -> Path:
    # Where there is no home, platformdirs raises; older versions leave the ~, a folder of that name wherever the program runs.
    try:
        path = ask()
    except RuntimeError:
        raise _homeless("~") from None
    if not path.is_absolute():
        raise _homeless("~")
    return path


def _homeless(shown: str) -> StorageUnavailable:
    return StorageUnavailable(
        f"There is no home folder for {printable(shown, 60)} on this machine. Set MCP_LOGIN_HOME to a folder of your own."
    )
