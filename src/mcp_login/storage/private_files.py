"""Files and folders that only their owner can read, replaced whole or not at all.

A folder of another user, or one that others can write to, is refused: whoever can rename a file there could plant one.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import time
from typing import TYPE_CHECKING, TypeVar

from mcp_login.errors import StorageError, StorageUnavailable, StorageUnreadable

from .paths import own_folders

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = [
    "broken_path",
    "open_private",
    "private_directory",
    "read_private",
    "remove_private",
    "require_own_file",
    "require_own_folder",
    "set_aside",
    "write_private",
]

_T = TypeVar("_T")

#: What others may do with what is made here: nothing, whatever the umask.
FOLDER_MODE = 0o700
FILE_MODE = 0o600

#: A larger file is not one of ours (bytes).
_LARGEST = 4 << 20

#: Windows refuses to replace or remove a file that another process is reading, and to open one that is being replaced:
#: how often, and how long apart (seconds), to try again.
_TRIES = 50
_PAUSE = 0.01


def private_directory(path: Path) -> Path:
    """`path`, a folder of this user's that nobody else can write to; made (0700) if it is missing.

    The same is asked of the folders above it up to this library's own one. Raises `StorageUnavailable` where it can't be made and
    `StorageError` where one of them is another user's or open to others.

    Who can rename what is above those can put another folder there after this look: one of their own, in which they can remove
    our files and read none.
    """
    ours = own_folders(path)
    try:
        # One after the other: with parents=True the mode counts for the last one only, and the umask may be anything.
        for folder in reversed(ours[0].parents):
            if not folder.exists():
                folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
        for folder in ours:
            folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
            require_own_folder(folder, folder.lstat(), folder.stat())
    except OSError as error:
        raise _unavailable("make the folder", path, error) from None
    return path


def require_own_folder(path: Path, named: os.stat_result, found: os.stat_result) -> None:
    """Raise `StorageError` unless the folder `found` is this user's alone. `named` is what is at `path`: it, or a link to it."""
    if sys.platform != "win32":
        if found.st_uid != os.geteuid():
            raise StorageError(
                f"The folder {path} belongs to another user. Set MCP_LOGIN_HOME to a folder of your own."
            )
        if named.st_uid not in (os.geteuid(), 0):
            # Who made the link can let it lead to another folder of ours at any time.
            raise StorageError(
                f"The folder {path} is a symbolic link of another user's. Set MCP_LOGIN_HOME to a folder of your own."
            )
        if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise StorageError(f"Other users can write to the folder {path}. {_advice_for(path, found)}")


def _advice_for(path: Path, found: os.stat_result) -> str:
    if found.st_mode & (stat.S_ISVTX | stat.S_ISGID) or os.path.ismount(path):
        # /tmp and the like: without the right to write there the machine is broken for others.
        return "It is meant to be shared. Set MCP_LOGIN_HOME to a folder of your own."
    import shlex  # not on the warm path

    return f"If it is yours alone, run: chmod go-w {shlex.quote(str(path))}; else set MCP_LOGIN_HOME to a folder of your own."


def open_private(path: Path, flags: int) -> int:
    """A descriptor of the regular file `path`, which must be this user's own; 0600 if it is made.

    Raises `FileNotFoundError`, `StorageUnavailable`, or `StorageUnreadable` where it is another thing. A symbolic link is not
    followed, a FIFO not waited for.
    """
    flags |= (
        getattr(os, "O_NOFOLLOW", 0)
        | getattr(os, "O_CLOEXEC", 0)
        | getattr(os, "O_NONBLOCK", 0)
        | getattr(os, "O_BINARY", 0)
    )
    try:
        descriptor = _patiently(lambda: os.open(path, flags, FILE_MODE))
    except FileNotFoundError:
        raise
    except OSError as error:
        if _is_link(path):
            raise StorageUnreadable(f"{path} is a symbolic link. Remove it and try again.") from None
        raise _unavailable("open", path, error) from None
    try:
        require_own_file(path, os.fstat(descriptor))
    except StorageUnreadable:
        os.close(descriptor)
        raise
    return descriptor


