"""What differs from system to system: keychains, browsers, folders, file locks.

Tests with a condition run on the system they are about, as the public CI has it. The others run everywhere; some play
Windows to a process of this machine: without the modules and functions that Windows lacks, with a `msvcrt` of their own.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mcp_login.browser.opener import browser_available
from mcp_login.errors import StorageUnavailable
from mcp_login.storage.keyring_backend import first_choice
from mcp_login.storage.paths import data_path, state_path
from mcp_login.storage.private_files import read_private, remove_private, write_private

if TYPE_CHECKING:
    from collections.abc import Callable

__all__: list[str] = []

ROOT = Path(__file__).resolve().parents[2]

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="about Linux")
on_macos = pytest.mark.skipif(sys.platform != "darwin", reason="about macOS")
on_windows = pytest.mark.skipif(sys.platform != "win32", reason="about Windows")
on_a_desktop_system = pytest.mark.skipif(sys.platform not in ("darwin", "win32"), reason="about macOS and Windows")
posix = pytest.mark.skipif(os.name != "posix", reason="plays Windows on a POSIX system")

#: Imports everything, with what it needs, then anew as another system would.
_AGAIN = """
import importlib, pkgutil, sys
import mcp_login

def import_all():
    # The pages and the command line included; __main__ runs the command.
    names = [found.name for found in pkgutil.walk_packages(mcp_login.__path__, "mcp_login.")]
    for name in names:
        if not name.endswith("__main__"):
            importlib.import_module(name)
    return len(names)

import_all()
import keyring.backends.macOS, keyring.backends.Windows, platformdirs
for name in [name for name in sys.modules if name.partition(".")[0] == "mcp_login"]:
    del sys.modules[name]
import mcp_login
"""

_WINDOWS = (
    _AGAIN
    + """
import errno, fcntl, os, types

def locking(descriptor, mode, length):
    assert (os.lseek(descriptor, 0, os.SEEK_CUR), length) == (0, 1)
    if mode == msvcrt.LK_UNLCK:
        fcntl_flock(descriptor, 8)
        return
    try:
        fcntl_flock(descriptor, 2 | 4)
    except BlockingIOError:
        raise PermissionError(errno.EACCES, "Permission denied") from None

fcntl_flock = fcntl.flock
msvcrt = types.ModuleType("msvcrt")
msvcrt.LK_NBLCK, msvcrt.LK_UNLCK, msvcrt.locking = 2, 0, locking
msvcrt.kbhit, msvcrt.getwch, msvcrt.putwch = bool, str, str
sys.modules["msvcrt"] = msvcrt
for name in ("fcntl", "grp", "posix", "pty", "pwd", "resource", "termios", "tty"):
    sys.modules[name] = None
for name in (
    "O_CLOEXEC", "O_DIRECTORY", "O_NOCTTY", "O_NOFOLLOW", "O_NONBLOCK", "chown", "fork", "geteuid", "getpgrp", "getuid",
    "killpg", "mkfifo", "register_at_fork", "tcgetpgrp", "ttyname",
):
    delattr(os, name)
sys.platform = "win32"
"""
)


def python(code: str, *arguments: str) -> str:
    """What a new interpreter prints that runs `code`."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        timeout=25,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@posix
def test_no_module_needs_what_windows_lacks_to_be_imported() -> None:
    assert int(python(f"{_WINDOWS}\nprint(import_all())")) > 60


@posix
def test_no_module_needs_another_system_than_macos_to_be_imported() -> None:
    assert int(python(f"{_AGAIN}\nsys.platform = 'darwin'\nprint(import_all())")) > 60


@posix
def test_files_and_locks_work_with_what_windows_has(tmp_path: Path) -> None:
    code = f"""{_WINDOWS}
import asyncio
from pathlib import Path
from mcp_login import FileStorage
from mcp_login.errors import StorageUnavailable
from mcp_login.storage.lock import FileLock

folder = Path(sys.argv[1])

async def main():
    storage = FileStorage(folder)
    await storage.save("key", "old")
    assert await storage.compare_and_set("key", "old", "new")
    assert not await storage.compare_and_set("key", "old", "newer")
    print(await storage.load("key"), FileStorage(folder).load_now("key", 5))
    await storage.delete("key")
    print(await storage.load("key"))
    async with FileLock(folder / "one.lock"):
        try:
            with FileLock(folder / "one.lock").blocking(0.05):
                print("two holders")
        except StorageUnavailable:
            print("held")
    with FileLock(folder / "one.lock").blocking(5):
        print("free")

asyncio.run(main())
"""
    assert python(code, str(tmp_path / "logins")).splitlines() == ["new new", "None", "held", "free"]


