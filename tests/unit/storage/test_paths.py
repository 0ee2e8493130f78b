"""Where files are kept, and what is said where there is no such place."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import platformdirs
import pytest

from mcp_login.errors import StorageUnavailable
from mcp_login.protocol.client import ClientInformation
from mcp_login.storage.choose import default_storage
from mcp_login.storage.ended import begin_anew, note_ended, was_ended
from mcp_login.storage.file import FileStorage
from mcp_login.storage.index import Index
from mcp_login.storage.keychain import KeychainStorage
from mcp_login.storage.paths import data_path, own_folders, state_path
from mcp_login.storage.record import Record
from mcp_login.storage.spent import is_spent
from mcp_login.storage.wanted import ask_to_save, was_asked_to_save
from tests.unit.storage.keyrings import MemoryKeyring

__all__: list[str] = []

KEY = "https://mcp.example/mcp"

RECORD = Record(
    server_url=KEY,
    issuer="https://login.example",
    client=ClientInformation(client_id="c", mechanism="dynamic", issuer="https://login.example"),
    token_endpoint="https://login.example/token",
    access_token="an-access-token",
    resource=KEY,
)


@pytest.fixture
def unknown_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process's user has no entry in the list of users, as in a container."""
    if os.name == "nt":
        pytest.skip("Windows asks no list of users")
    assert sys.platform != "win32"  # so reads mypy
    import pwd

    def unknown(_: int) -> None:
        raise KeyError

    for name in ("MCP_LOGIN_HOME", "HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)


@pytest.fixture
def wrong_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has that name."""
    monkeypatch.setenv("MCP_LOGIN_HOME", "~nobody-of-that-name/logins")


@pytest.fixture(params=["unknown_user", "wrong_setting"])
def homeless(request: pytest.FixtureRequest) -> None:
    """One of both."""
    request.getfixturevalue(request.param)


@pytest.mark.usefixtures("homeless")
def test_without_a_home_there_is_no_folder_and_a_word_of_what_to_set() -> None:
    for ask in (data_path, state_path, Index, FileStorage):
        with pytest.raises(StorageUnavailable, match="Set MCP_LOGIN_HOME to a folder of your own"):
            ask()


@pytest.mark.usefixtures("homeless")
def test_without_a_home_nothing_is_made_where_the_program_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StorageUnavailable):
        KeychainStorage(backend=MemoryKeyring()).lock(KEY)
    note_ended(KeychainStorage(backend=MemoryKeyring()), KEY, RECORD)
    assert not [*tmp_path.iterdir()]


@pytest.mark.usefixtures("homeless")
def test_notes_are_hints_and_raise_nothing_without_a_home() -> None:
    storage = KeychainStorage(backend=MemoryKeyring())
    note_ended(storage, KEY, RECORD)
    begin_anew(storage, KEY, [RECORD])
    ask_to_save(storage, KEY)
    assert not was_asked_to_save(storage, KEY)
    assert not was_ended(storage, KEY, RECORD)
    assert not is_spent(KEY, "a-refresh-token")


@pytest.mark.usefixtures("unknown_user")
def test_a_folder_of_the_callers_own_needs_no_home(tmp_path: Path) -> None:
    folder = tmp_path / "mcp-login"
    assert own_folders(folder) == [folder]


def test_a_home_that_is_nobodys_is_refused_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StorageUnavailable, match="~nobody-of-that-name/x"):
        FileStorage(Path("~nobody-of-that-name/x"))
    monkeypatch.setenv("MCP_LOGIN_HOME", "~nobody-of-that-name/\x1b[2Jx")
    monkeypatch.setenv("MCP_LOGIN_STORAGE", "file")
    with pytest.raises(StorageUnavailable) as caught:
        default_storage()
    assert "\x1b" not in str(caught.value)


def test_a_leading_tilde_is_the_users_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("MCP_LOGIN_HOME", "~/logins")
    assert data_path() == tmp_path / "logins"


@pytest.mark.usefixtures("unknown_user")
def test_a_home_that_platformdirs_leaves_out_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """As its older versions do it."""
    monkeypatch.setattr(platformdirs, "user_data_path", lambda *_, **__: Path("~/.local/share/mcp-login"))
    with pytest.raises(StorageUnavailable):
        data_path()


def test_a_home_in_the_current_folder_stays_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two halves of a program lock the same files."""
    monkeypatch.setenv("MCP_LOGIN_HOME", f"logins-of-{tmp_path.name}")
    monkeypatch.chdir(tmp_path)
    before = data_path()
    (elsewhere := tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(elsewhere)
    assert data_path() == before == tmp_path / f"logins-of-{tmp_path.name}"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows removes no folder that is in use")
def test_where_the_current_folder_is_gone_a_relative_one_leads_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (gone := tmp_path / "gone").mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    monkeypatch.setenv("MCP_LOGIN_HOME", "in-no-folder")
    with pytest.raises(StorageUnavailable, match="the current folder is gone"):
        data_path()
    with pytest.raises(StorageUnavailable, match="the current folder is gone"):
        FileStorage(Path("x"))
