"""The storage works, and its lock does not: a folder of locks that can't be written to, or that isn't one.

Without the lock a refresh is not safe, as others would send the same token: what is stored is used while it is good, and stays.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import pytest

import mcp_login.sync
from mcp_login import FileStorage, KeychainStorage, StorageUnavailable, StorageWarning
from mcp_login.storage.paths import lock_path, state_path
from mcp_login.storage.record import record_key
from tests.flows.support import Login, age, login_of, stored
from tests.unit.storage.keyrings import MemoryKeyring

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mcp_login import Storage
    from mcp_login.testing import EmbeddedServer, Person
    from tests.flows.conftest import Serve

__all__: list[str] = []


class Locks:
    """The locks of a storage: a folder in the place of the file can't be opened as one."""

    def __init__(self, folder: Path, url: str) -> None:
        self._path = lock_path(folder, record_key(url, None))

    def break_(self) -> None:
        """From now on they can't be had."""
        self._path.unlink(missing_ok=True)
        self._path.mkdir(parents=True)

    def mend(self) -> None:
        """They can."""
        self._path.rmdir()


@pytest.fixture
def server(serve: Serve) -> EmbeddedServer:
    return serve()


@pytest.fixture(params=["keychain", "file"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "file":
        return FileStorage(tmp_path / "logins")
    return KeychainStorage(backend=MemoryKeyring())


@pytest.fixture
def locks(storage: Storage, server: EmbeddedServer, tmp_path: Path) -> Locks:
    return Locks(tmp_path / "logins" if storage.name == "file" else state_path() / "locks", server.url)


@pytest.fixture(autouse=True)
def _no_warnings() -> Iterator[None]:
    """A login that is stored is not exchanged for one in memory."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", StorageWarning)
        yield


@pytest.mark.parametrize("age_of_token", [0, 3585])
def test_what_is_stored_is_used_while_it_is_good(
    server: EmbeddedServer, person: Person, storage: Storage, locks: Locks, age_of_token: float
) -> None:
    login = login_of(server, person, storage=storage)
    age(storage, server.url, age_of_token)
    locks.break_()
    auth = login.oauth()
    assert [login.ask(auth=auth).status_code for _ in range(2)] == [200, 200]
    assert server.count("token", grant_type="refresh_token") == 0
    assert login.windows == 1


@pytest.mark.parametrize("refused", [True, False])
def test_what_is_stored_is_neither_refreshed_nor_forgotten(
    server: EmbeddedServer, person: Person, storage: Storage, locks: Locks, *, refused: bool
) -> None:
    login = login_of(server, person, storage=storage)
    if refused:
        server.expire_access_tokens()
    else:
        age(storage, server.url, 7200)
    before = login.record
    locks.break_()
    auth = login.oauth()
    for _ in range(2):
        with pytest.raises(StorageUnavailable, match="MCP_LOGIN_HOME"):
            login.ask(auth=auth)
    with pytest.raises(StorageUnavailable):
        mcp_login.sync.access_token(server.url, storage=storage, min_valid_for=5000)
    assert server.count("token", grant_type="refresh_token") == 0
    assert login.record == before
    locks.mend()
    assert login.ask(auth=auth).status_code == 200
    assert server.count("token", grant_type="refresh_token") == 1
    assert login.windows == 1


def test_a_token_without_a_refresh_token_that_is_over_gives_way_to_a_login_in_memory(
    serve: Serve, person: Person, storage: Storage, tmp_path: Path
) -> None:
    """There is nothing to lose."""
    server = serve(refresh_tokens="never")
    locks = Locks(tmp_path / "logins" if storage.name == "file" else state_path() / "locks", server.url)
    login = login_of(server, person, storage=storage)
    server.expire_access_tokens()
    locks.break_()
    with pytest.warns(StorageWarning, match="memory only"):
        assert login.ask(auth=login.oauth()).status_code == 200
    assert login.windows == 2


def test_a_program_that_found_nothing_goes_back_to_its_storage_when_that_can_be_locked_again(
    server: EmbeddedServer, person: Person, storage: Storage, locks: Locks
) -> None:
    locks.break_()
    login = Login(server, person, storage=storage)
    with pytest.warns(StorageWarning, match="memory only"):
        assert login.ask().status_code == 200
    server.expire_access_tokens()
    assert login.ask().status_code == 200  # it is not said again at each refresh
    assert stored(storage, server.url) is None
    locks.mend()
    server.expire_access_tokens()
    assert login.ask().status_code == 200
    assert login.record is not None
    assert (server.reuse_detections, login.windows) == (0, 1)
