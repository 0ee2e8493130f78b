"""Programs whose keychain is locked, opened again and emptied under them.

The real one: tests/real/test_secret_service_sessions.py.

Each `KeychainStorage` of its own is a program of its own here: they share the keychain, and the folder with its locks.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import gc
import queue
import threading
import warnings
import weakref
from typing import TYPE_CHECKING

import pytest
from keyring.errors import KeyringLocked, PasswordSetError

import mcp_login.sync
from mcp_login import KeychainStorage, StorageError, StorageLocked, StorageWarning, TransportError
from mcp_login.portal import portal
from mcp_login.protocol.client import ClientInformation
from mcp_login.saving import save_later, saving_pauses
from mcp_login.session import Session
from mcp_login.storage.ended import note_ended
from mcp_login.storage.index import Index
from mcp_login.storage.lock import FileLock
from mcp_login.storage.paths import data_path
from mcp_login.storage.record import Record, record_key
from mcp_login.storage.wanted import ask_to_save
from mcp_login.unsaved import Unsaved, settled, waiting_for
from tests.flows.support import Login, age, login_of, store, stored
from tests.unit.storage.keyrings import MemoryKeyring

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from mcp_login import Storage
    from mcp_login.flight import Demand, Renewed
    from mcp_login.grants.base import Grant
    from mcp_login.testing import EmbeddedServer, Person
    from tests.flows.conftest import Serve

__all__: list[str] = []

URL = "https://mcp.example/mcp"


class Keychain(MemoryKeyring):
    """Can be locked, and says so at once."""

    def __init__(self) -> None:
        super().__init__()
        self.locked = False
        #: How many calls it still refuses, though it is open.
        self.refusals = 0
        #: Whether it can be read, and not written to: real ones raise a plain error then.
        self.read_only = False
        #: Released for each call that was refused.
        self.refused = threading.Semaphore(0)
        #: Set as soon as something was saved.
        self.saved = threading.Event()

    def open(self) -> None:
        """As the person does."""
        self.locked = False

    def _require_open(self) -> None:
        refuses = self.refusals > 0
        self.refusals -= refuses
        if refuses or self.locked:
            self.refused.release()
            raise KeyringLocked("locked")

    def get_password(self, service: str, username: str) -> str | None:
        self._require_open()
        return super().get_password(service, username)

    def set_password(self, service: str, username: str, password: str) -> None:
        self._require_open()
        if self.read_only:
            self.refused.release()
            raise PasswordSetError("refused")
        super().set_password(service, username, password)
        self.saved.set()


@pytest.fixture
def keychain() -> Keychain:
    """One that is open."""
    return Keychain()


@pytest.fixture
def server(serve: Serve) -> EmbeddedServer:
    """Rotation without grace, and detection of reuse."""
    return serve(refresh_revokes_access_tokens=True)


def program(server: EmbeddedServer, person: Person, keychain: Keychain) -> Login:
    """Another program that uses the keychain."""
    return Login(server, person, storage=KeychainStorage(backend=keychain))


def refreshes(server: EmbeddedServer) -> int:
    return server.count("token", grant_type="refresh_token")


@pytest.fixture
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StorageWarning)
        yield


@pytest.mark.usefixtures("_quiet")
@pytest.mark.parametrize("times", [1, 2])
def test_a_refresh_token_that_another_program_used_up_is_not_sent_from_behind_a_locked_keychain(
    server: EmbeddedServer, person: Person, keychain: Keychain, times: int
) -> None:
    first = login_of(server, person, storage=KeychainStorage(backend=keychain))
    second = program(server, person, keychain)
    assert second.ask().status_code == 200
    for _ in range(times):
        server.expire_access_tokens()
        assert first.ask().status_code == 200
    keychain.locked = True
    with pytest.raises(StorageLocked):
        second.ask()
    assert (refreshes(server), server.reuse_detections, first.windows) == (times, 0, 1)
    keychain.locked = False
    assert second.ask().status_code == 200
    assert (refreshes(server), server.reuse_detections, first.windows) == (times, 0, 1)


@pytest.mark.usefixtures("_quiet")
def test_two_programs_do_not_both_refresh_behind_a_locked_keychain(
    server: EmbeddedServer, person: Person, keychain: Keychain
) -> None:
    first = login_of(server, person, storage=KeychainStorage(backend=keychain))
    second = program(server, person, keychain)
    assert second.ask().status_code == 200
    keychain.locked = True
    server.expire_access_tokens()
    assert first.ask().status_code == 200
    with pytest.raises(StorageLocked):
        second.ask()
    assert (refreshes(server), server.reuse_detections, first.windows) == (1, 0, 1)
    # The one that has the new tokens goes on by itself.
    server.expire_access_tokens()
    assert first.ask().status_code == 200
    assert (refreshes(server), server.reuse_detections, first.windows) == (2, 0, 1)


@pytest.mark.usefixtures("_quiet")
def test_a_note_that_can_not_be_read_says_nothing(
    server: EmbeddedServer, person: Person, keychain: Keychain, home: Path
) -> None:
    login = login_of(server, person, storage=KeychainStorage(backend=keychain))
    server.expire_access_tokens()
    assert login.ask().status_code == 200
    notes = list(home.rglob("*.spent"))
    assert len(notes) == 1
    notes[0].write_bytes(b"\xff\x00 torn")
    keychain.locked = True
    server.expire_access_tokens()
    assert login.ask().status_code == 200
    assert (refreshes(server), login.windows) == (2, 1)


@pytest.mark.usefixtures("_quiet")
def test_what_could_not_be_saved_is_saved_by_the_next_demand(
    server: EmbeddedServer, person: Person, keychain: Keychain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcp_login.renewal.PEER_LIMIT", 0.0)  # nobody need wait for it any more
    login = login_of(server, person, storage=KeychainStorage(backend=keychain))
    keychain.locked = True
    server.expire_access_tokens()
    assert login.ask().status_code == 200
    keychain.locked = False
    server.expire_access_tokens()
    assert login.ask().status_code == 200
    server.expire_access_tokens()
    assert program(server, person, keychain).ask().status_code == 200
    assert (server.reuse_detections, login.windows) == (0, 1)


@pytest.mark.usefixtures("_quiet")
def test_a_program_started_behind_a_locked_keychain_goes_back_to_it(
    server: EmbeddedServer, person: Person, keychain: Keychain
) -> None:
    login_of(server, person, storage=KeychainStorage(backend=keychain))
    windows = len(person.urls)
    keychain.locked = True
    late = Login(server, person, storage=KeychainStorage(backend=keychain), interactive=False)
    with pytest.raises(mcp_login.LoginRequired):
        late.ask()
    keychain.locked = False
    assert late.ask().status_code == 200
    assert len(person.urls) == windows


@pytest.mark.usefixtures("_quiet")
def test_a_login_in_memory_is_saved_when_the_keychain_is_open_again(
    server: EmbeddedServer, person: Person, keychain: Keychain
) -> None:
    keychain.locked = True
    login = program(server, person, keychain)
    assert login.ask().status_code == 200
    keychain.locked = False
    server.expire_access_tokens()
    assert login.ask().status_code == 200
    assert login.record is not None
    assert [entry.server_url for entry in mcp_login.sync.accounts()] == [server.url]
    server.expire_access_tokens()
    assert program(server, person, keychain).ask().status_code == 200
    assert (server.reuse_detections, login.windows) == (0, 1)


@pytest.mark.usefixtures("_quiet")
def test_a_login_that_is_saved_late_is_on_the_list_as_it_is(
    server: EmbeddedServer, person: Person, keychain: Keychain
) -> None:
    """Also where it replaces another one, and where a refresh comes before it is saved."""
    login = program(server, person, keychain)
    assert login.ask().status_code == 200
    [before] = mcp_login.sync.accounts()
    keychain.read_only = True
    with pytest.raises(StorageError):
        mcp_login.sync.login(server.url, **login.options, force=True)
    server.expire_access_tokens()
    assert login.ask().status_code == 200
    keychain.read_only = False
    server.expire_access_tokens()
    assert login.ask().status_code == 200
    [after] = mcp_login.sync.accounts()
    assert login.windows == 2
    assert after.updated_at > before.updated_at


@pytest.mark.parametrize("index", ["as it was", "gone", "not readable"])
def test_a_login_whose_item_was_deleted_goes_on_from_memory_whatever_is_listed(
    server: EmbeddedServer, person: Person, keychain: Keychain, index: str
) -> None:
    login = login_of(server, person, storage=KeychainStorage(backend=keychain))
    keychain.passwords.clear()
    if index != "as it was":
        (data_path() / "index.json").unlink()
    if index == "not readable":
        (data_path() / "index.json").mkdir()
    server.expire_access_tokens()
    assert login.ask().status_code == 200
    assert login.record is not None
    assert (refreshes(server), server.reuse_detections, login.windows) == (1, 0, 1)


@pytest.mark.usefixtures("_quiet")
def test_tokens_that_wait_to_be_saved_do_not_bring_a_logout_back(
    server: EmbeddedServer, person: Person, keychain: Keychain
) -> None:
    server.reconfigure(revocation=False)
    login = login_of(server, person, storage=KeychainStorage(backend=keychain))
    keychain.locked = True
    server.expire_access_tokens()
    assert login.ask().status_code == 200
    keychain.locked = False
    mcp_login.sync.logout(server.url, storage=KeychainStorage(backend=keychain))
    server.expire_access_tokens()
    with pytest.raises(mcp_login.LoginRequired):
        mcp_login.sync.access_token(server.url, storage=login.storage)
    assert login.record is None
    assert Index().entries() == []


@pytest.mark.usefixtures("_quiet")
def test_a_logout_ends_a_login_that_another_session_still_waits_to_save(
    server: EmbeddedServer, person: Person, keychain: Keychain
) -> None:
    keychain.read_only = True
    login = login_of(server, person, storage=KeychainStorage(backend=keychain))
    key = record_key(server.url, None)
    assert waiting_for(login.storage, key) is not None
    result = mcp_login.sync.logout(server.url, storage=login.storage)
    assert (result.deleted, result.revoked) == (True, True)
    assert waiting_for(login.storage, key) is None


@pytest.mark.usefixtures("_quiet")
def test_tokens_that_access_token_could_not_save_are_not_lost_with_the_call(
    server: EmbeddedServer, person: Person, keychain: Keychain
) -> None:
    login = login_of(server, person, storage=KeychainStorage(backend=keychain))
    keychain.read_only = True
    server.expire_access_tokens()
    with pytest.raises(StorageError, match="PasswordSetError"):
        mcp_login.sync.access_token(server.url, storage=login.storage, min_valid_for=10**6)
    keychain.read_only = False
    assert mcp_login.sync.access_token(server.url, storage=login.storage, min_valid_for=10**6)
    assert server.reuse_detections == 0
    assert login.ask().status_code == 200
    assert login.windows == 1


@pytest.mark.usefixtures("_quiet")
def test_an_early_refresh_that_could_not_be_saved_gives_the_new_token(
    server: EmbeddedServer, person: Person, keychain: Keychain
) -> None:
    login = login_of(server, person, storage=KeychainStorage(backend=keychain))
    old = age(login.storage, server.url, 3585)
    keychain.read_only = True
    assert mcp_login.sync.access_token(server.url, storage=login.storage, min_valid_for=8) != old.access_token
    keychain.read_only = False
    assert login.ask().status_code == 200
    assert (refreshes(server), server.reuse_detections, login.windows) == (1, 0, 1)


@pytest.mark.usefixtures("_quiet")
def test_a_dead_refresh_token_is_offered_once_behind_a_locked_keychain_and_not_saved(
    server: EmbeddedServer, person: Person, keychain: Keychain
) -> None:
    login = login_of(server, person, storage=KeychainStorage(backend=keychain))
    login.auth = login.oauth(interactive=False)
    assert login.ask().status_code == 200
    keychain.locked = True
    server.expire_access_tokens()
    assert login.ask().status_code == 200
    server.revoke_refresh_tokens()
    server.expire_access_tokens()
    before = refreshes(server)
    for _ in range(3):
        with pytest.raises(mcp_login.AuthError):
            login.ask()
    assert refreshes(server) == before + 1
    assert waiting_for(login.storage, record_key(server.url, None)) is None


@pytest.mark.usefixtures("_quiet")
def test_a_login_that_went_back_to_the_keychain_leaves_no_copy_for_the_next_outage(
    server: EmbeddedServer, person: Person, keychain: Keychain
) -> None:
    keychain.locked = True
    login = program(server, person, keychain)
    assert login.ask().status_code == 200
    keychain.locked = False
    server.expire_access_tokens()
    assert login.ask().status_code == 200
    assert mcp_login.sync.logout(server.url, storage=login.storage).deleted
    keychain.locked = True
    later = login.oauth(interactive=False)
    with pytest.raises(mcp_login.LoginRequired):
        login.ask(auth=later)


# Saving later, with no demand


async def _no_renewal(session: Session, demand: Demand) -> Renewed:
    raise AssertionError("nothing is asked for")


def _no_grant() -> Grant:
    raise AssertionError("nobody logs in")


def session_with(storage: Storage, record: Record) -> Session:
    """One that has `record` in memory."""
    session = Session(URL, storage=storage, grant=_no_grant, renew=_no_renewal)
    session.adopt(record)
    return session


def record_of(obtained_at: float) -> Record:
    return Record(
        server_url=URL,
        issuer="https://as.example",
        client=ClientInformation(issuer="https://as.example", client_id="c", mechanism="dynamic"),
        token_endpoint="https://as.example/token",
        access_token=f"access {obtained_at:g}",
        resource=URL,
        refresh_token=f"refresh {obtained_at:g}",
        obtained_at=obtained_at,
    )


async def begun(
    session: Session, record: Record, base: Record | None, pauses: Callable[[], Iterator[float]]
) -> asyncio.Task[None] | None:
    """What saves `record` later, which was made of `base`, under way."""
    return save_later(Unsaved.of(session, record, None if base is None else base.dump()), pauses=pauses)


async def ended(task: asyncio.Task[None] | None) -> None:
    """It has saved, or given up."""
    assert task is not None
    await task


def saved_later(session: Session, record: Record, base: Record | None = None, tries: int = 5) -> None:
    """Let it be tried `tries` times without pauses, to the end."""
    task = portal().submit(functools.partial(begun, session, record, base, lambda: iter([0.0] * tries))).result(10)
    portal().submit(functools.partial(ended, task)).result(10)


def stored_at(keychain: Keychain) -> float | None:
    keychain.locked, keychain.refusals = False, 0
    record = stored(KeychainStorage(backend=keychain), URL)
    return None if record is None else record.obtained_at


def test_tokens_are_saved_as_soon_as_the_keychain_answers(keychain: Keychain) -> None:
    record = record_of(2.0)
    storage = KeychainStorage(backend=keychain)
    session = session_with(storage, record)
    keychain.refusals = 3
    saved_later(session, record, tries=3)
    assert waiting_for(storage, URL) is not None  # still refused
    saved_later(session, record, tries=1)
    assert waiting_for(storage, URL) is None
    assert stored_at(keychain) == 2.0
    assert [entry.server_url for entry in Index().entries()] == [URL]


@pytest.mark.parametrize(("theirs", "kept"), [(3.0, 3.0), (1.0, 2.0)])
def test_the_newest_tokens_stay(keychain: Keychain, theirs: float, kept: float) -> None:
    storage = KeychainStorage(backend=keychain)
    store(storage, record_of(theirs))
    saved_later(session_with(storage, record_of(2.0)), record_of(2.0), base=record_of(0.5))
    assert waiting_for(storage, URL) is None
    assert stored_at(keychain) == kept


def test_tokens_of_a_login_that_somebody_ended_are_not_saved(keychain: Keychain) -> None:
    storage = KeychainStorage(backend=keychain)
    note_ended(storage, URL, record_of(1.0))
    saved_later(session_with(storage, record_of(2.0)), record_of(2.0), base=record_of(1.0))
    assert stored_at(keychain) is None
    assert waiting_for(storage, URL) is None


def test_a_session_is_not_kept_alive_by_what_waits_and_its_tokens_are_saved_all_the_same(keychain: Keychain) -> None:
    keychain.locked = True
    tries: queue.SimpleQueue[None] = queue.SimpleQueue()

    def pauses() -> Iterator[float]:
        while True:
            tries.put(None)
            yield 0.01

    session = session_with(KeychainStorage(backend=keychain), record_of(2.0))
    task = portal().submit(functools.partial(begun, session, record_of(2.0), None, pauses)).result(10)
    gone = weakref.ref(session)
    del session
    for _ in range(3):
        tries.get(timeout=10)
    gc.collect()
    assert gone() is None
    keychain.open()
    portal().submit(functools.partial(ended, task)).result(10)
    assert stored_at(keychain) == 2.0


def test_a_person_who_declines_again_is_left_alone_by_those_who_wait(
    keychain: Keychain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcp_login.saving.SHORTEST_ANSWER", -1.0)
    monkeypatch.setattr("mcp_login.saving.LOOK_PAUSE", 0.01)
    storage = KeychainStorage(backend=keychain)
    keychain.locked = True
    session = session_with(storage, record_of(2.0))
    task = portal().submit(functools.partial(begun, session, record_of(2.0), None, lambda: iter([0.0] * 9))).result(10)
    assert keychain.refused.acquire(timeout=10)
    ask_to_save(storage, URL)
    assert keychain.refused.acquire(timeout=10)
    ask_to_save(storage, URL)
    assert not keychain.refused.acquire(timeout=0.3)

    async def end() -> None:
        settled(storage, URL)

    portal().submit(end).result(10)
    portal().submit(functools.partial(ended, task)).result(10)


def test_the_loop_does_not_wait_for_the_list_of_logins(keychain: Keychain) -> None:
    """Another process has it: others' requests go on meanwhile."""

    async def answer() -> bool:
        return True

    storage = KeychainStorage(backend=keychain)
    session = session_with(storage, record_of(2.0))
    with FileLock(data_path() / "index.json.lock").blocking(5):
        task = portal().submit(functools.partial(begun, session, record_of(2.0), None, lambda: iter([0.0]))).result(10)
        assert keychain.saved.wait(10)
        assert portal().submit(answer).result(1.0)
    portal().submit(functools.partial(ended, task)).result(10)
    assert [entry.server_url for entry in Index().entries()] == [URL]


