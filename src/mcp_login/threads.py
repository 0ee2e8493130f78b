"""Blocking calls in threads that hold nothing up: neither the loop nor the exit of the process."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["daemon_threads", "in_thread"]

T = TypeVar("T")


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


#: For calls that may never return.
daemon_threads: concurrent.futures.ThreadPoolExecutor = _DaemonThreads()


async def in_thread(work: Callable[[], T]) -> T:
    """What `work` gives, which reads or writes files: apart from the loop, which others wait for.

    In place where no more threads start: a process that is ending has nobody who waits.
    """
    try:
        future = daemon_threads.submit(work)
    except RuntimeError:
        return work()
    return await asyncio.wrap_future(future)
