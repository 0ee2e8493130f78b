"""Logins in files: private, whole or not at all, and never through somebody else's folder or link."""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from mcp_login.errors import StorageError, StorageUnavailable
from mcp_login.storage.file import FileStorage

if TYPE_CHECKING:
    from pathlib import Path

__all__: list[str] = []

pytestmark = pytest.mark.anyio

posix = pytest.mark.skipif(sys.platform == "win32", reason="about POSIX permissions")

KEY = "https://mcp.example.com/mcp"


def login_file(folder: Path) -> Path:
    [found] = folder.glob("*.login")
    return found


def modes(folder: Path) -> set[int]:
    return {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def leftovers(folder: Path) -> list[str]:
    return [name for name in names(folder) if name.endswith(".tmp")]


def run(code: str, *arguments: str) -> int:
    return subprocess.run([sys.executable, "-c", code, *arguments], check=False, timeout=20).returncode


@posix
async def test_the_folder_and_its_files_are_private(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        await FileStorage(tmp_path / "logins").save(KEY, "value")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "logins").stat().st_mode) == 0o700
    assert modes(tmp_path / "logins") == {0o600}


async def test_a_key_is_not_in_a_file_name(tmp_path: Path) -> None:
    await FileStorage(tmp_path).save(KEY, "value")
    assert all(name.partition(".")[0].isalnum() for name in names(tmp_path))


async def test_reading_makes_no_folder(tmp_path: Path) -> None:
    assert await FileStorage(tmp_path / "logins").load(KEY) is None
    assert not (tmp_path / "logins").exists()


async def test_the_default_folder_is_under_mcp_login_home(home: Path) -> None:
    await FileStorage().save(KEY, "value")
    assert login_file(home / "mcp-login" / "credentials").is_file()


