"""The list of logins holds no secret, survives damage, and loses no entry between processes."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mcp_login.errors import StorageError
from mcp_login.storage.index import Index, IndexEntry, digest_of

if TYPE_CHECKING:
    from pathlib import Path

__all__: list[str] = []

ENTRY = IndexEntry(
    server_url="https://mcp.example.com/mcp",
    account=None,
    storage="keychain",
    issuer="https://as.example.com",
    resource="https://mcp.example.com/",
    scopes=("files:read", "files:write"),
    updated_at=1_800_000_000.0,
)


def test_it_is_empty_at_first(tmp_path: Path) -> None:
    assert Index(tmp_path / "index.json").entries() == []


def test_what_was_put_is_listed_in_order(tmp_path: Path) -> None:
    index = Index(tmp_path / "index.json")
    others = [replace(ENTRY, server_url="https://a.example.com"), replace(ENTRY, account="work")]
    for entry in (ENTRY, *others):
        index.put(entry)
    assert Index(tmp_path / "index.json").entries() == [others[0], ENTRY, others[1]]


def test_the_same_login_in_the_same_storage_is_replaced(tmp_path: Path) -> None:
    index = Index(tmp_path / "index.json")
    index.put(ENTRY)
    index.put(replace(ENTRY, scopes=()))
    index.put(replace(ENTRY, storage="file"))
    assert [(entry.storage, entry.scopes) for entry in index.entries()] == [("file", ENTRY.scopes), ("keychain", ())]


def test_an_entry_is_removed_by_its_key(tmp_path: Path) -> None:
    index = Index(tmp_path / "index.json")
    work = replace(ENTRY, account="work")
    for entry in (ENTRY, replace(ENTRY, storage="file"), work):
        index.put(entry)
    index.remove(ENTRY.key, "file")
    assert index.entries() == [ENTRY, work]
    index.remove(ENTRY.key)
    index.remove("https://never.example.com")
    assert index.entries() == [work]


def test_it_lies_under_mcp_login_home(home: Path) -> None:
    Index().put(ENTRY)
    assert (home / "mcp-login" / "index.json").is_file()


@pytest.mark.skipif(sys.platform == "win32", reason="about POSIX permissions")
def test_only_its_owner_can_read_it(tmp_path: Path) -> None:
    Index(tmp_path / "index.json").put(ENTRY)
    assert stat.S_IMODE((tmp_path / "index.json").stat().st_mode) == 0o600


@given(content=st.binary(max_size=60) | st.sampled_from([b"[]", b"{}", b'{"format":1,"entries":{}}', b"[" * 9999]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_broken_file_is_set_aside_and_a_new_one_begun(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "index.json"
    path.write_bytes(content)
    path.chmod(0o600)
    index = Index(path)
    assert index.entries() == []
    assert (tmp_path / "index.json.broken").read_bytes() == content
    # Told until somebody has looked, and by others, too.
    loss = Index(path).loss()
    assert loss is not None
    assert f"is now {tmp_path / 'index.json.broken'}" in loss
    (tmp_path / "index.json.broken").unlink()
    assert Index(path).loss() is None
    index.put(ENTRY)
    assert index.entries() == [ENTRY]


def test_an_entry_that_cannot_be_understood_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "index.json"
    Index(path).put(ENTRY)
    data = json.loads(path.read_text())
    data["entries"] += [None, {}, {**data["entries"][0], "scopes": "all"}, {**data["entries"][0], "updated_at": True}]
    path.write_text(json.dumps(data))
    assert Index(path).entries() == [ENTRY]


def test_the_file_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "index.json"
    text = '{"format":2,"entries":[]}'
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(StorageError, match="newer version"):
        Index(path).put(ENTRY)
    assert path.read_text() == text


def test_two_processes_lose_none_of_each_others_entries(tmp_path: Path) -> None:
    code = """
import sys
from dataclasses import replace
from pathlib import Path
from mcp_login.storage.index import Index, IndexEntry, digest_of
for number in range(15):
    Index(Path(sys.argv[1])).put(IndexEntry(f"https://{sys.argv[2]}{number}", None, "file", "i", "r", (), 0.0))
"""
    path = tmp_path / "index.json"
    processes = [subprocess.Popen([sys.executable, "-c", code, str(path), name]) for name in "ab"]
    assert [process.wait(25) for process in processes] == [0, 0]
    assert len(Index(path).entries()) == 30


def test_logins_that_differ_in_the_query_are_two_and_one_leaves_the_other_alone(tmp_path: Path) -> None:
    index = Index(tmp_path / "index.json")
    keys = [f"{ENTRY.server_url}{query}" for query in ("", "?key=one", "?key=two")]
    plain, one, two = (replace(ENTRY, digest=digest_of(key)) for key in keys)
    for entry in (plain, one, two):
        index.put(entry)
    assert [entry.has_query for entry in (plain, one, two)] == [False, True, True]
    assert "key=" not in (tmp_path / "index.json").read_text()
    index.remove(keys[1])
    assert index.entries() == [plain, two]
    index.remove(keys[0])
    assert index.entries() == [two]


def test_an_entry_of_an_earlier_version_is_read_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "index.json"
    Index(path).put(ENTRY)
    data = json.loads(path.read_text())
    del data["entries"][0]["digest"]
    path.write_text(json.dumps(data))
    assert Index(path).entries() == [ENTRY]
    newer = replace(ENTRY, digest=digest_of(ENTRY.key))
    Index(path).put(newer)
    assert Index(path).entries() == [newer]
