"""Logging out while the login is being refreshed, or waits to be saved, or lives in memory only.

DESIGN section 3, "Storage."; docs/what-happens-when.md: a logout is not undone by whoever comes later.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import warnings
from typing import TYPE_CHECKING, Any

import pytest
from keyring.errors import KeyringLocked, NoKeyringError, PasswordSetError

import mcp_login.sync
from mcp_login import (
    FileStorage,
    KeychainStorage,
    LoginRequired,
    MemoryStorage,
    StorageError,
    StorageLocked,
    StorageWarning,
)
from mcp_login.storage.index import Index
from mcp_login.testing import Fault
from tests.flows.support import Login, age, login_of, run, stored
from tests.unit.storage.keyrings import FailingKeyring, MemoryKeyring

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from mcp_login import Storage
    from mcp_login.testing import EmbeddedServer, Person
    from tests.flows.conftest import Serve

__all__: list[str] = []


@pytest.fixture(params=["memory", "file", "keychain"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """Each kind of storage."""
    if request.param == "memory":
        return MemoryStorage()
    if request.param == "file":
        return FileStorage(tmp_path / "logins")
    return KeychainStorage(backend=MemoryKeyring())


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A logout doesn't wait for a refresh that is under way."""
    monkeypatch.setattr("mcp_login.revocation.LOCK_LIMIT", 0.1)


@pytest.fixture
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StorageWarning)
        yield


LOGS_OUT = """
import pathlib, sys
import mcp_login.revocation
from mcp_login import FileStorage, sync
mcp_login.revocation.LOCK_LIMIT = 0.1
import logging; logging.disable(logging.CRITICAL)
print(sync.logout(sys.argv[1], storage=FileStorage(pathlib.Path(sys.argv[2]))).deleted)
"""


class Refresh:
    """A refresh by `work`, in a thread: the server has the request, and thinks until `end`."""

    def __init__(self, server: EmbeddedServer, work: Callable[[], object]) -> None:
        self._go = threading.Event()
        self._outcome: list[Any] = []
        self._work = work
        server.faults.token_endpoint = Fault(wait_for=self._go)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        server.requests.wait_for("token", grant_type="refresh_token")

    def _run(self) -> None:
        try:
            self._outcome.append(self._work())
        except Exception as error:  # noqa: BLE001 - it is the outcome
            self._outcome.append(error)

    def end(self) -> Any:
        """What comes of it."""
        self._go.set()
        self._thread.join(20)
        return self._outcome[0]


def revoked(server: EmbeddedServer) -> list[str]:
    """The tokens that the server was asked to revoke, and has."""
    return [one.params["token"] for one in server.requests.matching("revocation") if one.status == 200]


def test_a_refresh_that_takes_longer_than_a_logout_waits_does_not_bring_the_login_back(
    serve: Serve, person: Person, storage: Storage
) -> None:
    server = serve()
    login = login_of(server, person, storage=storage)
    old = age(storage, server.url, 7200)
    # The server does not end the login with the old tokens: it gives new ones.
    server.faults.revocation_endpoint = Fault(status=503, times=2)
    refresh = Refresh(server, lambda: mcp_login.sync.access_token(server.url, storage=storage))
    assert mcp_login.sync.logout(server.url, storage=storage).deleted
    assert isinstance(refresh.end(), LoginRequired)
    assert login.record is None
    assert mcp_login.sync.accounts() == ()
    assert len(revoked(server)) == 2
    assert {old.access_token, old.refresh_token}.isdisjoint(revoked(server))
    with pytest.raises(LoginRequired):
        mcp_login.sync.access_token(server.url, storage=storage)


def test_a_request_whose_login_was_ended_in_its_refresh_asks_the_person(
    serve: Serve, person: Person, storage: Storage
) -> None:
    """As every request does after a logout; and it carries no token until then."""
    server = serve(revocation=False)
    login = login_of(server, person, storage=storage)
    old = age(storage, server.url, 3585)  # still good, and due
    auth = login.oauth()
    refresh = Refresh(server, lambda: login.ask(auth=auth).status_code)
    mcp_login.sync.logout(server.url, storage=storage)
    server.requests.clear()
    assert refresh.end() == 200
    assert login.windows == 2
    sent = [one.access_token for one in server.requests.matching("mcp")]
    assert old.access_token not in sent
    assert None in sent
    assert login.record is not None


