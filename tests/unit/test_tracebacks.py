"""What a traceback keeps of this library: where it was, and none of its variables."""

from __future__ import annotations

import asyncio
import traceback
import types
from typing import TYPE_CHECKING, Any

import pytest

from mcp_login.tracebacks import discreet, discreet_async, forget_locals

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

__all__: list[str] = []

CODE = """
import asyncio

async def waits(error, going, done):
    token = "the-secret-of-a-login"
    try:
        raise error
    finally:
        going.set()
        await done.wait()

async def fails(error):
    token = "the-secret-of-a-login"
    raise error

def calls(error):
    token = "the-secret-of-a-login"
    raise error
"""


@pytest.fixture
def ours() -> Any:
    """Functions that are this library's, as far as a traceback tells."""
    module = types.ModuleType("mcp_login.made_up")
    exec(CODE, module.__dict__)
    return module


SECRET = "the-secret-of-a-login"


def written_down(error: BaseException) -> str:
    """What a tracker of errors makes of it."""
    return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())


def test_no_variable_of_ours_is_left(ours: Any) -> None:
    call: Callable[[BaseException], object] = discreet(ours.calls)
    with pytest.raises(KeyError) as caught:
        call(KeyError("x"))
    told = written_down(caught.value)
    assert (SECRET in told, "in calls" in told) == (False, True)


def test_of_a_coroutine_it_is_still_told_where_it_was(ours: Any) -> None:
    call: Callable[[BaseException], Coroutine[Any, Any, object]] = discreet_async(ours.fails)
    with pytest.raises(KeyError) as caught:
        asyncio.run(call(KeyError("x")))
    told = written_down(caught.value)
    assert (SECRET in told, "fails" in told) == (False, True)


def test_a_coroutine_that_is_not_over_goes_on(ours: Any) -> None:
    """A caller may raise one exception in several logins, as a mock does: it has the frames of all of them."""

    async def scenario() -> None:
        error = KeyError("one for all")
        going, done = asyncio.Event(), asyncio.Event()
        waiting = asyncio.ensure_future(ours.waits(error, going, done))
        await going.wait()
        forget_locals(error)
        forget_locals(error)
        done.set()
        with pytest.raises(KeyError) as caught:
            await waiting
        assert caught.value is error

    asyncio.run(scenario())


def test_an_error_without_a_traceback_stays_as_it_is() -> None:
    error = KeyError("x")
    forget_locals(error)
    assert error.__traceback__ is None
