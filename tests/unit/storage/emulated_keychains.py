"""Keychains as they are documented to work, down to the single step that a crash can fall between.

The backends are keyring's own, unaltered; only what they call is replaced: three functions of Win32, three of macOS'
Security framework, a collection of the Secret Service. Each of their steps reads or changes one entry of a `Vault`, at
once. Two backends that nobody knows stand for all others.
"""

from __future__ import annotations

import importlib
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock

from keyring.backend import KeyringBackend
from keyring.backends.SecretService import Keyring as SecretService
from keyring.errors import PasswordDeleteError, PasswordSetError

from mcp_login.storage.keyring_backend import KeyringItems
from mcp_login.storage.slots import Slots

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = [
    "KEY",
    "KINDS",
    "SIZES",
    "SLOT",
    "SPARE",
    "TRANSITIONS",
    "Crash",
    "Keychain",
    "Past",
    "Vault",
    "crashes",
    "keychain",
    "number_of_items",
    "read",
    "slots",
    "text",
    "windows_error",
    "write",
]


class Crash(BaseException):
    """The process is killed here: nothing catches it."""


class Vault:
    """What a keychain has on its disk. `states` are all contents there have been since `watch`."""

    def __init__(self) -> None:
        self.entries: dict[str, Any] = {}
        self.states: list[dict[str, Any]] = [self.entries]
        #: How many more steps there are before the crash; None: no crash.
        self.steps_left: int | None = None
        self.steps = 0

    def watch(self) -> None:
        """Forget the states there have been."""
        self.states = [self.entries]

    def read(self, name: str) -> Any:
        self.step()
        return self.entries.get(name)

    def write(self, name: str, value: Any) -> None:
        self.step()
        self._change({**self.entries, name: value})

    def remove(self, name: str) -> bool:
        self.step()
        if name not in self.entries:
            return False
        self._change({other: value for other, value in self.entries.items() if other != name})
        return True

    def step(self) -> None:
        self.steps += 1
        if self.steps_left is not None:
            if self.steps_left == 0:
                raise Crash
            self.steps_left -= 1

    def _change(self, entries: dict[str, Any]) -> None:
        self.entries = entries
        self.states.append(entries)


class Past(Vault):
    """What a reader sees beside a writer: before each of its steps, the writer goes on by some of its own.

    `states` are those that the writer went through, `pace` how far it goes each time; at last it stands still.
    """

    def __init__(self, states: list[dict[str, Any]], pace: Iterable[int]) -> None:
        super().__init__()
        self.states = states
        self._pace = iter(pace)
        self._now = 0
        self.entries = states[0]

    def step(self) -> None:
        self._now = min(self._now + next(self._pace, 0), len(self.states) - 1)
        self.entries = self.states[self._now]


class Keychain:
    """A keychain over `vault`, which may be exchanged. `other_names` are entries that the backend keeps for itself."""

    def __init__(self) -> None:
        self.vault = Vault()
        self.backend: KeyringBackend = Unknown(self)

    def items(self) -> list[str]:
        """The names of the items, without those in which keyring's Windows backend keeps the text before."""
        return sorted(name for name in self.vault.entries if not name.startswith("mcp-login@mcp-login:"))


