"""Tasks whose every step is announced: the way to walk the await points of work that runs on another loop.

A step is what a task does from one suspension to the next, so that before step k it stands at its await point k.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

from mcp_login.portal import portal

__all__ = ["StepTask", "Stepped", "Steps"]

#: How long anything may take to come to its end, in seconds.
LIMIT = 20.0


class Stepped(Coroutine[Any, Any, Any]):
    """`work`, which calls `before` before each of its steps."""

    def __init__(self, work: Coroutine[Any, Any, Any], before: Callable[[], None]) -> None:
        self._work = work
        self._before = before

    def send(self, value: Any) -> Any:
        """Take a step."""
        self._before()
        return self._work.send(value)

    def throw(self, *failure: Any) -> Any:
        """Take a step, with an exception."""
        self._before()
        return self._work.throw(*failure)

    def close(self) -> None:
        """Take none any more."""
        self._work.close()

    def __await__(self) -> Any:
        return self._work.__await__()


class StepTask(asyncio.Task[Any]):
    """A task that calls `before` before each of its steps: for `loop.set_task_factory`."""

    def __init__(
        self,
        work: Coroutine[Any, Any, Any],
        loop: asyncio.AbstractEventLoop,
        before: Callable[[], None],
        **keywords: Any,
    ) -> None:
        super().__init__(Stepped(work, before), loop=loop, **keywords)


class Steps:
    """Inside a `with` block, stops the library's loop before step `at` of all that it does, and has `then` called meanwhile.

    `then` is called in a thread of its own, and the loop goes on when it returns. `repeat`: also before every later step.
    """

    def __init__(self, at: int, then: Callable[[], None], *, repeat: bool = False) -> None:
        self._at = at
        self._then = then
        self._repeat = repeat
        self._count = 0
        #: Whether it came to that step.
        self.reached = False

    def __enter__(self) -> Steps:
        portal().submit(self._install).result(LIMIT)
        return self

    def __exit__(self, *exc: object) -> None:
        portal().submit(self._remove).result(LIMIT)

    async def _install(self) -> None:
        asyncio.get_running_loop().set_task_factory(
            lambda loop, work, **keywords: StepTask(work, loop, self._step, **keywords)
        )

    async def _remove(self) -> None:
        asyncio.get_running_loop().set_task_factory(None)

    def _step(self) -> None:
        self._count += 1
        if self._count == self._at or (self._repeat and self._count > self._at):
            self.reached = True
            thread = threading.Thread(target=self._then)
            thread.start()
            thread.join(LIMIT)
            assert not thread.is_alive(), "the caller waits for the library's loop although it was cancelled"
