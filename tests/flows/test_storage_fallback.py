"""Where credentials are kept, and what happens where that can't be done.

DESIGN section 3, "Storage."; FIELD-NOTES, "Keychain".
"""

from __future__ import annotations

import threading
import warnings
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from keyring.errors import InitError, KeyringLocked, NoKeyringError, PasswordSetError

import mcp_login.sync
from mcp_login import (
    FileStorage,
    KeychainStorage,
    LoginRequired,
    MemoryStorage,
    OAuth,
    StorageError,
    StorageLocked,
    StorageUnavailable,
    StorageWarning,
)
from mcp_login.storage.paths import lock_path
from mcp_login.storage.record import binding_key, client_key, record_key
from mcp_login.testing import RegisteredClient
from tests.flows.support import Login, age, in_threads, login_of, run, stored
from tests.unit.storage.keyrings import FailingKeyring, HangingKeyring, MemoryKeyring

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mcp_login.testing import Person
    from tests.flows.conftest import Serve

__all__: list[str] = []

FAILURES = pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (lambda: KeyringLocked("locked"), StorageLocked),
        (lambda: NoKeyringError("none"), StorageUnavailable),
        (lambda: InitError("no bus"), StorageUnavailable),
    ],
    ids=["locked", "none", "no bus"],
)


class ReadOnlyKeyring(MemoryKeyring):
    """Can be read, but takes no value: as the one of Windows, where the value is too long."""

    def set_password(self, service: str, username: str, password: str) -> None:
        raise PasswordSetError("too long")


def test_a_login_is_kept_in_the_keychain_and_found_there_by_another_object(serve: Serve, person: Person) -> None:
    server = serve()
    keyring = MemoryKeyring()
    login = login_of(server, person, storage=KeychainStorage(backend=keyring))
    keyring.calls.clear()
    server.requests.clear()
    assert login.ask(auth=login.oauth(storage=KeychainStorage(backend=keyring))).status_code == 200
    assert server.requests.endpoints == ["mcp"]
    assert keyring.calls == ["get"]  # one read is all


def test_each_record_has_a_service_name_of_its_own(serve: Serve, person: Person) -> None:
    """Some backends rewrite neighbours under a shared one."""
    server = serve()
    keyring = MemoryKeyring()
    login_of(server, person, storage=KeychainStorage(backend=keyring), account="a")
    login_of(server, person, storage=KeychainStorage(backend=keyring), account="b")
    services = [service for service, _ in keyring.passwords]
    assert len(services) == len(set(services)) == 3  # two logins, one registration
    assert all(service.startswith("mcp-login:") for service in services)


def test_a_refresh_and_a_logout_work_in_the_keychain(serve: Serve, person: Person) -> None:
    server = serve()
    keyring = MemoryKeyring()
    login = login_of(server, person, storage=KeychainStorage(backend=keyring))
    server.expire_access_tokens()
    assert login.ask().status_code == 200
    assert login.ask(auth=login.oauth(storage=KeychainStorage(backend=keyring))).status_code == 200
    assert server.count("token", grant_type="refresh_token") == 1
    assert mcp_login.sync.logout(server.url, storage=KeychainStorage(backend=keyring)).deleted
    assert login.record is None


@FAILURES
def test_without_a_usable_keychain_a_client_goes_on_in_memory_with_a_warning(
    serve: Serve, person: Person, failure: Callable[[], BaseException], kind: type[StorageError]
) -> None:
    server = serve()
    auth = OAuth(
        server.url,
        storage=KeychainStorage(backend=FailingKeyring(failure)),
        on_authorization_url=person,
        interactive=True,
    )
    login = Login(server, person)
    with pytest.warns(StorageWarning, match="memory") as caught:
        assert login.ask(auth=auth).status_code == 200
    assert len(caught) == 1
    said = str(caught[0].message)
    assert server.url in said
    # What keeps the login comes before what this is about.
    assert said.index("MCP_LOGIN_STORAGE=file") < said.index("or memory (until the program ends)")
    assert said.endswith("Where memory is meant, that setting says so without this warning.")
    assert warnings.formatwarning(said, StorageWarning, caught[0].filename, caught[0].lineno).startswith(
        "<mcp_login>:1: "
    )
    server.expire_access_tokens()
    assert login.ask(auth=auth).status_code == 200
    assert server.count("token", grant_type="refresh_token") == 1
    assert len(person.urls) == 1