def test_tokens_that_are_newer_than_those_that_are_being_saved_go_on_waiting(keychain: Keychain) -> None:
    """The end of the process saves from another thread, while a refresh may end."""
    newer: list[Unsaved] = []

    class Meeting(KeychainStorage):
        async def compare_and_set(self, key: str, expected: str | None, value: str | None) -> bool:
            done = await super().compare_and_set(key, expected, value)
            if not newer:
                newer.append(Unsaved.of(session, record_of(3.0), record_of(2.0).dump()))
                save_later(newer[0], pauses=lambda: iter(()))
            return done

    storage = Meeting(backend=keychain)
    session = session_with(storage, record_of(2.0))
    task = portal().submit(functools.partial(begun, session, record_of(2.0), None, lambda: iter([0.0]))).result(10)
    portal().submit(functools.partial(ended, task)).result(10)
    assert waiting_for(storage, URL) is newer[0]
    settled(storage, URL)


def test_pauses_grow_to_a_quarter_of_a_minute_and_are_spread() -> None:
    found = [pause for pause, _ in zip(saving_pauses(), range(8), strict=False)]
    assert 0.5 <= found[0] <= 1.0
    assert all(10.0 <= pause <= 15.0 for pause in found[5:])
    assert len(set(found)) > 5


def test_tokens_are_newer_than_those_they_were_made_of_whatever_the_clock_said(keychain: Keychain) -> None:
    """It was ahead when these were stored, and is right again."""
    storage = KeychainStorage(backend=keychain)
    store(storage, record_of(3.0))
    # Another object has left word with them meanwhile: the text is another one, the tokens are the same.
    store(storage, dataclasses.replace(record_of(3.0), refused_at=4.0))
    saved_later(session_with(storage, record_of(2.0)), record_of(2.0), base=record_of(3.0))
    assert stored_at(keychain) == 2.0


