"""Every await point of a refresh, and every way in which a caller may give up there.

The library's loop is stopped before each of its steps in turn, and the caller cancelled meanwhile: by asyncio's `cancel`,
`wait_for` and `timeout`, by scopes of anyio and trio, by `aclose` of its client; of a request, which leaves the work alone,
and of `access_token`, which takes it along as far as that may be. Afterwards the login is as good as before: the next
request succeeds, the refresh token was sent once, and no used one comes back.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import dataclasses
import socket
import threading
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest
import trio

import mcp_login.sync
from mcp_login import FileStorage, MemoryStorage, OAuth, access_token, login
from mcp_login.api import token_demand, token_session
from mcp_login.browser.listener import LoopbackListener, Outcome
from mcp_login.errors import AuthError
from mcp_login.storage.record import Record, record_key
from mcp_login.testing import Person
from tests.flows.stepping import LIMIT, Steps
from tests.flows.support import HEADERS, message, run, store, stored

if TYPE_CHECKING:
    from pathlib import Path

    from mcp_login import Storage
    from mcp_login.flight import Flight
    from mcp_login.testing import EmbeddedServer
    from tests.flows.conftest import Serve

__all__: list[str] = []

#: More than any refresh takes.
MOST_STEPS = 400


class Caller:
    """Somebody who waits for a refresh, in a thread and on a loop of its own, and gives up when told."""

    def __init__(self, server: EmbeddedServer, storage: Storage) -> None:
        self.server = server
        self.storage = storage
        self.over = threading.Event()

    async def request(self, client: httpx.AsyncClient | None = None) -> None:
        """Send a request: the refresh is not the caller's alone."""
        auth = OAuth(self.server.url, storage=self.storage, interactive=False)
        async with client or httpx.AsyncClient(trust_env=False, verify=False, timeout=20) as http:
            await http.post(self.server.url, json=message(), headers=HEADERS, auth=auth)

    async def token(self) -> None:
        """Call `access_token`: the refresh ends with the caller, as far as that may be."""
        await access_token(self.server.url, storage=self.storage)


#: Has `caller` wait in a way of its own, and gives what makes it give up; run in a thread.
Work = Callable[[], Awaitable[None]]
Tell = Callable[[Callable[[], object]], None]
Way = Callable[[Caller, Work, Tell], None]


def by_cancel(caller: Caller, work: Work, tell: Tell) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(work())
        tell(lambda: loop.call_soon_threadsafe(task.cancel))
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()

    asyncio.run(main())


def by_timeout(caller: Caller, work: Work, tell: Tell) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None) as limit:

                def expire() -> None:
                    with contextlib.suppress(RuntimeError):  # it has been left
                        limit.reschedule(loop.time())

                tell(lambda: loop.call_soon_threadsafe(expire))
                await work()

    asyncio.run(main())


def by_wait_for(caller: Caller, work: Work, tell: Tell) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        clock, ahead = loop.time, [0.0]
        loop.time = lambda: clock() + ahead[0]

        def expire() -> None:
            ahead[0] = 1000.0
            loop.call_soon_threadsafe(lambda: None)

        tell(expire)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(work(), 500)

    asyncio.run(main())


def by_anyio_scope(caller: Caller, work: Work, tell: Tell) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with anyio.CancelScope() as scope:
            tell(lambda: loop.call_soon_threadsafe(scope.cancel))
            await work()

    anyio.run(main)


def by_trio_scope(caller: Caller, work: Work, tell: Tell) -> None:
    async def main() -> None:
        token = trio.lowlevel.current_trio_token()

        def give_up() -> None:
            with contextlib.suppress(trio.RunFinishedError):
                token.run_sync_soon(scope.cancel)

        with trio.CancelScope() as scope:
            tell(give_up)
            await work()

    trio.run(main)


