"""`token` and `list`, and what the commands that read stored logins have in common."""

from __future__ import annotations

import shlex
import time
from typing import TYPE_CHECKING

from mcp_login.errors import LoginRequired, StorageError, without_query
from mcp_login.protocol.uri import canonical_resource
from mcp_login.storage.record import record_key

from .exit_codes import ExitCode
from .failure import CommandFailed, failure_of
from .output import hinted, list_document, show_json, token_document
from .screen import duration, listing, output_width, say, show, warn

if TYPE_CHECKING:
    from mcp_login.settings import LoginOptions
    from mcp_login.storage.base import Storage
    from mcp_login.storage.index import Index, IndexEntry
    from mcp_login.storage.record import Record

__all__ = [
    "elsewhere",
    "login_absent",
    "login_command",
    "logout_command",
    "no_logins",
    "other_logins",
    "print_logins",
    "print_token",
    "storage_named",
    "warn_of_loss",
]


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
    """The command that logs in where these options are used. The query of `url`, which may hold a key, is left out."""
    return _command("login", url, account, storage, allow_private_network=allow_private_network)


def logout_command(url: str, *, account: str | None, storage: str | None) -> str:
    """The command that logs out there. The query of `url` is left out."""
    return _command("logout", url, account, storage)


def _command(
    name: str, url: str, account: str | None, storage: str | None, *, allow_private_network: bool = False
) -> str:
    words = ["mcp-login", name, hinted(url)]
    if account is not None:
        words += ["--account", account]
    if storage is not None:
        words += ["--storage", storage]
    if allow_private_network:
        words.append("--allow-private-network")
    return shlex.join(words)


def login_absent(
    url: str,
    *,
    account: str | None,
    storage: str | None,
    chosen: Storage,
    error: LoginRequired | None = None,
    allow_private_network: bool = False,
) -> CommandFailed:
    """How a command ends that found no usable login in the storage `chosen` (named `storage` by the caller).

    The next step is a login, or the one that is stored under another account or in another storage.
    """
    whose = "" if account is None else f" for the account {account!r}"
    resource, scopes = (url, ()) if error is None else (error.resource, error.scopes)
    # The library's own message offers Python, too.
    absent = LoginRequired(
        f"There is no usable login at {without_query(url)}{whose}.", resource=resource, scopes=scopes
    )
    command = login_command(url, account=account, storage=storage, allow_private_network=allow_private_network)
    hint = f"Log in first: {command}"
    if chosen.name == "memory":
        hint = "MCP_LOGIN_STORAGE=memory keeps no login from one command to the next: remove it, or set it to file."
    others = other_logins(url, account, chosen.name)
    return failure_of(absent, hint=hint if others is None else f"{others} {hint}")


def elsewhere(url: str, *, account: str | None, storage: Storage, error: StorageError) -> CommandFailed:
    """How a command ends that can't use `storage`: a login that is listed in another is told."""
    failure = failure_of(error)
    others = other_logins(url, account, storage.name)
    if others is not None:
        more = failure.hint
        if "--storage file" in others:
            # How to keep a login there is no question any more, only how to find it.
            more = "With `export MCP_LOGIN_STORAGE=file` later commands and programs find it there."
        failure.hint = others if more is None else f"{others} {more}"
    return failure


def other_logins(url: str, account: str | None, storage: str) -> str | None:
    """The sentence that tells of logins at the same server, of another account or in another storage."""
    others = _other_options(url, account, storage)
    return f"There is one with {' or with '.join(others)}." if others else None


def _other_options(url: str, account: str | None, storage: str) -> list[str]:
    """The options that lead to logins at the same server."""
    from mcp_login.storage.index import Index, digest_of

    whole = canonical_resource(url, allow_http=True)
    try:
        entries = Index().entries()
    except (OSError, StorageError):
        return []
    found = []
    for entry in entries:
        if entry.identity[0] != digest_of(record_key(whole, entry.account)) or (entry.account, entry.storage) == (
            account,
            storage,
        ):
            continue
        words = [] if entry.account in (account, None) else ["--account", entry.account]
        if entry.account is None and account is not None:
            continue  # there is no option that takes an option back
        if entry.storage != storage:
            if entry.storage not in ("keychain", "file"):
                continue
            words += ["--storage", entry.storage]
        found.append(shlex.join(words))
    return found[:3]


def print_token(
    url: str,
    *,
    account: str | None,
    min_valid_for: float,
    storage: str | None,
    allow_private_network: bool,
    json: bool,
) -> int:
    """`mcp-login token`: the token, and nothing else, on standard output; with `json` the document that it is in."""
    chosen = storage_named(storage)
    try:
        record = _token_record(
            url,
            min_valid_for,
            {"account": account, "storage": chosen, "allow_private_network": allow_private_network},
        )
    except LoginRequired as error:
        raise login_absent(
            url,
            account=account,
            storage=storage,
            chosen=chosen,
            error=error,
            allow_private_network=allow_private_network,
        ) from None
    except StorageError as error:
        raise elsewhere(url, account=account, storage=chosen, error=error) from None
    now = time.time()
    if min_valid_for and record.expires_within(min_valid_for, now) and record.expires_at is not None:
        warn(
            f"The token is good for {duration(record.expires_at - now)} only: the server gives none that lives longer."
        )
    if json:
        show_json(token_document(record, now))
    else:
        show(record.access_token)
    return ExitCode.OK


def _token_record(url: str, min_valid_for: float, options: LoginOptions) -> Record:
    """What `sync.access_token` gives, with all that is known of it."""
    from mcp_login import api

    session = api.token_session(url, options)
    record = api.stored_record(session, min_valid_for=min_valid_for)
    if record is not None:
        return record
    flight = session.demand(api.token_demand(session, min_valid_for), abandonable=True)
    try:
        return flight.result().record
    finally:
        session.release(flight)


def print_logins(*, json: bool) -> int:
    """`mcp-login list`: from the index, which holds no secret and needs no keychain."""
    from mcp_login.storage.index import Index

    index = Index()
    entries = index.entries()
    warn_of_loss(index)
    if json:
        show_json(list_document(entries))
    elif not entries:
        no_logins()
    else:
        show(
            listing(
                ("SERVER", "ACCOUNT", "STORAGE", "LOGGED IN", "SCOPES"),
                map(_row, entries),
                width=output_width(),
            )
        )
    return ExitCode.OK


def no_logins(*, account: str | None = None, storage: str | None = None) -> None:
    """Say that nothing is stored (of `account`, in `storage`), and what changes that."""
    from mcp_login.storage.index import Index

    index = Index()
    if (account is not None or storage is not None) and index.entries():
        whose = "" if account is None else f" for the account {account!r}"
        where = "" if storage is None else f" in the storage {storage}"
        say(f"No login is stored{whose}{where}. `mcp-login list` shows those that are.")
        return
    say("No logins are stored. `mcp-login login URL` makes one." if index.loss() is None else "No logins are listed.")


def warn_of_loss(index: Index) -> bool:
    """Warn where logins may be stored that are not in the list, which was damaged; whether it was."""
    loss = index.loss()
    if loss is not None:
        warn(loss)
    return loss is not None


def _row(entry: IndexEntry) -> tuple[str, ...]:
    return (
        without_query(entry.server_url),
        entry.account or "-",
        entry.storage,
        _local_time(entry.updated_at),
        " ".join(entry.scopes) or "-",
    )


def _local_time(seconds: float) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
    except (OverflowError, OSError, ValueError):  # a number in the list that is no time
        return "-"
