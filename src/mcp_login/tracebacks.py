"""Errors whose tracebacks hold no local variables of this library: trackers of errors write those down, and some are secrets.

Files, lines and names of functions stay, so that a traceback still says where it happened; frames of others are left alone.
Standard library only: the warm path loads it.
"""

from __future__ import annotations

import functools
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from types import FrameType

__all__ = ["discreet", "discreet_async", "forget_locals"]

P = ParamSpec("P")
T = TypeVar("T")

_PACKAGE = __name__.partition(".")[0]


def forget_locals(error: BaseException) -> None:
    """Clear the local variables of this library's frames in the tracebacks of `error`, and of all that it was raised from."""
    for frame in _frames(error):
        if str(frame.f_globals.get("__name__")).partition(".")[0] == _PACKAGE:
            with suppress(RuntimeError):  # it still runs, or will
                frame.clear()


def _frames(error: BaseException) -> Iterator[FrameType]:
    waiting: list[BaseException | None] = [error]
    seen: set[int] = set()
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        waiting += [one.__cause__, one.__context__]
        if isinstance(one, BaseExceptionGroup):
            waiting += one.exceptions
        traceback = one.__traceback__
        while traceback is not None:
            yield traceback.tb_frame
            traceback = traceback.tb_next


def discreet(function: Callable[P, T]) -> Callable[P, T]:
    """`function`, but an error takes neither its arguments nor the local variables of what it called out of the library."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            forget_locals(error)
            del args, kwargs  # of the one frame that still runs
            raise

    return call


def discreet_async(function: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """The same for a coroutine function."""

    @functools.wraps(function)
    async def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await function(*args, **kwargs)
        except BaseException as error:
            forget_locals(error)
            del args, kwargs
            raise

    return call
