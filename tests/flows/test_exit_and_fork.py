"""The end of a process, its copies, and keychains and locks that don't answer.

DESIGN section 2, "Two paths": every wait has a limit, the exit of a process too; DESIGN section 3, "Storage."
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from keyring.errors import KeyringLocked, PasswordSetError

import mcp_login.sync
from mcp_login import FileStorage, KeychainStorage, LoginTimeout, MemoryStorage, StorageWarning, TransportError
from mcp_login.storage.record import client_key, record_key
from mcp_login.testing import Fault
from tests.flows.support import Login, age, login_of, stored
from tests.unit.storage.keyrings import MemoryKeyring

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mcp_login import Storage
    from mcp_login.testing import Person
    from tests.flows.conftest import Serve

__all__: list[str] = []

posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")


Program = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def program() -> Iterator[Program]:
    """`program(code, *arguments)`: another interpreter, which is ended with the test."""
    with contextlib.ExitStack() as stack:

        def start(code: str, *arguments: str) -> subprocess.Popen[str]:
            # Forking beside threads is what is tested: Python 3.12 warns of it.
            command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code, *arguments]
            pipe = subprocess.PIPE
            process = stack.enter_context(subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True))
            stack.callback(process.kill)
            return process

        yield start


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def tell(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


# --- the end of a process

DEAD_KEYCHAIN = """
import asyncio, sys, threading
from keyring.backend import KeyringBackend
from mcp_login import FileStorage, KeychainStorage, access_token

class Dead(KeyringBackend):
    priority = 1
    reading = sys.argv[3] == "reading"

    def get_password(self, service, username):
        if self.reading:
            threading.Event().wait()
        return value if service == f"mcp-login:{url}" else None

    def set_password(self, service, username, password):
        hangs.set()
        threading.Event().wait()

hangs = threading.Event()
from mcp_login.storage.envelope import seal
url = sys.argv[1]
value = seal(asyncio.run(FileStorage(__import__("pathlib").Path(sys.argv[2])).load(url)), key=url, generation=1)

async def main():
    call = asyncio.ensure_future(access_token(url, storage=KeychainStorage(backend=Dead()), min_valid_for=5000))
    if Dead.reading:
        await asyncio.wait([call], timeout=0.5)
    else:
        assert await asyncio.to_thread(hangs.wait, 10)
    call.cancel()

asyncio.run(main())
print("leaving", flush=True)
"""


@pytest.mark.alone
@pytest.mark.parametrize("hangs_in", ["reading", "writing"])
def test_a_program_ends_although_its_keychain_hangs(
    serve: Serve, person: Person, program: Program, tmp_path: Path, hangs_in: str
) -> None:
    """Ctrl-C means now: a write under way gets a moment, no more."""
    server = serve()
    login = login_of(server, person, storage=FileStorage(tmp_path / "logins"))
    process = program(DEAD_KEYCHAIN, login.server.url, str(tmp_path / "logins"), hangs_in)
    assert line(process) == "leaving"
    began = time.monotonic()
    _, errors = process.communicate(timeout=10)
    took = time.monotonic() - began
    assert (process.returncode, errors) == (0, "")
    # A second, and what a busy machine takes to end an interpreter.
    assert took < 2.0


LEAVES_IN_A_REFRESH = """
import asyncio, pathlib, sys
from mcp_login import FileStorage, access_token

async def main():
    storage = FileStorage(pathlib.Path(sys.argv[2]))
    call = asyncio.ensure_future(access_token(sys.argv[1], storage=storage, min_valid_for=5000))
    await asyncio.to_thread(sys.stdin.readline)
    call.cancel()

asyncio.run(main())
print("leaving", flush=True)
"""


def test_a_program_that_ends_in_a_refresh_keeps_the_rotated_token(
    serve: Serve, person: Person, program: Program, tmp_path: Path
) -> None:
    """The server has rotated by then: whoever leaves without the answer loses the session to reuse detection."""
    server = serve()
    storage = FileStorage(tmp_path / "logins")
    login = login_of(server, person, storage=storage)
    before = login.record
    answers = threading.Event()
    server.faults.token_endpoint = Fault(wait_for=answers)
    process = program(LEAVES_IN_A_REFRESH, server.url, str(tmp_path / "logins"))
    server.requests.wait_for("token", grant_type="refresh_token")
    tell(process)
    assert line(process) == "leaving"
    answers.set()
    _, errors = process.communicate(timeout=10)
    assert (process.returncode, errors) == (0, "")
    after = stored(storage, server.url)
    assert before is not None
    assert after is not None
    assert after.refresh_token != before.refresh_token
    mcp_login.sync.access_token(server.url, storage=storage, min_valid_for=5000)
    assert server.reuse_detections == 0


# --- forks

FORKS_IN_A_REFRESH = """
import asyncio, os, pathlib, sys, threading
import httpx
from mcp_login import FileStorage, MemoryStorage, OAuth
from mcp_login.errors import AuthError

