"""The file lock between processes: one holder, freed by the kernel however it dies.

Field notes: two processes refresh the same rotating token, and the loser wipes the winner's.
"""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import anyio
import pytest

from mcp_login.errors import StorageError, StorageUnavailable
from mcp_login.storage.lock import FileLock

if TYPE_CHECKING:
    from pathlib import Path

__all__: list[str] = []

pytestmark = pytest.mark.anyio

posix = pytest.mark.skipif(sys.platform == "win32", reason="about POSIX files")

HOLDER = """
import asyncio, sys
from pathlib import Path
from mcp_login.storage.lock import FileLock
async def hold():
    async with FileLock(Path(sys.argv[1])):
        print("held", flush=True)
        await asyncio.to_thread(sys.stdin.read)
asyncio.run(hold())
"""

COUNTER = """
import sys
from pathlib import Path
from mcp_login.storage.lock import FileLock
lock, count = Path(sys.argv[1]), Path(sys.argv[2])
for _ in range(40):
    with FileLock(lock).blocking(20):
        count.write_text(str(int(count.read_text()) + 1))
"""


def holder(path: Path, code: str = HOLDER) -> subprocess.Popen[str]:
    """A process that runs `code` and has the lock `path`."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


async def test_another_process_that_holds_it_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "locks" / "one.lock"
    with holder(path) as process:
        with anyio.move_on_after(0.1) as scope:
            async with FileLock(path):
                pass
        assert scope.cancelled_caught
        with pytest.raises(StorageUnavailable), FileLock(path).blocking(0.05):
            pass
        process.communicate("")
    with anyio.fail_after(10):
        async with FileLock(path):
            pass


async def test_a_holder_that_is_killed_frees_it(tmp_path: Path) -> None:
    path = tmp_path / "one.lock"
    with holder(path) as process, anyio.fail_after(10):
        process.kill()
        async with FileLock(path):
            pass
    assert process.returncode != 0


def test_contending_processes_lose_no_update(tmp_path: Path) -> None:
    count = tmp_path / "count"
    count.write_text("0")
    command = [sys.executable, "-c", COUNTER, str(tmp_path / "one.lock"), str(count)]
    processes = [subprocess.Popen(command) for _ in range(2)]
    assert [process.wait(25) for process in processes] == [0, 0]
    assert count.read_text() == "80"


@posix
async def test_a_forked_child_does_not_keep_it_after_its_parent_is_gone(tmp_path: Path) -> None:
    code = """
import os, sys, signal, time
from pathlib import Path
from mcp_login.storage.lock import FileLock
with FileLock(Path(sys.argv[1])).blocking(5):
    if os.fork() == 0:
        print("held", flush=True)
        sys.stdin.read()
        os._exit(0)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    path = tmp_path / "one.lock"
    with holder(path, code) as process:
        process.wait()
        with anyio.fail_after(10):
            async with FileLock(path):
                pass


async def test_the_tasks_of_a_loop_take_turns_in_order(tmp_path: Path) -> None:
    order: list[int] = []

    async def take(number: int) -> None:
        async with FileLock(tmp_path / "one.lock"):
            order.append(number)

    async with anyio.create_task_group() as tasks:
        for number in range(10):
            tasks.start_soon(take, number)
            await anyio.lowlevel.checkpoint()
    assert order == list(range(10))


@posix
async def test_its_file_is_private_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "locks" / "one.lock"
    async with FileLock(path):
        pass
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@posix
async def test_a_symbolic_link_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    (tmp_path / "one.lock").symlink_to(target)
    with pytest.raises(StorageError, match="symbolic link"):
        async with FileLock(tmp_path / "one.lock"):
            pass
    assert not target.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="an open file can't be removed there")
async def test_a_file_that_was_removed_while_it_was_held_does_not_make_two_holders_for_long(tmp_path: Path) -> None:
    """Nobody unlinks it but people: whoever comes next locks the file that is there."""
    path = tmp_path / "one.lock"
    async with FileLock(path):
        path.unlink()
        async with FileLock(path.with_name("two.lock")):
            pass
    with FileLock(path).blocking(5), pytest.raises(StorageUnavailable), FileLock(path).blocking(0.05):
        pass


async def test_a_folder_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageUnavailable, match="MCP_LOGIN_HOME"):
        async with FileLock(tmp_path / "file" / "one.lock"):
            pass


@pytest.mark.skipif(sys.platform == "win32", reason="there are no FIFOs")
async def test_a_fifo_in_its_place_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    if sys.platform != "win32":
        os.mkfifo(tmp_path / "one.lock", 0o600)
    with pytest.raises(StorageError, match="no regular file"):
        async with FileLock(tmp_path / "one.lock"):
            pass
