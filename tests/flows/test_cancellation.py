"""Callers that give up: a request doesn't take its login or refresh with it, `login()` does.

DESIGN section 2, "Two paths": "cancelling a caller doesn't cancel the work"; "a cancelled `login()` does end its login".
"""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import anyio
import httpx
import httpx2
import pytest
import trio

import mcp_login.sync
from mcp_login import LoginTimeout, OAuth, login, logout
from mcp_login.testing import Fault, Person
from tests.flows.support import HEADERS, Login, age, login_of, message

if TYPE_CHECKING:
    from tests.flows.conftest import Serve

__all__: list[str] = []


async def ask(auth: OAuth, url: str, library: Any = httpx) -> int:
    async with library.AsyncClient(auth=auth, trust_env=False, verify=False, timeout=20) as client:
        response = await client.post(url, json=message(), headers=HEADERS)
    status: int = response.status_code
    return status


def redirect_port(person: Person) -> int:
    redirect_uri = parse_qs(urlsplit(person.urls[0]).query)["redirect_uri"][0]
    port = urlsplit(redirect_uri).port
    assert port is not None
    return port


def listens(port: int) -> bool:
    with socket.socket() as sock:
        sock.settimeout(2)
        return sock.connect_ex(("127.0.0.1", port)) == 0


class Watched(Person):
    """A person who can be seen to have been asked."""

    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self.asked = threading.Event()

    def __call__(self, url: str) -> bool:
        opened = super().__call__(url)
        self.asked.set()
        return opened


async def until_asked(person: Person) -> None:
    assert isinstance(person, Watched)
    assert await anyio.to_thread.run_sync(person.asked.wait, 10)


@pytest.mark.anyio
async def test_a_cancelled_request_leaves_its_login_to_the_next_one(serve: Serve) -> None:
    """A client's short time-out kills the login while the person is still typing a password. The login has its own."""
    server = serve()
    ready = threading.Event()
    person = Watched.is_slow(ready)
    program = Login(server, person)
    first = asyncio.create_task(ask(program.auth, server.url))
    await until_asked(person)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    second = asyncio.create_task(ask(program.auth, server.url, httpx2))
    await asyncio.to_thread(server.requests.wait_for, "mcp", times=2)
    ready.set()
    assert await second == 200
    assert program.windows == 1


@pytest.mark.anyio
async def test_a_login_whose_only_request_was_cancelled_is_finished_and_stored(serve: Serve) -> None:
    server = serve()
    ready = threading.Event()
    person = Watched.is_slow(ready)
    program = Login(server, person)
    async with anyio.create_task_group() as group:
        group.start_soon(ask, program.auth, server.url)
        await until_asked(person)
        group.cancel_scope.cancel()
    ready.set()
    await asyncio.to_thread(server.requests.wait_for, "token")
    # Another object waits for the same lock, and finds what the first one left.
    assert await ask(program.oauth(), server.url) == 200
    assert program.windows == 1
    assert program.record is not None


def test_a_request_that_is_cancelled_on_trio_leaves_its_login_to_the_next_one(serve: Serve) -> None:
    server = serve()
    ready = threading.Event()
    person = Watched.is_slow(ready)
    program = Login(server, person)

    async def main() -> int:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, program.auth, server.url)
            await until_asked(person)
            nursery.cancel_scope.cancel()
        ready.set()
        return await ask(program.auth, server.url)

    assert trio.run(main) == 200
    assert program.windows == 1


@pytest.mark.anyio
async def test_a_cancelled_request_does_not_lose_a_refresh(serve: Serve, person: Person) -> None:
    """The refresh token has rotated: whoever drops the answer has logged the person out."""
    server = serve()
    program = login_of(server, person)
    age(program.storage, server.url, 7200)
    before = program.record
    go = threading.Event()
    server.faults.token_endpoint = Fault(wait_for=go)
    request = asyncio.create_task(ask(program.oauth(), server.url))
    await asyncio.to_thread(server.requests.wait_for, "token", grant_type="refresh_token")
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    go.set()
    assert await ask(program.oauth(), server.url) == 200
    assert server.count("token", grant_type="refresh_token") == 1
    assert program.windows == 1
    assert program.record is not None
    assert before is not None
    assert program.record.refresh_token != before.refresh_token


@pytest.mark.anyio
async def test_a_cancelled_access_token_does_not_lose_a_refresh(serve: Serve, person: Person) -> None:
    server = serve()
    program = login_of(server, person)
    age(program.storage, server.url, 7200)
    go = threading.Event()
    server.faults.token_endpoint = Fault(wait_for=go)
    call = asyncio.create_task(mcp_login.access_token(server.url, storage=program.storage))
    await asyncio.to_thread(server.requests.wait_for, "token", grant_type="refresh_token")
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    go.set()
    assert await ask(program.oauth(), server.url) == 200
    assert server.count("token", grant_type="refresh_token") == 1
    assert server.reuse_detections == 0


@pytest.mark.anyio
async def test_an_auth_flow_that_is_closed_half_way_locks_nobody_out(serve: Serve, person: Person) -> None:
    """A lock poisoned when the auth generator is closed in another task (python-sdk#3382)."""
    server = serve()
    program = login_of(server, person)
    server.expire_access_tokens()
    flow = program.auth.async_auth_flow(httpx.Request("POST", server.url))
    await anext(flow)
    await asyncio.create_task(flow.aclose())
    assert await ask(program.auth, server.url) == 200