def by_aclose(caller: Caller, work: Work, tell: Tell) -> None:
    """The client is closed, and the task that waits in it cancelled, as a framework does that shuts down."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        client = httpx.AsyncClient(trust_env=False, verify=False, timeout=20)
        closing: list[asyncio.Task[None]] = []
        task = asyncio.ensure_future(caller.request(client))

        async def close() -> None:
            await client.aclose()
            task.cancel()

        tell(lambda: loop.call_soon_threadsafe(lambda: closing.append(asyncio.ensure_future(close()))))
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()
        if closing:
            await closing[0]

    asyncio.run(main())


def by_interrupt(caller: Caller, work: Work, tell: Tell) -> None:
    """Ctrl-C under `asyncio.run`: the main task is cancelled, and everything else of that loop after it."""
    runner = asyncio.Runner()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None
        tell(lambda: loop.call_soon_threadsafe(task.cancel))
        await work()

    with contextlib.suppress(asyncio.CancelledError), runner:
        runner.run(main())


WAYS: dict[str, Way] = {
    "cancel": by_cancel,
    "timeout": by_timeout,
    "wait_for": by_wait_for,
    "anyio": by_anyio_scope,
    "trio": by_trio_scope,
    "aclose": by_aclose,
    "interrupt": by_interrupt,
}


def expired_login(server: EmbeddedServer, storage: Storage) -> Record:
    """Leave a login in `storage` that has to be refreshed."""
    memory = MemoryStorage()
    server.sign_in(memory)
    record = stored(memory, server.url)
    assert record is not None
    assert record.expires_at is not None
    record = dataclasses.replace(record, expires_at=record.expires_at - 7200, obtained_at=record.obtained_at - 7200)
    store(storage, record)
    return record


def give_up_at(
    server: EmbeddedServer, storage: Storage, way: Way, call: str, step: int, caller: Caller | None = None
) -> bool:
    """Have a caller give up before step `step` of the library's loop; False where there was none of that number."""
    someone = Caller(server, storage) if caller is None else caller
    give_up: list[Callable[[], object]] = []
    failures: list[BaseException] = []

    def told(how: Callable[[], object]) -> None:
        give_up.append(how)

    def target() -> None:
        try:
            way(someone, getattr(someone, call), told)
        except BaseException as error:  # noqa: BLE001 - raised below
            failures.append(error)
        finally:
            someone.over.set()

    def then() -> None:
        # Its loop may be closed: it has all it wanted, and the library is tidying up.
        with contextlib.suppress(RuntimeError):
            give_up[0]()
        assert someone.over.wait(LIMIT), "the caller did not end"

    with Steps(step, then) as steps:
        thread = threading.Thread(target=target)
        thread.start()
        thread.join(LIMIT)
        assert not thread.is_alive(), f"stuck at step {step}"
    if failures:
        failures[0].add_note(f"at step {step}")
        raise failures[0]
    return steps.reached


def next_request(server: EmbeddedServer, storage: Storage) -> int:
    auth = OAuth(server.url, storage=storage, interactive=False)
    with httpx.Client(auth=auth, trust_env=False, verify=False, timeout=20) as client:
        return client.post(server.url, json=message(), headers=HEADERS).status_code


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", ["memory", "file"])
@pytest.mark.parametrize(
    ("way", "call"),
    [(way, call) for way in WAYS for call in ("request", "token") if (way, call) != ("aclose", "token")],
)
def test_a_caller_that_gives_up_at_any_await_point_of_a_refresh_loses_nothing(
    serve: Serve, tmp_path: Path, way: str, call: str, kind: str
) -> None:
    server = serve()
    storage: Storage = FileStorage(tmp_path / "logins") if kind == "file" else MemoryStorage()
    points = 0
    for step in range(1, MOST_STEPS):
        before = expired_login(server, storage)
        server.requests.clear()
        reached = give_up_at(server, storage, WAYS[way], call, step)
        assert next_request(server, storage) == 200, f"lost at step {step}"
        after = stored(storage, server.url)
        assert after is not None
        assert after.refresh_token != before.refresh_token
        assert server.count("token", refresh_token=before.refresh_token or "") == 1, f"step {step}"
        if not reached:
            break
        points += 1
    assert server.reuse_detections == 0
    # About 20: with all ways, both calls and both storages more than 500 cancellations.
    assert points >= 15, f"{points} await points were met: is the loop stopped at all?"


