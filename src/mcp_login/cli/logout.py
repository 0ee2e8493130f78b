"""`mcp-login logout`: of one login, or of all that are listed. A revocation that failed is told, and shows in the exit status."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mcp_login.errors import AuthError, StorageError, StorageUnreadable, printable, without_query

from .exit_codes import ExitCode
from .failure import CommandFailed, failure_of
from .output import document_of, show_json
from .screen import say, warn
from .stored import elsewhere, logout_command, no_logins, other_logins, storage_named, warn_of_loss
from .wording import message_of

if TYPE_CHECKING:
    from mcp_login.credentials import LogoutResult
    from mcp_login.storage.base import Storage
    from mcp_login.storage.index import IndexEntry

__all__ = ["Ended", "log_out", "log_out_of_all"]


@dataclass(frozen=True, slots=True)
class Ended:
    """What came of one logout."""

    server_url: str
    account: str | None
    storage: str
    deleted: bool = False
    revoked: bool | None = None
    failure: CommandFailed | None = None
    #: Whether the registration is forgotten here. None: nobody asked for that.
    client_forgotten: bool | None = None
    #: Where there is one instead.
    hint: str | None = None

    @property
    def code(self) -> ExitCode:
        """The exit status that it would have alone."""
        return ExitCode.OK if self.failure is None else self.failure.code

    def member(self) -> dict[str, Any]:
        """It in a document."""
        return {
            "server_url": self.server_url,
            "account": self.account,
            "storage": self.storage,
            "deleted": self.deleted,
            "revoked": self.revoked,
            "error": None if self.failure is None else self.failure.member(),
        }

    def tell(self) -> None:
        """Say it, on standard error."""
        where = printable(self.server_url, 2000) + ("" if self.account is None else f" ({printable(self.account)})")
        if not self.deleted:
            if self.failure is None:
                say(f"There was no login at {where}.{'' if self.hint is None else f' {printable(self.hint, 2000)}'}")
            else:
                warn(f"Not logged out at {where}: {self.failure.message}")
                if self.failure.hint is not None:
                    say(f"  {printable(self.failure.hint, 2000)}")
        elif self.failure is not None:
            say(f"Logged out at {where}: the login is deleted here.")
            warn(self.failure.message)
        else:
            told = "revoked at the server and deleted here"
            say(
                f"Logged out at {where}: the login is "
                f"{told if self.revoked else 'deleted here (there was nothing to revoke)'}."
            )
        if self.client_forgotten:
            say("The client id that the server gave is forgotten here: the next login registers anew.")
        elif self.client_forgotten is False:
            warn(
                "The client id is not forgotten: the authorization server that gave it can't be found now. Try again later."
            )


def log_out(
    url: str, *, account: str | None, forget_client: bool, storage: str | None, allow_private_network: bool, json: bool
) -> int:
    """`mcp-login logout URL`. Raises any `AuthError` where nothing could be deleted."""
    chosen = storage_named(storage)
    try:
        ended = _end(url, account, chosen, forget_client=forget_client, allow_private_network=allow_private_network)
    except StorageError as error:
        raise elsewhere(url, account=account, storage=chosen, error=error) from None
    if not ended.deleted:
        ended = replace(ended, hint=other_logins(url, account, chosen.name))
    if not json:
        ended.tell()
    return _report([ended], json=json)


def log_out_of_all(
    *, account: str | None, forget_client: bool, storage: str | None, allow_private_network: bool, json: bool
) -> int:
    """`mcp-login logout --all`: every login that is listed, of `account` and `storage` where they are named.

    One that fails is told, and the next is tried. Where the list was damaged, it fails: there may be others.
    """
    from mcp_login.storage.index import Index

    storages: dict[str, Storage] = {}
    ended: list[Ended] = []
    index = Index()
    for entry in index.entries():
        if account not in (None, entry.account) or storage not in (None, entry.storage):
            continue
        server_url = without_query(entry.server_url)
        try:
            chosen = _storage_of(entry, storages)
            ended.append(
                _end(
                    entry.server_url,
                    entry.account,
                    chosen,
                    forget_client=forget_client,
                    allow_private_network=allow_private_network,
                )
            )
        except AuthError as error:
            ended.append(Ended(server_url, entry.account, entry.storage, failure=failure_of(error)))
        if not json:
            # As it ends: each may take as long as its server does.
            ended[-1].tell()
    if not ended and not json:
        no_logins(account=account, storage=storage)
    # Some may be stored still: whoever means all of them has to look.
    lost = warn_of_loss(index)
    return _report(ended, json=json) or (ExitCode.STORAGE if lost else ExitCode.OK)


def _report(ended: list[Ended], *, json: bool) -> int:
    if json:
        show_json(document_of("logout", logins=[one.member() for one in ended]))
    # What is still here weighs more than what the server may still accept.
    failed = [one for one in ended if one.code is not ExitCode.OK]
    still_here = [one.code for one in failed if not one.deleted]
    return still_here[0] if still_here else ExitCode.NOT_REVOKED if failed else ExitCode.OK


def _end(url: str, account: str | None, storage: Storage, *, forget_client: bool, allow_private_network: bool) -> Ended:
    from mcp_login import sync

    result = sync.logout(
        url,
        account=account,
        forget_client=forget_client,
        storage=storage,
        allow_private_network=allow_private_network,
    )
    return Ended(
        without_query(result.server_url),
        account,
        storage.name,
        deleted=result.deleted,
        revoked=result.revoked,
        failure=_not_revoked(result) if result.deleted and result.revoked is False else None,
        client_forgotten=result.client_forgotten if forget_client else None,
    )


def _not_revoked(result: LogoutResult) -> CommandFailed:
    if isinstance(result.error, StorageUnreadable):
        return CommandFailed(message_of(result.error), code=ExitCode.NOT_REVOKED, error=result.error)
    # Its first sentence says what happened. The rest is advice for other requests: here the login is deleted.
    cause = (
        ""
        if not isinstance(result.error, AuthError)
        else f" {message_of(result.error).partition('. ')[0].rstrip('.')}."
    )
    return CommandFailed(
        f"The server did not confirm that the tokens are revoked; they may live until they expire.{cause}",
        code=ExitCode.NOT_REVOKED,
        error=result.error if isinstance(result.error, AuthError) else None,
    )


def _storage_of(entry: IndexEntry, storages: dict[str, Storage]) -> Storage:
    """The storage of `entry`. Raises `StorageError` where it is another program's, or holds no such login."""
    from mcp_login.portal import portal, wait_sync

    if entry.storage not in ("keychain", "file"):
        raise StorageError(f"It is kept in {entry.storage!r}, a storage of another program: only that can delete it.")
    if entry.has_query:
        raise StorageError(
            "Its URL has a query, which is not listed. Log out with the whole URL: "
            f"`{logout_command(f'{entry.server_url}?', account=entry.account, storage=entry.storage)}`."
        )
    storage = storages.setdefault(entry.storage, storage_named(entry.storage))
    try:
        text = wait_sync(portal().submit(lambda: storage.load(entry.key)))
    except StorageUnreadable:
        return storage  # torn or foreign: it can be deleted all the same
    if text is None:
        # To log out would take it off the list; but one whose URL has a query is kept under another key.
        raise StorageError(
            f"It is listed, but not in the storage {entry.storage}. If its URL has a query, log out with the whole URL; "
            f"else `{logout_command(entry.server_url, account=entry.account, storage=entry.storage)}` takes it off the list."
        )
    return storage
