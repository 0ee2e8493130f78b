"""The storages of this library keep the contract that is shipped for others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mcp_login.storage.file import FileStorage
from mcp_login.storage.keychain import KeychainStorage
from mcp_login.storage.memory import MemoryStorage
from mcp_login.testing.storage_contract import OpenStorage, StorageContract
from tests.unit.storage.emulated_keychains import KINDS, keychain

if TYPE_CHECKING:
    from collections.abc import Iterator
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
    @pytest.fixture(params=KINDS)
    def open_storage(self, request: pytest.FixtureRequest) -> Iterator[OpenStorage]:
        with keychain(request.param) as made:
            yield lambda: KeychainStorage(backend=made.backend)
