"""Other users of the machine, and what they find or leave where this library keeps its files.

The attacker's steps are those of a process with another user id (`other_user`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import stat
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import mcp_login.sync
from mcp_login import AuthError, FileStorage, StorageError, StorageUnavailable
from mcp_login.storage.index import Index
from mcp_login.storage.record import record_key
from mcp_login.storage.spent import note_tokens
from tests.flows.support import stored
from tests.hostile.attack import attack, refute
from tests.hostile.other_user import as_other, need_other_user, read_by_other
from tests.hostile.switches.files import FOLLOWED_NEVER, MODES, OWN_FILES, OWN_FOLDERS, WAITED_FOR_NEVER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.hostile.world import World

if os.name == "nt":
    pytest.skip("about POSIX permissions and users", allow_module_level=True)
assert sys.platform != "win32"  # so reads mypy

__all__: list[str] = []

by_another_user = pytest.mark.usefixtures("another_user")

#: The flag as it is, whatever a switch makes of it.
NONBLOCK = os.O_NONBLOCK


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder as /tmp is: everybody may write to it, and remove what is theirs."""
    before = os.umask(0)
    folder = Path(tempfile.mkdtemp(prefix="mcp-login-shared-"))
    try:
        folder.chmod(0o1777)
        yield folder
    finally:
        os.umask(before)
        shutil.rmtree(folder)


@pytest.fixture
def another_user(shared: Path) -> Iterator[None]:
    """Somebody else, who takes away what they made in the shared folder."""
    need_other_user()
    yield
    as_other('rm -rf "$1"/*', shared)


