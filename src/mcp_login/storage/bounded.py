"""Blocking calls with a time limit, one after another, in daemon threads.

Standard library only: the warm path loads it.

A keychain may wait for a person, or for a bus that is dead, and no Python call can be interrupted. So each call gets
a thread that may be given up: the caller stops waiting, the process can end, and no second call starts before the
first is over, since it would hang beside it (and ask the person twice). One at a time also spares backends that were
never meant for threads.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import time
from typing import TYPE_CHECKING, TypeVar, cast
from weakref import WeakSet

from mcp_login.errors import StorageError, StorageUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["BoundedCalls"]

T = TypeVar("T")

#: How long the end of the process waits for a write under way, in seconds.
_EXIT_LIMIT = 0.25


class BoundedCalls:
    """Runs calls to one place. `what` names it in messages ("The keychain"); `limit` is a call's time in seconds.

    A call is a function without arguments that raises nothing but `StorageError`.
    """

    def __init__(self, what: str, limit: float) -> None:
        self._what = what
        self._limit = limit
        self._reset()
        _all.add(self)

    def _reset(self) -> None:
        self._guard = threading.Lock()
        self._current: _Call | None = None
        self._process = os.getpid()

    def run_now(self, function: Callable[[], T], timeout: float) -> T:
        """The value of `function`, from any thread.

        Raises `TimeoutError` after `timeout` seconds, and what `function` raises.
        """
        deadline = time.monotonic() + timeout
        while True:
            call, ours = self._start(function, writes=False)
            if not call.wait(deadline - time.monotonic()):
                raise TimeoutError(f"{self._what} has not answered within {timeout:g} seconds.")
            if ours:
                return cast("T", call.outcome())

    async def run(self, function: Callable[[], T], *, writes: bool = False) -> T:
        """The value of `function`, on an asyncio loop.

        Raises `StorageUnavailable` after the time limit, and what `function` raises. A caller that is cancelled stops
        waiting; a call that has begun goes on to its end.
        """
        import asyncio

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._limit):
                while True:
                    call, ours = self._start(function, writes=writes)
                    await _finished(call)
                    if ours:
                        return cast("T", call.outcome())
        raise self._silent()

    def finish(self, timeout: float) -> None:
        """Wait at most `timeout` seconds for a write under way."""
        call = self._current
        if call is not None and call.writes and self._process == os.getpid():
            call.wait(timeout)

    def _start(self, function: Callable[[], object], *, writes: bool) -> tuple[_Call, bool]:
        """A call of `function` (True), or the one under way, to be waited for first (False)."""
        if self._process != os.getpid():
            self._reset()  # after a fork: the thread stayed in the parent, and the guard may be locked for ever
        if writes:
            _wait_at_exit()
        with self._guard:
            current = self._current
            if current is not None and not current.finished():
                if current.age() > self._limit:
                    raise self._silent()
                return current, False
            self._current = call = _Call(function, writes=writes)
            call.begin()
            return call, True

    def _silent(self) -> StorageUnavailable:
        return StorageUnavailable(
            f"{self._what} has not answered within {self._limit:g} seconds. If it asks for a password, unlock it and "
            "try again; else set MCP_LOGIN_STORAGE=file (not encrypted) or memory (until the program ends)."
        )


class _Call:
    """One function in one daemon thread."""

    def __init__(self, function: Callable[[], object], *, writes: bool) -> None:
        self.writes = writes
        self._function: Callable[[], object] | None = function
        self._began = time.monotonic()
        self._done = threading.Event()
        self._guard = threading.Lock()
        self._waiting: list[Callable[[], object]] = []
        self._value: object = None
        self._error: StorageError | None = None

    def begin(self) -> None:
        try:
            threading.Thread(target=self._run, name="mcp-login storage", daemon=True).start()
            return
        except RuntimeError:  # no more threads, or the interpreter is ending (from Python 3.12 on it starts none then)
            pass
        if self.writes:
            # Without a limit, but not lost: it may hold the only copy of a rotated token.
            self._run()
        else:
            self._finish(StorageUnavailable("No thread could be started to read stored logins."))

    def age(self) -> float:
        return time.monotonic() - self._began

    def finished(self) -> bool:
        return self._done.is_set()

    def wait(self, timeout: float) -> bool:
        return self._done.wait(max(0.0, timeout))

    def when_finished(self, callback: Callable[[], object]) -> None:
        with self._guard:
            if not self._done.is_set():
                self._waiting.append(callback)
                return
        callback()

    def outcome(self) -> object:
        if self._error is not None:
            raise self._error
        return self._value

    def _run(self) -> None:
        function, self._function = self._function, None
        error: StorageError | None = None
        try:
            if function is not None:
                self._value = function()
        except StorageError as raised:
            error = raised
        except BaseException as raised:  # noqa: BLE001 - a thread has nobody to tell but the waiter
            # The name alone: what another program raises may quote a secret.
            error = StorageError(f"Reading or writing stored logins failed: {type(raised).__name__}.")
        self._finish(error)

    def _finish(self, error: StorageError | None) -> None:
        if error is not None:
            # What it was raised from, and the frames it passed, may hold secrets.
            error.__context__ = error.__cause__ = None
            self._error = error.with_traceback(None)
        with self._guard:
            self._done.set()
            waiting, self._waiting = self._waiting, []
        for callback in waiting:
            with contextlib.suppress(RuntimeError):  # the waiter's loop is closed
                callback()


async def _finished(call: _Call) -> None:
    import asyncio

    loop = asyncio.get_running_loop()
    event = asyncio.Event()
    call.when_finished(lambda: loop.call_soon_threadsafe(event.set))
    await event.wait()


_all: WeakSet[BoundedCalls] = WeakSet()
_exit_waits = False


def _wait_at_exit() -> None:
    """From the first write on, the end of the process waits a little for a write under way. Reads are given up."""
    global _exit_waits
    if not _exit_waits:
        _exit_waits = True
        atexit.register(_finish_writes)


def _finish_writes() -> None:
    deadline = time.monotonic() + _EXIT_LIMIT
    for calls in list(_all):
        calls.finish(deadline - time.monotonic())
