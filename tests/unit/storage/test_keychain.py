"""The keychain: what it keeps, what it refuses, and how it fails: locked, absent, silent, or with another's value in it.

Field notes: a Secret Service over a dead D-Bus never answers; macOS over SSH is locked; some backends keep nothing.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import anyio
import keyring
import keyring.backends.fail
import keyring.backends.null
import pytest
from keyring.backends.SecretService import Keyring as SecretService
from keyring.errors import (
    InitError,
    KeyringError,
    KeyringLocked,
    NoKeyringError,
    PasswordDeleteError,
    PasswordSetError,
)

from mcp_login.errors import StorageError, StorageLocked, StorageUnavailable, StorageUnreadable
from mcp_login.storage.keychain import KeychainStorage
from mcp_login.storage.keyring_backend import item_rules
from tests.unit.storage.keyrings import FailingKeyring, HangingKeyring, MemoryKeyring

if TYPE_CHECKING:
    from collections.abc import Callable

__all__: list[str] = []

pytestmark = pytest.mark.anyio

KEY = "https://mcp.example.com/mcp"
ITEM = (f"mcp-login:{KEY}", "mcp-login")
ROOT = Path(__file__).resolve().parents[3]
DEFAULT = "/org/freedesktop/secrets/aliases/default"


def python(code: str, **environment: str) -> str:
    """What a new interpreter prints that runs `code`."""
    settings = {name: value for name, value in os.environ.items() if name != "PYTHON_KEYRING_BACKEND"}
    settings |= {"PYTHONPATH": str(ROOT), **environment}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=20, env=settings
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


async def test_one_value_is_one_item_with_a_service_name_of_its_own() -> None:
    """DESIGN: some backends rewrite neighbours under a shared service name."""
    backend = MemoryKeyring()
    storage = KeychainStorage(backend=backend)
    await storage.save(KEY, "value")
    await storage.save(f"{KEY}#work", "value")
    assert list(backend.passwords) == [ITEM, (f"mcp-login:{KEY}#work", "mcp-login")]


async def test_each_write_counts_the_generation_up() -> None:
    backend = MemoryKeyring()
    storage = KeychainStorage(backend=backend)
    await storage.save(KEY, "one")
    await storage.save(KEY, "two")
    assert await storage.compare_and_set(KEY, "two", "three")
    assert backend.passwords[ITEM].startswith("mcp-login 1 3 1 ")


async def test_reading_is_one_call_to_the_backend() -> None:
    backend = MemoryKeyring()
    storage = KeychainStorage(backend=backend)
    await storage.save(KEY, "value")
    backend.calls.clear()
    storage.load_now(KEY, 5)
    assert backend.calls == ["get"]


@pytest.mark.parametrize(
    "value", ["hunter2", "", "mcp-login 1 1 1 0123456789abcdef\nhunter2", '{"access_token":"hunter2"}']
)
async def test_a_torn_or_foreign_value_is_an_error_until_it_is_replaced(value: str) -> None:
    backend = MemoryKeyring()
    backend.passwords[ITEM] = value
    storage = KeychainStorage(backend=backend)
    for call in (storage.load(KEY), storage.compare_and_set(KEY, None, "new")):
        with pytest.raises(StorageError) as caught:
            await call
        assert "hunter2" not in str(caught.value)
    with pytest.raises(StorageError):
        storage.load_now(KEY, 5)
    assert backend.passwords[ITEM] == value
    await storage.save(KEY, "new")
    assert await storage.load(KEY) == "new"


async def test_a_foreign_value_is_unreadable_and_a_keychain_that_fails_is_not_taken_for_one() -> None:
    """The one is replaced by a login; of the other nobody knows what it has."""
    backend = MemoryKeyring()
    backend.passwords[ITEM] = "another program's"
    with pytest.raises(StorageUnreadable):
        await KeychainStorage(backend=backend).load(KEY)
    with pytest.raises(StorageUnreadable):
        await KeychainStorage(backend=backend).compare_and_set(KEY, None, "value")
    for failure in (NotAKeyringError, OSError):
        with pytest.raises(StorageUnavailable):
            await KeychainStorage(backend=FailingKeyring(failure)).load(KEY)


async def test_a_foreign_value_can_be_deleted() -> None:
    backend = MemoryKeyring()
    backend.passwords[ITEM] = "another program's"
    await KeychainStorage(backend=backend).delete(KEY)
    assert backend.passwords == {}


class NotAKeyringError(Exception):
    """What a third party's backend may raise."""


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (KeyringLocked, StorageLocked),
        (NoKeyringError, StorageUnavailable),
        (InitError, StorageUnavailable),
        (ConnectionRefusedError, StorageUnavailable),
        (NotImplementedError, StorageUnavailable),
        (KeyringError, StorageUnavailable),
        (NotAKeyringError, StorageUnavailable),
        (SystemExit, StorageError),
    ],
)
async def test_what_a_backend_raises_becomes_one_of_our_errors_without_its_text(
    failure: type[BaseException], expected: type[StorageError]
) -> None:
    storage = KeychainStorage(backend=FailingKeyring(lambda: failure("while saving hunter2")))
    for attempt in (storage.load(KEY), storage.save(KEY, "hunter2"), storage.compare_and_set(KEY, None, "hunter2")):
        with pytest.raises(StorageError) as caught:
            await attempt
        assert type(caught.value) is expected
        assert "hunter2" not in str(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None


class KeychainDenied(Exception):
    """As `keyring.backends.macOS.api.KeychainDenied`."""


class PromptDismissedException(Exception):
    """As `secretstorage.exceptions.PromptDismissedException`."""


def denied_by_macos() -> BaseException:
    """What keyring makes of it where it deletes."""
    error = PasswordDeleteError("Can't delete password in keychain: (-128, 'Keychain Access Denied')")
    error.__cause__ = KeychainDenied(-128, "Keychain Access Denied")
    return error


@pytest.mark.parametrize(
    "failure",
    [
        lambda: KeyringLocked("Failed to unlock the collection!"),
        PromptDismissedException,
        denied_by_macos,
        lambda: PasswordSetError("Cancelled by user"),
        lambda: PasswordDeleteError("Cancelled by user"),
    ],
    ids=["Secret Service", "secretstorage", "macOS", "KWallet saves", "KWallet deletes"],
)
async def test_a_prompt_that_the_person_declined_is_a_locked_keychain_and_no_value_that_it_does_not_take(
    failure: Callable[[], BaseException],
) -> None:
    """What could not be saved is then saved when they have thought better of it."""
    storage = KeychainStorage(backend=FailingKeyring(failure))
    for attempt in (storage.load(KEY), storage.save(KEY, "value"), storage.delete(KEY)):
        with pytest.raises(StorageLocked, match="Unlock it"):
            await attempt


class WindowsError(Exception):
    """As `pywintypes.error`, which is no OSError."""

    winerror = 1783


class SystemError1783(OSError):
    """The same from a backend that calls Windows by itself."""

    winerror = 1783


@pytest.mark.parametrize("failure", [WindowsError, SystemError1783])
async def test_a_value_that_a_keychain_takes_in_no_size_is_told_with_the_size_that_was_tried(
    failure: type[Exception],
) -> None:
    storage = KeychainStorage(backend=FullKeyring(failure))
    with pytest.raises(StorageError, match="parts of 1,280 characters") as caught:
        await storage.save(KEY, "hunter2" * 1000)
    assert type(caught.value) is StorageError
    assert "hunter2" not in str(caught.value)
    assert await storage.load(KEY) is None


class FullKeyring(MemoryKeyring):
    """Takes nothing."""

    def __init__(self, failure: type[Exception]) -> None:
        super().__init__()
        self._failure = failure

    def set_password(self, service: str, username: str, password: str) -> None:
        self.calls.append("set")
        raise self._failure


@pytest.mark.parametrize(("size", "tries"), [(500, 1), (5000, 2)])
async def test_an_unknown_keychain_that_takes_nothing_is_asked_for_parts_only_where_they_are_smaller(
    size: int, tries: int
) -> None:
    backend = FullKeyring(PasswordSetError)
    with pytest.raises(StorageError, match="PasswordSetError"):
        await KeychainStorage(backend=backend).save(KEY, "x" * size)
    assert backend.calls.count("set") == tries


async def test_a_keychain_that_is_locked_is_not_asked_again_for_parts() -> None:
    backend = FullKeyring(KeyringLocked)
    with pytest.raises(StorageLocked):
        await KeychainStorage(backend=backend).save(KEY, "x" * 5000)
    assert backend.calls.count("set") == 1


def test_a_backend_that_saves_in_a_way_of_its_own_is_trusted_with_nothing() -> None:
    class Configured(SecretService):
        priority = 0.1

    class Changed(SecretService):
        priority = 0.1

        def set_password(self, service: str, username: str, password: str) -> None:
            super().set_password(service, username, password)  # type: ignore[no-untyped-call]

    assert item_rules(Configured()).at_once  # type: ignore[no-untyped-call]
    assert not item_rules(Changed()).at_once  # type: ignore[no-untyped-call]
    assert item_rules(Changed()).tries_parts  # type: ignore[no-untyped-call]


async def test_a_failed_write_leaves_the_old_value() -> None:
    backend = MemoryKeyring()
    storage = KeychainStorage(backend=backend)
    await storage.save(KEY, "old")
    with pytest.raises(StorageError):
        await storage.save(KEY, "no UTF-8: \ud800")
    assert await storage.load(KEY) == "old"


async def test_a_keychain_that_does_not_answer_is_unavailable() -> None:
    backend = HangingKeyring()
    storage = KeychainStorage(backend=backend, timeout=0.05)
    with pytest.raises(StorageUnavailable, match="not answered"):
        await storage.load(KEY)
    backend.answers.set()


async def test_no_second_call_is_made_while_one_hangs() -> None:
    """DESIGN: probe with a time-out in a thread; a second probe would hang beside the first, or ask the person twice."""
    backend = HangingKeyring()
    storage = KeychainStorage(backend=backend, timeout=0.05)
    with pytest.raises(TimeoutError):
        storage.load_now(KEY, 0.01)
    for _ in range(3):
        with pytest.raises(StorageUnavailable):
            await storage.load(KEY)
        with pytest.raises(StorageUnavailable):
            await storage.save(KEY, "value")
    assert backend.calls == ["get"]
    backend.answers.set()


async def test_a_keychain_that_is_known_not_to_answer_is_not_waited_for() -> None:
    backend = HangingKeyring()
    storage = KeychainStorage(backend=backend, timeout=0.05)
    with pytest.raises(StorageUnavailable):
        await storage.load(KEY)
    before = time.monotonic()
    with pytest.raises(StorageUnavailable):
        storage.load_now(KEY, 15)
    assert time.monotonic() - before < 10
    backend.answers.set()


async def test_a_keychain_is_used_again_once_it_has_answered() -> None:
    """A person who unlocks it late is not punished."""
    backend = HangingKeyring()
    storage = KeychainStorage(backend=backend)
    with pytest.raises(TimeoutError):
        storage.load_now(KEY, 0.01)
    backend.answers.set()
    await storage.save(KEY, "value")
    assert storage.load_now(KEY, 5) == "value"


async def test_a_cancelled_reader_leaves_the_event_loop_and_the_keychain_alone() -> None:
    backend = HangingKeyring()
    storage = KeychainStorage(backend=backend)
    with anyio.move_on_after(0.01) as scope:
        await storage.load(KEY)
    assert scope.cancelled_caught
    backend.answers.set()
    assert await storage.load(KEY) is None


async def test_a_reader_never_gets_an_answer_that_is_older_than_its_question() -> None:
    """Who has just got the lock must see what the last holder saved: an answer under way is not shared."""
    backend = HangingKeyring()
    storage = KeychainStorage(backend=backend)
    found: list[str | None] = []
    first = threading.Thread(target=lambda: found.append(storage.load_now(KEY, 10)))
    first.start()
    await anyio.to_thread.run_sync(backend.asked.wait)
    async with anyio.create_task_group() as tasks:

        async def read() -> None:
            found.append(await storage.load(KEY))

        tasks.start_soon(read)
        await anyio.lowlevel.checkpoint()
        calls = len(backend.calls)
        backend.answers.set()
    await anyio.to_thread.run_sync(first.join)
    assert calls == 1
    of_both = len(backend.calls)
    await storage.load(KEY)
    assert of_both == 2 * (len(backend.calls) - of_both)


@pytest.mark.parametrize("backend", [keyring.backends.fail.Keyring, keyring.backends.null.Keyring])
def test_a_backend_that_keeps_nothing_is_refused(backend: type, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "from mcp_login.storage.keychain import KeychainStorage\n"
        "from mcp_login.errors import StorageUnavailable\n"
        "try: KeychainStorage().load_now('k', 10)\n"
        "except StorageUnavailable as error: print('refused:', error)"
    )
    answer = python(code, PYTHON_KEYRING_BACKEND=f"{backend.__module__}.{backend.__qualname__}")
    assert answer.startswith("refused:")
    assert "MCP_LOGIN_STORAGE" in answer


PLAIN = """
import sys, types
sys.modules |= {name: types.ModuleType(name) for name in ("keyrings", "keyrings.alt", "keyrings.alt.file")}
from tests.unit.storage.keyrings import MemoryKeyring
class PlaintextKeyring(MemoryKeyring): priority = 0.5
PlaintextKeyring.__module__ = "keyrings.alt.file"
sys.modules["keyrings.alt.file"].PlaintextKeyring = PlaintextKeyring
from mcp_login.errors import StorageUnavailable
from mcp_login.storage.keychain import KeychainStorage
def load(**arguments):
    try: return KeychainStorage(**arguments).load_now("k", 10)
    except StorageUnavailable as error: return str(error)
"""


def test_a_backend_that_keeps_logins_in_clear_is_refused_unless_it_is_named_here() -> None:
    """Real parts: without a bus, keyring may silently choose the plain-text backend of keyrings.alt."""
    name = "keyrings.alt.file.PlaintextKeyring"
    answer = python(f"{PLAIN}print(load()); print(load(backend={name!r}))", PYTHON_KEYRING_BACKEND=name)
    refusal, named = answer.splitlines()
    assert name in refusal
    assert named == "None"


def test_the_users_keyring_configuration_is_followed() -> None:
    code = f"""
from mcp_login.storage.keychain import KeychainStorage
import keyring
storage = KeychainStorage()
storage.load_now("k", 10)
print(keyring.get_keyring().__class__.__name__)
import asyncio; asyncio.run(storage.save({KEY!r}, "v")); print(storage.load_now({KEY!r}, 10))
"""
    answer = python(code, PYTHON_KEYRING_BACKEND="tests.unit.storage.keyrings.MemoryKeyring")
    assert answer.split() == ["MemoryKeyring", "v"]


def test_a_file_of_the_users_keyring_configuration_is_followed(home: Path) -> None:
    folder = home / "config" / "python_keyring"
    folder.mkdir(parents=True)
    (folder / "keyringrc.cfg").write_text("[backend]\ndefault-keyring=keyring.backends.null.Keyring\n")
    code = (
        "from mcp_login.storage.keychain import KeychainStorage\n"
        "from mcp_login.errors import StorageUnavailable\n"
        "try: KeychainStorage().load_now('k', 10)\n"
        "except StorageUnavailable as error: print('switched off' in str(error))"
    )
    assert python(code) == "True"


def test_a_configured_backend_that_is_not_installed_is_named_as_the_cause() -> None:
    code = (
        "from mcp_login.storage.keychain import KeychainStorage\n"
        "from mcp_login.errors import StorageUnavailable\n"
        "try: KeychainStorage().load_now('k', 10)\n"
        "except StorageUnavailable as error: print(error)"
    )
    assert "PYTHON_KEYRING_BACKEND" in python(code, PYTHON_KEYRING_BACKEND="no.such.Keyring")


def test_a_backend_that_the_program_set_is_followed() -> None:
    code = f"""
import keyring
from tests.unit.storage.keyrings import MemoryKeyring
backend = MemoryKeyring()
keyring.set_keyring(backend)
from mcp_login.storage.keychain import KeychainStorage
import asyncio; asyncio.run(KeychainStorage().save({KEY!r}, "v"))
print(len(backend.passwords))
"""
    assert python(code) == "1"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system's own keychain comes first")
def test_of_several_installed_backends_the_best_safe_one_is_used() -> None:
    """keyring itself would take the first, or chain them all and save with the first."""
    code = f"""{PLAIN}
PlaintextKeyring.priority = 20
class Own(MemoryKeyring): priority = 15
import asyncio, keyring
asyncio.run(KeychainStorage().save({KEY!r}, "v"))
for one in keyring.backend.get_all_keyring():
    if type(one) in (PlaintextKeyring, Own): print(type(one).__name__, len(one.passwords))
"""
    answer = python(code, DBUS_SESSION_BUS_ADDRESS="unix:path=/nonexistent")
    assert sorted(answer.splitlines()) == ["Own 1", "PlaintextKeyring 0"]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system's own keychain is there")
def test_a_machine_without_a_keychain_is_told_the_choices() -> None:
    code = (
        "from mcp_login.storage.keychain import KeychainStorage\n"
        "from mcp_login.errors import StorageUnavailable\n"
        "try: KeychainStorage().load_now('k', 15)\n"
        "except StorageUnavailable as error: print(error)"
    )
    assert "Set MCP_LOGIN_STORAGE=file (not encrypted) or memory" in python(
        code, DBUS_SESSION_BUS_ADDRESS="unix:path=/nonexistent"
    )


MISSING = type("ItemNotFoundException", (Exception,), {})
DISMISSED = type("PromptDismissedException", (Exception,), {})


def no_collection(cause: Exception) -> InitError:
    """What keyring's Secret Service raises where it can't open its collection."""
    error = InitError("Failed to create the collection.")
    error.__cause__ = cause
    return error


@pytest.mark.skipif(sys.platform != "linux", reason="the Secret Service is Linux's")
@pytest.mark.parametrize(
    ("raised", "chosen", "looks"),
    [
        ([no_collection(MISSING())], "", [DEFAULT, DEFAULT]),
        ([no_collection(MISSING()), MISSING()], "", [DEFAULT, DEFAULT, DEFAULT]),
        ([no_collection(MISSING())] * 3, "", [DEFAULT, DEFAULT, DEFAULT, ""]),
        ([no_collection(DISMISSED())], "", [DEFAULT]),
        ([no_collection(MISSING())], "/a/collection", ["/a/collection"]),
    ],
    ids=["is back", "goes again", "was never there", "is refused", "is another one"],
)
async def test_a_collection_that_is_gone_is_looked_for_again_before_it_is_made(
    monkeypatch: pytest.MonkeyPatch, raised: list[Exception], chosen: str, looks: list[str]
) -> None:
    left, looked = list(raised), []

    class Collection:
        connection = SimpleNamespace(close=list)

        def search_items(self, _: object) -> list[object]:
            return []

    def find(self: SecretService) -> Collection:
        looked.append(getattr(self, "preferred_collection", ""))
        if left:
            raise left.pop(0)
        return Collection()

    monkeypatch.setattr(SecretService, "get_preferred_collection", find)
    monkeypatch.setattr(SecretService, "viable", True)
    monkeypatch.setattr("mcp_login.storage.keyring_backend._PAUSES", (0.0, 0.0, 0.0))
    monkeypatch.setattr(keyring.core, "_keyring_backend", None)
    for name in ("PYTHON_KEYRING_BACKEND", "XDG_CURRENT_DESKTOP"):
        monkeypatch.delenv(name, raising=False)
    if chosen:
        monkeypatch.setenv("KEYRING_PROPERTY_PREFERRED_COLLECTION", chosen)
    storage = KeychainStorage()
    if len(looks) > len(raised):
        assert await storage.load(KEY) is None
    else:
        with pytest.raises(StorageUnavailable):
            await storage.load(KEY)
    assert looked == looks


def test_importing_it_loads_no_heavy_library() -> None:
    heavy = ["anyio", "asyncio", "httpx", "keyring", "logging", "platformdirs", "pydantic", "mcp_login.storage.lock"]
    code = f"import sys, mcp_login.storage.keychain, mcp_login.storage.record; print([m for m in {heavy} if m in sys.modules])"
    assert python(code) == "[]"


def test_reading_loads_only_keyring_besides() -> None:
    code = f"""
import sys
from mcp_login.storage.keychain import KeychainStorage
KeychainStorage().load_now({KEY!r}, 10)
print([m for m in ("anyio", "asyncio", "httpx", "platformdirs", "pydantic") if m in sys.modules])
"""
    assert python(code, PYTHON_KEYRING_BACKEND="tests.unit.storage.keyrings.MemoryKeyring") == "[]"


@pytest.mark.alone
@pytest.mark.parametrize("call", ["storage.load_now('k', 0.05)", "asyncio.run(storage.save('k', 'v'))"])
def test_a_silent_keychain_holds_no_process_up_for_longer_than_a_second(call: str) -> None:
    code = f"""
import asyncio, contextlib, time
from mcp_login.errors import StorageError
from mcp_login.storage.keychain import KeychainStorage
from tests.unit.storage.keyrings import HangingKeyring
storage = KeychainStorage(backend=HangingKeyring(), timeout=0.05)
with contextlib.suppress(TimeoutError, StorageError): {call}
print(time.time(), flush=True)
"""
    ended = float(python(code))
    assert time.time() - ended < 2  # a second, and a busy machine's slowness


def test_the_end_of_the_process_waits_for_a_write_under_way() -> None:
    code = """
import asyncio, contextlib, threading
from tests.unit.storage.keyrings import MemoryKeyring
from mcp_login.errors import StorageError
from mcp_login.storage.keychain import KeychainStorage
ending = threading.Event()
class Slow(MemoryKeyring):
    def set_password(self, service, username, password):
        ending.wait()
        threading.Event().wait(0.1)
        print("written", flush=True)
with contextlib.suppress(StorageError): asyncio.run(KeychainStorage(backend=Slow(), timeout=0.1).save("k", "v"))
print("ending", flush=True)
ending.set()
"""
    assert python(code).split() == ["ending", "written"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_does_not_wait_for_its_parents_call() -> None:
    code = f"""
import contextlib, os, warnings
warnings.simplefilter("ignore")
from mcp_login.storage.keychain import KeychainStorage
from tests.unit.storage.keyrings import HangingKeyring
backend = HangingKeyring()
storage = KeychainStorage(backend=backend)
with contextlib.suppress(TimeoutError): storage.load_now({KEY!r}, 0.01)
assert backend.asked.wait(10)  # a fork amid its imports would leave half of them to the child
if os.fork() == 0:
    backend.answers = __import__("threading").Event(); backend.answers.set()
    print("child", storage.load_now({KEY!r}, 5), flush=True)
    os._exit(0)
os.wait()
"""
    assert python(code) == "child None"


class ItemNotFoundException(Exception):
    """As secretstorage's: the Secret Service no longer has the item that was found a moment ago."""


class RestlessKeyring(MemoryKeyring):
    """Somebody else replaces each item `times` times between a look-up and the reading of what it found."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    def get_password(self, service: str, username: str) -> str | None:
        if self.times > 0:
            self.times -= 1
            raise ItemNotFoundException
        return super().get_password(service, username)


async def test_an_item_that_another_process_replaces_meanwhile_is_looked_for_again() -> None:
    backend = RestlessKeyring(0)
    storage = KeychainStorage(backend=backend)
    await storage.save(KEY, "value")
    backend.times = 3
    assert await storage.load(KEY) == "value"
    backend.times = 3
    assert storage.load_now(KEY, 5.0) == "value"


async def test_an_item_that_is_never_there_when_it_is_read_is_told() -> None:
    backend = RestlessKeyring(0)
    storage = KeychainStorage(backend=backend)
    await storage.save(KEY, "value")
    backend.times = 1000
    with pytest.raises(StorageUnavailable, match="ItemNotFoundException"):
        await storage.load(KEY)
    assert backend.times > 900