class Unknown(KeyringBackend):
    """Nobody knows it: it deletes and adds, and may take no more than `limit` characters."""

    priority = 0.1

    def __init__(self, keychain: Keychain, limit: int | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._keychain = keychain
        self._limit = limit

    def get_password(self, service: str, username: str) -> str | None:
        value: str | None = self._keychain.vault.read(service)
        return value

    def set_password(self, service: str, username: str, password: str) -> None:
        self._keychain.vault.remove(service)
        if self._limit is not None and len(password) > self._limit:
            self._keychain.vault.step()
            raise PasswordSetError("too large")
        self._keychain.vault.write(service, password)

    def delete_password(self, service: str, username: str) -> None:
        if not self._keychain.vault.remove(service):
            raise PasswordDeleteError("No such password!")


class windows_error(Exception):  # noqa: N801 - as pywintypes spells it
    """`pywintypes.error`."""

    def __init__(self, winerror: int, funcname: str) -> None:
        super().__init__(winerror, funcname, "")
        self.winerror = winerror
        self.funcname = funcname


def _win32cred(keychain: Keychain) -> SimpleNamespace:
    """CredRead, CredWrite and CredDelete (wincred.h): a credential is replaced at once, and has 2,560 bytes at most."""

    def read(Type: int, TargetName: str) -> dict[str, Any]:  # noqa: N803
        found: dict[str, Any] | None = keychain.vault.read(TargetName)
        if found is None:
            raise windows_error(1168, "CredRead")
        return dict(found)

    def write(credential: dict[str, Any], flags: int) -> None:
        blob = credential["CredentialBlob"].encode("utf-16-le")
        if len(blob) > 2560:
            keychain.vault.step()
            raise windows_error(1783, "CredWrite")
        keychain.vault.write(credential["TargetName"], {**credential, "CredentialBlob": blob})

    def delete(Type: int, TargetName: str) -> None:  # noqa: N803
        if not keychain.vault.remove(TargetName):
            raise windows_error(1168, "CredDelete")

    return SimpleNamespace(
        CRED_TYPE_GENERIC=1, CRED_PERSIST_ENTERPRISE=3, CredRead=read, CredWrite=write, CredDelete=delete
    )


class _MacOSError(Exception):
    """`keyring.backends.macOS.api.Error`."""


class _NotFound(_MacOSError):
    pass


def _security(keychain: Keychain) -> SimpleNamespace:
    """`keyring.backends.macOS.api`: SecItemCopyMatching, SecItemDelete and SecItemAdd, each at once."""

    def find(_: object, service: str, username: str) -> str:
        text: str | None = keychain.vault.read(service)
        if text is None:
            raise _NotFound(-25300, "Item not found")
        return text

    def store(_: object, service: str, username: str, password: str) -> None:
        keychain.vault.remove(service)
        keychain.vault.write(service, password)

    def delete(_: object, service: str, username: str) -> None:
        if not keychain.vault.remove(service):
            raise _NotFound(-25300, "Item not found")

    return SimpleNamespace(
        Error=_MacOSError,
        NotFound=_NotFound,
        KeychainDenied=type("KeychainDenied", (_MacOSError,), {}),
        find_generic_password=find,
        set_generic_password=store,
        delete_generic_password=delete,
    )


class _Item:
    def __init__(self, vault: Vault, name: str, secret: str) -> None:
        self._vault, self._name, self._secret = vault, name, secret

    def is_locked(self) -> bool:
        return False

    def unlock(self) -> None:
        pass

    def get_secret(self) -> bytes:
        return self._secret.encode()

    def delete(self) -> None:
        self._vault.remove(self._name)


class _Desktop(SecretService):
    """keyring's backend for the Secret Service, with a collection that replaces an item at once."""

    priority = 0.1

    def __init__(self, keychain: Keychain) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._keychain = keychain

    def get_preferred_collection(self) -> SimpleNamespace:
        vault = self._keychain.vault

        def search(attributes: dict[str, str]) -> list[_Item]:
            # keyring looks for two attributes, and saves with a third: another program's item is a second one.
            names = (f"{attributes['service']} of another program", attributes["service"])
            return [_Item(vault, name, secret) for name in names if (secret := vault.read(name)) is not None]

        def create(label: str, attributes: dict[str, str], secret: str, replace: bool) -> None:
            vault.write(attributes["service"], secret)

        return SimpleNamespace(connection=SimpleNamespace(close=lambda: None), search_items=search, create_item=create)


@contextmanager
def _windows(made: Keychain) -> Iterator[None]:
    module = importlib.import_module("keyring.backends.Windows")
    with (
        mock.patch.object(module, "win32cred", _win32cred(made), create=True),
        mock.patch.object(module, "pywintypes", SimpleNamespace(error=windows_error), create=True),
    ):
        made.backend = module.WinVaultKeyring()
        yield


@contextmanager
def _macos(made: Keychain) -> Iterator[None]:
    module = importlib.import_module("keyring.backends.macOS")
    with mock.patch.object(module, "api", _security(made), create=True):
        made.backend = module.Keyring()
        yield


@contextmanager
def _secret_service(made: Keychain) -> Iterator[None]:
    made.backend = _Desktop(made)
    yield


@contextmanager
def _unknown(made: Keychain) -> Iterator[None]:
    yield


@contextmanager
def _unknown_and_small(made: Keychain) -> Iterator[None]:
    made.backend = Unknown(made, limit=1400)
    yield


_MAKERS: dict[str, Callable[[Keychain], Any]] = {
    "macOS": _macos,
    "Windows": _windows,
    "Secret Service": _secret_service,
    "unknown": _unknown,
    "unknown and small": _unknown_and_small,
}

KINDS = tuple(_MAKERS)


@contextmanager
def keychain(kind: str) -> Iterator[Keychain]:
    """A new keychain of that kind, one of `KINDS`."""
    made = Keychain()
    with _MAKERS[kind](made):
        yield made


# What tests do with one

KEY = "https://mcp.example.com/mcp"
SLOT = f"mcp-login:{KEY}"
SPARE = f"mcp-login/1:{KEY}"

#: Of the second size Windows takes a third in an item.
SIZES = {"small": 100, "large": 3000}
TRANSITIONS = [(old, new) for old in (None, *SIZES) for new in SIZES]


def text(size: str | None, letter: str) -> str | None:
    return None if size is None else "".join(f"{letter}{number:05d}" for number in range(SIZES[size] // 6))


def slots(chain: Keychain) -> Slots:
    return Slots(KeyringItems(chain.backend), KEY)


def read(chain: Keychain, *, newest: bool = True) -> str | None:
    envelope = slots(chain).read(newest=newest)
    return None if envelope is None else envelope.payload


def write(chain: Keychain, value: str | None) -> None:
    """Save `value`, or delete (None)."""
    mine = slots(chain)
    if value is None:
        mine.remove(mine.find())
    else:
        mine.write(value, mine.find())


def number_of_items(kind: str, size: str | None) -> int:
    return 0 if size is None else 3 if size == "large" and kind in ("Windows", "unknown and small") else 1


def crashes(chain: Keychain, value: str | None, steps: int) -> bool:
    """Save or delete, with a crash after some steps; say whether it came to that."""
    chain.vault.steps_left = steps
    try:
        write(chain, value)
    except Crash:
        return True
    finally:
        chain.vault.steps_left = None
    return False
