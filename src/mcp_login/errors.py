"""Every error of this library, one class for each decision a caller can take.

AuthError                         anything below
├── TransportError                the network or the server is down: try again later, nothing was deleted
├── InvalidResponse               the peer broke a document (.url, .reason)
│   └── IssuerMismatch            an issuer is not the one that was expected (.expected, .received)
├── ErrorResponse                 the peer answered with an OAuth error (.error, .error_description, .error_uri)
│   ├── AuthorizationErrorResponse    RFC 6749 section 4.1.2.1: for example the person said no
│   ├── TokenErrorResponse            RFC 6749 section 5.2
│   └── RegistrationErrorResponse     RFC 7591 section 3.2.2
├── PolicyError                   refused for safety, before anything was sent
├── LoginRequired                 a person has to log in, and this call may not ask (.resource, .scopes)
├── LoginNotNeeded                the server asks for no login
├── LoginTimeout                  the person did not finish in time
├── RegistrationRequired          the server offers no way to register: give a client id (.issuer)
├── RedirectPortTaken             the redirect URI's port is in use (.port)
└── StorageError                  stored credentials can't be read or written
    ├── StorageLocked             the keychain is locked, or the person refused to open it
    ├── StorageUnreadable         what is stored is torn, another program's, or of a newer version: a login replaces it
    └── StorageUnavailable        there is no keychain here, or it doesn't answer

Messages never hold a token, code, state, secret or response body. Words of a server are attributes; where a message quotes
them they are shortened and stripped of control and direction-changing characters.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Any, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "AuthError",
    "AuthorizationErrorResponse",
    "ErrorResponse",
    "InvalidResponse",
    "IssuerMismatch",
    "LoginNotNeeded",
    "LoginRequired",
    "LoginTimeout",
    "PolicyError",
    "RedirectPortTaken",
    "RegistrationErrorResponse",
    "RegistrationRequired",
    "StorageError",
    "StorageLocked",
    "StorageUnavailable",
    "StorageUnreadable",
    "TokenErrorResponse",
    "TransportError",
    "printable",
    "without_query",
]


E = TypeVar("E", bound="AuthError")

#: What shows as nothing though it counts as a letter, a symbol or a control.
_BLANK = frozenset("\t\r\n\u115f\u1160\u2800\u3164\uffa0\U0001d159")

#: The longest URL in an attribute, in characters: the longest that is read from a document.
_LONGEST_URL = 8000


def printable(text: str, limit: int = 300) -> str:
    """`text` fit to be shown: at most `limit` characters, none of which controls a terminal or the direction of text.

    Blanks are one space each time: many of them push what follows to where a terminal begins its next line.
    """
    cleaned = re.sub(" {2,}", " ", "".join(map(_fit, text[: limit + 1])))
    return cleaned if len(text) <= limit else cleaned[: limit - 1] + "…"


def _fit(character: str) -> str:
    """What is shown of a character."""
    category = unicodedata.category(character)
    if character in _BLANK or category.startswith("Z"):
        return " "
    # Cc: terminal escapes. Cf: bidirectional overrides, zero-width characters. Cs, Co, Cn: nothing a person could read.
    return "" if category.startswith("C") else character


def without_query(url: str) -> str:
    """`url` as it may be shown, but for its characters: the query of a server's or an endpoint's URL may hold a key."""
    return url.partition("?")[0]


def _asked(url: str) -> str:
    """`url` as an attribute: whole, for a program that compares it, and still fit to be shown."""
    return printable(without_query(url), _LONGEST_URL)


class AuthError(Exception):
    """The base of every error this library raises on purpose. Can be pickled: worker processes pass errors on."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Rebuilt from what it holds: the constructors' arguments are not the message."""
        return _rebuild, (type(self), self.args, dict(self.__dict__))

    def twin(self) -> Self:
        """An error of the same kind and content with no past: no traceback, no cause."""
        return _rebuild(type(self), self.args, dict(self.__dict__))


def _rebuild(kind: type[E], args: tuple[Any, ...], attributes: dict[str, Any]) -> E:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(attributes)
    return error


class TransportError(AuthError):
    """The network or a server failed in a way that may pass. Stored credentials were kept; try again.

    `retry_after` is the wait that the server asked for, in seconds, or None; `url` is what was asked, if it is known.
    `may_have_acted`: False where the request certainly had no effect, because it never reached the server or the server said
    so; True where that can't be known.
    """

    def __init__(
        self,
        message: str,
        *,
        url: str | None = None,
        retry_after: float | None = None,
        may_have_acted: bool = True,
    ) -> None:
        super().__init__(message)
        self.url: str | None = None if url is None else _asked(url)
        self.retry_after = retry_after
        self.may_have_acted = may_have_acted


class InvalidResponse(AuthError):
    """A peer's answer breaks the document that governs it. `url` says whose answer, `reason` what is wrong with it."""

    def __init__(self, reason: str, *, url: str, message: str | None = None) -> None:
        self.reason: str = printable(reason)
        self.url: str = _asked(url)
        super().__init__(message or f"{printable(self.url)}: {self.reason}")