@FAILURES
def test_without_a_usable_keychain_login_says_so_before_a_person_is_asked(
    serve: Serve, person: Person, failure: Callable[[], BaseException], kind: type[StorageError]
) -> None:
    server = serve()
    storage = KeychainStorage(backend=FailingKeyring(failure))
    for call in (mcp_login.sync.login, mcp_login.sync.access_token, mcp_login.sync.logout):
        with pytest.raises(kind, match="MCP_LOGIN_STORAGE") as caught:
            call(server.url, storage=storage, on_authorization_url=person, interactive=True)
        assert "memory" in str(caught.value)
        assert "file" in str(caught.value)
    assert person.urls == []


def test_the_default_storage_says_the_same(serve: Serve, person: Person) -> None:
    """The keyring of this test run is one that fails."""
    server = serve()
    with pytest.raises(StorageUnavailable, match="MCP_LOGIN_STORAGE"):
        mcp_login.sync.login(server.url, on_authorization_url=person, interactive=True)
    with pytest.warns(StorageWarning):
        assert Login(server, person).ask(auth=OAuth(server.url, on_authorization_url=person, interactive=True))


def test_a_warning_that_is_an_error_stops_the_request_before_a_login(serve: Serve, person: Person) -> None:
    """Programs that turn warnings into errors get this one, too: nobody logs in for one process unasked."""
    server = serve()
    auth = OAuth(server.url, on_authorization_url=person, interactive=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error", StorageWarning)
        with pytest.raises(StorageWarning):
            Login(server, person).ask(auth=auth)
    assert person.urls == []


def test_two_objects_of_one_process_without_a_keychain_share_a_login(serve: Serve, person: Person) -> None:
    """FIELD-NOTES, "Browser storms": one login at a time per resource and account, whatever asks for it."""
    server = serve()
    login = Login(server, person)
    storage = KeychainStorage(backend=FailingKeyring(lambda: NoKeyringError("none")))
    with pytest.warns(StorageWarning):
        assert in_threads(4, lambda _: login.ask(auth=login.oauth(storage=storage)).status_code) == [200] * 4
    assert login.windows == 1


def test_requests_at_once_fall_back_once(serve: Serve, person: Person) -> None:
    server = serve()
    login = Login(server, person, storage=KeychainStorage(backend=FailingKeyring(lambda: NoKeyringError("none"))))
    with pytest.warns(StorageWarning) as caught:
        assert in_threads(10, lambda _: login.ask().status_code) == [200] * 10
    assert login.windows == 1
    assert len(caught) == 1


def test_a_keychain_that_takes_no_value_costs_one_login_not_one_for_each_expiry(serve: Serve, person: Person) -> None:
    """Windows: 1,280 UTF-16 characters a credential (error 1783); Entra tokens are larger."""
    server = serve()
    login = Login(server, person, storage=KeychainStorage(backend=ReadOnlyKeyring()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StorageWarning)
        assert login.ask().status_code == 200
        for _ in range(2):
            server.expire_access_tokens()
            assert login.ask().status_code == 200
    assert login.windows == 1


def test_a_keychain_that_takes_no_value_is_an_error_of_login(serve: Serve, person: Person) -> None:
    server = serve()
    with pytest.raises(StorageError):
        mcp_login.sync.login(
            server.url,
            storage=KeychainStorage(backend=ReadOnlyKeyring()),
            on_authorization_url=person,
            interactive=True,
        )


def test_a_keychain_that_never_answers_holds_up_a_client_for_its_limit_only(serve: Serve, person: Person) -> None:
    """No backend, or a call that never returns (Secret Service over a dead D-Bus)."""
    server = serve()
    keyring = HangingKeyring()
    login = Login(server, person, storage=KeychainStorage(backend=keyring, timeout=0.3))
    try:
        with pytest.warns(StorageWarning, match="not answered"):
            assert login.ask().status_code == 200
    finally:
        keyring.answers.set()


def test_a_keychain_that_never_answers_is_an_error_of_login(serve: Serve, person: Person) -> None:
    server = serve()
    keyring = HangingKeyring()
    try:
        with pytest.raises(StorageUnavailable, match="not answered"):
            mcp_login.sync.login(
                server.url,
                storage=KeychainStorage(backend=keyring, timeout=0.3),
                on_authorization_url=person,
                interactive=True,
            )
    finally:
        keyring.answers.set()
    assert person.urls == []


def test_a_keychain_that_is_locked_for_a_while_loses_nothing(serve: Serve, person: Person) -> None:
    server = serve()
    keyring = MemoryKeyring()
    login = login_of(server, person, storage=KeychainStorage(backend=keyring))
    before = login.record
    locked = FailingKeyring(lambda: KeyringLocked("locked"))
    locked.passwords = keyring.passwords
    with pytest.raises(StorageLocked):
        mcp_login.sync.access_token(server.url, storage=KeychainStorage(backend=locked))
    with pytest.warns(StorageWarning), pytest.raises(LoginRequired):
        login.ask(auth=login.oauth(storage=KeychainStorage(backend=locked), interactive=False))
    assert login.record == before
    assert login.ask(auth=login.oauth()).status_code == 200
    assert login.windows == 1


@pytest.mark.parametrize("text", ["", "garbage", "{}", "mcp-login 1 1 1 0\n{}"])
def test_a_record_that_is_torn_or_foreign_is_replaced_by_a_login(serve: Serve, person: Person, text: str) -> None:
    server = serve()
    keyring = MemoryKeyring()
    login = Login(server, person, storage=KeychainStorage(backend=keyring))
    keyring.passwords[f"mcp-login:{server.url}", "mcp-login"] = text
    assert login.ask().status_code == 200
    assert login.record is not None


@pytest.mark.parametrize("how", ["login", "logout"])
def test_a_record_that_is_torn_can_be_replaced_and_deleted_by_name(serve: Serve, person: Person, how: str) -> None:
    """The error says "Log in again": then that must work."""
    server = serve()
    keyring = MemoryKeyring()
    storage = KeychainStorage(backend=keyring)
    keyring.passwords[f"mcp-login:{server.url}", "mcp-login"] = "garbage"
    if how == "login":
        mcp_login.sync.login(server.url, storage=storage, on_authorization_url=person, interactive=True)
        assert stored(storage, server.url) is not None
    else:
        assert mcp_login.sync.logout(server.url, storage=storage).deleted
        assert stored(storage, server.url) is None


def test_a_record_that_is_no_record_is_replaced_by_a_login(serve: Serve, person: Person) -> None:
    server = serve()
    login = Login(server, person)
    run(login.storage.save(record_key(server.url, None), '{"format": 1}'))
    with pytest.raises(LoginRequired):
        mcp_login.sync.access_token(server.url, storage=login.storage)
    assert login.ask().status_code == 200


def test_a_file_is_used_where_it_is_asked_for_by_name(
    serve: Serve, person: Person, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    monkeypatch.setenv("MCP_LOGIN_STORAGE", "file")
    server = serve()
    mcp_login.sync.login(server.url, on_authorization_url=person, interactive=True)
    assert mcp_login.sync.access_token(server.url)
    files = [path for path in home.rglob("*") if path.is_file()]
    assert all(path.stat().st_mode & 0o077 == 0 for path in files)
    assert any(path.suffix == ".login" for path in files)
    entries = mcp_login.sync.accounts()
    assert [(entry.server_url, entry.storage) for entry in entries] == [(server.url, "file")]


def test_memory_is_used_where_it_is_asked_for_by_name(
    serve: Serve, person: Person, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    monkeypatch.setenv("MCP_LOGIN_STORAGE", "memory")
    server = serve()
    mcp_login.sync.login(server.url, on_authorization_url=person, interactive=True)
    assert mcp_login.sync.access_token(server.url)
    assert [path for path in home.rglob("*") if path.is_file()] == []
    assert mcp_login.sync.accounts() == ()


def test_an_unknown_name_of_a_storage_is_an_error(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCP_LOGIN_STORAGE", "floppy")
    with pytest.raises(StorageError, match="keychain, memory or file"):
        OAuth("http://127.0.0.1:1/mcp")


def test_a_folder_that_can_not_be_written_is_an_error_of_login_and_not_of_a_client(
    serve: Serve, person: Person, tmp_path: Path
) -> None:
    """A file where the folder should be."""
    blocked = tmp_path / "blocked"
    blocked.write_text("")
    server = serve()
    storage = FileStorage(blocked / "logins")
    with pytest.raises(StorageError):
        mcp_login.sync.login(server.url, storage=storage, on_authorization_url=person, interactive=True)


def test_no_token_is_in_clear_under_the_home_folder(serve: Serve, person: Person, home: Path) -> None:
    """DESIGN: no token in clear anywhere unless asked for by name."""
    server = serve(registration_answer="secret_despite_none")
    login = login_of(server, person, storage=KeychainStorage(backend=MemoryKeyring()))
    server.expire_access_tokens()
    assert login.ask().status_code == 200
    texts = [path.read_bytes() for path in home.rglob("*") if path.is_file()]
    assert texts  # the list of logins, and locks
    secrets = [secret.encode() for secret in server.secrets()]
    assert not any(secret in text for text in texts for secret in secrets)
    assert [entry.server_url for entry in mcp_login.sync.accounts()] == [server.url]


def test_accounts_lists_what_is_stored_without_secrets(serve: Serve, person: Person) -> None:
    server = serve()
    storage = KeychainStorage(backend=MemoryKeyring())
    login_of(server, person, storage=storage, account="b")
    login_of(server, person, storage=storage)
    entries = mcp_login.sync.accounts()
    assert [entry.account for entry in entries] == [None, "b"]
    assert {(entry.issuer, entry.resource, entry.scopes) for entry in entries} == {
        (server.issuer, server.resource, ("mcp",))
    }
    mcp_login.sync.logout(server.url, storage=storage)
    assert [entry.account for entry in mcp_login.sync.accounts()] == ["b"]


def test_a_storage_of_the_callers_needs_only_the_protocol(serve: Serve, person: Person) -> None:
    """DESIGN: storage is an async protocol. One that can't be read synchronously (Redis) works, too."""

    class Remote:
        name = "remote"

        def __init__(self) -> None:
            self.inner = MemoryStorage()

        async def load(self, key: str) -> str | None:
            return await self.inner.load(key)

        async def save(self, key: str, value: str) -> None:
            await self.inner.save(key, value)

        async def delete(self, key: str) -> None:
            await self.inner.delete(key)

        async def compare_and_set(self, key: str, expected: str | None, value: str | None) -> bool:
            return await self.inner.compare_and_set(key, expected, value)

        def lock(self, key: str) -> Any:
            return self.inner.lock(key)

    server = serve()
    remote = Remote()
    login = Login(server, person, storage=remote)
    assert login.ask().status_code == 200
    server.requests.clear()
    assert login.ask(auth=login.oauth()).status_code == 200
    assert server.requests.endpoints == ["mcp"]
    age(remote.inner, server.url, 7200)
    assert login.ask(auth=login.oauth()).status_code == 200
    assert stored(remote.inner, server.url) is not None
    assert login.windows == 1


def test_a_client_without_a_keychain_still_serves_requests_at_once(serve: Serve, person: Person) -> None:
    server = serve(protected=False)
    with httpx.Client(auth=OAuth(server.url, on_authorization_url=person), trust_env=False, verify=False) as client:
        with pytest.warns(StorageWarning):
            assert client.post(server.url, json={}).status_code == 400
        assert client.post(server.url, json={}).status_code == 400


def test_a_torn_note_of_a_clients_issuer_says_what_to_do_and_is_mended_by_that(serve: Serve, person: Person) -> None:
    """Specification, "Authorization Server Binding": what can't be read is not taken for "any issuer"."""
    server = serve(
        clients=(RegisteredClient(client_id="app", redirect_uris=("http://127.0.0.1/callback",)),),
        any_loopback_port=True,
    )
    keyring = MemoryKeyring()
    storage = KeychainStorage(backend=keyring)
    note = (f"mcp-login:{binding_key(server.url, 'app')}", "mcp-login")
    keyring.passwords[note] = "garbage"
    options: dict[str, Any] = {
        "storage": storage,
        "client_id": "app",
        "on_authorization_url": person,
        "interactive": True,
    }
    with pytest.raises(StorageError, match="as issuer="):
        mcp_login.sync.login(server.url, **options)
    assert person.urls == []
    mcp_login.sync.login(server.url, **options, issuer=server.issuer)
    assert keyring.passwords[note] != "garbage"
    mcp_login.sync.login(server.url, **options, force=True)


def test_a_torn_registration_does_not_hide_why_a_login_failed(serve: Serve, person: Person) -> None:
    server = serve()
    keyring = MemoryKeyring()
    login = Login(server, person, storage=KeychainStorage(backend=keyring))
    assert login.ask().status_code == 200
    keyring.passwords[f"mcp-login:{client_key(server.issuer, 'mcp-login')}", "mcp-login"] = "garbage"
    server.forget_clients()
    server.expire_access_tokens()
    assert login.ask().status_code == 200


class Failing(MemoryKeyring):
    """Fails in a way of its own, sometimes."""

    fails = False

    def get_password(self, service: str, username: str) -> str | None:
        if self.fails:
            raise ValueError
        return super().get_password(service, username)


def test_a_keychain_that_fails_for_a_moment_costs_no_login(serve: Serve, person: Person) -> None:
    """It is no torn value, which a login would replace."""
    server = serve()
    keychain = Failing()
    login = login_of(server, person, storage=KeychainStorage(backend=keychain))
    before = login.record
    server.expire_access_tokens()
    keychain.fails = True
    with pytest.warns(StorageWarning, match="memory only"):
        assert login.ask().status_code == 200
    keychain.fails = False
    assert login.record == before
    assert login.ask(auth=login.oauth()).status_code == 200
    assert (login.windows, server.reuse_detections) == (1, 0)


class Disk(FileStorage):
    """Files on a disk that may be full."""

    full = False

    async def save(self, key: str, value: str) -> None:
        self._require_room()
        await super().save(key, value)

    async def compare_and_set(self, key: str, expected: str | None, value: str | None) -> bool:
        self._require_room()
        return await super().compare_and_set(key, expected, value)

    def _require_room(self) -> None:
        if self.full:
            raise StorageUnavailable("Can't write: No space left on device.")


def test_a_program_on_a_full_disk_is_waited_for_by_another_one(serve: Serve, person: Person, tmp_path: Path) -> None:
    """The new tokens are in its memory only, and the stored ones used up: sent again, they would end the login."""
    server = serve(refresh_revokes_access_tokens=True)
    disk = Disk(tmp_path / "logins")
    first = login_of(server, person, storage=disk)
    disk.full = True
    server.expire_access_tokens()
    with pytest.warns(StorageWarning, match="memory only"):
        assert first.ask().status_code == 200
    second = Login(server, person, storage=FileStorage(tmp_path / "logins"))
    before = server.count("mcp")
    answers: list[int] = []
    asking = threading.Thread(target=lambda: answers.append(second.ask().status_code))
    asking.start()
    server.requests.wait_for("mcp", times=before + 1)  # it tried with what is stored
    disk.full = False
    asking.join(20)
    assert answers == [200]
    assert (server.count("token", grant_type="refresh_token"), server.reuse_detections, first.windows) == (1, 0, 1)


# Damaged while a program has the login


def _damage(login: Login, folder: Path, text: str) -> None:
    path = lock_path(folder, record_key(login.server.url, None), "login")
    assert path.exists()
    path.write_text(text)


@pytest.mark.parametrize("text", ["", "garbage", "mcp-login 1 1 1 0\n{}"])
def test_a_record_that_was_damaged_is_replaced_by_what_a_program_has(
    serve: Serve, person: Person, tmp_path: Path, text: str
) -> None:
    """It is no worse than one that was deleted: nobody else has the refresh token."""
    server = serve()
    login = login_of(server, person, storage=FileStorage(tmp_path / "logins"))
    _damage(login, tmp_path / "logins", text)
    server.expire_access_tokens()
    assert login.ask().status_code == 200
    assert (server.count("token", grant_type="refresh_token"), login.windows) == (1, 1)
    assert login.record is not None


def test_a_record_that_a_newer_version_wrote_is_not_replaced_by_a_refresh(
    serve: Serve, person: Person, tmp_path: Path
) -> None:
    """Its refresh token can't be read, and may have come after ours, which would then end the login."""
    server = serve()
    login = login_of(server, person, storage=FileStorage(tmp_path / "logins"), interactive=True)
    _damage(login, tmp_path / "logins", "mcp-login 9 1 1 0\n{}")
    server.expire_access_tokens()
    with pytest.raises(LoginRequired):
        login.ask(auth=login.oauth(interactive=False))
    assert login.ask().status_code == 200
    assert (server.count("token", grant_type="refresh_token"), login.windows) == (0, 2)


def test_a_record_that_was_damaged_after_a_logout_brings_nothing_back(
    serve: Serve, person: Person, tmp_path: Path
) -> None:
    server = serve()
    storage = FileStorage(tmp_path / "logins")
    login = login_of(server, person, storage=storage)
    mcp_login.sync.logout(server.url, storage=FileStorage(tmp_path / "logins"))
    run(storage.save(record_key(server.url, None), "garbage"))
    server.expire_access_tokens()
    assert login.ask().status_code == 200
    assert (server.count("token", grant_type="refresh_token"), login.windows) == (0, 2)