@pytest.mark.timeout(60)
@pytest.mark.parametrize("again", [False, True])
def test_work_that_is_itself_cancelled_at_any_await_point_loses_nothing(
    serve: Serve, tmp_path: Path, *, again: bool
) -> None:
    """As by the last of its callers; and once more at each step of its tidying up."""
    server = serve()
    storage = FileStorage(tmp_path / "logins")
    points = 0
    for step in range(1, MOST_STEPS):
        before = expired_login(server, storage)
        server.requests.clear()
        session = token_session(server.url, {"storage": storage})
        begun: concurrent.futures.Future[Flight] = concurrent.futures.Future()

        def cancel(begun: concurrent.futures.Future[Flight] = begun) -> None:
            begun.result(LIMIT).future.cancel()

        with Steps(step, cancel, repeat=again) as steps:
            begun.set_result(session.demand(token_demand(session, 30.0), abandonable=True))
            with contextlib.suppress(AuthError):
                begun.result().result(LIMIT)
            at_rest(server, storage)
        assert next_request(server, storage) == 200, f"lost at step {step}"
        assert server.count("token", refresh_token=before.refresh_token or "") == 1, f"step {step}"
        if not steps.reached:
            break
        points += 1
    assert points >= 15
    assert server.reuse_detections == 0


def at_rest(server: EmbeddedServer, storage: Storage) -> None:
    """Wait until whoever had the login's lock is done."""

    async def pass_through() -> None:
        async with storage.lock(record_key(server.url, None)):
            pass

    run(pass_through())


@pytest.mark.timeout(120)
@pytest.mark.parametrize("way", ["cancel", "timeout", "anyio", "trio"])
def test_a_login_that_is_given_up_at_any_await_point_keeps_what_the_server_gave(serve: Serve, way: str) -> None:
    """Before the code is sent it ends, and the next one succeeds; from then on until it is stored it can't be lost."""
    server = serve(auto_approve=True)
    kept = points = 0
    for step in range(1, MOST_STEPS):
        storage = MemoryStorage()
        server.requests.clear()
        person = Person.approves()
        caller = LoggingIn(server, storage, person)
        reached = give_up_at(server, storage, WAYS[way], "login", step, caller)
        at_rest(server, storage)
        with contextlib.suppress(
            RuntimeError
        ):  # the call that opens the browser may still be under way, and count for nothing
            person.join()
        given = [one for one in server.requests.matching("token") if one.status == 200]
        record = stored(storage, server.url)
        assert (record is not None) == bool(given), f"step {step}: given {len(given)}, stored {record is not None}"
        if record is None:
            again = Person.approves()
            options: Any = {"storage": storage, "interactive": True, "on_authorization_url": again}
            mcp_login.sync.login(server.url, **options)
            again.join()
        assert next_request(server, storage) == 200, f"step {step}"
        if not reached:
            break
        points += 1
        kept += bool(given)
    assert points >= 50
    assert 0 < kept < points


class LoggingIn(Caller):
    """Somebody who waits for a login."""

    def __init__(self, server: EmbeddedServer, storage: Storage, person: Person) -> None:
        super().__init__(server, storage)
        self._person = person

    async def login(self) -> None:
        """Log in; the login ends with the caller, as far as that may be."""
        await login(
            self.server.url,
            storage=self.storage,
            interactive=True,
            on_authorization_url=self._person,
            callback_timeout=15,
        )


@pytest.mark.anyio
@pytest.mark.parametrize("steps", range(5))
async def test_a_listener_that_is_given_up_while_it_starts_leaves_nothing_in_the_loop(steps: int) -> None:
    """A socket that is closed while the loop still watches its number: the next one of that number can't be used."""
    loop = asyncio.get_running_loop()
    listener = await LoopbackListener.open()
    waiting = asyncio.ensure_future(listener.receive(lambda query: Outcome.IGNORED))
    for _ in range(steps):
        await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await listener.aclose()
    with contextlib.ExitStack() as stack:
        for _ in range(8):
            for end in socket.socketpair():
                stack.enter_context(end)
                # Of a number that it knows, it would ask the system for a change, not for an addition.
                loop.add_writer(end, lambda: None)
                loop.remove_writer(end)
