"""`mcp-login status`: what stored logins are good for. Reads the storages: no network, no browser, no secret shown."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mcp_login.errors import StorageError, StorageUnreadable, without_query
from mcp_login.protocol.uri import canonical_resource, is_loopback_url
from mcp_login.storage.record import Record, record_key

from .exit_codes import ExitCode
from .failure import CommandFailed, failure_of
from .output import document_of, login_member, rfc3339, show_json, state_of
from .screen import block, duration, listing, output_width, say, show, warn
from .stored import elsewhere, login_absent, login_command, no_logins, storage_named, warn_of_loss
from .wording import message_of, scopes_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mcp_login.storage.base import Storage
    from mcp_login.storage.index import Index, IndexEntry

__all__ = ["HEADS", "StoredLogin", "expiry_of", "print_status"]

#: How long a storage may take, in seconds: its own limit is shorter.
PATIENCE = 15.0

HEADS = (
    *("SERVER", "ACCOUNT", "STORAGE", "STATE", "EXPIRES", "RENEWAL"),
    *("ISSUER", "REGISTRATION", "CLIENT ID", "SCOPES"),
)
_COLOURS = {"valid": "green", "renewable": "green", "expired": "red", "missing": "red", "unreadable": "yellow"}
_REGISTRATIONS = {
    "pre_registered": "pre-registered",
    "metadata_document": "client ID metadata document",
    "dynamic": "dynamic",
}


@dataclass(frozen=True, slots=True)
class StoredLogin:
    """A login as it was found: its record, or why there is none; and its entry in the list of logins, if it has one."""

    storage: str
    record: Record | None = None
    entry: IndexEntry | None = None
    #: Why the record can't be read. None with no record: it isn't there.
    error: StorageError | None = None

    def state(self, now: float) -> str:
        """What it is good for at `now` (seconds since the epoch)."""
        if self.record is not None:
            return state_of(self.record, now)
        return "missing" if self.error is None else "unreadable"

    def problem(self) -> str | None:
        """What is wrong with its record, as a sentence."""
        if self.record is not None:
            return None
        if self.error is not None:
            return message_of(self.error)
        if self.entry is not None and self.entry.has_query:
            return "Its URL has a query, which is not listed: ask with the whole URL."
        return f"It is listed, but not in the storage {self.storage} any more. Log in anew, or log out to have it off the list."

    def member(self, now: float) -> dict[str, Any]:
        """It in a document. `now` is in seconds since the epoch."""
        if self.record is not None:
            return {**login_member(self.record, self.storage, now), "problem": None}
        assert self.entry is not None  # noqa: S101 - one without a record was listed
        return {
            "server_url": without_query(self.entry.server_url),
            "account": self.entry.account,
            "storage": self.storage,
            "resource": without_query(self.entry.resource),
            "issuer": self.entry.issuer,
            "client_id": None,
            "registration": None,
            "scopes": list(self.entry.scopes),
            "unrequested_scopes": [],
            "state": self.state(now),
            "obtained_at": rfc3339(self.entry.updated_at),
            "expires_at": None,
            "expires_in": None,
            "renewable": False,
            "problem": self.problem(),
        }

    def row(self, now: float) -> tuple[str, ...]:
        """It under `HEADS`. `now` is in seconds since the epoch."""
        member = self.member(now)
        registration = member["registration"]
        return (
            member["server_url"],
            member["account"] or "-",
            self.storage,
            self.state(now),
            "-" if self.record is None else expiry_of(self.record, now),
            "-" if self.record is None else "without asking you" if member["renewable"] else "none: you log in again",
            member["issuer"],
            "-" if registration is None else _REGISTRATIONS[registration],
            member["client_id"] or "-",
            scopes_of(member["scopes"], member["unrequested_scopes"]) or "-",
        )


def expiry_of(record: Record, now: float) -> str:
    """When the access token expires, seen from `now` (seconds since the epoch), in words."""
    if record.expires_at is None:
        return "unknown: the server doesn't say"
    seconds = record.expires_at - now
    return f"in {duration(seconds)}" if seconds > 0 else f"{duration(-seconds)} ago"


def print_status(
    url: str | None,
    *,
    account: str | None,
    storage: str | None,
    json: bool,
    clock: Callable[[], float] = time.time,
) -> int:
    """`mcp-login status`: one login, or without `url` all that are listed. `clock` gives seconds since the epoch.

    Raises `CommandFailed` and `AuthError`: where the login that is asked for isn't there, or can't be read.
    """
    if url is None:
        from mcp_login.storage.index import Index

        index = Index()
        logins = _listed(index, account, storage)
        warn_of_loss(index)
        if not logins and not json:
            no_logins(account=account, storage=storage)
            return ExitCode.OK
        return _overview(logins, json=json, now=clock())
    chosen = storage_named(storage)
    server_url = canonical_resource(url, allow_http=True)  # nothing is sent there
    try:
        text = _load(chosen, record_key(server_url, account))
        record = None if text is None else Record.parse(text)
    except StorageUnreadable:
        raise _unreadable(url, account=account, storage=storage) from None
    except StorageError as error:
        raise elsewhere(url, account=account, storage=chosen, error=error) from None
    if record is None:
        raise login_absent(
            url, account=account, storage=storage, chosen=chosen, allow_private_network=_is_intranet(url)
        )
    login, now = StoredLogin(chosen.name, record), clock()
    if json:
        show_json(document_of("status", logins=[login.member(now)]))
    else:
        show(block(HEADS, login.row(now), width=output_width(), paint=_paint))
        if login.state(now) == "expired":
            again = login_command(url, account=account, storage=storage, allow_private_network=_is_intranet(url))
            say(f"Log in again: {again}")
    return ExitCode.LOGIN_REQUIRED if login.state(now) == "expired" else ExitCode.OK


def _unreadable(url: str, *, account: str | None, storage: str | None) -> CommandFailed:
    """How the command ends where a login, as for `token`, is what helps."""
    whose = "" if account is None else f" for the account {account!r}"
    command = login_command(url, account=account, storage=storage, allow_private_network=_is_intranet(url))
    return CommandFailed(
        f"The login that is stored at {without_query(url)}{whose} can't be read: it is damaged, another program's, or of a newer "
        "version of mcp-login.",
        code=ExitCode.LOGIN_REQUIRED,
        hint=f"Log in again: {command}",
    )


def _overview(logins: Sequence[StoredLogin], *, json: bool, now: float) -> int:
    errors = [login.error for login in logins if login.error is not None]
    if json:
        show_json(document_of("status", logins=[login.member(now) for login in logins]))
    else:
        show(listing(HEADS, (login.row(now) for login in logins), width=output_width(), paint=_paint))
        for login in logins:
            if (problem := login.problem()) is not None:
                warn(f"{login.row(now)[0]}: {problem}")
    if not errors or len(errors) < len(logins):
        return ExitCode.OK
    hint = failure_of(errors[0]).hint
    if hint is not None and not json:
        say(hint)
    return ExitCode.STORAGE


def _listed(index: Index, account: str | None, storage: str | None) -> list[StoredLogin]:
    storages: dict[str, Storage] = {}
    return [
        _found(entry, storages)
        for entry in index.entries()
        if account in (None, entry.account) and storage in (None, entry.storage)
    ]


def _found(entry: IndexEntry, storages: dict[str, Storage]) -> StoredLogin:
    if entry.storage not in ("keychain", "file"):
        said = f"It is kept in {entry.storage!r}, a storage of another program: only that can read it."
        return StoredLogin(entry.storage, entry=entry, error=StorageError(said))
    try:
        if entry.storage not in storages:
            storages[entry.storage] = storage_named(entry.storage)
        text = _load(storages[entry.storage], entry.key)
        record = None if text is None else Record.parse(text)
    except StorageError as error:
        return StoredLogin(entry.storage, entry=entry, error=error)
    return StoredLogin(entry.storage, record, entry)


def _load(storage: Storage, key: str) -> str | None:
    from mcp_login.portal import portal, wait_sync

    return wait_sync(portal().submit(lambda: storage.load(key)), PATIENCE)


def _is_intranet(url: str) -> bool:
    """Whether only --allow-private-network lets a login go there."""
    return url.lower().startswith("http:") and not is_loopback_url(url)


def _paint(head: str, cell: str) -> Mapping[str, Any]:
    return {"fg": _COLOURS[cell]} if head == "STATE" and cell in _COLOURS else {}
