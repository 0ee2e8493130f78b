"""What the command's exit status says: one number for each decision that a script can take. Numbers don't change."""

from __future__ import annotations

from enum import IntEnum

from mcp_login.errors import (
    AuthError,
    ErrorResponse,
    InvalidResponse,
    LoginNotNeeded,
    LoginRequired,
    LoginTimeout,
    PolicyError,
    RedirectPortTaken,
    RegistrationRequired,
    StorageError,
    TransportError,
)

__all__ = ["MEANINGS", "ExitCode", "exit_code_of"]


class ExitCode(IntEnum):
    """The exit status of `mcp-login`."""

    OK = 0
    ERROR = 1
    #: click's own.
    USAGE = 2
    LOGIN_REQUIRED = 3
    UNREACHABLE = 4
    REFUSED = 5
    TIMEOUT = 6
    STORAGE = 7
    POLICY = 8
    REGISTRATION_REQUIRED = 9
    INVALID_RESPONSE = 10
    LOGIN_NOT_NEEDED = 11
    PORT_TAKEN = 12
    NOT_REVOKED = 13
    #: 128 and the number of SIGINT, as shells count.
    INTERRUPTED = 130


#: For people: `mcp-login --help` shows this.
MEANINGS: dict[ExitCode, str] = {
    ExitCode.OK: "done",
    ExitCode.ERROR: "another error",
    ExitCode.USAGE: "wrong arguments",
    ExitCode.LOGIN_REQUIRED: "a person has to log in first",
    ExitCode.UNREACHABLE: "the network or a server is down: try again later",
    ExitCode.REFUSED: "the person or a server said no",
    ExitCode.TIMEOUT: "the person did not finish in time",
    ExitCode.STORAGE: "the keychain is locked, missing or failing",
    ExitCode.POLICY: "refused for safety, before anything was sent",
    ExitCode.REGISTRATION_REQUIRED: "a client id from the server's operator is needed",
    ExitCode.INVALID_RESPONSE: "a server's answer breaks the standards",
    ExitCode.LOGIN_NOT_NEEDED: "the server asks for no login",
    ExitCode.PORT_TAKEN: "the callback port is in use",
    ExitCode.NOT_REVOKED: "logged out here, but the server didn't confirm it",
    ExitCode.INTERRUPTED: "interrupted (Ctrl-C)",
}

_CODES: dict[type[AuthError], ExitCode] = {
    AuthError: ExitCode.ERROR,
    ErrorResponse: ExitCode.REFUSED,
    InvalidResponse: ExitCode.INVALID_RESPONSE,
    LoginNotNeeded: ExitCode.LOGIN_NOT_NEEDED,
    LoginRequired: ExitCode.LOGIN_REQUIRED,
    LoginTimeout: ExitCode.TIMEOUT,
    PolicyError: ExitCode.POLICY,
    RedirectPortTaken: ExitCode.PORT_TAKEN,
    RegistrationRequired: ExitCode.REGISTRATION_REQUIRED,
    StorageError: ExitCode.STORAGE,
    TransportError: ExitCode.UNREACHABLE,
}


def exit_code_of(error: AuthError) -> ExitCode:
    """The exit status that `error` ends the command with: that of its class, else of the nearest class above."""
    return next(_CODES[kind] for kind in type(error).__mro__ if kind in _CODES)