def test_tokens_take_the_place_of_a_torn_value_without_a_demand(keychain: Keychain) -> None:
    storage = KeychainStorage(backend=keychain)
    keychain.passwords[f"mcp-login:{URL}", "mcp-login"] = "torn"
    saved_later(session_with(storage, record_of(2.0)), record_of(2.0), base=record_of(1.0))
    assert stored_at(keychain) == 2.0


@pytest.mark.usefixtures("_quiet")
def test_a_login_of_a_clock_that_was_ahead_is_not_sent_again_with_its_old_token(
    server: EmbeddedServer, person: Person, keychain: Keychain
) -> None:
    login = login_of(server, person, storage=KeychainStorage(backend=keychain))
    age(login.storage, server.url, -86400)
    keychain.read_only = True
    login.auth = login.oauth()
    for count in (1, 2):
        server.expire_access_tokens()
        assert login.ask().status_code == 200
        assert refreshes(server) == count
    keychain.read_only = False
    server.expire_access_tokens()
    assert login.ask().status_code == 200
    server.expire_access_tokens()
    assert program(server, person, keychain).ask().status_code == 200
    assert (server.reuse_detections, login.windows) == (0, 1)


@pytest.mark.usefixtures("_quiet")
def test_a_forced_login_is_not_answered_with_one_of_a_clock_that_was_ahead(
    server: EmbeddedServer, person: Person, keychain: Keychain
) -> None:
    login = login_of(server, person, storage=KeychainStorage(backend=keychain))
    age(login.storage, server.url, -86400)
    mcp_login.sync.login(server.url, **login.options, force=True)
    assert login.windows == 2


