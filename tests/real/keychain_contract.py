"""The storage contract over this machine's keychain. test_secret_service.py runs it in a process that has one."""

from __future__ import annotations

import pytest

from mcp_login.storage.keychain import KeychainStorage
from mcp_login.testing.storage_contract import OpenStorage, StorageContract
from tests.real import keychain_items

__all__: list[str] = []


class TestKeychain(StorageContract):
    @pytest.fixture
    def open_storage(self) -> OpenStorage:
        keychain_items.remove_all()
        return KeychainStorage
