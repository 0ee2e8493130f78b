"""Callers of every kind in one process, callers who give up, and copies of the process: they share one refresh, and spoil none.

DESIGN section 2, "Two paths". Field notes, "Concurrency": a provider bound to one event loop; a lock that is poisoned when the
flow is closed in another task (python-sdk#3382); a refresh that is lost with the request that began it.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import httpx2
import pytest
import trio

import mcp_login.sync
from mcp_login import FileStorage, MemoryStorage, access_token
from mcp_login.testing import Fault
from tests.flows.support import HEADERS, Login, age, login_of, message

if TYPE_CHECKING:
    from pathlib import Path

    from mcp_login import OAuth, Storage
    from mcp_login.testing import EmbeddedServer, Person
    from tests.flows.conftest import Serve

__all__: list[str] = []

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(params=["memory", "file"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    return MemoryStorage() if request.param == "memory" else FileStorage(tmp_path / "logins")


@pytest.fixture
def login(serve: Serve, person: Person, storage: Storage) -> Login:
    """A program whose token has expired. Rotation has no grace, and a refresh ends the tokens of before."""
    login = login_of(serve(refresh_revokes_access_tokens=True), person, storage=storage)
    age(storage, login.server.url, 7200)
    return login


class Held:
    """A refresh that is under way until it is let go: the server has got the request, and thinks."""

    def __init__(self, server: EmbeddedServer) -> None:
        self._server = server
        self._go = threading.Event()
        server.faults.token_endpoint = Fault(wait_for=self._go)

    def wait(self) -> None:
        """Until the request is there."""
        self._server.requests.wait_for("token", grant_type="refresh_token")

    def let_go(self) -> None:
        """The server answers."""
        self._go.set()


@pytest.fixture
def held(login: Login) -> Held:
    return Held(login.server)


def assert_nothing_is_lost(login: Login, auth: OAuth) -> None:
    """The object of before and a new one both get on, by the one refresh there was."""
    assert login.ask(auth=auth).status_code == 200
    assert login.ask(auth=login.oauth()).status_code == 200
    assert login.server.count("token", grant_type="refresh_token") == 1
    assert login.server.reuse_detections == 0
    assert login.windows == 1
    # A lock that somebody still has would show here, and so would a login that can't be refreshed any more.
    login.server.expire_access_tokens()
    assert login.ask(auth=auth).status_code == 200
    assert login.server.count("token", grant_type="refresh_token") == 2


async def ask(auth: OAuth, url: str, library: Any = httpx) -> int:
    async with library.AsyncClient(auth=auth, trust_env=False, verify=False, timeout=20) as client:
        response = await client.post(url, json=message(), headers=HEADERS)
    status: int = response.status_code
    return status


# --- callers of every kind


def test_loops_threads_and_plain_functions_share_one_refresh(login: Login, held: Held) -> None:
    """Four event loops of asyncio, two of trio, synchronous clients of both libraries, and `access_token` in three ways."""
    shared, url = login.oauth(), login.server.url
    answers: list[object] = []
    guard = threading.Lock()

    async def several() -> list[object]:
        found: list[object] = []

        async def one(library: Any, auth: OAuth) -> None:
            found.append(await ask(auth, url, library))

        async def token() -> None:
            found.append(bool(await access_token(url, storage=login.storage)))

        async with anyio.create_task_group() as group:
            for library in (httpx, httpx2):
                group.start_soon(one, library, shared)
                group.start_soon(one, library, login.oauth())
            group.start_soon(token)
        return found

    def synchronous(library: Any, auth: OAuth) -> list[object]:
        with library.Client(auth=auth, trust_env=False, verify=False, timeout=20) as client:
            return [client.post(url, json=message(), headers=HEADERS).status_code]

    callers: list[Callable[[], list[object]]] = [
        *[lambda: asyncio.run(several())] * 4,
        *[lambda: trio.run(several)] * 2,
        *[lambda: synchronous(httpx, shared), lambda: synchronous(httpx2, login.oauth())] * 3,
        lambda: [bool(mcp_login.sync.access_token(url, storage=login.storage))],
    ]

    def call(caller: Callable[[], list[object]]) -> None:
        found = caller()
        with guard:
            answers.extend(found)

    threads = [threading.Thread(target=call, args=(caller,)) for caller in callers]
    for thread in threads:
        thread.start()
    held.wait()
    held.let_go()
    for thread in threads:
        thread.join(30)
    assert answers.count(200) == 6 * 4 + 6
    assert answers.count(True) == 6 + 1
    assert len(answers) == 6 * 5 + 7
    assert_nothing_is_lost(login, shared)


def test_one_loop_after_another_uses_one_object(login: Login) -> None:
    """Each of them is closed when its requests are answered, with the connections that it made."""
    auth, url = login.oauth(), login.server.url
    for _ in range(3):
        assert asyncio.run(ask(auth, url)) == 200
        assert trio.run(ask, auth, url) == 200
        assert login.ask(auth=auth).status_code == 200
        login.server.expire_access_tokens()
    assert login.windows == 1
    assert login.server.reuse_detections == 0


# --- callers who give up in the midst of a refresh


async def by_cancel(auth: OAuth, url: str, held: Held) -> None:
    request = asyncio.ensure_future(ask(auth, url))
    await asyncio.to_thread(held.wait)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request


async def by_wait_for(auth: OAuth, url: str, held: Held) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.gather(ask(auth, url), asyncio.to_thread(held.wait)), 0.3)


async def by_timeout(auth: OAuth, url: str, held: Held) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await ask(auth, url)


async def by_scope(auth: OAuth, url: str, held: Held) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(ask, auth, url)
        await anyio.to_thread.run_sync(held.wait)
        group.cancel_scope.cancel()


async def by_closing_the_client(auth: OAuth, url: str, held: Held) -> None:
    transport = httpx.AsyncHTTPTransport(verify=False)
    client = httpx.AsyncClient(auth=auth, transport=transport, trust_env=False, timeout=20)
    request = asyncio.ensure_future(client.post(url, json=message(), headers=HEADERS))
    await asyncio.to_thread(held.wait)
    await client.aclose()
    held.let_go()
    assert (await request).status_code == 200
    # httpx opens a connection for it all the same, and never closes that one.
    await transport.aclose()


async def by_closing_the_flow_elsewhere(auth: OAuth, url: str, held: Held) -> None:
    flow = auth.async_auth_flow(httpx.Request("POST", url))
    waiting = asyncio.ensure_future(anext(flow))
    await asyncio.to_thread(held.wait)
    with pytest.raises(RuntimeError, match="already running"):
        await asyncio.create_task(flow.aclose())
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await asyncio.create_task(flow.aclose())


async def by_throwing_into_the_flow(auth: OAuth, url: str, held: Held) -> None:
    flow = auth.async_auth_flow(httpx.Request("POST", url))
    step = flow.asend(None)
    waited_for = step.send(None)  # as an event loop does, up to the wait for the refresh
    assert waited_for is not None
    await asyncio.to_thread(held.wait)
    with pytest.raises(GeneratorExit):
        step.throw(GeneratorExit)
    await flow.aclose()


async def by_forgetting_the_flow(auth: OAuth, url: str, held: Held) -> None:
    flow = auth.async_auth_flow(httpx.Request("POST", url))
    waiting = asyncio.ensure_future(anext(flow))
    await asyncio.to_thread(held.wait)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    del flow, waiting
    gc.collect()


GivesUp = Callable[["OAuth", str, Held], Awaitable[None]]


@pytest.mark.parametrize(
    "gives_up",
    [
        by_cancel,
        by_wait_for,
        by_timeout,
        by_scope,
        by_closing_the_client,
        by_closing_the_flow_elsewhere,
        by_throwing_into_the_flow,
        by_forgetting_the_flow,
    ],
    ids=lambda way: way.__name__,
)
def test_who_gives_up_on_asyncio_in_mid_refresh_spoils_nothing(login: Login, held: Held, gives_up: GivesUp) -> None:
    """The caller's loop is closed by the time at which the server answers."""
    auth = login.oauth()

    async def main() -> None:
        await gives_up(auth, login.server.url, held)

    asyncio.run(main())
    held.wait()
    held.let_go()
    assert_nothing_is_lost(login, auth)