def require_own_file(path: Path, found: os.stat_result) -> None:
    """Raise `StorageUnreadable` unless what was `found` at `path` is a regular file that is this user's alone."""
    problem = None
    if not stat.S_ISREG(found.st_mode):
        problem = "is no regular file"
    elif sys.platform != "win32" and found.st_uid != os.geteuid():
        problem = "belongs to another user"
    elif sys.platform != "win32" and found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        problem = "is open to other users"
    if problem:
        raise StorageUnreadable(f"{path} {problem}. Remove it and log in again.")


def _is_link(path: Path) -> bool:
    try:
        return path.is_symlink()
    except OSError:  # in a folder that may not be entered
        return False


def read_private(path: Path) -> str | None:
    """The text of `path`, or None where there is no such file.

    Raises `StorageUnavailable`, or `StorageUnreadable` where it is none of ours.
    """
    try:
        descriptor = open_private(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    problem: OSError | None = None
    data = b""
    with os.fdopen(descriptor, "rb") as file:
        try:
            data = file.read(_LARGEST + 1)
        except OSError as error:
            problem = error
    if problem is not None:
        raise _unavailable("read", path, problem)
    if len(data) > _LARGEST:
        raise StorageUnreadable(f"{path} is too large to be one of mcp-login's files. Remove it and log in again.")
    text = None
    with contextlib.suppress(UnicodeDecodeError):  # raised below: that error would hold the file's content
        text = data.decode()
    if text is None:
        raise StorageUnreadable(
            f"{path} is not readable: it is torn, or another program wrote it. Remove it and log in again."
        )
    return text


def write_private(path: Path, text: str) -> None:
    """Replace the file `path` by one (0600) that holds `text`: after a crash it has the old content or the new.

    The caller holds a lock that excludes other writers of `path`: leftovers of a crashed one are removed. Raises
    `StorageError`.
    """
    if len(text) > _LARGEST or len(text.encode()) > _LARGEST:
        raise StorageError(f"{path} would become too large to be read again. Nothing was written.")
    folder = private_directory(path.parent)
    problem: OSError | None = None
    temporary = folder / f".{path.name}.{os.urandom(8).hex()}.tmp"
    try:
        for leftover in folder.glob(f".{path.name}.*.tmp"):
            with contextlib.suppress(OSError):  # somebody else has it open: no reason not to write
                leftover.unlink()
        _write_new(temporary, text.encode())
        _patiently(lambda: temporary.replace(path))
        _sync_directory(folder)
    except OSError as error:
        problem = error
    if problem is not None:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise _unavailable("write", path, problem)


def remove_private(path: Path) -> None:
    """Remove the file `path`, whatever it is; nothing happens where it is missing. Raises `StorageUnavailable`."""
    try:
        _patiently(lambda: path.unlink(missing_ok=True))
        if path.parent.is_dir():
            _sync_directory(path.parent)
    except OSError as error:
        raise _unavailable("remove", path, error) from None


def broken_path(path: Path) -> Path:
    """Where `set_aside` puts the file `path`."""
    return path.with_name(f"{path.name}.broken")


def set_aside(path: Path) -> Path | None:
    """Rename the file `path`, which can't be understood, for people to look at: to `broken_path`, 0600, in place of the last one.

    None where there is none, or it is no file. The caller holds a lock that excludes other writers of `path`. Raises
    `StorageError`.
    """
    private_directory(path.parent)
    broken = broken_path(path)
    try:
        kind = path.lstat().st_mode
        if stat.S_ISDIR(kind):
            return None
        if stat.S_ISREG(kind):
            path.chmod(0o600)
        _patiently(lambda: path.replace(broken))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unavailable("set aside", path, error) from None
    return broken


def _write_new(path: Path, data: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(path, flags, FILE_MODE), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _patiently(work: Callable[[], _T]) -> _T:
    """What `work` gives. On Windows it is tried again, for half a second, while somebody else has the file open."""
    if sys.platform == "win32":
        for _ in range(_TRIES):
            with contextlib.suppress(PermissionError):
                return work()
            time.sleep(_PAUSE)
    return work()


def _sync_directory(path: Path) -> None:
    """Make a rename survive a power cut. Windows has no such call."""
    if sys.platform != "win32":
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _unavailable(what: str, path: Path, error: OSError) -> StorageUnavailable:
    # strerror only: str(error) is the operating system's, too, but not every file system's driver keeps to that.
    reason = error.strerror or type(error).__name__
    return StorageUnavailable(f"Can't {what} {path}: {reason}. Set MCP_LOGIN_HOME to a folder you can write to.")