class IssuerMismatch(InvalidResponse):
    """An issuer is not, character for character, the one that was expected (RFC 8414 section 3.3, RFC 9207 section 2.4).

    `expected` and `received` are the two; None: none was received.
    """

    def __init__(self, *, expected: str, received: str | None, url: str, reason: str | None = None) -> None:
        self.expected: str = printable(expected, _LONGEST_URL)
        self.received: str | None = None if received is None else printable(received, _LONGEST_URL)
        said = "named no issuer" if received is None else f"named the issuer {printable(received)!r}"
        super().__init__(reason or f"{said}, expected was {printable(expected)!r}", url=url)


class ErrorResponse(AuthError):
    """A peer answered with an OAuth error.

    `error`, `error_description` and `error_uri` are the fields of the answer, cleaned for display; `status_code` and `url`
    are the answer's; `hint` is what to do, where this library knows more than the answer says.
    """

    action: str = "The server refused the request"
    #: What to do where nothing better is known.
    advice = "Try again later, or ask the server's operator"

    def __init__(
        self,
        error: str,
        *,
        error_description: str | None = None,
        error_uri: str | None = None,
        status_code: int | None = None,
        url: str | None = None,
        hint: str | None = None,
        action: str | None = None,
    ) -> None:
        if action is not None:
            self.action = action
        self.error: str = printable(error, 100)
        self.error_description: str | None = None if error_description is None else printable(error_description)
        self.error_uri: str | None = None if error_uri is None else printable(error_uri)
        self.status_code = status_code
        self.url: str | None = None if url is None else _asked(url)
        self.hint = hint
        message = f"{self.action}: {self.error}"
        if self.error_description:
            message += f" ({self.error_description})"
        if self.url:
            message += f" [{printable(self.url)}]"
        super().__init__(f"{message}. {hint or self.advice}")


class AuthorizationErrorResponse(ErrorResponse):
    """The authorization server sent the browser back with an error (RFC 6749 section 4.1.2.1)."""

    action = "The authorization server refused the login"
    advice = "Log in again and allow the access, or ask the server's operator for it"


class TokenErrorResponse(ErrorResponse):
    """The token endpoint answered with an error (RFC 6749 section 5.2), or the revocation endpoint (RFC 7009 section 2.2.1).

    `ends_session` says whether the refresh token or code that was sent is definitely dead (`invalid_grant` or a provider's
    named equivalent); any other error leaves it alive.
    """

    advice = "Log in anew (force=True); if it stays, ask the server's operator"

    def __init__(
        self,
        error: str,
        *,
        error_description: str | None = None,
        error_uri: str | None = None,
        status_code: int | None = None,
        url: str | None = None,
        hint: str | None = None,
        endpoint: str = "token endpoint",
        ends_session: bool = False,
    ) -> None:
        super().__init__(
            error,
            error_description=error_description,
            error_uri=error_uri,
            status_code=status_code,
            url=url,
            hint=hint,
            action=f"The {endpoint} refused the request",
        )
        self.ends_session = ends_session


class RegistrationErrorResponse(ErrorResponse):
    """The registration endpoint refused this client (RFC 7591 section 3.2.2)."""

    action = "The authorization server refused to register this client"
    advice = "Ask the server's operator for a client id, and give it as client_id"


class PolicyError(AuthError):
    """Refused for safety: an address, scheme or redirect that a login must not follow."""


class LoginRequired(AuthError):
    """A person has to log in, and this call was not allowed to ask one. `resource` and `scopes` say for what."""

    def __init__(self, message: str, *, resource: str, scopes: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.resource = resource
        self.scopes: tuple[str, ...] = tuple(scopes)


class LoginNotNeeded(AuthError):
    """The server answers without a login and names no authorization server."""


class LoginTimeout(AuthError):
    """The person did not finish the login within its time limit. `seconds` is that limit."""

    def __init__(self, message: str, *, seconds: float) -> None:
        super().__init__(message)
        self.seconds = seconds


class RegistrationRequired(AuthError):
    """The authorization server `issuer` offers no way to register: a client id from its operator is needed."""

    def __init__(self, message: str, *, issuer: str) -> None:
        super().__init__(message)
        self.issuer: str = printable(issuer, _LONGEST_URL)


class RedirectPortTaken(AuthError):
    """The port of the redirect URI, `port`, is in use by another program."""

    def __init__(self, message: str, *, port: int) -> None:
        super().__init__(message)
        self.port = port


class StorageError(AuthError):
    """Stored credentials can't be read or written."""


class StorageLocked(StorageError):
    """The keychain is locked, or the person refused to open it."""


class StorageUnavailable(StorageError):
    """There is no keychain on this machine, or it doesn't answer."""


class StorageUnreadable(StorageError):
    """What is stored can't be understood: it is torn, another program's, or of a newer version. A login replaces it.

    `is_newer`: it is the last, and may hold newer tokens than this program has.

    Only which issuer a client id of the caller's own belongs to is not replaced, unless the login is told `issuer`.
    """

    def __init__(self, *said: object, is_newer: bool = False) -> None:
        super().__init__(*said)
        self.is_newer = is_newer