def test_who_gives_up_on_trio_in_mid_refresh_spoils_nothing(login: Login, held: Held) -> None:
    auth = login.oauth()
    trio.run(by_scope, auth, login.server.url, held)
    held.let_go()
    assert_nothing_is_lost(login, auth)


def test_a_loop_that_is_closed_under_its_callers_spoils_nothing(login: Login, held: Held) -> None:
    """A program that stops its loop without ending its tasks: nobody is there to be told of the answer."""
    auth = login.oauth()
    loop = asyncio.new_event_loop()
    request = loop.create_task(ask(auth, login.server.url))
    loop.run_until_complete(asyncio.sleep(0))
    loop.run_until_complete(loop.run_in_executor(None, held.wait))
    request.cancel()
    loop.run_until_complete(asyncio.gather(request, return_exceptions=True))
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    held.let_go()
    assert_nothing_is_lost(login, auth)


def test_one_caller_who_gives_up_takes_nothing_from_those_who_wait_with_him(login: Login, held: Held) -> None:
    """On three loops: asyncio, trio, and a thread."""
    auth, url = login.oauth(), login.server.url
    answers: list[int] = []

    async def two() -> None:
        async with anyio.create_task_group() as group:
            who_leaves = anyio.CancelScope()

            async def one_who_leaves() -> None:
                with who_leaves:
                    await ask(auth, url)

            async def one_who_stays() -> None:
                answers.append(await ask(auth, url))

            group.start_soon(one_who_stays)
            group.start_soon(one_who_leaves)
            await anyio.to_thread.run_sync(held.wait)
            who_leaves.cancel()
            await anyio.to_thread.run_sync(left.wait, 20)

    left = threading.Barrier(3)
    targets: list[Callable[[], object]] = [
        lambda: asyncio.run(two()),
        lambda: trio.run(two),
        lambda: answers.append(login.ask(auth=auth).status_code),
    ]
    threads = [threading.Thread(target=target) for target in targets]
    for thread in threads:
        thread.start()
    left.wait(20)
    held.let_go()
    for thread in threads:
        thread.join(20)
    assert answers == [200, 200, 200]
    assert_nothing_is_lost(login, auth)


