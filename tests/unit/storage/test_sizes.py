"""What would be too large to be read again is not written: what is there stays.

DESIGN section 3, "Storage."; a hostile server chooses the size of its tokens and scopes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from mcp_login.errors import StorageError
from mcp_login.storage.file import FileStorage
from mcp_login.storage.index import Index, IndexEntry

if TYPE_CHECKING:
    from pathlib import Path

__all__: list[str] = []

ENTRY = IndexEntry(
    server_url="https://mcp.example.com/mcp",
    account=None,
    storage="keychain",
    issuer="https://as.example.com",
    resource="https://mcp.example.com/",
    scopes=("mcp",),
    updated_at=1_800_000_000.0,
)
HUGE = "s" * (5 << 20)


@pytest.mark.parametrize("scope", [HUGE, "é" * (3 << 20)], ids=["characters", "bytes"])
def test_an_entry_that_would_hide_all_others_is_refused(tmp_path: Path, scope: str) -> None:
    index = Index(tmp_path / "index.json")
    index.put(ENTRY)
    with pytest.raises(StorageError, match="too large"):
        index.put(replace(ENTRY, server_url="https://evil.example.com", scopes=(scope,)))
    assert index.entries() == [ENTRY]
    index.put(replace(ENTRY, account="work"))
    assert len(index.entries()) == 2
    assert [path.name for path in tmp_path.glob("*.broken")] == []


def test_many_entries_that_are_too_large_together_are_refused_one_by_one(tmp_path: Path) -> None:
    index = Index(tmp_path / "index.json")
    index.put(ENTRY)
    large = [
        replace(ENTRY, server_url=f"https://evil.example.com/{number}", scopes=("s" * (1 << 20),))
        for number in range(4)
    ]
    for entry in large[:3]:
        index.put(entry)
    with pytest.raises(StorageError, match="too large"):
        index.put(large[3])
    assert index.entries() == [*large[:3], ENTRY]


@pytest.mark.anyio
async def test_a_value_that_is_too_large_leaves_the_one_before(tmp_path: Path) -> None:
    storage = FileStorage(tmp_path / "logins")
    await storage.save("key", "value")
    with pytest.raises(StorageError, match="too large"):
        await storage.save("key", HUGE)
    assert await storage.load("key") == "value"
