"""Which of keyring's backends holds the logins, and how it keeps items. Loaded with the first call to the keychain, in
that call's thread.

Our choice, in this order: what the program set (`keyring.set_keyring`), what the user's keyring configuration names
(PYTHON_KEYRING_BACKEND, keyringrc.cfg), the operating system's keychain, and only then what keyring finds by loading
every installed backend. `keyring.get_keyring()` always does the last: it scans all entry points and connects to the bus several
times, which on Linux takes as long again as importing keyring. It also puts a chain of backends in front as soon as two
are installed, so that what else is installed would decide where logins are.
"""

from __future__ import annotations

import copy
import functools
import os
import sys
import time
from typing import TYPE_CHECKING, Any

from keyring import core
from keyring.backend import KeyringBackend, by_priority, get_all_keyring
from keyring.backends import fail
from keyring.backends.chainer import ChainerBackend
from keyring.errors import InitError, KeyringLocked, NoKeyringError

from mcp_login.errors import StorageError, StorageLocked, StorageUnavailable

from .slots import SMALLEST_LIMIT, ItemRules

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["KeyringItems", "first_choice", "item_rules", "last_choice", "named", "storage_error"]

_USERNAME = "mcp-login"

_INSTEAD = "Set MCP_LOGIN_STORAGE=file (not encrypted) or memory (until the program ends)."

_CLEAR = frozenset(("keyrings.alt.file.PlaintextKeyring",))
_NOTHING = frozenset(("keyring.backends.fail.Keyring", "keyring.backends.null.Keyring"))

# Security.framework's errors: errSecAuthFailed, errSecInteractionNotAllowed (a session without a screen, as over SSH).
_MACOS_LOCKED = (-25293, -25308)

#: errSecUserCanceled: the person was asked, and said no.
_MACOS_DENIED = -128

#: How often an item is looked for that goes away before it is read: nobody writes as often as that.
_LOOKS = 4

#: The Secret Service's error for whatever is not there.
_MISSING = "ItemNotFoundException"

#: Seconds until the Secret Service's default collection is looked for again, and where it is (Secret Service API, "Aliases").
_PAUSES = (0.05, 0.1, 0.2)
_DEFAULT_COLLECTION = "/org/freedesktop/secrets/aliases/default"

#: What keyring's backend for KWallet says of that where it saves or deletes; where it reads, it is a KeyringLocked.
_KWALLET_DENIED = ("Cancelled by user",)

#: How keyring's backends keep items, by the function that saves them: a subclass with one of its own may do otherwise.
_RULES = {
    # One CreateItem with `replace`, answered when the daemon has written its file. 20,000 characters are no matter.
    "keyring.backends.SecretService.Keyring.set_password": ItemRules(at_once=True),
    "keyring.backends.libsecret.Keyring.set_password": ItemRules(at_once=True),
    # One writePassword: the daemon replaces the entry, then the file of the wallet as a whole.
    "keyring.backends.kwallet.DBusKeyring.set_password": ItemRules(at_once=True),
    # SecItemDelete, then SecItemAdd.
    "keyring.backends.macOS.Keyring.set_password": ItemRules(),
    # CredWrite replaces in one step, and takes CRED_MAX_CREDENTIAL_BLOB_SIZE: 2,560 bytes of UTF-16. Before that keyring
    # copies the text that is there to "<user name>@<service>", and reads it there when the service's own is missing.
    "keyring.backends.Windows.WinVaultKeyring.set_password": ItemRules(
        at_once=True, limit=SMALLEST_LIMIT, keeps_previous=True
    ),
}

#: Of other backends nothing is known: two slots, and parts if a value is refused whole.
_UNKNOWN = ItemRules(tries_parts=True)


class _Replaced(StorageUnavailable):
    """What was there when it was looked for was gone when it was used: another process replaces or deletes it."""


