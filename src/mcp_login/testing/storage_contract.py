# ruff: noqa: S101 - these are tests, shipped for authors of other storages
"""The tests that every storage has to pass. Give them a way to open yours:

    from mcp_login.testing.storage_contract import OpenStorage, StorageContract

    class TestRedisStorage(StorageContract):
        @pytest.fixture
        def open_storage(self, redis_url: str) -> OpenStorage:
            return lambda: RedisStorage(redis_url)

`open_storage` opens the same place each time it is called, as several processes would; the place is new for each test.
Needs pytest, and anyio's pytest plugin, which comes with anyio. Nothing here sleeps; a few tests wait a fifth of a second
to see that something does *not* happen.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from mcp_login.storage.base import Storage, WarmStorage

__all__ = ["OpenStorage", "StorageContract"]

#: Opens the place under test once more.
OpenStorage = Callable[[], Storage]

#: A wait after which something has not happened, in seconds.
_A_WHILE = 0.2

#: A wait for something that must happen, in seconds.
_LIMIT = 10.0

_KEY = "https://mcp.example.com/mcp"

# What Record keeps is JSON in ASCII; a storage keeps any text.
_VALUES = {
    "json": '{"format":1,"access_token":"abc"}',
    "empty": "",
    "spaces": "  leading, trailing  ",
    "newlines": "\nfirst\nsecond\r\nthird\n\n",
    "unicode": "zażółć \N{HEBREW LETTER ALEF}\N{COMBINING ACUTE ACCENT} \N{GRINNING FACE}",
    "punctuation": "'\"\\%$`{}[]()<>&|;:,.?!*~^=+-_/@#\t",
}

_KEYS = (
    _KEY,
    f"{_KEY}#work",
    f"{_KEY}#",
    "https://mcp.example.com/mcp/",
    "https://mcp.example.com/MCP",
    "client https://as.example.com",
    "https://mcp.example.com/../../etc/passwd?a=b&c=%2e%2e%2f",
    "https://mcp.example.com/" + 200 * "long/",
)


class StorageContract:
    """Inherit from it in a class whose name begins with `Test`, and override `open_storage`."""

    pytestmark: pytest.MarkDecorator = pytest.mark.anyio

    @pytest.fixture
    def anyio_backend(self) -> str:
        """The library calls storages on an asyncio loop of its own."""
        return "asyncio"

    @pytest.fixture
    def open_storage(self) -> OpenStorage:
        """A function that opens the place under test, which is empty at first."""
        raise NotImplementedError("override the fixture open_storage")

    @pytest.fixture
    def storage(self, open_storage: OpenStorage) -> Storage:
        """One opened storage."""
        return open_storage()

    # What it is

    async def test_it_is_a_storage(self, storage: Storage) -> None:
        assert isinstance(storage, Storage)

    async def test_its_name_is_one_short_word(self, storage: Storage) -> None:
        assert storage.name.isidentifier()
        assert len(storage.name) <= 20

    async def test_it_shows_nothing_of_what_it_keeps(self, storage: Storage) -> None:
        await storage.save(_KEY, "a-token-that-is-secret")
        await storage.load(_KEY)
        assert "a-token-that-is-secret" not in f"{storage!r} {storage}"

    # Values

    async def test_what_was_never_saved_is_none(self, storage: Storage) -> None:
        assert await storage.load(_KEY) is None

    @pytest.mark.parametrize("value", _VALUES.values(), ids=_VALUES.keys())
    async def test_a_value_comes_back_as_it_was(self, storage: Storage, value: str) -> None:
        await storage.save(_KEY, value)
        assert await storage.load(_KEY) == value

    async def test_a_value_of_20_000_characters_comes_back_whole(self, storage: Storage) -> None:
        """Entra's access tokens are thousands of characters long."""
        value = "".join(f"{number:05d}" for number in range(4000))
        await storage.save(_KEY, value)
        assert await storage.load(_KEY) == value

    async def test_a_new_value_replaces_the_old_one(self, storage: Storage) -> None:
        for value in ("a long first value", "short", "a longer value than the first one was"):
            await storage.save(_KEY, value)
            assert await storage.load(_KEY) == value

    async def test_keys_are_kept_apart(self, storage: Storage) -> None:
        for key in _KEYS:
            await storage.save(key, f"value of {key}")
        assert [await storage.load(key) for key in _KEYS] == [f"value of {key}" for key in _KEYS]
        await storage.delete(_KEYS[0])
        assert [await storage.load(key) for key in _KEYS] == [None, *(f"value of {key}" for key in _KEYS[1:])]

    async def test_a_deleted_value_is_gone(self, storage: Storage) -> None:
        await storage.save(_KEY, "value")
        await storage.delete(_KEY)
        assert await storage.load(_KEY) is None

    async def test_what_is_not_there_can_be_deleted(self, storage: Storage) -> None:
        await storage.delete(_KEY)
        assert await storage.load(_KEY) is None

    async def test_a_deleted_value_can_be_saved_again(self, storage: Storage) -> None:
        await storage.save(_KEY, "first")
        await storage.delete(_KEY)
        await storage.save(_KEY, "second")
        assert await storage.load(_KEY) == "second"

    async def test_another_that_opens_the_place_sees_what_was_saved_and_deleted(
        self, open_storage: OpenStorage
    ) -> None:
        one, other = open_storage(), open_storage()
        await one.save(_KEY, "value")
        assert await other.load(_KEY) == "value"
        await other.delete(_KEY)
        assert await one.load(_KEY) is None

    # Compare and set

    async def test_the_expected_value_is_replaced(self, storage: Storage) -> None:
        await storage.save(_KEY, "old")
        assert await storage.compare_and_set(_KEY, "old", "new") is True
        assert await storage.load(_KEY) == "new"

    async def test_another_value_than_the_expected_one_stays(self, storage: Storage) -> None:
        """A refresh that failed must not delete what a peer has saved since."""
        await storage.save(_KEY, "the winner's")
        assert await storage.compare_and_set(_KEY, "the loser's", "new") is False
        assert await storage.compare_and_set(_KEY, "the loser's", None) is False
        assert await storage.compare_and_set(_KEY, None, "new") is False
        assert await storage.load(_KEY) == "the winner's"

    async def test_the_expected_value_is_deleted(self, storage: Storage) -> None:
        await storage.save(_KEY, "old")
        assert await storage.compare_and_set(_KEY, "old", None) is True
        assert await storage.load(_KEY) is None

    async def test_an_expected_absence_is_filled(self, storage: Storage) -> None:
        assert await storage.compare_and_set(_KEY, None, "new") is True
        assert await storage.load(_KEY) == "new"

    async def test_an_absent_value_is_not_another_one(self, storage: Storage) -> None:
        assert await storage.compare_and_set(_KEY, "old", "new") is False
        assert await storage.compare_and_set(_KEY, "", "new") is False
        assert await storage.compare_and_set(_KEY, None, None) is True
        assert await storage.load(_KEY) is None

    async def test_an_empty_value_is_not_an_absent_one(self, storage: Storage) -> None:
        await storage.save(_KEY, "")
        assert await storage.compare_and_set(_KEY, None, "new") is False
        assert await storage.compare_and_set(_KEY, "", "new") is True

    async def test_of_many_that_expect_the_same_value_one_replaces_it(self, open_storage: OpenStorage) -> None:
        results: dict[str, bool] = {}
        await open_storage().save(_KEY, "old")

        async def replace(storage: Storage, value: str) -> None:
            results[value] = await storage.compare_and_set(_KEY, "old", value)

        with anyio.fail_after(_LIMIT):
            async with anyio.create_task_group() as tasks:
                for number in range(6):
                    tasks.start_soon(replace, open_storage(), f"new {number}")
        winners = [value for value, won in results.items() if won]
        assert len(results) == 6
        assert [await open_storage().load(_KEY)] == winners

    # The lock

    async def test_the_lock_is_for_one_at_a_time(self, open_storage: OpenStorage) -> None:
        holders = 0
        most = 0

        async def hold(storage: Storage) -> None:
            nonlocal holders, most
            async with storage.lock(_KEY):
                holders += 1
                most = max(most, holders)
                await anyio.lowlevel.checkpoint()
                holders -= 1

        with anyio.fail_after(_LIMIT):
            async with anyio.create_task_group() as tasks:
                for _ in range(8):
                    tasks.start_soon(hold, open_storage())
        assert most == 1

    async def test_a_held_lock_is_waited_for(self, open_storage: OpenStorage) -> None:
        async with open_storage().lock(_KEY):
            assert not await self.is_free(open_storage(), _KEY)
        assert await self.is_free(open_storage(), _KEY)

    async def test_a_lock_is_waited_for_by_another_loop_in_another_thread(self, open_storage: OpenStorage) -> None:
        other = open_storage()

        def look() -> bool:
            return anyio.run(self.is_free, other, _KEY, backend="asyncio")

        async with open_storage().lock(_KEY):
            assert not await anyio.to_thread.run_sync(look)
        assert await anyio.to_thread.run_sync(look)

    async def test_a_lock_is_for_its_key_only(self, open_storage: OpenStorage) -> None:
        async with open_storage().lock(_KEY):
            assert await self.is_free(open_storage(), f"{_KEY}#work")

    async def test_an_exception_frees_the_lock(self, open_storage: OpenStorage) -> None:
        with pytest.raises(ZeroDivisionError):
            async with open_storage().lock(_KEY):
                raise ZeroDivisionError
        assert await self.is_free(open_storage(), _KEY)

    async def test_a_cancelled_holder_frees_the_lock(self, open_storage: OpenStorage) -> None:
        async with anyio.create_task_group() as tasks:
            held = anyio.Event()

            async def hold() -> None:
                async with open_storage().lock(_KEY):
                    held.set()
                    await anyio.sleep_forever()

            tasks.start_soon(hold)
            await held.wait()
            tasks.cancel_scope.cancel()
        assert await self.is_free(open_storage(), _KEY)

    async def test_a_waiter_that_gives_up_leaves_the_lock_as_it_is(self, open_storage: OpenStorage) -> None:
        async with open_storage().lock(_KEY):
            assert not await self.is_free(open_storage(), _KEY)
            assert not await self.is_free(open_storage(), _KEY)
        assert await self.is_free(open_storage(), _KEY)

    async def test_the_lock_can_be_taken_again_and_again(self, storage: Storage) -> None:
        for _ in range(3):
            async with storage.lock(_KEY):
                pass

    async def test_a_held_lock_excludes_no_reader_or_writer(self, open_storage: OpenStorage) -> None:
        storage = open_storage()
        with anyio.fail_after(_LIMIT):
            async with storage.lock(_KEY):
                await storage.save(_KEY, "one")
                assert await open_storage().compare_and_set(_KEY, "one", "two") is True
                assert await open_storage().load(_KEY) == "two"
                await open_storage().delete(_KEY)

    # Reading without a loop, for a storage that can

    async def test_a_plain_thread_reads_what_was_saved(self, storage: Storage) -> None:
        warm = _warm(storage)
        found: list[Any] = []

        def read() -> None:
            found.append(warm.load_now(_KEY, _LIMIT))

        for expected in (None, "value"):
            if expected is not None:
                await storage.save(_KEY, expected)
            thread = threading.Thread(target=read)
            thread.start()
            await anyio.to_thread.run_sync(thread.join)
            assert found.pop() == expected

    async def test_a_thread_with_a_running_loop_reads_too(self, storage: Storage) -> None:
        await storage.save(_KEY, "value")
        assert _warm(storage).load_now(_KEY, _LIMIT) == "value"

    @staticmethod
    async def is_free(storage: Storage, key: str) -> bool:
        """Whether the lock of `key` can be had within a while. It is let go at once."""
        with anyio.move_on_after(_A_WHILE):
            async with storage.lock(key):
                return True
        return False


def _warm(storage: Storage) -> WarmStorage:
    if not isinstance(storage, WarmStorage):
        pytest.skip(f"the storage {storage.name} has no load_now")
    return storage
