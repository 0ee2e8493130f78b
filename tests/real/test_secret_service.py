"""The keychain of a Linux desktop: gnome-keyring's Secret Service on a session bus of its own.

Field notes: no backend, or a call that never returns (Secret Service over a dead D-Bus; locked collection).
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.real import parts
from tests.real.conftest import session_bus

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__: list[str] = []

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(sys.platform != "linux", reason="the Secret Service is Linux's"),
    pytest.mark.timeout(120),
]

KEY = "https://mcp.example.com/mcp"


def python(code: str, environment: dict[str, str]) -> str:
    """What a new interpreter prints that runs `code`, after importing what every script here uses."""
    start = (
        "import asyncio, time\n"
        "from mcp_login.errors import *\n"
        "from mcp_login.storage.keychain import KeychainStorage\n"
        f"KEY = {KEY!r}\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", start + code], capture_output=True, text=True, check=False, timeout=60, env=environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder whose path is short enough for sockets."""
    folder = Path(tempfile.mkdtemp(prefix="mcp-login-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def test_the_secret_service_keeps_the_storage_contract(secret_service: dict[str, str]) -> None:
    contract = Path(__file__).with_name("keychain_contract.py")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--noconftest", str(contract)]
    done = subprocess.run(
        command, cwd=parts.ROOT, env=secret_service, capture_output=True, text=True, check=False, timeout=100
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped" not in done.stdout


def test_a_second_process_finds_what_the_first_one_saved(secret_service: dict[str, str]) -> None:
    python("asyncio.run(KeychainStorage().save(KEY, 'x' * 20_000))", secret_service)
    assert python("print(KeychainStorage().load_now(KEY, 20))", secret_service) == "x" * 20_000


def test_it_is_one_item_that_other_programs_can_find(secret_service: dict[str, str]) -> None:
    code = (
        "from tests.real import keychain_items\n"
        "keychain_items.remove_all()\n"
        "asyncio.run(KeychainStorage().save(KEY, 'value'))\n"
        "[(service, password)] = keychain_items.passwords().items()\n"
        "print(service); print(password)"
    )
    service, header, value = python(code, secret_service).splitlines()
    assert service == f"mcp-login:{KEY}"
    assert header.startswith("mcp-login 1 1 1 ")
    assert value == "value"


def test_keyring_itself_reads_the_same_item(secret_service: dict[str, str]) -> None:
    """The backend that is chosen without loading them all is the one that keyring would choose."""
    code = (
        "asyncio.run(KeychainStorage().save(KEY, 'value'))\n"
        "import keyring; print(keyring.get_password('mcp-login:' + KEY, 'mcp-login'))"
    )
    assert python(code, secret_service).endswith("\nvalue")


def test_reading_loads_no_backend_but_the_platforms(secret_service: dict[str, str]) -> None:
    code = (
        "import sys; KeychainStorage().load_now(KEY, 20)\n"
        "print(*[name for name in sys.modules if name.startswith('keyring.backends.')])"
    )
    loaded = python(code, secret_service).split()
    assert "keyring.backends.SecretService" in loaded
    assert not {"keyring.backends.kwallet", "keyring.backends.libsecret", "keyring.backends.Windows"} & set(loaded)


def test_a_default_collection_that_is_gone_for_a_moment_is_looked_for_again(secret_service: dict[str, str]) -> None:
    """gnome-keyring has none while it reads a file that was written anew. keyring would ask the person to make a second one."""
    code = """
import secretstorage, types
from secretstorage.util import DBusAddressWrapper
from mcp_login.storage import keyring_backend
storage = KeychainStorage()
asyncio.run(storage.save(KEY, 'value'))
service = DBusAddressWrapper('/org/freedesktop/secrets', 'org.freedesktop.Secret.Service', secretstorage.dbus_init())
[path] = service.call('ReadAlias', 's', 'default')
def name(pause=0.0):
    print(pause)
    service.call('SetAlias', 'so', 'default', path)
keyring_backend.time = types.SimpleNamespace(sleep=name)
service.call('SetAlias', 'so', 'default', '/')
try: print(storage.load_now(KEY, 20))
finally: name()
"""
    assert python(code, secret_service).split() == ["0.05", "value", "0.0"]


@pytest.mark.parametrize(("kind", "at_least"), [("as it is", 2), ("deleting and adding", 10), ("small", 10)])
def test_a_process_that_is_killed_at_any_call_leaves_the_old_or_the_new_login(
    secret_service: dict[str, str], kind: str, at_least: int
) -> None:
    command = [sys.executable, "-m", "tests.real.keychain_crashes", kind]
    done = subprocess.run(
        command, cwd=parts.ROOT, env=secret_service, capture_output=True, text=True, check=False, timeout=100
    )
    assert done.returncode == 0, done.stdout + done.stderr
    old, new = (int(word) for word in done.stdout.split())
    assert old + new >= at_least
    assert old > 0


def test_a_locked_keyring_is_told_from_an_absent_one(short_folder: Path) -> None:
    with session_bus(short_folder, password="right") as environment:
        python("asyncio.run(KeychainStorage().save(KEY, 'value'))", environment)
    code = (
        "try: KeychainStorage().load_now(KEY, 20)\n"
        "except StorageLocked as error: print('locked:', error)\n"
        "try: asyncio.run(KeychainStorage().save(KEY, 'new'))\n"
        "except StorageLocked as error: print('locked:', error)"
    )
    with session_bus(short_folder, password="wrong") as environment:
        answers = python(code, environment).splitlines()
    assert len(answers) == 2
    assert all(answer.startswith("locked:") for answer in answers)
    with session_bus(short_folder, password="right") as environment:
        assert python("print(KeychainStorage().load_now(KEY, 20))", environment) == "value"


def test_a_bus_that_never_answers_holds_nobody_up(secret_service: dict[str, str], short_folder: Path) -> None:
    path = short_folder / "bus"
    with socket.socket(getattr(socket, "AF_UNIX", -1)) as bus:
        bus.bind(str(path))
        bus.listen()
        code = (
            "storage = KeychainStorage(timeout=0.5)\n"
            "try: storage.load_now(KEY, 0.2)\n"
            "except TimeoutError: print('late')\n"
            "try: asyncio.run(storage.load(KEY))\n"
            "except StorageUnavailable: print('unavailable')\n"
            "print(time.time(), flush=True)"
        )
        late, unavailable, ended = python(
            code, {**secret_service, "DBUS_SESSION_BUS_ADDRESS": f"unix:path={path}"}
        ).splitlines()
        exit_took = time.time() - float(ended)
    assert (late, unavailable) == ("late", "unavailable")
    assert exit_took < 2  # a second, and a busy machine's slowness


def test_a_bus_that_is_gone_is_no_keychain(secret_service: dict[str, str], short_folder: Path) -> None:
    code = "try: KeychainStorage().load_now(KEY, 20)\nexcept StorageUnavailable as error: print(error)"
    gone = {**secret_service, "DBUS_SESSION_BUS_ADDRESS": f"unix:path={short_folder / 'gone'}"}
    assert "Set MCP_LOGIN_STORAGE=file (not encrypted) or memory" in python(code, gone)
