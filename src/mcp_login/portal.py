"""The library's own event loop, in a daemon thread: where everything that talks to strangers runs.

Synchronous, asyncio and trio callers, several event loops and closed ones share one implementation and one single-flight.
A caller only waits; cancelling it doesn't cancel the work, unless it says so.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import contextlib
import contextvars
import logging
import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, TypeVar

from .errors import AuthError, TransportError
from .threads import daemon_threads
from .tracebacks import forget_locals

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

__all__ = ["Portal", "awaiting_answer", "portal", "protect", "wait", "wait_sync"]

T = TypeVar("T")

#: How long the exit of the process waits for a write that is under way, in seconds.
EXIT_LIMIT = 0.5

#: How long it waits for the answer to a code or refresh token that was sent, in seconds: as long as an exchange may take
#: (`network.http.HttpClient`). Ctrl-C, or another one, ends the wait.
ANSWER_LIMIT = 20.5


class Portal:
    """One event loop in one daemon thread, started when first needed."""

    def __init__(self) -> None:
        self.pid: int = os.getpid()
        running: concurrent.futures.Future[asyncio.AbstractEventLoop] = concurrent.futures.Future()
        self._thread = threading.Thread(target=_run_loop, args=(running,), name="mcp-login", daemon=True)
        self._thread.start()
        self._loop = running.result()

    def is_current_thread(self) -> bool:
        """Whether the caller runs on the portal itself, where waiting for it would never end."""
        return threading.current_thread() is self._thread

    def submit(self, work: Callable[[], Coroutine[Any, Any, T]]) -> concurrent.futures.Future[T]:
        """Start `work()` on the loop. Cancelling the future cancels the work."""
        # In a context of its own: the caller's variables would say that this loop is theirs (anyio's name of the library, trio).
        return contextvars.Context().run(asyncio.run_coroutine_threadsafe, work(), self._loop)

    def close(self) -> None:
        """End the loop: protected work gets a moment to finish, or the time that its answer takes; the rest is cancelled."""
        if self.pid != os.getpid() or not self._thread.is_alive():
            return
        done = asyncio.run_coroutine_threadsafe(self._drain(), self._loop)
        _await_drained(done)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(0.05)

    async def _drain(self) -> None:
        this = asyncio.current_task()
        deadline = time.monotonic() + ANSWER_LIMIT
        while _protected:
            left = deadline - time.monotonic()
            if _answers and left > 0:
                await asyncio.wait(set(_answers), timeout=left)
                continue
            done, _ = await asyncio.wait(set(_protected), timeout=EXIT_LIMIT)
            # What is sent once more meanwhile, after a failure of the network, is waited for as well.
            if not done and not (_answers and left > 0):
                break
        rest = [task for task in asyncio.all_tasks() if task is not this]
        for task in rest:
            task.cancel()
        if rest:
            await asyncio.wait(rest, timeout=0.1)
        if _protected:  # what they still had to leave behind
            await asyncio.wait(set(_protected), timeout=EXIT_LIMIT)


def _await_drained(done: concurrent.futures.Future[None]) -> None:
    """Wait for `done` at the exit of the process, and tell the person if it takes long."""
    began = time.monotonic()
    told = False
    with contextlib.suppress(KeyboardInterrupt):
        while not done.done() and time.monotonic() - began < ANSWER_LIMIT + EXIT_LIMIT + 0.2:
            # In slices: on Windows a lock that is waited for without a limit doesn't let Ctrl-C through.
            concurrent.futures.wait([done], EXIT_LIMIT)
            if _answers and not told:
                told = True
                logging.getLogger("mcp_login").warning(
                    "Waiting for the answer to a token request, at most %.0f seconds: without it the login would be lost. "
                    "Ctrl-C leaves at once.",
                    ANSWER_LIMIT,
                )


def _run_loop(running: concurrent.futures.Future[asyncio.AbstractEventLoop]) -> None:
    """Run a new loop in this thread until it is stopped. `running` is told the loop, or why there is none."""
    try:
        # Made here and not by the caller: on Windows, asyncio has a loop that is made in the main thread take the
        # wake-up of signals from the program's own loop, which Ctrl-C would then no longer reach.
        loop = asyncio.new_event_loop()
    except BaseException as error:  # noqa: BLE001 - raised where the portal is made; nobody may wait for it for ever
        running.set_exception(error)
        return
    loop.set_default_executor(daemon_threads)
    asyncio.set_event_loop(loop)
    loop.call_soon(running.set_result, loop)
    try:
        while True:
            try:
                loop.run_forever()
                break
            except (SystemExit, KeyboardInterrupt):
                # A caller's callback raised it: asyncio gave it to the task that waits for that, and stops the loop besides. It
                # is every other login's, too, and goes on.
                continue
    finally:
        loop.close()


#: Tasks that an exit or a cancellation must not interrupt. Touched on the portal's thread only.
_protected: set[asyncio.Task[Any]] = set()
#: Answers to codes and refresh tokens that were sent, which are still to come. Changed on the portal's thread only.
_answers: set[asyncio.Future[None]] = set()
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
            _answers.clear()
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


@contextlib.contextmanager
def awaiting_answer() -> Iterator[None]:
    """Around the sending of a code or refresh token, inside `protect`: the exit of the process waits until the answer is here.

    What comes after it is our own work, which gets a moment at exit: a keychain may hang.
    """
    answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    _answers.add(answer)
    try:
        yield
    finally:
        _answers.discard(answer)
        if not answer.done():
            answer.set_result(None)


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
    except Exception as foreign:
        # Raised by what a caller gave us, or a defect of ours: where it happened is to be seen, but for the same reason no more.
        forget_locals(foreign)
        raise
    raise error
