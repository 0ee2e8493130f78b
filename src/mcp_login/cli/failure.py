"""Errors as people read them: what happened and the next step, in the command's own words, never a traceback."""

from __future__ import annotations

import sys
from typing import IO, TYPE_CHECKING, Any

import click

from mcp_login.errors import (
    AuthError,
    ErrorResponse,
    InvalidResponse,
    LoginTimeout,
    RedirectPortTaken,
    RegistrationErrorResponse,
    RegistrationRequired,
    StorageError,
    StorageLocked,
    TransportError,
    printable,
)

from .exit_codes import ExitCode, exit_code_of
from .output import document_of, error_member
from .screen import duration, note, say, styled
from .wording import advice_of, message_of, offers_another_storage

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CommandFailed", "failure_of", "hint_for"]


class CommandFailed(click.ClickException):
    """The command ends with the exit status `code`, having said `message` and, if there is one, `hint`: the next step.

    `error` is the library's own, where the command failed with one.
    """

    def __init__(
        self,
        message: str,
        *,
        code: ExitCode = ExitCode.ERROR,
        hint: str | None = None,
        error: AuthError | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint
        self.error = error

    def document(self) -> dict[str, Any]:
        """What is printed instead with `--json`."""
        return document_of("error", error=self.member())

    def member(self) -> dict[str, Any]:
        """The error as a member of a document."""
        hint = None if self.hint is None else printable(self.hint, 2000)
        return error_member(self.code, printable(self.message, 2000), hint=hint, error=self.error)

    def show(self, file: IO[Any] | None = None) -> None:  # noqa: ARG002 - click's signature
        """Write it to standard error."""
        note("Error:", self.message, fg="red")
        if self.hint is not None:
            # Our own words, with commands: a line that a terminal wraps is copied as one.
            say(f"{styled('Hint:', sys.stderr, bold=True)}  {printable(self.hint, 2000)}")


def failure_of(error: AuthError, *, hint: str | None = None) -> CommandFailed:
    """How the command ends with `error`. `hint` replaces the usual next step."""
    return CommandFailed(message_of(error), code=exit_code_of(error), hint=hint or hint_for(error), error=error)


def hint_for(error: AuthError) -> str | None:
    """The next step after `error` on a command line; None where its message already says it."""
    for kind, hint in _HINTS:
        if isinstance(error, kind):
            return hint if isinstance(hint, str) else hint(error)
    return None


def _retry_after(error: AuthError) -> str | None:
    wait = getattr(error, "retry_after", None)
    # Most messages say it themselves.
    return None if not wait or f"in {wait:g} seconds" in str(error) else f"The server asks to wait {duration(wait)}."


def _refused(error: AuthError) -> str | None:
    return advice_of(error) if isinstance(error, ErrorResponse) else None


def _not_registered(error: AuthError) -> str | None:
    return f"{_refused(error)} {_WITH_CLIENT_ID}"


def _no_pkce(error: AuthError) -> str | None:
    silent = "has no code_challenge_methods_supported" in getattr(error, "reason", "")
    return (
        "Where you trust the server, `mcp-login login --trust-pkce` goes on; PKCE is used in any case."
        if silent
        else None
    )


def _elsewhere(error: AuthError) -> str | None:
    # Another error of a storage says itself what helps: a folder to correct, a setting.
    return _OTHER_STORAGE if isinstance(error, StorageLocked) or offers_another_storage(error) else None


_WITH_CLIENT_ID = (
    "Pass the client id as --client-id, its secret (if it has one) in the environment variable "
    "MCP_LOGIN_CLIENT_SECRET or through --client-secret-stdin, and a port fixed at the server as --callback-port."
)
_OTHER_STORAGE = (
    "--storage file keeps the login in a file, not encrypted. With `export MCP_LOGIN_STORAGE=file` later commands and "
    "programs find it there."
)

_HINTS: list[tuple[type[AuthError], str | Callable[[AuthError], str | None]]] = [
    (TransportError, _retry_after),
    (RegistrationErrorResponse, _not_registered),
    (ErrorResponse, _refused),
    (InvalidResponse, _no_pkce),
    (LoginTimeout, "--timeout SECONDS gives more time."),
    (RegistrationRequired, _WITH_CLIENT_ID),
    (RedirectPortTaken, "--callback-port PORT chooses another port. Without it any free one is taken."),
    (StorageError, _elsewhere),
]