class KeyringItems:
    """The items of one of keyring's backends, by service name; the user name is "mcp-login".

    `backend` is a backend, or its dotted name, to be used as it is; None: ours to choose, with the first call. Implements
    `Items` of `storage.slots`. What the backend raises becomes a `StorageError`, without a chain.
    """

    def __init__(self, backend: KeyringBackend | str | None = None) -> None:
        self._backend = None if isinstance(backend, str) else backend
        self._backend_name = backend if isinstance(backend, str) else None
        #: Whether the backend has answered or was named: else it is the platform's, and may turn out not to work here.
        self._settled = self._backend is not None

    @property
    def rules(self) -> ItemRules:
        """How the backend keeps items; those of an unknown one before the first call."""
        return _UNKNOWN if self._backend is None else item_rules(self._backend)

    def get(self, name: str) -> str | None:
        """The text of the item, or None."""
        return self._ask_again("get_password", name)

    def set(self, name: str, text: str) -> None:
        """Make or replace the item."""
        self._ask_again("set_password", name, text)

    def delete(self, name: str) -> None:
        """Delete the item, if there is one."""
        try:
            self._ask("delete_password", name)
        except StorageError:
            if self.get(name) is not None:  # most backends raise where there is nothing to delete
                raise

    def _ask_again(self, method: str, name: str, *text: str) -> str | None:
        """Call one of those of keyring's methods that may be called again."""
        for _ in range(_LOOKS - 1):
            try:
                return self._ask(method, name, *text)
            except _Replaced:
                continue
        return self._ask(method, name, *text)

    def _ask(self, method: str, name: str, *text: str) -> str | None:
        """Call one of keyring's three methods."""
        if self._backend is None:
            if self._backend_name is not None:
                self._backend, self._settled = named(self._backend_name), True
            else:
                self._backend, self._settled = first_choice()
            self._backend = _patient(self._backend)
        backend = self._backend
        problem = None
        try:
            answer = getattr(backend, method)(name, _USERNAME, *text)
            self._settled = True
        except Exception as error:  # noqa: BLE001 - whatever a third party's backend raises
            problem = storage_error(error, backend, reads=method == "get_password")
        if problem is None:
            return answer if isinstance(answer, str) else None
        if self._settled or type(backend).viable:
            self._settled = True
            raise problem
        # The platform's keychain doesn't work here: only now look at everything that is installed.
        self._backend, self._settled = _patient(last_choice()), True
        return self._ask(method, name, *text)


def item_rules(backend: KeyringBackend) -> ItemRules:
    """How `backend` keeps items."""
    save = type(backend).set_password  # keyring wraps it in each class, and keeps its names
    return _RULES.get(f"{save.__module__}.{save.__qualname__}", _UNKNOWN)


def named(name: str) -> KeyringBackend:
    """The backend of that dotted name, such as `keyring.backends.SecretService.Keyring`. Any that is named is taken."""
    backend = _quietly(lambda: core.load_keyring(name))
    if backend is None:
        raise StorageUnavailable(
            f"The keyring backend {name!r} can't be loaded here. Check its name and that it is installed."
        )
    return backend


def first_choice() -> tuple[KeyringBackend, bool]:
    """The backend to try, and whether it is known to work here. Raises `StorageUnavailable`."""
    chosen: object = vars(core).get(
        "_keyring_backend"
    )  # keyring has no public way to ask that doesn't load every backend
    if isinstance(chosen, KeyringBackend) and not isinstance(chosen, ChainerBackend) and _refusal(chosen) is None:
        return chosen, True
    configured = _configured()
    if configured is not None:
        return _allowed(configured), True
    platform = _quietly(_platform)
    return (platform, False) if platform is not None else (last_choice(), True)


def last_choice() -> KeyringBackend:
    """The best of all installed backends that is safe. Raises `StorageUnavailable` where there is none."""
    found = sorted(get_all_keyring(), key=by_priority, reverse=True)
    usable = [one for one in found if not isinstance(one, ChainerBackend) and one.priority > 0]
    # Keyring's own backends are the systems' keychains; a credential helper for some package index may come before them,
    # and can't save.
    usable.sort(key=lambda one: not type(one).__module__.startswith("keyring.backends."))
    for one in usable:
        if _refusal(one) is None:
            return one
    return _allowed(usable[0] if usable else fail.Keyring())  # type: ignore[no-untyped-call]


def storage_error(error: BaseException, backend: KeyringBackend, *, reads: bool = False) -> StorageError:
    """`error`, which `backend` raised, as one of ours. Only its type is told: its text is another program's.

    One that `reads` no value, whatever it says, doesn't answer; one that writes none may refuse just that value.
    """
    where = f"The keychain ({_name(backend)})"
    kinds = {kind.__name__ for kind in type(error).__mro__}
    status = getattr(error.__cause__, "args", ())[:1]
    denied = status == (_MACOS_DENIED,) or error.args == _KWALLET_DENIED
    if isinstance(error, KeyringLocked) or denied or kinds & {"LockedException", "PromptDismissedException"}:
        return StorageLocked(f"{where} is locked. Unlock it and try again, or: {_INSTEAD}")
    if sys.platform == "darwin" and status and status[0] in _MACOS_LOCKED:
        return StorageLocked(f"{where} is locked, as it is over SSH. Run: security unlock-keychain")
    if getattr(error, "winerror", None) == 1783:
        return StorageError(
            f"{where} takes no value of this size, not in parts of {SMALLEST_LIMIT:,} characters either. "
            "Set MCP_LOGIN_STORAGE=file (not encrypted)."
        )
    gone = (NoKeyringError, InitError, OSError, EOFError, NotImplementedError)
    if isinstance(error, gone) or "SecretServiceNotAvailableException" in kinds:
        return StorageUnavailable(f"{where} is not available ({type(error).__name__}). {_INSTEAD}")
    kind = StorageUnavailable if reads else StorageError
    if _MISSING in kinds:
        # The Secret Service's: to look for something and to use it are two calls.
        kind = _Replaced
    return kind(f"{where} failed with {type(error).__name__}. Try again, or: {_INSTEAD}")


