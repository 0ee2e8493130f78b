"""One refresh and one login for any number of tasks, threads, loops, objects and processes.

DESIGN section 2, "Two paths", section 3, "Refreshing"; FIELD-NOTES, "Concurrency", "Refresh", "Login".
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import httpx2
import pytest
import trio

import mcp_login.sync
from mcp_login import AuthorizationErrorResponse, FileStorage, MemoryStorage, OAuth, TransportError, login
from mcp_login.testing import EmbeddedServer, Fault, Person
from tests.flows.support import HEADERS, Login, age, edit, in_threads, login_of, message, stored

if TYPE_CHECKING:
    from pathlib import Path

    from tests.flows.conftest import Serve

__all__: list[str] = []


def refreshes(server: EmbeddedServer) -> int:
    return server.count("token", grant_type="refresh_token")


async def ask(client: Any, url: str) -> int:
    response = await client.post(url, json=message(), headers=HEADERS)
    status: int = response.status_code
    return status


@pytest.mark.anyio
@pytest.mark.parametrize("known", [True, False], ids=["known to be expired", "refused by the server"])
async def test_two_hundred_tasks_with_one_expired_token_make_one_token_request(
    serve: Serve, person: Person, known: bool
) -> None:
    server = serve()
    login = login_of(server, person)
    if known:
        age(login.storage, server.url, 7200)
    server.expire_access_tokens()
    auth = login.oauth()
    limits = httpx.Limits(max_connections=20)
    async with httpx.AsyncClient(auth=auth, trust_env=False, verify=False, timeout=25, limits=limits) as client:
        answers = await asyncio.gather(*(ask(client, server.url) for _ in range(200)))
    assert answers == [200] * 200
    assert refreshes(server) == 1
    assert server.reuse_detections == 0
    assert login.windows == 1


def test_twenty_threads_make_one_token_request(serve: Serve, person: Person) -> None:
    server = serve()
    login = login_of(server, person)
    age(login.storage, server.url, 7200)
    server.expire_access_tokens()
    auth = login.oauth()
    assert in_threads(20, lambda _: login.ask(auth=auth).status_code) == [200] * 20
    assert refreshes(server) == 1


def test_twenty_threads_with_an_object_each_make_one_token_request(
    serve: Serve, person: Person, tmp_path: Path
) -> None:
    """Two programs refresh the same rotating token: here each has its own view of the same folder, too."""
    server = serve()
    login = login_of(server, person, storage=FileStorage(tmp_path / "logins"))
    age(login.storage, server.url, 7200)
    server.expire_access_tokens()
    answers = in_threads(
        20, lambda _: login.ask(auth=login.oauth(storage=FileStorage(tmp_path / "logins"))).status_code
    )
    assert answers == [200] * 20
    assert refreshes(server) == 1
    assert server.reuse_detections == 0


def test_asyncio_trio_and_synchronous_callers_share_one_token_request(serve: Serve, person: Person) -> None:
    """A provider bound to one event loop; no sync client (python-sdk#309)."""
    server = serve()
    login = login_of(server, person)
    age(login.storage, server.url, 7200)
    server.expire_access_tokens()
    auth = login.oauth()

    async def many() -> list[int]:
        answers: list[int] = []
        async with (
            httpx2.AsyncClient(auth=auth, trust_env=False, verify=False, timeout=20) as client,
            anyio.create_task_group() as group,
        ):

            async def one() -> None:
                answers.append(await ask(client, server.url))

            for _ in range(5):
                group.start_soon(one)
        return answers

    def caller(number: int) -> list[int]:
        if number % 3 == 0:
            return asyncio.run(many())
        if number % 3 == 1:
            return trio.run(many)
        return [login.ask(auth=auth).status_code]

    assert {status for answers in in_threads(6, caller) for status in answers} == {200}
    assert refreshes(server) == 1
    assert login.windows == 1


PROGRAM = """
import sys
import httpx
from pathlib import Path
from mcp_login import FileStorage, OAuth
url, folder = sys.argv[1:]
auth = OAuth(url, storage=FileStorage(Path(folder)), interactive=False)
with httpx.Client(auth=auth, trust_env=False, verify=False, timeout=20) as client:
    print("ready", flush=True)
    sys.stdin.readline()
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    answers = [client.post(url, json=message, headers={"accept": "application/json, text/event-stream"}) for _ in range(3)]
print(*[answer.status_code for answer in answers], flush=True)
"""


@pytest.mark.parametrize("known", [True, False], ids=["known to be expired", "refused by the server"])
def test_four_processes_with_one_expired_token_make_one_token_request(
    serve: Serve, person: Person, tmp_path: Path, known: bool
) -> None:
    """claude-code#84440, goose#12016, gemini-cli#29048: two processes refresh the same rotating token."""
    server = serve(refresh_revokes_access_tokens=True)
    folder = tmp_path / "logins"
    login = login_of(server, person, storage=FileStorage(folder))
    if known:
        age(login.storage, server.url, 7200)
    server.expire_access_tokens()
    command = [sys.executable, "-W", "error", "-c", PROGRAM, server.url, str(folder)]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ.copy())
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.communicate(timeout=25)[0] for process in processes]
    assert said == ["200 200 200\n"] * 4
    assert refreshes(server) == 1
    assert server.reuse_detections == 0


