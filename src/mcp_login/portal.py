"""The library's own event loop, in a daemon thread: where everything that talks to strangers runs.

Synchronous, asyncio and trio callers, several event loops and closed ones share one implementation and one single-flight.
A caller only waits; cancelling it doesn't cancel the work, unless it says so.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import contextlib
import os
import sys
import threading
from typing import TYPE_CHECKING, Any, TypeVar

from .errors import AuthError, TransportError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

__all__ = ["Portal", "portal", "protect", "wait", "wait_sync"]

T = TypeVar("T")

#: How long the exit of the process waits for a write that is under way, in seconds.
EXIT_LIMIT = 0.5


class _DaemonThreads(concurrent.futures.ThreadPoolExecutor):
    """A thread of its own for each call. Unlike a pool's they don't hold up the exit of the process: a look-up or a browser
    that never returns would.
    """

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> concurrent.futures.Future[T]:
        future: concurrent.futures.Future[T] = concurrent.futures.Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = fn(*args, **kwargs)
            except BaseException as error:  # noqa: BLE001 - it is the caller's
                future.set_exception(error)
            else:
                future.set_result(result)

        threading.Thread(target=run, name="mcp-login call", daemon=True).start()
        return future


class Portal:
    """One event loop in one daemon thread, started when first needed."""

    def __init__(self) -> None:
        self.pid: int = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._loop.set_default_executor(_DaemonThreads())
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mcp-login", daemon=True)
        self._thread.start()
        self._started.wait()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.call_soon(self._started.set)
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()

    def is_current_thread(self) -> bool:
        """Whether the caller runs on the portal itself, where waiting for it would never end."""
        return threading.current_thread() is self._thread

    def submit(self, work: Callable[[], Coroutine[Any, Any, T]]) -> concurrent.futures.Future[T]:
        """Start `work()` on the loop. Cancelling the future cancels the work."""
        return asyncio.run_coroutine_threadsafe(work(), self._loop)

    def close(self) -> None:
        """End the loop: protected work gets a moment to finish, the rest is cancelled."""
        if self.pid != os.getpid() or not self._thread.is_alive():
            return
        done = asyncio.run_coroutine_threadsafe(self._drain(), self._loop)
        with contextlib.suppress(Exception):
            done.result(EXIT_LIMIT + 0.1)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(0.05)

    async def _drain(self) -> None:
        this = asyncio.current_task()
        if _protected:
            await asyncio.wait(set(_protected), timeout=EXIT_LIMIT)
        rest = [task for task in asyncio.all_tasks() if task is not this]
        for task in rest:
            task.cancel()
        if rest:
            await asyncio.wait(rest, timeout=0.1)


#: Tasks that an exit or a cancellation must not interrupt. Touched on the portal's thread only.
_protected: set[asyncio.Task[Any]] = set()
_portal: Portal | None = None
_guard = threading.Lock()


def portal() -> Portal:
    """The process's portal: made when first needed, and anew after a fork."""
    global _portal
    current = _portal
    if current is not None and current.pid == os.getpid():
        return current
    with _guard:
        if _portal is None or _portal.pid != os.getpid():
            _protected.clear()
            _portal = Portal()
            atexit.register(_portal.close)
        return _portal


def _after_fork() -> None:
    global _guard, _portal
    # The thread of the parent isn't here, and its lock may have been held in the moment of the fork.
    _guard = threading.Lock()
    _portal = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


async def protect(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` to its end even if the caller is cancelled meanwhile; the cancellation is raised afterwards.

    For the stretch between sending a code or refresh token and having stored the answer: whoever stops there loses it.
    """
    task = asyncio.ensure_future(work)
    _protected.add(task)
    task.add_done_callback(_protected.discard)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            if not task.cancelled():
                cancelled = error
        except BaseException:  # noqa: BLE001, S110 - it is the task's own, raised by result() below
            pass
    if cancelled is not None:
        if not task.cancelled():
            task.exception()  # it is seen, so that asyncio doesn't complain about it
        raise cancelled
    return task.result()


def wait_sync(future: concurrent.futures.Future[T], timeout: float | None = None) -> T:
    """Wait in a thread. Raises `TimeoutError` after `timeout` seconds; the work goes on."""
    if portal().is_current_thread():
        raise RuntimeError("A synchronous call of mcp_login was made on its own event loop; use the asynchronous one.")
    left = timeout
    while not future.done():
        # In slices: on Windows a lock that is waited for without a limit doesn't let Ctrl-C through.
        span = 1.0 if left is None else min(1.0, left)
        concurrent.futures.wait([future], span)
        if left is not None and not future.done():
            left -= span
            if left <= 0:
                raise TimeoutError
    return _result(future)


async def wait(future: concurrent.futures.Future[T]) -> T:
    """Wait on the caller's event loop, asyncio or trio. Cancelling the wait leaves the work alone."""
    if not future.done():
        if _in_trio():
            await _wait_trio(future)
        else:
            await _wait_asyncio(future)
    return _result(future)


def _in_trio() -> bool:
    trio = sys.modules.get("trio")
    return trio is not None and bool(trio.lowlevel.in_trio_task())


async def _wait_asyncio(future: concurrent.futures.Future[Any]) -> None:
    loop = asyncio.get_running_loop()
    waiter: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not waiter.done():
            waiter.set_result(None)

    def done(_: concurrent.futures.Future[Any]) -> None:
        with contextlib.suppress(RuntimeError):  # the caller's loop may be closed by now
            loop.call_soon_threadsafe(wake)

    future.add_done_callback(done)
    await waiter


async def _wait_trio(future: concurrent.futures.Future[Any]) -> None:
    import trio

    token = trio.lowlevel.current_trio_token()
    event = trio.Event()

    def done(_: concurrent.futures.Future[Any]) -> None:
        with contextlib.suppress(trio.RunFinishedError):
            token.run_sync_soon(event.set)

    future.add_done_callback(done)
    await event.wait()


def _result(future: concurrent.futures.Future[T]) -> T:
    error: AuthError
    try:
        return future.result(0)
    except AuthError as original:
        # Many callers share one future, so each gets an error of its own; and none gets the frames of the work, whose local
        # variables are tokens and codes that a tracker of errors would write down.
        error = original.twin()
    except concurrent.futures.CancelledError:
        error = TransportError("The work was interrupted; what was stored is still there. Try again.")
    raise error
