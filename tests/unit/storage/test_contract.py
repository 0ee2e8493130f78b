"""The storages of this library keep the contract that is shipped for others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mcp_login.storage.file import FileStorage
from mcp_login.storage.keychain import KeychainStorage
from mcp_login.storage.memory import MemoryStorage
from mcp_login.testing.storage_contract import OpenStorage, StorageContract
from tests.unit.storage.keyrings import MemoryKeyring

if TYPE_CHECKING:
    from pathlib import Path

__all__: list[str] = []


class TestMemoryStorage(StorageContract):
    @pytest.fixture
    def open_storage(self) -> OpenStorage:
        storage = MemoryStorage()
        return lambda: storage


class TestFileStorage(StorageContract):
    @pytest.fixture
    def open_storage(self, tmp_path: Path) -> OpenStorage:
        return lambda: FileStorage(tmp_path / "logins")


class TestKeychainStorage(StorageContract):
    @pytest.fixture
    def open_storage(self) -> OpenStorage:
        backend = MemoryKeyring()
        return lambda: KeychainStorage(backend=backend)