def test_a_process_that_dies_in_a_refresh_frees_the_lock(serve: Serve, person: Person, tmp_path: Path) -> None:
    """DESIGN: a dead holder frees it."""
    server = serve(rotation_grace=60)
    folder = tmp_path / "logins"
    login = login_of(server, person, storage=FileStorage(folder))
    age(login.storage, server.url, 7200)
    go = threading.Event()
    server.faults.token_endpoint = Fault(wait_for=go)
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, server.url, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ.copy(),
    )
    assert process.stdin is not None
    process.stdin.write(b"go\n")
    process.stdin.flush()
    server.requests.wait_for("token", grant_type="refresh_token")
    process.kill()
    process.communicate(timeout=10)
    go.set()
    assert login.ask(auth=login.oauth()).status_code == 200
    assert login.windows == 1


@pytest.mark.anyio
async def test_fifty_tasks_without_credentials_open_one_window(serve: Serve, person: Person) -> None:
    """Browser storms: one login at a time per resource and account, whatever asks for it."""
    server = serve()
    login = Login(server, person)
    async with httpx.AsyncClient(auth=login.auth, trust_env=False, verify=False, timeout=25) as client:
        answers = await asyncio.gather(*(ask(client, server.url) for _ in range(50)))
    assert answers == [200] * 50
    assert login.windows == 1
    assert server.count("registration") == 1


@pytest.mark.anyio
async def test_whatever_asks_at_once_opens_one_window(serve: Serve, person: Person) -> None:
    server = serve()
    program = Login(server, person)
    options = program.options

    async def by_function() -> None:
        await login(server.url, **options)

    async def by_client(auth: OAuth) -> None:
        async with httpx2.AsyncClient(auth=auth, trust_env=False, verify=False, timeout=20) as client:
            assert await ask(client, server.url) == 200

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(by_function)
            group.start_soon(by_client, program.oauth())
            group.start_soon(by_client, program.auth)
            group.start_soon(anyio.to_thread.run_sync, lambda: mcp_login.sync.login(server.url, **options))
            group.start_soon(anyio.to_thread.run_sync, lambda: program.ask())  # noqa: PLW0108 - for mypy
    assert program.windows == 1


def test_a_denial_is_told_to_all_who_waited(serve: Serve) -> None:
    server = serve()
    person = Person.denies()
    login = Login(server, person)
    raised: list[BaseException] = []

    def one(_: int) -> None:
        with pytest.raises(AuthorizationErrorResponse) as caught:
            login.ask()
        raised.append(caught.value)

    in_threads(10, one)
    assert login.windows == 1
    # Each has an error of its own: they are raised in ten threads at once.
    assert len({id(error) for error in raised}) == 10
    person.join()


def test_logins_of_several_accounts_that_share_a_registration_queue(serve: Serve, person: Person) -> None:
    """DESIGN: logins that share a registration queue. They have one redirect URI."""
    server = serve(any_loopback_port=False)
    storage = MemoryStorage()
    login = Login(server, person, storage=storage)

    def one(number: int) -> int:
        return login.ask(auth=login.oauth(account=f"account {number}")).status_code

    assert in_threads(4, one) == [200] * 4
    assert login.windows == 4
    assert server.count("registration") == 1
    tokens = {getattr(stored(storage, server.url, f"account {number}"), "access_token", None) for number in range(4)}
    assert len(tokens - {None}) == 4