url, folder, kind = sys.argv[1:]
storage = FileStorage(pathlib.Path(folder))
if kind == "memory":
    text = asyncio.run(storage.load(url))
    storage = MemoryStorage()
    asyncio.run(storage.save(url, text))
auth = OAuth(url, storage=storage, interactive=False)

def ask():
    message = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    try:
        with httpx.Client(auth=auth, trust_env=False, verify=False, timeout=10) as client:
            return client.post(url, json=message).status_code
    except AuthError as error:
        return type(error).__name__

thread = threading.Thread(target=ask)
thread.start()
sys.stdin.readline()
child = os.fork()
if child == 0:
    print("child:", ask(), flush=True)
    os._exit(0)
thread.join()
print("parent:", ask(), os.waitpid(child, 0)[1], flush=True)
"""


@posix
@pytest.mark.parametrize("kind", ["file", "memory"])
def test_a_child_that_was_forked_in_a_refresh_waits_for_nobody_who_is_not_there(
    serve: Serve, person: Person, program: Program, tmp_path: Path, kind: str
) -> None:
    """The thread that refreshes stays in the parent; its locks and its work must not be waited for in the child."""
    server = serve(rotation_grace=60)
    storage = FileStorage(tmp_path / "logins")
    login_of(server, person, storage=storage)
    age(storage, server.url, 7200)
    answers = threading.Event()
    server.faults.token_endpoint = Fault(wait_for=answers)
    process = program(FORKS_IN_A_REFRESH, server.url, str(tmp_path / "logins"), kind)
    server.requests.wait_for("token", grant_type="refresh_token")
    tell(process)
    if kind == "memory":
        # Its copy of the storage is its own: it refreshes without the parent, which still waits for its answer.
        assert line(process) == "child: 200"
    answers.set()
    out, errors = process.communicate(timeout=15)
    assert errors == ""
    assert sorted(out.split("\n")) == sorted(["", "parent: 200 0", *(["child: 200"] if kind == "file" else [])])
    assert server.reuse_detections == 0


FORKS_WITH_UNSAVED_TOKENS = """
import os, pathlib, signal, sys, warnings
import httpx
import mcp_login.renewal
from mcp_login import FileStorage, OAuth, StorageUnavailable
from mcp_login.errors import AuthError

warnings.simplefilter("ignore")
mcp_login.renewal.PEER_LIMIT = 0.5
url, folder, leaves = sys.argv[1:]

class Full(FileStorage):
    async def compare_and_set(self, key, expected, value):
        raise StorageUnavailable("No space left on device.")

auth = OAuth(url, storage=Full(pathlib.Path(folder)), interactive=False)

def ask():
    message = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    try:
        with httpx.Client(auth=auth, trust_env=False, verify=False, timeout=10) as client:
            return client.post(url, json=message).status_code
    except AuthError as error:
        return type(error).__name__

print(ask(), flush=True)  # refreshed, and not saved
sys.stdin.readline()
here, there = os.pipe()
child = os.fork()
if child == 0:
    if leaves == "leaves":
        os.close(there)
        os.read(here, 1)  # until the parent is gone
    print("child:", ask(), flush=True)
    os._exit(0)
if leaves == "leaves":
    os.kill(os.getpid(), signal.SIGKILL)
os.waitpid(child, 0)
print("parent:", ask(), flush=True)
"""


@posix
@pytest.mark.parametrize("parent", ["stays", "leaves"])
def test_of_a_parent_and_its_child_one_uses_the_tokens_that_could_not_be_saved(
    serve: Serve, person: Person, program: Program, tmp_path: Path, parent: str
) -> None:
    """The child's copy is the parent's, until that is gone: two that send one refresh token would end the login."""
    server = serve(refresh_revokes_access_tokens=True)
    storage = FileStorage(tmp_path / "logins")
    login_of(server, person, storage=storage)
    age(storage, server.url, 7200)
    process = program(FORKS_WITH_UNSAVED_TOKENS, server.url, str(tmp_path / "logins"), parent)
    assert line(process) == "200"
    server.expire_access_tokens()
    tell(process)
    out, errors = process.communicate(timeout=20)
    assert errors == ""
    assert out.splitlines() == (["child: TransportError", "parent: 200"] if parent == "stays" else ["child: 200"])
    assert server.reuse_detections == 0


# --- locks that somebody else holds


@contextlib.contextmanager
def held(storage: Storage, key: str) -> Iterator[None]:
    """The lock of `key`, held by somebody who never lets go of it."""
    holds, over = threading.Event(), threading.Event()

    async def hold() -> None:
        async with storage.lock(key):
            holds.set()
            await anyio.to_thread.run_sync(over.wait)

    thread = threading.Thread(target=anyio.run, args=(hold,))
    thread.start()
    try:
        assert holds.wait(10)
        yield
    finally:
        over.set()
        thread.join()


@pytest.fixture(params=["memory", "file"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    return MemoryStorage() if request.param == "memory" else FileStorage(tmp_path / "logins")


def test_a_refresh_waits_for_a_lock_with_a_limit(
    serve: Serve, person: Person, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve()
    login = login_of(server, person, storage=storage)
    age(storage, server.url, 7200)
    monkeypatch.setattr("mcp_login.renewal.LOCK_LIMIT", 0.2)
    with held(storage, record_key(server.url, None)):
        with pytest.raises(TransportError, match="has been under way"):
            mcp_login.sync.access_token(server.url, storage=storage)
        monkeypatch.setattr("mcp_login.renewal.LOGIN_LOCK_LIMIT", 0.2)
        with pytest.raises(TransportError, match="has been under way"):
            mcp_login.sync.login(server.url, **login.options, force=True)
    assert login.windows == 1
    assert mcp_login.sync.access_token(server.url, storage=storage)


def test_a_logout_does_not_wait_for_ever_for_a_login_elsewhere(
    serve: Serve, person: Person, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve()
    login_of(server, person, storage=storage)
    monkeypatch.setattr("mcp_login.revocation.LOCK_LIMIT", 0.2)
    with held(storage, record_key(server.url, None)):
        result = mcp_login.sync.logout(server.url, storage=storage)
    assert (result.deleted, result.revoked) == (True, True)
    assert stored(storage, server.url) is None


def test_a_login_queues_for_a_redirect_uri_with_a_limit(
    serve: Serve, person: Person, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A registration has one redirect URI, and a login of another program may have it open."""
    server = serve()
    login = Login(server, person, storage=storage, callback_timeout=0.1)
    monkeypatch.setattr("mcp_login.grants.authorization_code.QUEUE_GRACE", 0.1)
    with held(storage, client_key(server.issuer, "mcp-login")), pytest.raises(LoginTimeout, match="redirect URI"):
        mcp_login.sync.login(server.url, **login.options)
    assert login.windows == 0


