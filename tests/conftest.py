"""What holds for every test: no other machine is talked to, and nothing of the person's own is read or written.

Fixtures: `home` (the empty home folder that every test has), `anyio_backend` (asyncio), `closed_port`.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import hypothesis
import pytest

from tests import loopback_only
from tests.real import parts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__: list[str] = []

#: The fixture `pytester`, for the tests of our own plugin.
pytest_plugins = ["pytester"]

loopback_only.install()

# Before anything asks keyring for a backend, once for this process. A test of a real keychain starts other processes.
os.environ["PYTHON_KEYRING_BACKEND"] = "keyring.backends.fail.Keyring"

# Deadlines fail on a busy machine, and say nothing of whether the code is right.
hypothesis.settings.register_profile("mcp-login", deadline=None, print_blob=True, derandomize=parts.in_ci())
hypothesis.settings.load_profile("mcp-login")

#: What changes how the library, keyring, `webbrowser` or an HTTP library behaves.
_CLEARED = (
    "ALL_PROXY",
    "BROWSER",
    "CI",
    "DBUS_SESSION_BUS_ADDRESS",
    "DISPLAY",
    "GITHUB_ACTIONS",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "MCP_LOGIN_STORAGE",
    "NO_PROXY",
    "SSH_CLIENT",
    "SSH_CONNECTION",
    "SSH_TTY",
    "SSLKEYLOGFILE",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "WAYLAND_DISPLAY",
)


def pytest_collection_finish() -> None:
    """tests/run.py has some processes of pytest measured, this one perhaps. Those that tests start are not."""
    os.environ.pop("COVERAGE_PROCESS_START", None)


@pytest.fixture
def anyio_backend() -> str:
    """The event loop of the tests that are marked `anyio`."""
    return "asyncio"


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port of 127.0.0.1 that refuses connections, and that nobody else gets."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home folder, and an environment without the person's keychain, browser, proxies and folders."""
    home = tmp_path_factory.mktemp("home")
    for name in _CLEARED:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(home))
    folders = {
        "APPDATA": "appdata",
        "LOCALAPPDATA": "localappdata",
        "MCP_LOGIN_HOME": "mcp-login",
        "XDG_CACHE_HOME": "cache",
        "XDG_CONFIG_HOME": "config",
        "XDG_DATA_HOME": "data",
        "XDG_RUNTIME_DIR": "runtime",
        "XDG_STATE_HOME": "state",
    }
    for name, folder in folders.items():
        monkeypatch.setenv(name, str(home / folder))
    (home / "runtime").mkdir(mode=0o700)
    return home