def test_a_file_that_somebody_reads_is_replaced_and_removed(tmp_path: Path) -> None:
    """On Windows not before they have closed it."""
    path = tmp_path / "file"
    acts: list[Callable[[], None]] = [lambda: write_private(path, "new"), lambda: remove_private(path)]
    for act in acts:
        write_private(path, "old")
        reading = path.open("rb")
        closing = threading.Timer(0.05, reading.close)
        closing.start()
        act()
        closing.join()
        assert read_private(path) in ("new", None)


class Refusing:
    """An operating system's call that fails `times` times as Windows does while somebody else has the file open."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, owner: object, name: str, times: int) -> None:
        self.left = times
        call = getattr(owner, name)

        def refusing(*arguments: object, **keywords: object) -> object:
            if self.left > 0:
                self.left -= 1
                raise PermissionError(errno.EACCES, "The process cannot access the file")
            return call(*arguments, **keywords)

        monkeypatch.setattr(owner, name, refusing)
        monkeypatch.setattr(sys, "platform", "win32")


@pytest.mark.parametrize(
    ("owner", "name", "act", "after"),
    [
        (Path, "replace", lambda path: write_private(path, "new"), "new"),
        (Path, "unlink", remove_private, None),
        (os, "open", read_private, "old"),
    ],
    ids=["replaced", "removed", "opened"],
)
def test_what_windows_refuses_for_a_moment_is_tried_again(
    owner: object,
    name: str,
    act: Callable[[Path], object],
    after: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "file"
    write_private(path, "old")
    with monkeypatch.context() as patched:
        call = Refusing(patched, owner, name, 3)
        act(path)
    assert call.left == 0
    assert read_private(path) == after


def test_what_windows_goes_on_refusing_is_unavailable_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_private(path, "old")
    with monkeypatch.context() as patched:
        Refusing(patched, Path, "replace", 10_000)
        with pytest.raises(StorageUnavailable):
            write_private(path, "new")
    assert read_private(path) == "old"
    assert [found.name for found in tmp_path.iterdir()] == ["file"]


def test_a_leftover_that_cannot_be_removed_does_not_stop_a_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A virus scanner may have it open; the new text may be the only copy of a rotated token."""
    leftover = tmp_path / ".file.0123456789abcdef.tmp"
    leftover.write_text("torn", encoding="utf-8")
    with monkeypatch.context() as patched:
        Refusing(patched, Path, "unlink", 10_000)
        write_private(tmp_path / "file", "new")
    assert read_private(tmp_path / "file") == "new"


# What only the system itself can show.


@pytest.fixture
def own_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's own folders in place of MCP_LOGIN_HOME. They are only named, not used."""
    monkeypatch.delenv("MCP_LOGIN_HOME")


@on_linux
@pytest.mark.usefixtures("own_folders")
def test_on_linux_logins_and_locks_lie_where_xdg_says(home: Path) -> None:
    assert data_path() == home / "data" / "mcp-login"
    assert state_path() == home / "state" / "mcp-login"


@on_macos
@pytest.mark.usefixtures("own_folders")
def test_on_macos_logins_and_locks_lie_in_application_support(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # platformdirs follows these on macOS, too
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.delenv("XDG_STATE_HOME")
    assert data_path() == home / "Library" / "Application Support" / "mcp-login"
    assert state_path() == data_path()


@on_windows
@pytest.mark.usefixtures("own_folders")
def test_on_windows_logins_and_locks_stay_on_the_machine() -> None:
    """The roaming profile would carry locks and logins to other machines."""
    assert data_path().name == "mcp-login"
    assert "Local" in data_path().parts
    assert "Roaming" not in data_path().parts
    assert state_path() == data_path()


@on_a_desktop_system
def test_the_systems_own_keychain_is_the_first_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "from mcp_login.storage.keyring_backend import first_choice\n"
        "backend, known = first_choice()\n"
        "print(type(backend).__module__)"
    )
    monkeypatch.delenv("PYTHON_KEYRING_BACKEND")
    names = {"darwin": "keyring.backends.macOS", "win32": "keyring.backends.Windows"}
    assert python(code) == names[sys.platform]


def test_the_keychain_of_the_tests_is_never_the_persons_own() -> None:
    with pytest.raises(StorageUnavailable):
        first_choice()


@on_a_desktop_system
def test_a_desktop_system_has_a_browser_but_not_over_ssh(monkeypatch: pytest.MonkeyPatch) -> None:
    assert browser_available()
    monkeypatch.setenv("SSH_CONNECTION", "192.0.2.1 50000 192.0.2.2 22")
    assert not browser_available()
