"""Errors whose tracebacks hold no local variables of this library: trackers of errors write those down, and some are secrets.

Files, lines and names of functions stay, so that a traceback still says where it happened; frames of others are left alone.
Standard library only: the warm path loads it.
"""

from __future__ import annotations

import functools
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from .errors import AuthError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from types import FrameType, TracebackType

__all__ = ["discreet", "discreet_async", "forget_locals"]

P = ParamSpec("P")
T = TypeVar("T")

_PACKAGE = __name__.partition(".")[0]

# The flags of the code of generators, coroutines and asynchronous generators (`inspect.CO_*`, which is slow to load).
_SUSPENDABLE = 0x20 | 0x80 | 0x200


def forget_locals(error: BaseException) -> None:
    """Clear the local variables of this library's frames in the tracebacks of `error`, and of all that it was raised from.

    Before Python 3.13, to clear the frame of a coroutine that is not over ends it, and nothing tells whether it is: a caller may
    raise one exception in several logins. There such frames are taken out of the traceback instead, and a note names their
    places.
    """
    for one in _chain(error):
        kept: list[TracebackType] = []
        places: list[str] = []
        traceback = one.__traceback__
        while traceback is not None:
            if _is_ours(traceback.tb_frame) and not _clear(traceback.tb_frame):
                places.append(f"{traceback.tb_frame.f_code.co_qualname}, line {traceback.tb_lineno}")
            else:
                kept.append(traceback)
            traceback = traceback.tb_next
        if not places:
            continue
        for number, link in enumerate(kept, 1):
            link.tb_next = kept[number] if number < len(kept) else None
        one.__traceback__ = kept[0] if kept else None
        if not isinstance(one, AuthError):  # the message of one of ours says enough
            _note(one, f"In {_PACKAGE}: {'; '.join(places)}")


def _is_ours(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__")).partition(".")[0] == _PACKAGE


def _clear(frame: FrameType) -> bool:
    """Clear `frame`, and say whether it may stay where it can be seen."""
    if frame.f_code.co_flags & _SUSPENDABLE and sys.version_info < (3, 13):
        return False
    with suppress(RuntimeError):  # it still runs, or will
        frame.clear()
    return True


def _note(error: BaseException, text: str) -> None:
    if text not in getattr(error, "__notes__", ()):
        error.add_note(text)


def _chain(error: BaseException) -> Iterator[BaseException]:
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
        yield one


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