def _configured() -> KeyringBackend | None:
    """What the user's keyring configuration names; None where it names nothing."""
    found: list[KeyringBackend | None] = []

    def load() -> KeyringBackend | None:
        found.append(core.load_env() or core.load_config())
        return found[0]

    backend = _quietly(load)
    if not found:
        raise StorageUnavailable(
            "The backend that PYTHON_KEYRING_BACKEND or keyringrc.cfg names can't be loaded here. "
            "Correct or remove the setting."
        )
    return backend


def _platform() -> KeyringBackend | None:
    """The operating system's keychain, not yet tried; None where keyring had better look at all of them."""
    # Their __init__ is inherited without annotations. One branch for each system, as mypy reads only one of them.
    if sys.platform == "darwin":
        from keyring.backends.macOS import Keyring as MacOS

        return MacOS()  # type: ignore[no-untyped-call]
    elif sys.platform == "win32":  # noqa: RET505
        from keyring.backends.Windows import WinVaultKeyring

        return WinVaultKeyring()  # type: ignore[no-untyped-call]
    else:
        if "KDE" in os.environ.get("XDG_CURRENT_DESKTOP", "").split(":"):
            return None  # KWallet goes before the Secret Service there
        from keyring.backends.SecretService import Keyring as SecretService

        return SecretService()  # type: ignore[no-untyped-call]


def _patient(backend: KeyringBackend) -> KeyringBackend:
    """`backend`; if it is keyring's Secret Service, one that looks for its collection again before it makes one."""
    if _name(backend) != "keyring.backends.SecretService.Keyring":
        return backend
    patient = copy.copy(backend)  # the other one may be the program's
    vars(patient)["get_preferred_collection"] = functools.partial(_collection, backend)
    return patient


def _collection(backend: Any) -> object:
    """The collection that keyring's Secret Service has its items in. The person is asked to make one only if there is none.

    gnome-keyring reads a file that was written anew, and has no default collection for that moment: seen where many processes
    write. keyring would have it make a second one then, for which the person is asked.
    """
    find = type(backend).get_preferred_collection
    if hasattr(backend, "preferred_collection"):
        return find(backend)  # that is the person's own choice
    named = copy.copy(backend)
    named.preferred_collection = _DEFAULT_COLLECTION  # is not made where it isn't there
    for pause in _PAUSES:
        try:
            return find(named)
        except Exception as error:
            # The constructor's is the cause of an InitError; the calls after it raise theirs as it is.
            if _MISSING not in (type(error).__name__, type(error.__cause__).__name__):
                raise
        time.sleep(pause)
    return find(backend)


def _quietly(load: Callable[[], KeyringBackend | None]) -> KeyringBackend | None:
    try:
        return load()
    except Exception:  # noqa: BLE001 - third parties' code: whatever it raises, the backend is no use
        return None


def _allowed(backend: KeyringBackend) -> KeyringBackend:
    refusal = _refusal(backend)
    if refusal is not None:
        raise StorageUnavailable(refusal)
    return backend


def _refusal(backend: KeyringBackend) -> str | None:
    """Why `backend` is not used unless `KeychainStorage(backend=...)` asks for it."""
    names = {f"{kind.__module__}.{kind.__qualname__}" for kind in type(backend).__mro__}
    if names & _NOTHING:
        return f"There is no keychain here, or keyring is switched off in its configuration. {_INSTEAD}"
    if names & _CLEAR or type(backend).__module__.startswith("keyrings.alt."):
        return (
            f"keyring would keep logins outside a keychain ({_name(backend)}), which is used only if "
            f"KeychainStorage(backend=...) asks for it. {_INSTEAD}"
        )
    return None


def _name(backend: KeyringBackend) -> str:
    return f"{type(backend).__module__}.{type(backend).__qualname__}"
