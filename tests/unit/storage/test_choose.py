"""Which storage is used where the caller names none, and where files are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mcp_login.errors import StorageError
from mcp_login.storage.choose import default_storage
from mcp_login.storage.paths import data_path, state_path

if TYPE_CHECKING:
    from pathlib import Path

__all__: list[str] = []


def test_the_keychain_is_the_default() -> None:
    assert default_storage().name == "keychain"


@pytest.mark.parametrize("name", ["keychain", "memory", "file"])
def test_the_environment_chooses(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCP_LOGIN_STORAGE", name)
    assert default_storage().name == name


@pytest.mark.parametrize("name", ["keychain", "memory", "file"])
def test_all_callers_share_one(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCP_LOGIN_STORAGE", name)
    assert default_storage() is default_storage()


def test_another_name_is_an_error_that_tells_the_choices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCP_LOGIN_STORAGE", "vault")
    with pytest.raises(StorageError, match="keychain, memory or file"):
        default_storage()


def test_mcp_login_home_moves_every_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MCP_LOGIN_HOME", str(tmp_path))
    assert (data_path(), state_path()) == (tmp_path, tmp_path / "state")


def test_without_it_the_users_own_folders_are_used(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setenv("MCP_LOGIN_HOME", "")
    assert data_path().name == state_path().name == "mcp-login"
    assert home in data_path().parents
