"""When tokens that a storage doesn't take are tried again: until it answers, others wait for them, or the process ends.

Nobody is needed for that: neither the next demand, nor the session that obtained them.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import contextlib
import functools
import logging
import os
import random
import threading
import time
from typing import TYPE_CHECKING

from .errors import StorageError, StorageLocked, StorageUnavailable
from .portal import portal, protect
from .storage.spent import needs_notes
from .storage.wanted import was_asked_to_save
from .threads import in_thread
from .unsaved import Unsaved, all_that_wait, settled, wait_in_place, waiting_for, waiting_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["save_later", "saving_pauses"]

_log = logging.getLogger("mcp_login")

#: The first and the longest pause between two tries to save, in seconds.
_SHORTEST_PAUSE = 1.0
_LONGEST_PAUSE = 15.0

#: A keychain that says "locked" after more seconds than this has asked the person, who said no: how long they are left alone.
#: A storage that answers, and refuses the value, will hardly change its mind, and is left alone as long.
SHORTEST_ANSWER = 3.0
_LONG_REST = 300.0

#: How often somebody who has tokens that wait looks whether another program waits for them, in seconds.
LOOK_PAUSE = 1.0

#: How long tokens that begin to wait try to say so, in seconds: it is a lock that nobody holds for long but others that wait.
_ANNOUNCE_LIMIT = 1.0

#: How long the exit of the process waits for the last try, in seconds.
_EXIT_LIMIT = 0.5

#: The process that has a last try at its end. A forked one starts its own.
_exit_process = 0


def saving_pauses() -> Iterator[float]:
    """Seconds between tries to save: growing, and jittered so that the logins of a program don't march in step."""
    pause = _SHORTEST_PAUSE
    while True:
        yield pause * random.uniform(0.75, 1.0)  # noqa: S311 - no secret
        pause = min(pause * 2, _LONGEST_PAUSE)


def save_later(unsaved: Unsaved, *, pauses: Callable[[], Iterator[float]] = saving_pauses) -> asyncio.Task[None] | None:
    """Keep `unsaved` for all sessions of this process that share the storage, and save it as soon as that answers.

    `pauses` gives the seconds between the tries. The session is not kept alive. On the library's loop only. Returns the work, if
    there is any.
    """
    if unsaved.storage.name == "memory":
        unsaved.announced.set()
        return None
    before = wait_in_place(unsaved)
    _try_at_exit()
    if before is not None and before.task is not None and _is_under_way(before.task):
        # Its work goes on with these.
        unsaved.task, unsaved.announced, unsaved.over = before.task, before.announced, before.over
    else:
        unsaved.announced, unsaved.over = asyncio.Event(), asyncio.Event()
        unsaved.task = asyncio.get_running_loop().create_task(_announce_and_try_again(unsaved, pauses()))
    return unsaved.task


def _is_under_way(task: asyncio.Task[None]) -> bool:
    """Whether `task` is this process's own, and not of one that this was forked from."""
    return task.get_loop() is asyncio.get_running_loop() and not task.done()


async def _announce_and_try_again(first: Unsaved, pauses: Iterator[float]) -> None:
    try:
        async with contextlib.AsyncExitStack() as stack:
            with contextlib.suppress(TimeoutError, StorageError):
                async with asyncio.timeout(_ANNOUNCE_LIMIT):
                    await stack.enter_async_context(waiting_lock(first.storage, first.key))
            first.announced.set()
            await in_thread(_word_for(first))  # one that another process was left is no news
            await _try_again(first, pauses)
    finally:
        first.announced.set()


def _word_for(waiting: Unsaved) -> Callable[[], bool]:
    return functools.partial(was_asked_to_save, waiting.storage, waiting.key)


async def _try_again(first: Unsaved, pauses: Iterator[float]) -> None:
    rest, heeds = 0.0, True
    for pause in pauses:
        asked_to = await _rest(first, max(pause, rest), heeds=heeds)
        waiting = None if first.over.is_set() else waiting_for(first.storage, first.key)
        if waiting is None:
            break
        if not waiting.is_current:  # a test is over
            settled(waiting.storage, waiting.key)
            break
        began = time.monotonic()
        rest, heeds = 0.0, True
        try:
            await protect(waiting.save())
        except StorageError as error:
            _log.debug("%s: still not saved: %s", waiting.shown_url, type(error).__name__)
            declined = isinstance(error, StorageLocked) and time.monotonic() - began > SHORTEST_ANSWER
            refused = not isinstance(error, (StorageLocked, StorageUnavailable))
            rest = _LONG_REST if declined or refused else 0.0
            # Open for others, and not for this program: the person has said no once more, and is left alone by them, too.
            heeds = not (declined and asked_to)


async def _rest(first: Unsaved, seconds: float, *, heeds: bool) -> bool:
    """Wait for `seconds`, until it is over, or until others ask for the tokens, if this `heeds` them; whether they did."""
    time_of_loop = asyncio.get_running_loop().time
    end = time_of_loop() + seconds
    while (left := end - time_of_loop()) > 0:
        if await _is_set_within(first.over, min(left, LOOK_PAUSE)):
            return False
        if heeds and await in_thread(_word_for(first)):
            return True
    if not heeds:
        await in_thread(_word_for(first))  # it is tried now
    return False


async def _is_set_within(event: asyncio.Event, seconds: float) -> bool:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()


def _try_at_exit() -> None:
    """From the first tokens that wait on, the end of the process is the last chance to save them."""
    global _exit_process
    if _exit_process == os.getpid():
        return
    _exit_process = os.getpid()
    ending = threading.Event()
    # Started now, as an interpreter that is ending starts no more threads. A keychain that hangs holds up this one only.
    thread = threading.Thread(target=_last_try, args=(ending,), name="mcp-login last save", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # it is ending already
        return

    def end() -> None:
        if _exit_process != os.getpid() or not all_that_wait():
            return
        # Others' storages are run on the library's loop, which is closed after this: it was there first.
        tries = [portal().submit(one.save) for one in all_that_wait() if not needs_notes(one.storage)]
        ending.set()
        thread.join(_EXIT_LIMIT)
        concurrent.futures.wait(tries, _EXIT_LIMIT)

    atexit.register(end)


def _last_try(ending: threading.Event) -> None:
    ending.wait()
    for waiting in all_that_wait():
        if needs_notes(waiting.storage):
            with contextlib.suppress(Exception):
                asyncio.run(waiting.save())