# A refresh token that is known to be used up is not offered


class Program:
    """Another program, whose keychain refuses to save what its refresh gave."""

    def __init__(self, server: EmbeddedServer, person: Person, keychain: Keychain) -> None:
        self.login = login_of(server, person, storage=KeychainStorage(backend=keychain))
        keychain.read_only = True
        server.expire_access_tokens()
        assert self.login.ask().status_code == 200
        assert waiting_for(self.login.storage, record_key(server.url, None)) is not None


@pytest.mark.usefixtures("_quiet")
def test_a_program_waits_for_another_one_that_has_not_saved_its_tokens_yet(
    server: EmbeddedServer, person: Person, keychain: Keychain
) -> None:
    Program(server, person, keychain)
    keychain.read_only = False
    # It reads what is stored, which is used up, before the other one has tried again.
    second = program(server, person, keychain)
    assert second.ask().status_code == 200
    assert (refreshes(server), server.reuse_detections, second.windows) == (1, 0, 1)


@pytest.mark.usefixtures("_quiet")
def test_a_program_does_not_wait_for_ever_for_another_one_to_save_its_tokens(
    server: EmbeddedServer, person: Person, keychain: Keychain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcp_login.renewal.PEER_LIMIT", 0.1)
    first = Program(server, person, keychain).login
    second = program(server, person, keychain)
    with pytest.raises(TransportError, match="Another program has refreshed") as caught:
        second.ask()
    assert type(caught.value) is TransportError
    assert f"`mcp-login login {server.url}`" in str(caught.value)
    assert (refreshes(server), server.reuse_detections, second.windows) == (1, 0, 1)
    # Nothing of the login that works is ended.
    assert second.record is not None
    assert (server.count("revocation"), len(Index().entries())) == (0, 1)
    server.expire_access_tokens()
    assert first.ask().status_code == 200


@pytest.mark.usefixtures("_quiet")
@pytest.mark.parametrize("refusal", ["a plain error", "a prompt that somebody declines"])
def test_a_program_that_leaves_its_person_alone_saves_its_tokens_when_another_one_waits_for_them(
    server: EmbeddedServer, person: Person, keychain: Keychain, monkeypatch: pytest.MonkeyPatch, refusal: str
) -> None:
    monkeypatch.setattr("mcp_login.saving.SHORTEST_ANSWER", -1.0)  # whatever says "locked" has asked
    first = login_of(server, person, storage=KeychainStorage(backend=keychain))
    if refusal == "a plain error":
        keychain.read_only = True
    else:
        keychain.locked = True
    server.expire_access_tokens()
    assert first.ask().status_code == 200
    while keychain.refused.acquire(blocking=False):
        pass
    assert keychain.refused.acquire(timeout=10)  # it has tried by itself once more, and rests for minutes
    keychain.locked = keychain.read_only = False
    second = program(server, person, keychain)
    assert second.ask().status_code == 200
    assert (refreshes(server), server.reuse_detections, second.windows) == (1, 0, 1)


@pytest.mark.usefixtures("_quiet")
def test_who_asks_for_a_login_gets_one_where_another_program_can_not_save_its_tokens(
    server: EmbeddedServer, person: Person, keychain: Keychain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is locked for that one only, as over SSH. It goes on with its own, and takes those of the login when it can."""
    monkeypatch.setattr("mcp_login.renewal.PEER_LIMIT", 0.1)
    first = Program(server, person, keychain).login
    opened = Keychain()
    opened.passwords = keychain.passwords
    second = program(server, person, opened)
    age(second.storage, server.url, 7200)
    mcp_login.sync.login(server.url, **second.options)
    assert second.windows == 2
    assert first.ask().status_code == 200
    keychain.read_only = False
    server.expire_access_tokens()
    assert [first.ask().status_code, second.ask().status_code] == [200, 200]
    assert (server.reuse_detections, second.windows) == (0, 2)


@pytest.mark.usefixtures("_quiet")
def test_a_token_that_is_still_good_is_used_while_another_program_has_newer_ones(
    serve: Serve, person: Person, keychain: Keychain
) -> None:
    server = serve()
    first = login_of(server, person, storage=KeychainStorage(backend=keychain))
    age(first.storage, server.url, 3585)  # still good, and due
    keychain.read_only = True
    first.auth = first.oauth()
    assert first.ask().status_code == 200
    assert refreshes(server) == 1
    second = program(server, person, keychain)
    assert second.ask().status_code == 200
    assert (refreshes(server), server.reuse_detections, second.windows) == (1, 0, 1)


@pytest.mark.usefixtures("_quiet")
@pytest.mark.parametrize("interactive", [True, False])
def test_a_login_whose_newer_tokens_are_gone_with_their_program_is_over(
    server: EmbeddedServer, person: Person, keychain: Keychain, *, interactive: bool
) -> None:
    """It was killed while it waited to save them. The token before is used up, and is not offered to the server."""
    first = Program(server, person, keychain).login
    keychain.read_only = False
    _die(first.storage, server.url)
    second = Login(server, person, storage=KeychainStorage(backend=keychain), interactive=interactive)
    if interactive:
        assert second.ask().status_code == 200
    else:
        with pytest.raises(mcp_login.LoginRequired):
            second.ask()
        assert second.record is None
    assert (refreshes(server), server.reuse_detections) == (1, 0)
    assert second.windows == (2 if interactive else 1)


def _die(storage: Storage, url: str) -> None:
    """What a process leaves behind that is killed: its locks are free, and what waited in it is gone."""

    async def die() -> None:
        waiting = waiting_for(storage, record_key(url, None))
        assert waiting is not None
        assert waiting.task is not None
        settled(storage, waiting.key)
        waiting.task.cancel()
        await asyncio.wait([waiting.task])

    portal().submit(die).result(10)


def test_word_that_a_token_is_used_up_is_left_when_the_new_ones_are_saved_and_not_before(
    serve: Serve, person: Person, keychain: Keychain, home: Path
) -> None:
    """Who is killed between the server's rotation and our write has the token offered once more: a server may grant grace."""
    notes: list[list[Path]] = []

    def found() -> list[Path]:
        return list(home.rglob("*.spent"))

    class Watching(KeychainStorage):
        async def save(self, key: str, value: str) -> None:
            notes.append(found())
            await super().save(key, value)

        async def compare_and_set(self, key: str, expected: str | None, value: str | None) -> bool:
            notes.append(found())
            return await super().compare_and_set(key, expected, value)

    server = serve(rotation_grace=60)
    login = login_of(server, person, storage=Watching(backend=keychain))
    old = age(login.storage, server.url, 7200)
    notes.clear()
    assert mcp_login.sync.access_token(server.url, storage=login.storage)
    assert notes == [[]]
    [note] = found()
    # As after the kill.
    note.unlink()
    store(login.storage, old)
    assert program(server, person, keychain).ask().status_code == 200
    assert (refreshes(server), login.windows) == (2, 1)