@pytest.fixture
def home(shared: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """MCP_LOGIN_HOME in the shared folder, with a umask that protects nothing."""
    folder = shared / "home"
    monkeypatch.setenv("MCP_LOGIN_HOME", str(folder))
    return folder


@attack("MCP specification, Token Theft", MODES)
def test_nobody_else_reads_what_a_login_leaves(world: World, home: Path) -> None:
    """The list of logins, the login itself, the locks, and the word of a token that was used up."""
    resource, server = world.server()
    storage = FileStorage()
    outcome = world.attempt(lambda: mcp_login.sync.login(resource.url, **world.options(storage=storage)))
    assert outcome.error is None
    note_tokens(record_key(resource.url, None), spent=server.given["refresh_token"][0], fresh=None)
    assert stored(storage, resource.url) is not None
    seen = read_by_other(home)
    refute(seen, "another user reads the files")
    assert {stat.S_IMODE(path.lstat().st_mode) for path in [home, *home.rglob("*")]} == {0o700, 0o600}


@attack("our own rule", MODES)
def test_nobody_else_reads_a_file_that_is_being_written(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even under its first name, which it has for some microseconds, or for good where the process is killed."""
    seen: list[str] = []
    replace = os.replace

    def seen_before(source: str | Path, target: str | Path) -> None:
        seen.append(read_by_other(home))
        replace(source, target)

    monkeypatch.setattr(os, "replace", seen_before)
    asyncio.run(FileStorage().save("https://mcp.example.com/mcp", "s3cret"))
    refute("s3cret" in "".join(seen), "another user reads the file before it has its name")
    assert seen == [""]


@by_another_user
@attack("our own rule", MODES)
def test_nobody_else_holds_a_lock(home: Path) -> None:
    """To lock a file it is enough to read it; who holds a login's lock keeps everybody from refreshing it."""
    storage = FileStorage()
    asyncio.run(_held(storage))
    [lock] = (home / "credentials").glob("*.lock")
    refute("held" in as_other('flock -n -x "$1" echo held', lock), "another user holds the lock")
    asyncio.run(_held(storage))


async def _held(storage: FileStorage) -> None:
    async with storage.lock("https://mcp.example.com/mcp"):
        pass


@by_another_user
@pytest.mark.parametrize("mode", [0o777, 0o1777])
@attack("shared /tmp, pre-created; CWE-379", OWN_FOLDERS)
def test_a_folder_that_somebody_else_has_made_is_not_used(world: World, home: Path, mode: int) -> None:
    resource, _ = world.server()
    as_other('mkdir -m "$2" "$1"', home, f"{mode:o}")
    outcome = world.attempt(lambda: mcp_login.sync.login(resource.url, **world.options(storage=FileStorage())))
    names = as_other('find "$1" -mindepth 1', home).split()
    refute(names, "files lie in another user's folder, who can remove and replace them")
    assert isinstance(outcome.error, StorageError)


@by_another_user
def test_a_folder_that_somebody_else_keeps_for_themselves_is_not_used(home: Path) -> None:
    """Not by root, either, to whom it is open."""
    as_other('mkdir -m 700 "$1"', home)
    with pytest.raises(StorageError, match="MCP_LOGIN_HOME"):
        asyncio.run(FileStorage().save("https://mcp.example.com/mcp", "s3cret"))
    assert as_other('find "$1" -mindepth 1', home) == ""


@by_another_user
@attack("CWE-59; ssh's StrictModes", OWN_FOLDERS)
def test_a_link_that_somebody_else_has_made_leads_nowhere(world: World, home: Path, shared: Path) -> None:
    """It leads to a folder of the person's own, so far: to one that others are shown, or the next moment to another one."""
    shared.chmod(0o777)  # in a sticky one Linux itself follows no such link (proc_sys_fs(5), protected_symlinks)
    public = shared / "public"
    public.mkdir(mode=0o755)
    as_other('ln -s "$2" "$1"', home, public)
    resource, _ = world.server()
    outcome = world.attempt(lambda: mcp_login.sync.login(resource.url, **world.options(storage=FileStorage(home))))
    refute(as_other('find "$1" -mindepth 1', public), "files lie where another user wants them")
    assert isinstance(outcome.error, StorageError)
    assert "link of another user" in str(outcome.error)


def test_a_link_of_one_s_own_is_followed(world: World, home: Path, shared: Path) -> None:
    (shared / "disk").mkdir(mode=0o700)
    home.symlink_to(shared / "disk")
    asyncio.run(FileStorage(home).save("key", "value"))
    assert asyncio.run(FileStorage(home).load("key")) == "value"


@by_another_user
@attack("RFC 9700 section 4.7 (logged in as the attacker); CWE-732", OWN_FOLDERS, OWN_FILES)
def test_a_login_that_somebody_else_has_left_is_not_used(
    world: World, home: Path, shared: Path, tmp_path: Path
) -> None:
    login_of_another_is_not_used(world, home, shared, tmp_path, mode=0o777)


@by_another_user
@attack("RFC 9700 section 4.7 (logged in as the attacker); CWE-732", OWN_FILES)
def test_a_login_that_was_left_in_a_folder_that_is_closed_by_now_is_not_used(
    world: World, home: Path, shared: Path, tmp_path: Path
) -> None:
    login_of_another_is_not_used(world, home, shared, tmp_path, mode=0o700)


def login_of_another_is_not_used(world: World, home: Path, shared: Path, tmp_path: Path, *, mode: int) -> None:
    """Whoever uses it works in the attacker's account, and leaves there what they write."""
    resource, server = world.server()
    storage = FileStorage(tmp_path / "attacker")
    assert world.attempt(lambda: mcp_login.sync.login(resource.url, **world.options(storage=storage))).error is None
    [token] = server.given["access_token"]
    [made] = (path for path in (tmp_path / "attacker").glob("*.login") if token in path.read_text())
    offered = shared / "offered"
    shutil.copyfile(made, offered)
    shutil.rmtree(home)
    home.mkdir(mode=0o777)
    as_other('cp "$1" "$2" && chmod 644 "$2"', offered, home / made.name)
    home.chmod(mode)
    outcome = world.ask(resource.url, storage=FileStorage(home), interactive=False)
    refute(resource.host.saw(f"Bearer {token}"), "a login of another user's was used")
    assert isinstance(outcome.error, AuthError)


@attack("CWE-59", FOLLOWED_NEVER)
@pytest.mark.parametrize("name", ["index.json.lock", "index.json"])
def test_a_link_in_a_file_s_place_makes_no_file_elsewhere(home: Path, shared: Path, name: str) -> None:
    """Left there while the folder was open to others: it leads to what a session starts, say."""
    home.mkdir(mode=0o700)
    target = shared / "autostart.desktop"
    (home / name).symlink_to(target)
    if name == "index.json":
        target.write_text('{"format": 1, "entries": []}')
        target.chmod(0o600)
    error = None
    try:
        Index().remove("https://mcp.example.com/mcp")
    except StorageError as raised:
        error = raised
    if name == "index.json":
        refute((home / name).is_symlink(), "a link was read as the list of logins")
        assert (home / "index.json.broken").is_symlink()
    else:
        refute(target.exists(), "a file was made where a link leads")
        assert "symbolic link" in str(error)


@attack("CWE-400; our own rule", WAITED_FOR_NEVER)
def test_a_pipe_in_a_file_s_place_is_not_waited_for(home: Path, defended: bool) -> None:
    home.mkdir(mode=0o700)
    os.mkfifo(home / "index.json", 0o600)
    ended = threading.Event()

    def read() -> None:
        Index().entries()
        ended.set()

    reader = threading.Thread(target=read, name="reads a pipe", daemon=True)
    reader.start()
    has_ended = ended.wait(20.0 if defended else 0.3)
    if not has_ended:
        os.close(os.open(home / "index.json", os.O_WRONLY | NONBLOCK))
    reader.join(5)
    refute(not has_ended, "a reader waits for whoever left a pipe here")


@by_another_user
@attack("CWE-367", MODES)
def test_who_swaps_the_folder_between_look_and_use_reads_nothing(
    home: Path, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parent is the attacker's, so nothing keeps them from it. They get a file of ours, which says nothing to them."""
    shared.chmod(0o777)
    theirs = shared / "theirs"
    as_other('mkdir -m 777 "$1"', theirs)
    opened = os.open

    def swapped(path: str | Path, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if str(path).endswith(".tmp"):
            as_other('mv "$1" "$2" && ln -s "$3" "$1"', home, shared / "before", theirs)
        return opened(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", swapped)
    with contextlib.suppress(StorageError):
        asyncio.run(FileStorage(home).save("https://mcp.example.com/mcp", "s3cret"))
    assert as_other('ls "$1"', theirs)
    refute("s3cret" in read_by_other(theirs), "another user reads what was written")


def test_a_full_disk_leaves_the_old_login_and_nothing_else(home: Path) -> None:
    import resource

    storage = FileStorage(home)
    asyncio.run(storage.save("key", "old"))
    before = sorted(path.name for path in home.iterdir())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(StorageUnavailable) as caught:
            asyncio.run(storage.save("key", "x" * 100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "MCP_LOGIN_HOME" in str(caught.value)
    assert asyncio.run(storage.load("key")) == "old"
    assert sorted(path.name for path in home.iterdir()) == before