@posix
@pytest.mark.parametrize("mode", [0o770, 0o702, 0o777])
async def test_a_folder_that_others_can_write_to_is_refused(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "logins"
    storage = FileStorage(folder)
    await storage.save(KEY, "value")
    folder.chmod(mode)
    with pytest.raises(StorageError, match="Other users can write"):
        await storage.load(KEY)
    with pytest.raises(StorageError, match="chmod go-w"):
        await storage.save(KEY, "new")


@posix
@pytest.mark.parametrize("mode", [0o1777, 0o2770])
async def test_nobody_is_told_to_shut_others_out_of_a_folder_that_is_meant_to_be_shared(
    tmp_path: Path, mode: int
) -> None:
    """`MCP_LOGIN_HOME=/tmp`: to take the right to write there from others breaks the machine."""
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(StorageError, match="Set MCP_LOGIN_HOME to a folder of your own") as caught:
        await FileStorage(folder).save(KEY, "value")
    assert "chmod" not in str(caught.value)


@posix
async def test_a_folder_in_the_advice_can_be_copied_into_a_shell(tmp_path: Path) -> None:
    folder = tmp_path / "it's $HOME"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(StorageError) as caught:
        await FileStorage(folder).save(KEY, "value")
    command = str(caught.value).partition("run: ")[2].partition("; else")[0]
    assert shlex.split(command) == ["chmod", "go-w", str(folder)]


@posix
async def test_a_file_that_others_can_read_is_refused_until_it_is_replaced(tmp_path: Path) -> None:
    storage = FileStorage(tmp_path / "logins")
    await storage.save(KEY, "value")
    login_file(tmp_path / "logins").chmod(0o644)
    with pytest.raises(StorageError, match="open to other users"):
        await storage.load(KEY)
    await storage.save(KEY, "new")
    assert await storage.load(KEY) == "new"


@posix
async def test_a_symbolic_link_is_neither_read_nor_written_through(tmp_path: Path) -> None:
    storage = FileStorage(tmp_path / "logins")
    await storage.save(KEY, "value")
    file = login_file(tmp_path / "logins")
    target = tmp_path / "target"
    file.rename(target)
    file.symlink_to(target)
    before = target.read_text()
    with pytest.raises(StorageError, match="symbolic link"):
        await storage.load(KEY)
    await storage.save(KEY, "new")
    assert await storage.load(KEY) == "new"
    assert target.read_text() == before
    assert not file.is_symlink()


@posix
async def test_deleting_removes_a_link_and_not_what_it_points_to(tmp_path: Path) -> None:
    storage = FileStorage(tmp_path / "logins")
    await storage.save(KEY, "value")
    file = login_file(tmp_path / "logins")
    target = tmp_path / "target"
    file.rename(target)
    file.symlink_to(target)
    await storage.delete(KEY)
    assert target.exists()
    assert await storage.load(KEY) is None


@pytest.mark.parametrize("content", [b"", b"hunter2", b"\xff\xfehunter2", b"mcp-login 1 1 1 0123456789abcdef\nhunter2"])
async def test_a_torn_or_foreign_file_is_an_error_until_it_is_replaced(tmp_path: Path, content: bytes) -> None:
    storage = FileStorage(tmp_path / "logins")
    await storage.save(KEY, "value")
    login_file(tmp_path / "logins").write_bytes(content)
    for attempt in (storage.load(KEY), storage.compare_and_set(KEY, "value", "new")):
        with pytest.raises(StorageError) as caught:
            await attempt
        assert "hunter2" not in str(caught.value)
        assert caught.value.__context__ is None
    await storage.save(KEY, "new")
    assert await storage.load(KEY) == "new"


def broken(folder: Path) -> list[bytes]:
    """What was set aside."""
    return [path.read_bytes() for path in folder.glob("*.broken")]


async def test_a_torn_file_is_set_aside_when_it_is_replaced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """For people to look at: one for each login (docs/what-happens-when.md)."""
    storage = FileStorage(tmp_path / "logins")
    await storage.save(KEY, "value")
    for content in (b"hunter2", b"hunter3"):
        login_file(tmp_path / "logins").write_bytes(content)
        await storage.save(KEY, "new")
        assert broken(tmp_path / "logins") == [content]
    assert await storage.load(KEY) == "new"
    assert modes(tmp_path / "logins") == {0o600} or sys.platform == "win32"
    assert len(caplog.messages) == 2
    assert ".broken" in caplog.text
    assert "hunter" not in caplog.text


@pytest.mark.parametrize("how", ["delete", "compare and set"])
async def test_what_was_set_aside_is_deleted_with_the_login(tmp_path: Path, how: str) -> None:
    """It may hold tokens: a logout leaves none."""
    storage = FileStorage(tmp_path / "logins")
    await storage.save(KEY, "value")
    login_file(tmp_path / "logins").write_bytes(b"hunter2")
    await storage.save(KEY, "new")
    assert broken(tmp_path / "logins") == [b"hunter2"]
    if how == "delete":
        await storage.delete(KEY)
    else:
        assert await storage.compare_and_set(KEY, "new", None)
    assert {path.suffix for path in (tmp_path / "logins").iterdir()} <= {".lock", ".write"}


@posix
async def test_a_file_that_others_could_read_is_set_aside_for_its_owner_alone(tmp_path: Path) -> None:
    storage = FileStorage(tmp_path / "logins")
    await storage.save(KEY, "value")
    login_file(tmp_path / "logins").chmod(0o644)
    await storage.save(KEY, "new")
    assert len(broken(tmp_path / "logins")) == 1
    assert modes(tmp_path / "logins") == {0o600}


@posix
async def test_a_link_is_set_aside_and_what_it_points_to_left_as_it_is(tmp_path: Path) -> None:
    storage = FileStorage(tmp_path / "logins")
    await storage.save(KEY, "value")
    file = login_file(tmp_path / "logins")
    target = tmp_path / "target"
    file.rename(target)
    target.chmod(0o644)
    file.symlink_to(target)
    await storage.save(KEY, "new")
    assert await storage.load(KEY) == "new"
    assert stat.S_IMODE(target.stat().st_mode) == 0o644
    await storage.delete(KEY)
    assert target.exists()
    assert list((tmp_path / "logins").glob("*.login*")) == []


@posix
async def test_nothing_is_set_aside_in_a_folder_that_others_can_write_to(tmp_path: Path) -> None:
    folder = tmp_path / "logins"
    storage = FileStorage(folder)
    await storage.save(KEY, "value")
    folder.chmod(0o777)
    with pytest.raises(StorageError, match="Other users can write"):
        await storage.save(KEY, "new")
    folder.chmod(0o700)
    assert broken(folder) == []
    assert await storage.load(KEY) == "value"


async def test_a_huge_file_is_not_read_whole(tmp_path: Path) -> None:
    storage = FileStorage(tmp_path / "logins")
    await storage.save(KEY, "value")
    os.truncate(login_file(tmp_path / "logins"), 1 << 32)
    with pytest.raises(StorageError, match="too large"):
        await storage.load(KEY)


async def test_a_writer_that_is_killed_leaves_the_old_value_and_no_leftover(tmp_path: Path) -> None:
    """DESIGN: a crash leaves the old or the new record."""
    code = """
import asyncio, os, pathlib, sys
from mcp_login.storage.file import FileStorage
os.fsync = lambda descriptor: os._exit(9)
asyncio.run(FileStorage(pathlib.Path(sys.argv[1])).save(sys.argv[2], "torn"))
"""
    storage = FileStorage(tmp_path)
    await storage.save(KEY, "old")
    assert run(code, str(tmp_path), KEY) == 9
    assert await storage.load(KEY) == "old"
    assert leftovers(tmp_path)
    await storage.save(KEY, "new")
    assert leftovers(tmp_path) == []


async def test_a_folder_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageUnavailable):
        await FileStorage(tmp_path / "file" / "logins").save(KEY, "value")


async def test_reading_from_a_folder_of_the_callers_does_not_ask_for_the_users_own_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To find those loads another library, and takes as long as the read itself."""
    code = """
import asyncio, pathlib, sys
from mcp_login.storage.file import FileStorage
storage = FileStorage(pathlib.Path(sys.argv[1]))
assert storage.load_now("key", 10) == "value"
sys.exit("platformdirs" in sys.modules)
"""
    await FileStorage(tmp_path / "logins").save("key", "value")
    monkeypatch.delenv("MCP_LOGIN_HOME", raising=False)
    assert run(code, str(tmp_path / "logins")) == 0