@pytest.mark.anyio
async def test_one_network_failure_locks_nobody_out(serve: Serve, person: Person) -> None:
    server = serve()
    program = login_of(server, person)
    age(program.storage, server.url, 7200)
    auth = program.oauth()
    server.faults.token_endpoint = Fault(status=503, retry_after=60)
    with pytest.raises(mcp_login.TransportError):
        await ask(auth, server.url)
    assert await ask(auth, server.url) == 200


@pytest.mark.anyio
async def test_a_cancelled_login_ends_and_leaves_no_listener(serve: Serve) -> None:
    server = serve()
    person = Watched.closes_the_window()
    program = Login(server, person)
    call = asyncio.create_task(login(server.url, **program.options))
    await until_asked(person)
    port = redirect_port(person)
    assert listens(port)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    # It takes the lock of the login that ends, so it comes after it.
    await logout(server.url, storage=program.storage)
    assert not listens(port)


@pytest.mark.anyio
async def test_a_login_that_two_callers_wait_for_ends_with_the_second(serve: Serve) -> None:
    """Each call has a login of its own to end; the other adopts or goes on."""
    server = serve()
    ready = threading.Event()
    person = Watched.is_slow(ready)
    program = Login(server, person)
    first = asyncio.create_task(login(server.url, **program.options))
    second = asyncio.create_task(login(server.url, **program.options))
    await until_asked(person)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    ready.set()
    assert (await second).access_token
    assert program.record is not None


def test_a_login_that_is_cancelled_on_trio_leaves_no_listener(serve: Serve) -> None:
    server = serve()
    person = Watched.closes_the_window()
    program = Login(server, person)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: login(server.url, **program.options))
            await until_asked(person)
            nursery.cancel_scope.cancel()
        await logout(server.url, storage=program.storage)

    trio.run(main)
    assert not listens(redirect_port(person))


@pytest.mark.anyio
async def test_a_code_that_is_on_its_way_is_redeemed_and_stored_although_login_was_cancelled(
    serve: Serve, person: Person
) -> None:
    server = serve()
    program = Login(server, person)
    go = threading.Event()
    server.faults.token_endpoint = Fault(wait_for=go)
    call = asyncio.create_task(login(server.url, **program.options))
    await asyncio.to_thread(server.requests.wait_for, "token")
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    go.set()
    assert await ask(program.oauth(), server.url) == 200
    assert program.windows == 1


def test_a_window_that_is_closed_ends_the_login_at_its_own_limit(serve: Serve) -> None:
    server = serve()
    person = Watched.closes_the_window()
    program = Login(server, person, callback_timeout=0.3)
    with pytest.raises(LoginTimeout) as caught:
        program.ask()
    assert caught.value.seconds == 0.3
    assert "callback_timeout" in str(caught.value)
    # Whoever comes back after that is told so, for a while.
    redirect_uri = parse_qs(urlsplit(person.urls[0]).query)["redirect_uri"][0]
    page = httpx.get(redirect_uri, trust_env=False, verify=False, follow_redirects=True)
    assert "This login has expired" in page.text


def test_a_login_that_nobody_finished_is_not_asked_for_again_by_the_next_request_but_by_login(serve: Serve) -> None:
    server = serve()
    program = Login(server, Person.closes_the_window(), callback_timeout=0.3)
    for _ in range(3):
        with pytest.raises(LoginTimeout):
            program.ask()
    assert program.windows == 1
    yes = Person.approves()
    mcp_login.sync.login(server.url, **{**program.options, "on_authorization_url": yes})
    assert program.ask().status_code == 200
    yes.join()


def test_a_login_that_was_denied_is_not_asked_for_again_by_the_next_request_but_by_login(serve: Serve) -> None:
    server = serve()
    program = Login(server, Person.denies())
    for _ in range(3):
        with pytest.raises(mcp_login.AuthorizationErrorResponse) as caught:
            program.ask()
        assert caught.value.error == "access_denied"
    assert program.windows == 1
    for windows in (2, 3):
        with pytest.raises(mcp_login.AuthorizationErrorResponse):
            mcp_login.sync.login(server.url, **program.options)
        assert program.windows == windows
    program.person.join()


BLOCKING_BROWSER = """
import sys, threading
import mcp_login.sync
from mcp_login import LoginTimeout, MemoryStorage
from mcp_login.testing import EmbeddedServer
problems = []
threading.excepthook = lambda problem: problems.append(problem.exc_type.__name__)
with EmbeddedServer().run() as server:
    try:
        mcp_login.sync.login(server.url, storage=MemoryStorage(), interactive=True, callback_timeout=0.5,
                             on_authorization_url=lambda url: None)
    except LoginTimeout:
        print("time-out", flush=True)
    sys.stdin.readline()  # by now the browser has ended
    for thread in threading.enumerate():
        if thread.name == "mcp-login call":
            thread.join(5)
print(problems, flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="the browser is a shell script")
def test_a_browser_that_outlives_its_login_raises_in_no_thread(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A browser in the foreground (BROWSER=lynx) returns only when the person leaves it."""
    gate = tmp_path / "gate"
    script = tmp_path / "browser"
    script.write_text(f"#!/bin/sh\nmkfifo {gate} 2>/dev/null\nread line < {gate}\n")
    script.chmod(0o755)
    monkeypatch.setenv("BROWSER", str(script))
    process = subprocess.Popen(
        [sys.executable, "-c", BLOCKING_BROWSER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stdout.readline() == "time-out\n"
    gate.write_text("done\n")
    process.stdin.write("\n")
    out, _ = process.communicate(timeout=15)
    assert out == "[]\n"