@pytest.mark.parametrize("status", [200, 401, 403])
def test_a_synchronous_flow_that_is_closed_at_any_step_spoils_nothing(login: Login, status: int) -> None:
    auth, url = login.oauth(), login.server.url
    assert login.ask(auth=auth).status_code == 200
    request = httpx.Request("POST", url)
    flow = auth.sync_auth_flow(request)
    assert next(flow) is request
    response = httpx.Response(status, request=request)
    with contextlib.suppress(StopIteration):
        flow.send(response)
    flow.close()
    assert login.ask(auth=auth).status_code == 200
    assert login.server.reuse_detections == 0
    assert login.windows == 1


# --- a copy of the process

FORKS = """
import asyncio, os, pathlib, signal, sys, threading
import anyio, httpx, trio
import mcp_login.sync
from mcp_login import FileStorage, OAuth

url, folder = sys.argv[1:]
storage = FileStorage(pathlib.Path(folder))
auth = OAuth(url, storage=storage, interactive=False)
message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
headers = {"accept": "application/json, text/event-stream"}

async def one():
    async with httpx.AsyncClient(auth=auth, trust_env=False, verify=False, timeout=20) as client:
        return (await client.post(url, json=message, headers=headers)).status_code

def plain():
    with httpx.Client(auth=auth, trust_env=False, verify=False, timeout=20) as client:
        return client.post(url, json=message, headers=headers).status_code

kinds = [lambda: asyncio.run(one()), lambda: trio.run(one), plain]
# Loaded before: a module that a thread is importing in the moment of a fork can never be imported in the child (CPython).
for run in (anyio.run, trio.run):
    run(anyio.sleep, 0)
answers = []
threads = [threading.Thread(target=lambda kind=kind: answers.append(kind())) for kind in kinds * 2]
for thread in threads:
    thread.start()
sys.stdin.readline()
children = []
for kind in kinds:
    child = os.fork()
    if child == 0:
        signal.alarm(25)
        try:
            answer = kind()
            token = mcp_login.sync.access_token(url, storage=storage)
            os._exit(0 if answer == 200 and token else 3)
        except BaseException as error:
            os.write(2, repr(error).encode())
            os._exit(4)
    children.append(child)
print("forked", flush=True)
ends = [os.waitpid(child, 0)[1] for child in children]
for thread in threads:
    thread.join()
print(answers, ends, flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_children_of_every_kind_that_are_forked_in_a_refresh_get_its_tokens(
    serve: Serve, person: Person, tmp_path: Path
) -> None:
    """Neither waits for a thread that stayed in the parent, nor sends the refresh token a second time."""
    server = serve()
    storage = FileStorage(tmp_path / "logins")
    login_of(server, person, storage=storage)
    age(storage, server.url, 7200)
    held = Held(server)
    # Forking beside threads is what is tested: Python 3.12 warns of it.
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKS, server.url, str(tmp_path / "logins")]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            held.wait()
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("go\n")
            process.stdin.flush()
            assert process.stdout.readline() == "forked\n"
            held.let_go()
            out, errors = process.communicate(timeout=40)
        finally:
            process.kill()
    assert (out, errors) == ("[200, 200, 200, 200, 200, 200] [0, 0, 0]\n", "")
    assert server.count("token", grant_type="refresh_token") == 1
    assert server.reuse_detections == 0
