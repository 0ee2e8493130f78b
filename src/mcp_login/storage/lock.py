"""A lock between the tasks, loops, threads and processes of one machine: one file for each thing to be locked.

The kernel keeps it (flock; on Windows a lock on the file's first byte), so it is free again as soon as its holder
dies, however it dies. The file stays: to unlink it would let two processes lock two files of one name.
"""

from __future__ import annotations

import contextlib
import os
import random
import sys
import time
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary, WeakSet, WeakValueDictionary

from mcp_login.errors import StorageError, StorageUnavailable, StorageUnreadable

from .private_files import open_private, private_directory

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType

__all__ = ["FileLock", "pauses", "turn"]

#: The first and the longest pause between two tries, in seconds.
_SHORTEST_PAUSE = 0.002
_LONGEST_PAUSE = 0.1

_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, WeakValueDictionary[object, asyncio.Lock]] = WeakKeyDictionary()


def turn(subject: object) -> asyncio.Lock:
    """The queue of the running loop's tasks for `subject`: first come, first served, and woken without polling."""
    import asyncio

    locks = _turns.setdefault(asyncio.get_running_loop(), WeakValueDictionary())
    lock = locks.get(subject)
    if lock is None:
        lock = locks[subject] = asyncio.Lock()
    return lock


def pauses() -> Iterator[float]:
    """Seconds to wait between tries: growing, and jittered so that waiters don't march in step."""
    pause = _SHORTEST_PAUSE
    while True:
        yield pause * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
        pause = min(pause * 1.5, _LONGEST_PAUSE)


class FileLock:
    """Exclusive use of what the file `path` stands for. The file is made (0600), in a folder that is made (0700).

    `async with FileLock(path):` on an asyncio loop waits until it is free; set a limit with `asyncio.timeout`. Tasks
    of one loop take turns; other loops, threads and processes poll. `with FileLock(path).blocking(seconds):` is for
    plain threads. It is not reentrant. Raises `StorageError` where the file can't be made or is not this user's own.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._turn: asyncio.Lock | None = None
        self._held: _Held | None = None

    async def __aenter__(self) -> None:
        import asyncio

        queue = turn(self._path)
        await queue.acquire()
        waits = pauses()
        try:
            while (held := _try(self._path)) is None:  # noqa: ASYNC110 - no event crosses processes
                await asyncio.sleep(next(waits))
        except BaseException:
            queue.release()
            raise
        self._turn, self._held = queue, held

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # Nothing is awaited here: a coroutine that is closed from outside must still let go.
        if self._held is not None:
            self._held.release()
        if self._turn is not None:
            self._turn.release()
        self._turn = self._held = None

    @contextlib.contextmanager
    def blocking(self, timeout: float) -> Iterator[None]:
        """Hold it from a plain thread, waiting at most `timeout` seconds. Raises `StorageUnavailable` after that."""
        deadline = time.monotonic() + timeout
        waits = pauses()
        while (held := _try(self._path)) is None:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise StorageUnavailable(
                    f"Another process has been writing to the stored logins for {timeout:g} seconds. Try again."
                )
            time.sleep(min(next(waits), remaining))
        try:
            yield
        finally:
            held.release()


class _Held:
    """A descriptor with the lock on it."""

    __slots__ = ("__weakref__", "descriptor")

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        _held.add(self)

    def release(self) -> None:
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor < 0:
            return
        _held.discard(self)
        if sys.platform == "win32":
            with contextlib.suppress(OSError):
                os.lseek(descriptor, 0, os.SEEK_SET)
                msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)
        os.close(descriptor)  # a flock goes with the last descriptor of its open file


_held: WeakSet[_Held] = WeakSet()


def _after_fork() -> None:
    """In a forked child: drop the copies of the parent's descriptors, which would keep its locks after its death."""
    for held in list(_held):
        descriptor, held.descriptor = held.descriptor, -1
        with contextlib.suppress(OSError):
            os.close(descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _try(path: Path) -> _Held | None:
    """The lock, or None where somebody else has it."""
    private_directory(path.parent)
    problem: OSError | None = None
    try:
        descriptor = open_private(path, os.O_RDWR | os.O_CREAT)
    except FileNotFoundError:
        return None  # the folder went between the two lines: try again
    except StorageUnreadable as error:
        raise StorageError(*error.args) from None  # it is no stored value that a login would replace
    try:
        _lock(descriptor)
        # Somebody may have cleared the folder: then the file that is locked is not the one that others will open.
        if os.path.samestat(os.fstat(descriptor), path.stat()):
            return _Held(descriptor)
    except (BlockingIOError, FileNotFoundError):
        pass
    except OSError as error:
        problem = error
    os.close(descriptor)
    if problem is not None:
        raise StorageUnavailable(
            f"Can't lock {path}: {problem.strerror}. Set MCP_LOGIN_HOME to a folder on a disk of this machine."
        )
    return None


def _lock(descriptor: int) -> None:
    """Lock it, or raise `BlockingIOError` where another descriptor has it."""
    if sys.platform == "win32":
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except PermissionError:
            raise BlockingIOError from None
    else:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