def test_one_object_outlives_the_event_loops_it_is_used_in(serve: Serve, person: Person) -> None:
    server = serve()
    login = Login(server, person)

    async def once() -> int:
        async with httpx.AsyncClient(auth=login.auth, trust_env=False, verify=False, timeout=20) as client:
            return await ask(client, server.url)

    for _ in range(3):
        assert asyncio.run(once()) == 200
        assert trio.run(once) == 200
        server.expire_access_tokens()
    assert login.windows == 1


def test_parallel_requests_do_not_wait_for_one_that_is_slow(serve: Serve, person: Person) -> None:
    """python-sdk#3209: five parallel requests run one by one."""
    server = serve()
    login = login_of(server, person)
    go = threading.Event()
    server.faults.mcp_endpoint = Fault(wait_for=go, times=5)
    answers: list[int] = []
    threads = [threading.Thread(target=lambda: answers.append(login.ask().status_code)) for _ in range(5)]
    for thread in threads:
        thread.start()
    server.requests.wait_for("mcp", times=2 + 5)  # all five have arrived, none was answered
    assert answers == []
    go.set()
    for thread in threads:
        thread.join(10)
    assert answers == [200] * 5


FORK = """
import os, sys, threading
from pathlib import Path
import httpx
from mcp_login import FileStorage, OAuth
from mcp_login.testing import EmbeddedServer, Person
storage, person = FileStorage(Path(sys.argv[1])), Person.approves()
with EmbeddedServer().run() as server:
    def ask(auth):
        with httpx.Client(auth=auth, trust_env=False, verify=False, timeout=5) as client:
            return client.post(server.url, json={"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).status_code
    auth = OAuth(server.url, storage=storage, on_authorization_url=person, interactive=True)
    assert ask(auth) == 200
    server.expire_access_tokens()
    if MIDDLE:
        from mcp_login.testing import Fault
        go = threading.Event()
        server.faults.token_endpoint = Fault(wait_for=go)
        thread = threading.Thread(target=ask, args=(auth,))
        thread.start()
        server.requests.wait_for("token", grant_type="refresh_token")
    child = os.fork()
    if child == 0:
        import signal
        signal.alarm(4)
        os._exit(0 if ask(auth) == 200 else 3)
    if MIDDLE:
        go.set()
        thread.join()
    print(os.waitpid(child, 0)[1], flush=True)
"""


def fork(folder: Path, *, middle: bool) -> str:
    code = FORK.replace("MIDDLE", str(middle))
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code, str(folder)],
        capture_output=True,
        text=True,
        check=False,
        timeout=25,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_an_object_works_in_a_forked_process(tmp_path: Path) -> None:
    """DESIGN: "It restarts after fork"."""
    assert fork(tmp_path, middle=False) == "0"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_an_object_works_in_a_process_that_was_forked_during_a_refresh(tmp_path: Path) -> None:
    assert fork(tmp_path, middle=True) == "0"


def test_a_refresh_that_fails_is_told_to_all_who_waited_and_costs_a_few_requests(
    serve: Serve, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody opens a window, and a server in trouble isn't asked by each of them."""
    monkeypatch.setattr("mcp_login.network.retry.PAUSES", (0.1, 0.1))
    server = serve(rotation_grace=60)
    login = login_of(server, person)
    age(login.storage, server.url, 7200)
    server.faults.token_endpoint = Fault(status=503, times=None)
    auth = login.oauth()
    began = threading.Barrier(20)

    def one(_: int) -> None:
        began.wait(10)
        with pytest.raises(TransportError, match="could not be refreshed"):
            login.ask(auth=auth)

    in_threads(20, one)
    # Two for each that found nobody to join: with a pause of a tenth of a second those are few.
    assert refreshes(server) <= 6
    assert login.windows == 1
    server.faults.clear()
    assert login.ask(auth=auth).status_code == 200


def test_a_peers_newer_token_is_adopted_although_its_clock_is_ahead(
    serve: Serve, person: Person, tmp_path: Path
) -> None:
    """Machines that share a storage: what another one stored is no worse for its clock, as far as a 401 goes."""
    server = serve()
    login = login_of(server, person, storage=FileStorage(tmp_path))
    server.expire_access_tokens()
    peer = login.oauth(storage=FileStorage(tmp_path))
    assert login.ask(auth=peer).status_code == 200
    record = login.record
    assert record is not None
    edit(
        login.storage,
        server.url,
        obtained_at=record.obtained_at + 30,
        expires_at=(record.expires_at or 0.0) + 30,
    )
    assert login.ask().status_code == 200
    assert refreshes(server) == 1
    assert login.windows == 1