def test_a_record_that_was_deleted_by_hand_in_a_refresh_is_saved_again(
    serve: Serve, person: Person, tmp_path: Path
) -> None:
    """Somebody cleaned up."""
    server = serve()
    storage = FileStorage(tmp_path / "logins")
    login = login_of(server, person, storage=storage)
    age(storage, server.url, 7200)
    refresh = Refresh(server, lambda: mcp_login.sync.access_token(server.url, storage=storage))
    run(storage.delete(server.url))
    assert isinstance(refresh.end(), str)
    assert login.record is not None
    assert server.count("revocation") == 0
    assert login.ask(auth=login.oauth()).status_code == 200
    assert login.windows == 1


def test_a_record_that_is_gone_from_storage_and_list_was_not_ended_by_that(
    serve: Serve, person: Person, tmp_path: Path
) -> None:
    """The list is a convenience: only a logout ends a login."""
    server = serve()
    storage = FileStorage(tmp_path / "logins")
    login = login_of(server, person, storage=storage)
    age(storage, server.url, 7200)
    refresh = Refresh(server, lambda: mcp_login.sync.access_token(server.url, storage=storage))
    Index().remove(server.url)
    run(storage.delete(server.url))
    assert isinstance(refresh.end(), str)
    assert login.record is not None
    assert server.count("revocation") == 0


@pytest.mark.parametrize("before", ["torn", "deleted"])
def test_a_logout_that_finds_no_login_to_read_ends_the_one_that_others_have_in_memory(
    serve: Serve, person: Person, tmp_path: Path, before: str
) -> None:
    server = serve(revocation=False)
    folder = tmp_path / "logins"
    login = login_of(server, person, storage=FileStorage(folder))
    for path in folder.glob("*.login"):
        path.write_text("torn") if before == "torn" else path.unlink()
    mcp_login.sync.logout(server.url, storage=FileStorage(folder))
    server.expire_access_tokens()
    assert login.ask().status_code == 200
    assert login.windows == 2
    assert server.count("token", grant_type="refresh_token") == 0


def test_a_login_after_a_logout_is_another_one(serve: Serve, person: Person, tmp_path: Path) -> None:
    """A clean-up by hand doesn't end it."""
    server = serve()
    storage = FileStorage(tmp_path / "logins")
    login = login_of(server, person, storage=storage)
    mcp_login.sync.logout(server.url, storage=storage)
    mcp_login.sync.login(server.url, **login.options)
    login.auth = login.oauth()
    assert login.ask().status_code == 200
    run(storage.delete(server.url))
    server.expire_access_tokens()
    assert login.ask().status_code == 200
    assert login.record is not None
    assert login.windows == 2


