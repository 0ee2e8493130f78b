"""Programs that go on while the real keychain is locked, killed or emptied under them: gnome-keyring on a bus of its own.

Field notes, "Keychain": locked when the screen saver comes, a daemon that is gone, items that somebody deletes. What a program
holds in memory goes on; nobody is asked to log in; what could not be saved is saved when it can be.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mcp_login import MemoryStorage
from mcp_login.storage.record import record_key
from mcp_login.testing import EmbeddedServer, Fault
from tests.real import parts
from tests.real.conftest import session_bus

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__: list[str] = []

if os.name == "nt":
    pytest.skip("the Secret Service is Linux's", allow_module_level=True)
assert sys.platform != "win32"  # so reads mypy

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(sys.platform != "linux", reason="the Secret Service is Linux's"),
    pytest.mark.timeout(120),
]

PASSWORD = "right"

_OWNER = (
    "gdbus call --session --dest org.freedesktop.DBus --object-path /org/freedesktop/DBus "
    "--method org.freedesktop.DBus.GetConnectionUnixProcessID"
)

#: The most that a request may take whose keychain is locked or gone, in seconds: on a busy machine, with a refresh.
BOUND = 12.0

#: How long what was kept in memory may wait for a keychain that is back, in seconds.
SAVED_SOON = 30.0


class Keychain:
    """A Secret Service of this test's own, and what somebody else does to it."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment

    def lock(self) -> None:
        """As the screen saver does."""
        self._run("lock")

    def unlock(self) -> None:
        """As the person does who comes back."""
        # With the line end that session_bus gives it.
        self._run("unlock", f"{PASSWORD}\n")

    def delete(self) -> None:
        """As another program does, or the person in a window."""
        self._run("delete")

    def save(self, text: str) -> None:
        """A login, as another program of ours leaves it."""
        self._run("save", text)

    def log_out(self, url: str) -> None:
        """As a person does in another process."""
        self._run("log_out", url)

    def kill(self) -> None:
        """The daemon dies. The bus starts another one when it is next asked for anything, and that one is locked."""
        found = subprocess.run(
            [*_OWNER.split(), "org.freedesktop.secrets"],
            env=self.environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=20,
        )
        number = re.search(r"uint32 (\d+)", found.stdout)
        assert number is not None
        os.kill(int(number[1]), signal.SIGKILL)

    def _run(self, do: str, text: str = "") -> None:
        done = subprocess.run(
            [sys.executable, "-m", "tests.real.keyring_hand", do],
            cwd=parts.ROOT,
            env=self.environment,
            input=text,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr


class Running:
    """A running program: keychain_program.py."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def tell(self, line: str) -> None:
        """Give it a line."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """Its answer."""
        assert self._process.stdout is not None
        found: dict[str, Any] = json.loads(self._process.stdout.readline())
        return found

    def ask(self) -> dict[str, Any]:
        """One request; it opened no window, and ended in time."""
        self.tell("ask")
        found = self.answer()
        assert found["windows"] == 0
        assert found["seconds"] < BOUND
        return found

    def stored(self) -> float | None:
        """When the stored tokens were obtained."""
        self.tell("stored")
        found: float | None = self.answer()["obtained_at"]
        return found

    def end(self) -> None:
        """It ends as programs do."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self._process.wait(20) == 0


Start = Callable[[], Running]


@contextmanager
def another_program(environment: dict[str, str], url: str) -> Iterator[Running]:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.real.keychain_program", url],
        cwd=parts.ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Running(process)
        finally:
            process.kill()


@pytest.fixture
def keychain() -> Iterator[Keychain]:
    """A keychain of this test's own, unlocked."""
    home = Path(tempfile.mkdtemp(prefix="mcp-login-"))
    try:
        with session_bus(home, password=PASSWORD) as environment:
            yield Keychain(environment)
    finally:
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def server(keychain: Keychain) -> Iterator[EmbeddedServer]:
    """A server; a login there is in the keychain. Rotation without grace, and detection of reuse."""
    with EmbeddedServer(refresh_revokes_access_tokens=True).run() as server:
        storage = MemoryStorage()
        server.sign_in(storage)
        keychain.save(storage.load_now(record_key(server.url, None), 0) or "")
        yield server


@pytest.fixture
def start(keychain: Keychain, server: EmbeddedServer) -> Iterator[Start]:
    """`start()`: a program that has none of the login in memory yet."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(another_program(keychain.environment, server.url))


def refreshes(server: EmbeddedServer) -> int:
    return server.count("token", grant_type="refresh_token")


def becomes_stored(program: Running, before: float | None) -> bool:
    """Whether the keychain gets newer tokens than those of `before`, soon."""
    over = threading.Event()
    watch = threading.Timer(SAVED_SOON, over.set)
    watch.start()
    try:
        while not over.is_set():
            now = program.stored()
            if now is not None and now != before:
                return True
            over.wait(0.2)
        return False
    finally:
        watch.cancel()


@pytest.mark.parametrize("what", ["lock", "kill", "delete"])
def test_a_token_in_memory_goes_on_whatever_happens_to_the_keychain(
    keychain: Keychain, server: EmbeddedServer, start: Start, what: str
) -> None:
    program = start()
    assert program.ask()["got"] == "200"
    getattr(keychain, what)()
    for _ in range(3):
        found = program.ask()
        assert (found["got"], found["warnings"]) == ("200", [])
    assert server.count("token") == 0


@pytest.mark.parametrize("what", ["lock", "kill"])
def test_a_refresh_without_the_keychain_is_kept_in_memory_with_a_warning_and_saved_when_it_is_back(
    keychain: Keychain, server: EmbeddedServer, start: Start, what: str
) -> None:
    program = start()
    assert program.ask()["got"] == "200"
    before = program.stored()
    getattr(keychain, what)()
    for count in (1, 2, 3):
        server.expire_access_tokens()
        found = program.ask()
        assert found["got"] == "200"
        assert refreshes(server) == count
        assert any("memory only" in text for text in found["warnings"]) or count > 1
    keychain.unlock()
    assert becomes_stored(program, before)
    # So the next program goes on where this one is, and no token comes back that was replaced.
    server.expire_access_tokens()
    assert start().ask()["got"] == "200"
    assert program.ask()["got"] == "200"
    assert server.reuse_detections == 0


def test_what_is_in_memory_is_saved_when_the_program_ends(
    keychain: Keychain, server: EmbeddedServer, start: Start
) -> None:
    """The keychain is back, but nothing was asked since: the end of the program is the last chance."""
    program = start()
    assert program.ask()["got"] == "200"
    keychain.lock()
    server.expire_access_tokens()
    assert program.ask()["got"] == "200"
    keychain.unlock()
    program.end()
    server.expire_access_tokens()
    assert start().ask()["got"] == "200"
    assert server.reuse_detections == 0


def test_a_program_that_starts_while_the_keychain_is_locked_finds_its_login_after_it_is_unlocked(
    keychain: Keychain, server: EmbeddedServer, start: Start
) -> None:
    """Started with the session, before the person has typed the keychain's password. Then nobody has to log in anew."""
    keychain.lock()
    program = start()
    program.tell("ask")
    found = program.answer()
    assert found["got"] != "200"
    assert found["seconds"] < BOUND
    keychain.unlock()
    program.tell("ask")
    assert program.answer()["got"] == "200"
    assert server.reuse_detections == 0


def test_a_program_with_tokens_of_before_does_not_use_them_behind_a_locked_keychain(
    keychain: Keychain, server: EmbeddedServer, start: Start
) -> None:
    """Another program has refreshed, and the keychain that has the new tokens is locked: the old one would end the login."""
    first, second = start(), start()
    assert (first.ask()["got"], second.ask()["got"]) == ("200", "200")
    server.expire_access_tokens()
    assert first.ask()["got"] == "200"
    keychain.lock()
    assert second.ask()["got"] != "200"
    assert server.reuse_detections == 0
    keychain.unlock()
    assert second.ask()["got"] == "200"
    assert refreshes(server) == 1


def test_two_programs_do_not_both_refresh_behind_a_locked_keychain(
    keychain: Keychain, server: EmbeddedServer, start: Start
) -> None:
    """Both hold the same tokens, and can't see what the other makes of them: the second refresh would end the login."""
    first, second = start(), start()
    assert (first.ask()["got"], second.ask()["got"]) == ("200", "200")
    keychain.lock()
    server.expire_access_tokens()
    assert first.ask()["got"] == "200"
    assert second.ask()["got"] != "200"
    assert (refreshes(server), server.reuse_detections) == (1, 0)
    keychain.unlock()
    assert first.ask()["got"] == "200"


def test_a_login_that_another_program_deleted_lives_on_in_memory_and_is_saved_with_the_next_refresh(
    keychain: Keychain, server: EmbeddedServer, start: Start
) -> None:
    """Somebody cleaned up the keychain. It was no logout: that would have taken the login from the list, too."""
    program = start()
    assert program.ask()["got"] == "200"
    keychain.delete()
    server.expire_access_tokens()
    assert program.ask()["got"] == "200"
    assert program.stored() is not None
    assert (refreshes(server), server.reuse_detections) == (1, 0)


def test_a_login_that_was_ended_by_another_process_is_not_brought_back(
    keychain: Keychain, server: EmbeddedServer, start: Start
) -> None:
    """Even where the server can't revoke: who logs out means it."""
    server.reconfigure(revocation=False)
    program = start()
    assert program.ask()["got"] == "200"
    keychain.log_out(server.url)
    server.expire_access_tokens()
    program.tell("ask")
    assert program.answer()["got"] == "LoginTimeout"
    assert program.stored() is None
    assert refreshes(server) == 0


def test_a_daemon_that_is_killed_while_a_refresh_is_under_way_costs_nothing(
    keychain: Keychain, server: EmbeddedServer, start: Start
) -> None:
    """The server has rotated, and the keychain that should take the new tokens is gone: the only copy is in memory."""
    program = start()
    assert program.ask()["got"] == "200"
    before = program.stored()
    server.expire_access_tokens()
    answers = threading.Event()
    server.faults.token_endpoint = Fault(wait_for=answers)
    program.tell("ask")
    server.requests.wait_for("token", grant_type="refresh_token")
    keychain.kill()
    answers.set()
    found = program.answer()
    assert (found["got"], found["windows"]) == ("200", 0)
    assert found["seconds"] < BOUND
    keychain.unlock()
    assert becomes_stored(program, before)
    server.expire_access_tokens()
    assert start().ask()["got"] == "200"
    assert server.reuse_detections == 0
