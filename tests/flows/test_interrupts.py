"""Ctrl-C in the command line while a token request is under way, and other ends of a process that wait for an answer.

From the moment in which a code or refresh token is sent the server may have taken it for used: whoever leaves without the
answer has lost the login.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

import mcp_login.sync
from mcp_login import FileStorage
from mcp_login.portal import Portal, awaiting_answer, protect
from mcp_login.testing import Fault
from tests.flows.support import age, stored

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mcp_login.testing import EmbeddedServer
    from tests.flows.conftest import Serve

__all__: list[str] = []

interrupts = pytest.mark.skipif(sys.platform == "win32", reason="Windows sends Ctrl-C to a whole console")

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(home: Path) -> Iterator[Start]:
    """`start(*arguments)`: the command line, which is ended with the test."""
    with contextlib.ExitStack() as stack:

        def begin(*arguments: str) -> subprocess.Popen[str]:
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", "mcp_login.cli.main", *arguments],
                    env={**os.environ, "MCP_LOGIN_STORAGE": "file"},
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
            stack.callback(process.kill)
            return process

        yield begin


def expired_login(server: EmbeddedServer) -> FileStorage:
    """The storage of the command line, with a login that has to be refreshed."""
    storage = FileStorage()
    server.sign_in(storage)
    age(storage, server.url, 7200)
    return storage


def until(process: subprocess.Popen[str], word: str) -> None:
    """Read what the command says until `word` is in it."""
    assert process.stderr is not None
    for line in process.stderr:
        if word in line:
            return
    raise AssertionError(f"the command ended without {word!r}")


@interrupts
def test_an_interrupt_in_mid_refresh_loses_nothing_however_slow_the_server_is(serve: Serve, start: Start) -> None:
    server = serve()
    storage = expired_login(server)
    before = stored(storage, server.url)
    answers = threading.Event()
    server.faults.token_endpoint = Fault(wait_for=answers, after_acting=True)
    process = start("token", server.url)
    server.requests.wait_for("token", grant_type="refresh_token")
    process.send_signal(signal.SIGINT)
    # Said when the moment is over that any exit has: the command waits for as long as an answer may take.
    until(process, "Waiting for the answer")
    answers.set()
    process.communicate(timeout=15)
    assert process.returncode == 130
    after = stored(storage, server.url)
    assert before is not None
    assert after is not None
    assert after.refresh_token != before.refresh_token
    assert mcp_login.sync.access_token(server.url, storage=storage) == after.access_token
    assert server.reuse_detections == 0


@interrupts
def test_a_second_interrupt_leaves_at_once(serve: Serve, start: Start) -> None:
    server = serve()
    expired_login(server)
    answers = threading.Event()
    server.faults.token_endpoint = Fault(wait_for=answers)
    process = start("token", server.url)
    server.requests.wait_for("token", grant_type="refresh_token")
    process.send_signal(signal.SIGINT)
    until(process, "Waiting for the answer")
    process.send_signal(signal.SIGINT)
    try:
        _, said = process.communicate(timeout=10)
    finally:
        answers.set()
    assert process.returncode == 130
    assert "Traceback" not in said


@interrupts
def test_an_interrupt_while_a_code_is_exchanged_loses_nothing(serve: Serve, start: Start, tmp_path: Path) -> None:
    server = serve(auto_approve=True)
    answers = threading.Event()
    server.faults.token_endpoint = Fault(wait_for=answers, after_acting=True)
    browser = tmp_path / "browser"
    browser.write_text(f"#!/bin/sh\nexec {sys.executable} -c '{VISIT}' \"$1\"\n")
    browser.chmod(0o755)
    os.environ["BROWSER"] = f"{browser} %s &"
    try:
        process = start("login", server.url)
        server.requests.wait_for("token", grant_type="authorization_code", timeout=15)
        process.send_signal(signal.SIGINT)
        until(process, "Waiting for the answer")
    finally:
        del os.environ["BROWSER"]
        answers.set()
    process.communicate(timeout=15)
    assert process.returncode == 130
    storage = FileStorage()
    record = stored(storage, server.url)
    assert record is not None
    assert mcp_login.sync.access_token(server.url, storage=storage) == record.access_token


@interrupts
def test_after_an_interrupt_of_a_login_with_an_earlier_registration_the_next_one_registers_anew(
    serve: Serve, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that has forgotten it shows an error page in the browser, and the person gives up."""
    server = serve(auto_approve=True)
    approves = f"{sys.executable} -c '{VISIT}' %s &"
    monkeypatch.setenv("BROWSER", approves)
    assert start("login", server.url).wait(15) == 0
    server.forget_clients()
    monkeypatch.setenv("BROWSER", "true %s &")
    process = start("login", server.url, "--account", "work")
    until(process, "Waiting for you")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=15)
    assert process.returncode == 130
    monkeypatch.setenv("BROWSER", approves)
    assert start("login", server.url, "--account", "work").wait(15) == 0
    assert server.count("registration") == 2
    assert stored(FileStorage(), server.url) is not None


VISIT = "import sys, urllib.request; urllib.request.urlopen(sys.argv[1], timeout=20)"


class Said(logging.Handler):
    """Tells when the library says something."""

    def __init__(self) -> None:
        super().__init__()
        self.heard = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if "Waiting for the answer" in record.getMessage():
            self.heard.set()


@pytest.fixture
def said() -> Iterator[Said]:
    """What the library logs."""
    handler = Said()
    logger = logging.getLogger("mcp_login")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


@pytest.mark.parametrize("hangs", [False, True])
def test_the_end_of_a_process_waits_for_an_answer_and_not_for_what_hangs_after_it(said: Said, *, hangs: bool) -> None:
    """What comes after the answer is our own: a keychain that hangs holds up nobody's exit for long."""
    portal = Portal()
    sent: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
    is_sent = threading.Event()
    stored: list[str] = []

    async def exchange() -> None:
        answer = asyncio.Event()
        sent.append((asyncio.get_running_loop(), answer))
        is_sent.set()
        with awaiting_answer():
            await answer.wait()
        if hangs:
            await asyncio.Event().wait()
        stored.append("the new token")

    work = portal.submit(lambda: protect(exchange()))
    assert is_sent.wait(10)
    work.cancel()
    leaving = threading.Thread(target=portal.close)
    leaving.start()
    assert said.heard.wait(10)
    assert leaving.is_alive()
    loop, answer = sent[0]
    loop.call_soon_threadsafe(answer.set)
    leaving.join(10)
    assert not leaving.is_alive()
    assert stored == ([] if hangs else ["the new token"])