def test_a_logout_with_another_home_is_known_to_those_who_share_the_folder(
    serve: Serve, person: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve()
    folder = tmp_path / "logins"
    login = login_of(server, person, storage=FileStorage(folder))
    age(login.storage, server.url, 7200)
    server.faults.revocation_endpoint = Fault(status=503, times=2)
    refresh = Refresh(server, lambda: mcp_login.sync.access_token(server.url, storage=login.storage))
    ended = subprocess.run(
        [sys.executable, "-c", LOGS_OUT, server.url, str(folder)],
        env={**os.environ, "MCP_LOGIN_HOME": str(tmp_path / "elsewhere")},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert (ended.stdout.strip(), ended.stderr) == ("True", "")
    assert isinstance(refresh.end(), LoginRequired)
    assert login.record is None


def test_a_login_that_is_finished_after_a_logout_stays(serve: Serve, person: Person, storage: Storage) -> None:
    """Whoever logs in means it."""
    server = serve()
    login = login_of(server, person, storage=storage)
    go = threading.Event()
    server.faults.token_endpoint = Fault(wait_for=go)
    thread = threading.Thread(target=lambda: mcp_login.sync.login(server.url, **login.options, force=True))
    thread.start()
    server.requests.wait_for("token", times=2)
    assert mcp_login.sync.logout(server.url, storage=storage).deleted
    go.set()
    thread.join(20)
    assert login.record is not None
    assert login.record.access_token not in revoked(server)


@pytest.mark.parametrize("theirs_is_newer", [True, False])
def test_of_two_records_that_met_the_newer_one_is_kept(
    serve: Serve, person: Person, tmp_path: Path, *, theirs_is_newer: bool
) -> None:
    """A program that doesn't know our lock has stored its own meanwhile: nothing of the newer one is lost."""
    server = serve(rotation_grace=600)
    folder = tmp_path / "logins"
    login = login_of(server, person, storage=FileStorage(folder))
    age(login.storage, server.url, 7200)
    other = MemoryStorage()
    server.sign_in(other)
    refresh = Refresh(server, lambda: mcp_login.sync.access_token(server.url, storage=FileStorage(folder)))
    theirs = age(other, server.url, -60 if theirs_is_newer else 3600)
    run(login.storage.save(server.url, theirs.dump()))
    token = refresh.end()
    assert login.record is not None
    assert (login.record == theirs) is theirs_is_newer
    assert token == login.record.access_token
    assert login.ask(auth=login.oauth()).status_code == 200
    assert login.windows == 1


def test_a_logout_that_meets_a_refresh_revokes_what_came_of_that(serve: Serve, person: Person) -> None:
    """The record changes between its being read and its being deleted."""
    server = serve()

    class Meeting(MemoryStorage):
        met = False

        async def compare_and_set(self, key: str, expected: str | None, value: str | None) -> bool:
            if value is None and not self.met:
                self.met = True
                await self.save(key, text)
            return await super().compare_and_set(key, expected, value)

    storage, other = Meeting(), MemoryStorage()
    login_of(server, person, storage=storage)
    server.sign_in(other)
    newer = stored(other, server.url)
    assert newer is not None
    text = newer.dump()
    assert mcp_login.sync.logout(server.url, storage=storage).revoked
    assert stored(storage, server.url) is None
    assert revoked(server) == [newer.refresh_token, newer.access_token]


class Stumbling(MemoryKeyring):
    """Fails at some calls, as a bus does that is restarted."""

    failures = 0

    def get_password(self, service: str, username: str) -> str | None:
        if self.failures > 0:
            self.failures -= 1
            raise ValueError
        return super().get_password(service, username)


def test_a_keychain_that_fails_to_compare_is_not_written_to_without(serve: Serve, person: Person) -> None:
    """It would bring back what somebody has ended."""
    server = serve()
    keychain = Stumbling()
    login = login_of(server, person, storage=KeychainStorage(backend=keychain))
    age(login.storage, server.url, 7200)
    server.faults.revocation_endpoint = Fault(status=503, times=2)
    refresh = Refresh(server, lambda: mcp_login.sync.access_token(server.url, storage=login.storage))
    mcp_login.sync.logout(server.url, storage=KeychainStorage(backend=keychain))
    keychain.failures = 1
    assert isinstance(refresh.end(), StorageError)
    assert login.record is None
    with pytest.raises(LoginRequired):
        mcp_login.sync.access_token(server.url, storage=login.storage)
    assert len(revoked(server)) == 2


class Keychain(MemoryKeyring):
    """Can be locked for writing, and altogether; values are deleted all the same while it can be read."""

    read_only = locked = False

    def get_password(self, service: str, username: str) -> str | None:
        if self.locked:
            raise KeyringLocked("locked")
        return super().get_password(service, username)

    def set_password(self, service: str, username: str, password: str) -> None:
        if self.locked:
            raise KeyringLocked("locked")
        if self.read_only:
            raise PasswordSetError("read only")
        super().set_password(service, username, password)


@pytest.mark.usefixtures("_quiet")
@pytest.mark.parametrize("by", ["demand", "end of the wait"])
def test_tokens_that_wait_to_be_saved_are_revoked_when_another_program_logs_out(
    serve: Serve, person: Person, by: str
) -> None:
    server = serve()
    keychain = Keychain()
    login = login_of(server, person, storage=KeychainStorage(backend=keychain))
    first = login.record
    keychain.read_only = True
    server.expire_access_tokens()
    assert login.ask().status_code == 200
    server.faults.revocation_endpoint = Fault(status=503, times=2)
    assert mcp_login.sync.logout(server.url, storage=KeychainStorage(backend=keychain)).deleted
    keychain.read_only = False
    if by == "demand":
        with pytest.raises(LoginRequired):
            mcp_login.sync.access_token(server.url, storage=login.storage)
    server.requests.wait_for("revocation", times=4)
    assert login.record is None
    assert first is not None
    assert {first.access_token, first.refresh_token}.isdisjoint(revoked(server))


@pytest.mark.usefixtures("_quiet")
def test_a_login_in_the_memory_that_stands_in_for_a_keychain_is_ended_by_a_logout_of_the_same_program(
    serve: Serve, person: Person
) -> None:
    server = serve()
    storage = KeychainStorage(backend=FailingKeyring(lambda: NoKeyringError("none")))
    login = login_of(server, person, storage=storage)
    with pytest.raises(mcp_login.StorageUnavailable, match="in memory is ended"):
        mcp_login.sync.logout(server.url, storage=storage)
    assert len(revoked(server)) == 2
    with pytest.raises(LoginRequired):
        login.ask(auth=login.oauth(interactive=False))
    assert login.ask().status_code == 200  # the object that had it in memory asks as ever
    assert login.windows == 2


@pytest.mark.usefixtures("_quiet")
def test_a_login_in_memory_is_ended_with_what_the_keychain_has_when_that_is_open_again(
    serve: Serve, person: Person
) -> None:
    server = serve()
    keychain = Keychain()
    storage = KeychainStorage(backend=keychain)
    keychain.locked = True
    login = login_of(server, person, storage=storage)
    keychain.locked = False
    result = mcp_login.sync.logout(server.url, storage=storage)
    assert (result.deleted, result.revoked) == (True, True)
    assert len(revoked(server)) == 2
    with pytest.raises(LoginRequired):
        login.ask(auth=login.oauth(interactive=False))
    assert login.record is None


@pytest.mark.usefixtures("_quiet")
def test_tokens_that_wait_are_ended_by_a_logout_that_can_not_reach_the_keychain(serve: Serve, person: Person) -> None:
    """It says that the rest is still there, and what it ended does not come back into the keychain."""
    server = serve()
    keychain = Keychain()
    login = login_of(server, person, storage=KeychainStorage(backend=keychain))
    before = login.record
    assert before is not None
    keychain.locked = True
    server.expire_access_tokens()
    assert login.ask().status_code == 200
    with pytest.raises(StorageLocked, match="could not be deleted"):
        mcp_login.sync.logout(server.url, storage=login.storage)
    assert len(revoked(server)) == 2
    keychain.locked = False
    with pytest.raises(LoginRequired):
        mcp_login.sync.access_token(server.url, storage=login.storage, min_valid_for=5000)
    # Its refresh token was used up by the refresh whose tokens were ended: it is not offered again, and taken away.
    assert server.reuse_detections == 0
    left = login.record
    assert left is not None
    assert (left.access_token, left.refresh_token) == (before.access_token, None)


def test_a_login_that_the_server_has_ended_is_taken_off_the_list(serve: Serve, person: Person, tmp_path: Path) -> None:
    server = serve()
    storage = FileStorage(tmp_path / "logins")
    login = login_of(server, person, storage=storage)
    assert len(mcp_login.sync.accounts()) == 1
    server.revoke_refresh_tokens()
    age(storage, server.url, 7200)
    with pytest.raises(LoginRequired):
        mcp_login.sync.access_token(server.url, storage=storage)
    assert mcp_login.sync.accounts() == ()
    assert login.ask(auth=login.oauth()).status_code == 200
    assert len(mcp_login.sync.accounts()) == 1


def test_a_login_without_its_refresh_token_stays_on_the_list(serve: Serve, person: Person, tmp_path: Path) -> None:
    """The access token is still good."""
    server = serve()
    storage = FileStorage(tmp_path / "logins")
    login = login_of(server, person, storage=storage)
    server.revoke_refresh_tokens()
    age(storage, server.url, 3500)
    with pytest.raises(LoginRequired):
        mcp_login.sync.access_token(server.url, storage=storage, min_valid_for=600)
    assert len(mcp_login.sync.accounts()) == 1
    assert login.ask(auth=Login(server, person, storage=storage).auth).status_code == 200


def test_a_logout_deletes_what_was_set_aside(serve: Serve, person: Person, tmp_path: Path) -> None:
    server = serve()
    folder = tmp_path / "logins"
    login = login_of(server, person, storage=FileStorage(folder))
    for path in folder.glob("*.login"):
        path.write_text("torn")
    assert login.ask(auth=login.oauth()).status_code == 200
    assert len(list(folder.glob("*.broken"))) == 2  # the login, and the registration
    mcp_login.sync.logout(server.url, storage=login.storage, forget_client=True)
    assert list(folder.glob("*.broken")) == []
