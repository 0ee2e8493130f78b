"""`token`, `logout` and `list`: what is done with logins that are already there."""

from __future__ import annotations

import shlex
import time
from typing import TYPE_CHECKING

from mcp_login.errors import LoginRequired

from .exit_codes import ExitCode
from .failure import failure_of
from .screen import say, show, table, warn

if TYPE_CHECKING:
    from mcp_login.storage.base import Storage

__all__ = ["log_out", "login_command", "print_logins", "print_token", "storage_named"]


def storage_named(name: str | None) -> Storage:
    """The storage of that name; None for the default one. Raises `StorageError` where MCP_LOGIN_STORAGE names none."""
    if name == "keychain":
        from mcp_login.storage.keychain import KeychainStorage

        return KeychainStorage()
    if name == "file":
        from mcp_login.storage.file import FileStorage

        return FileStorage()
    from mcp_login.storage.choose import default_storage

    return default_storage()


def login_command(url: str, *, account: str | None, storage: str | None, allow_private_network: bool = False) -> str:
    """The command that logs in where these options are used."""
    words = ["mcp-login", "login", url]
    if account is not None:
        words += ["--account", account]
    if storage is not None:
        words += ["--storage", storage]
    if allow_private_network:
        words.append("--allow-private-network")
    return shlex.join(words)


def print_token(
    url: str, *, account: str | None, min_valid_for: float, storage: str | None, allow_private_network: bool
) -> int:
    """`mcp-login token`: the token, and nothing else, on standard output."""
    from mcp_login import sync

    chosen = storage_named(storage)
    try:
        token = sync.access_token(
            url,
            account=account,
            min_valid_for=min_valid_for,
            storage=chosen,
            allow_private_network=allow_private_network,
        )
    except LoginRequired as error:
        # The library's own message offers Python, too.
        whose = "" if account is None else f" for the account {account!r}"
        command = login_command(url, account=account, storage=storage, allow_private_network=allow_private_network)
        hint = f"Log in first: {command}"
        if chosen.name == "memory":
            hint = "MCP_LOGIN_STORAGE=memory keeps no login from one command to the next: remove it, or set it to file."
        raise failure_of(
            LoginRequired(f"There is no usable login at {url}{whose}.", resource=error.resource, scopes=error.scopes),
            hint=hint,
        ) from None
    show(token)
    return ExitCode.OK


def log_out(
    url: str, *, account: str | None, forget_client: bool, storage: str | None, allow_private_network: bool
) -> int:
    """`mcp-login logout`: a revocation that failed is told, and shows in the exit status."""
    from mcp_login import sync

    result = sync.logout(
        url,
        account=account,
        forget_client=forget_client,
        storage=storage_named(storage),
        allow_private_network=allow_private_network,
    )
    where = result.server_url if account is None else f"{result.server_url} ({account})"
    if not result.deleted:
        say(f"There was no login at {where}.")
        return ExitCode.OK
    if result.revoked is False:
        say(f"Logged out at {where}: the login is deleted here.")
        warn(f"The server did not confirm that the tokens are revoked; they may live until they expire. {result.error}")
        return ExitCode.NOT_REVOKED
    told = "revoked at the server and deleted here" if result.revoked else "deleted here (there was nothing to revoke)"
    say(f"Logged out at {where}: the login is {told}.")
    return ExitCode.OK


def print_logins() -> int:
    """`mcp-login list`: from the index, which holds no secret and needs no keychain."""
    from mcp_login import sync

    entries = sync.accounts()
    if not entries:
        say("No logins are stored. `mcp-login login URL` makes one.")
        return ExitCode.OK
    rows = [
        (
            entry.server_url,
            entry.account or "-",
            entry.storage,
            _local_time(entry.updated_at),
            " ".join(entry.scopes) or "-",
        )
        for entry in entries
    ]
    show(table(("SERVER", "ACCOUNT", "STORAGE", "LOGGED IN", "SCOPES"), rows))
    return ExitCode.OK


def _local_time(seconds: float) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
    except (OverflowError, OSError, ValueError):  # a number in the list that is no time
        return "-"
