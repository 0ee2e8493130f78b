"""Log an MCP client in: `auth=OAuth(url)` for httpx and httpx2, or `await login(url)`.

Importing this package loads nothing else; each public name is loaded when it is first used (PEP 562).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import access_token, accounts, login, logout
    from .auth import OAuth
    from .credentials import Credentials, LogoutResult
    from .errors import (
        AuthError,
        AuthorizationErrorResponse,
        ErrorResponse,
        InvalidResponse,
        IssuerMismatch,
        LoginNotNeeded,
        LoginRequired,
        LoginTimeout,
        PolicyError,
        RedirectPortTaken,
        RegistrationErrorResponse,
        RegistrationRequired,
        StorageError,
        StorageLocked,
        StorageUnavailable,
        StorageUnreadable,
        TokenErrorResponse,
        TransportError,
    )
    from .grants.authorization_url import AuthorizationUrl
    from .session import StorageWarning
    from .storage.base import Storage
    from .storage.file import FileStorage
    from .storage.index import IndexEntry
    from .storage.keychain import KeychainStorage
    from .storage.memory import MemoryStorage

__version__ = "0.1.0"

__all__ = [
    "AuthError",
    "AuthorizationErrorResponse",
    "AuthorizationUrl",
    "Credentials",
    "ErrorResponse",
    "FileStorage",
    "IndexEntry",
    "InvalidResponse",
    "IssuerMismatch",
    "KeychainStorage",
    "LoginNotNeeded",
    "LoginRequired",
    "LoginTimeout",
    "LogoutResult",
    "MemoryStorage",
    "OAuth",
    "PolicyError",
    "RedirectPortTaken",
    "RegistrationErrorResponse",
    "RegistrationRequired",
    "Storage",
    "StorageError",
    "StorageLocked",
    "StorageUnavailable",
    "StorageUnreadable",
    "StorageWarning",
    "TokenErrorResponse",
    "TransportError",
    "access_token",
    "accounts",
    "login",
    "logout",
]

_HOMES = {
    "AuthorizationUrl": "grants.authorization_url",
    "Credentials": "credentials",
    "FileStorage": "storage.file",
    "IndexEntry": "storage.index",
    "KeychainStorage": "storage.keychain",
    "LogoutResult": "credentials",
    "MemoryStorage": "storage.memory",
    "OAuth": "auth",
    "Storage": "storage.base",
    "StorageWarning": "session",
    "access_token": "api",
    "accounts": "api",
    "login": "api",
    "logout": "api",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    # What isn't listed is one of the errors.
    value = getattr(import_module(f".{_HOMES.get(name, 'errors')}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