# --- values that are torn, not stored, or out of reach


def test_torn_files_are_replaced(serve: Serve, person: Person, tmp_path: Path) -> None:
    """The error says "Log in again": then that must work, with the registration torn as well."""
    server = serve()
    folder = tmp_path / "logins"
    login = login_of(server, person, storage=FileStorage(folder))
    for path in folder.glob("*.login"):
        path.write_text(path.read_text()[:50])
    auth = login.oauth(storage=FileStorage(folder))
    assert login.ask(auth=auth).status_code == 200
    assert stored(FileStorage(folder), server.url) is not None
    for path in folder.glob("*.login"):
        path.write_text("")
    mcp_login.sync.login(server.url, **{**login.options, "storage": FileStorage(folder)}, force=True)
    assert stored(FileStorage(folder), server.url) is not None
    assert login.windows == 3


class Keyring(MemoryKeyring):
    """Works until `reads` or `writes` says what it raises."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: Callable[[], Exception] | None = None
        self.writes: Callable[[], Exception] | None = None

    def get_password(self, service: str, username: str) -> str | None:
        if self.reads is not None:
            raise self.reads()
        return super().get_password(service, username)

    def set_password(self, service: str, username: str, password: str) -> None:
        if self.writes is not None:
            raise self.writes()
        super().set_password(service, username, password)


def test_tokens_that_could_not_be_stored_stay_good_and_are_stored_later(serve: Serve, person: Person) -> None:
    """Tokens in memory are no reason to ask a person again, nor to forget them once the keychain takes values."""
    server = serve()
    keyring = Keyring()
    keyring.writes = lambda: PasswordSetError("too long")
    storage = KeychainStorage(backend=keyring)
    login = Login(server, person, storage=storage)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StorageWarning)
        for _ in range(3):
            assert login.ask().status_code == 200
            server.expire_access_tokens()
    assert stored(storage, server.url) is None
    keyring.writes = None
    assert login.ask().status_code == 200
    record = stored(storage, server.url)
    assert record is not None
    assert login.ask(auth=login.oauth()).status_code == 200
    assert login.windows == 1
    assert server.reuse_detections == 0


def test_a_keychain_that_locks_in_mid_session_opens_no_browser(serve: Serve, person: Person) -> None:
    """The screen saver locks it: what this process holds is as good as before."""
    server = serve()
    keyring = Keyring()
    storage = KeychainStorage(backend=keyring)
    login = login_of(server, person, storage=storage)
    keyring.reads = keyring.writes = lambda: KeyringLocked("locked")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StorageWarning)
        for _ in range(3):
            server.expire_access_tokens()
            assert login.ask().status_code == 200
    keyring.reads = keyring.writes = None
    server.expire_access_tokens()
    assert login.ask().status_code == 200
    assert login.ask(auth=login.oauth()).status_code == 200
    assert login.windows == 1
    assert server.reuse_detections == 0


def test_the_person_is_told_that_the_tokens_are_in_memory_only(serve: Serve, person: Person) -> None:
    server = serve()
    keyring = Keyring()
    login = login_of(server, person, storage=KeychainStorage(backend=keyring))
    keyring.reads = keyring.writes = lambda: KeyringLocked("locked")
    server.expire_access_tokens()
    with pytest.warns(StorageWarning, match="memory only") as caught:
        assert login.ask().status_code == 200
    said: Any = caught[0].message
    assert not any(secret in str(said) for secret in server.secrets())
