"""Real parts of the machine as fixtures: `secret_service`, the environment of processes that have a Secret Service."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.real import parts

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["session_bus"]

# gnome-keyring makes its keyring with this empty password; an empty pipe would fail with "Prompt dismissed".
_START = 'echo "$PASSWORD" | gnome-keyring-daemon --unlock --components=secrets >/dev/null; "$@"'

# Tells the bus's address, then lives until its input ends: the bus ends with it, and the keyring daemon with the bus.
_WAIT = "import os, sys; print(os.environ['DBUS_SESSION_BUS_ADDRESS'], flush=True); sys.stdin.read()"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest test comes first: as the last one it would keep one process busy when the others have nothing more to do."""
    items.sort(key=lambda item: item.path.name != "test_newcomer.py")


@contextmanager
def session_bus(home: Path, *, password: str = "") -> Iterator[dict[str, str]]:
    """The environment of a new session bus with gnome-keyring, whose keyrings are in `home` and opened by `password`."""
    dbus_run_session = parts.need("secret-service")
    folders = {"HOME": home, "XDG_DATA_HOME": home / "data", "XDG_RUNTIME_DIR": home / "run"}
    for folder in folders.values():
        folder.mkdir(mode=0o700, exist_ok=True)
    left_out = {"PYTHON_KEYRING_BACKEND", "DBUS_SESSION_BUS_ADDRESS", "XDG_CURRENT_DESKTOP", "CI"}
    environment = {name: value for name, value in os.environ.items() if name not in left_out}
    environment |= {name: str(folder) for name, folder in folders.items()}
    environment |= {"MCP_LOGIN_HOME": str(home / "mcp-login"), "PYTHONPATH": str(parts.ROOT)}
    command = [str(dbus_run_session), "--", "sh", "-c", _START, "sh", sys.executable, "-c", _WAIT]
    with subprocess.Popen(
        command,
        env={**environment, "PASSWORD": password},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            address = process.stdout.readline().strip()
            assert address, "the session bus did not start"
            yield {**environment, "DBUS_SESSION_BUS_ADDRESS": address}
        finally:
            process.communicate(timeout=10)


@pytest.fixture(scope="session")
def secret_service() -> Iterator[dict[str, str]]:
    """The environment of processes that have a session bus with an unlocked, new Secret Service (gnome-keyring)."""
    # Not pytest's folder: a bus's socket has at most 107 characters of path.
    home = Path(tempfile.mkdtemp(prefix="mcp-login-"))
    try:
        with session_bus(home) as environment:
            yield environment
    finally:
        shutil.rmtree(home, ignore_errors=True)
