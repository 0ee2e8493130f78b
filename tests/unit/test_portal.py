"""The library's own event loop leaves the program's alone."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from mcp_login.portal import Portal

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__: list[str] = []


@pytest.fixture
def wake_up() -> Iterator[int]:
    """The descriptor that the program's own event loop has signals written to, as asyncio does on Windows."""
    reading, writing = socket.socketpair()
    with reading, writing:
        writing.setblocking(False)
        before = signal.set_wakeup_fd(writing.fileno())
        try:
            yield writing.fileno()
        finally:
            signal.set_wakeup_fd(before)


def test_signals_still_wake_the_programs_own_loop(wake_up: int) -> None:
    """asyncio on Windows: a loop that is made in the main thread takes them, and Ctrl-C no longer ends a wait."""
    portal = Portal()
    try:
        still = signal.set_wakeup_fd(wake_up)
    finally:
        portal.close()
    assert still == wake_up


def test_its_loop_is_made_in_its_own_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    made_in: list[threading.Thread] = []
    make = asyncio.new_event_loop

    def observed() -> asyncio.AbstractEventLoop:
        made_in.append(threading.current_thread())
        return make()

    monkeypatch.setattr(asyncio, "new_event_loop", observed)
    Portal().close()
    assert len(made_in) == 1
    assert made_in[0] is not threading.main_thread()


def test_where_no_loop_can_be_made_the_caller_is_told_and_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    def out_of_descriptors() -> asyncio.AbstractEventLoop:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(asyncio, "new_event_loop", out_of_descriptors)
    with pytest.raises(OSError, match="Too many open files"):
        Portal()


@pytest.mark.parametrize("end", [SystemExit(3), KeyboardInterrupt()], ids=["exit", "interrupt"])
def test_an_exit_in_a_callers_callback_is_the_callers_and_no_end_of_the_loop(end: BaseException) -> None:
    """asyncio gives it to the task, and stops the loop besides: every other login's, too."""

    async def leave() -> None:
        raise end

    async def go_on() -> str:
        await asyncio.sleep(0)
        return "here"

    portal = Portal()
    try:
        with pytest.raises(type(end)):
            portal.submit(leave).result(10)
        assert portal.submit(go_on).result(10) == "here"
    finally:
        portal.close()
