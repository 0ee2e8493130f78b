"""`login`, `access_token`, `logout`, `accounts`: for agent code that has no HTTP client to plug `OAuth` into."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, Unpack

from .credentials import Credentials, LogoutResult
from .flight import Demand, Flight
from .settings import LoginOptions, open_session
from .tracebacks import discreet_async

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from .session import Session
    from .settings import ServerUrl
    from .storage.index import IndexEntry
    from .storage.record import Record

__all__ = [
    "access_token",
    "accounts",
    "login",
    "login_demand",
    "login_session",
    "logout",
    "stored_record",
    "token_demand",
    "token_session",
]

T = TypeVar("T")


def login_session(server_url: ServerUrl, options: LoginOptions) -> Session:
    """The session of an explicit login: it must be able to keep what it gets."""
    return open_session(server_url, storage_required=True, **options)


def token_session(server_url: ServerUrl, options: LoginOptions) -> Session:
    """The session of a call that never asks a person."""
    quiet: LoginOptions = {**options, "interactive": False}
    return login_session(server_url, quiet)


def stored_record(session: Session, *, force: bool = False, min_valid_for: float = 0.0) -> Record | None:
    """What is stored, if it will do without asking anybody."""
    record = None if force else session.usable()
    if record is None or not session.is_good(record, min_valid_for):
        return None
    covered = set(session.scopes) <= {*record.granted_scopes, *record.requested_scopes}
    return record if covered else None


def login_demand(session: Session, *, force: bool) -> Demand:
    """What an explicit login asks of its session."""
    return Demand("login" if force else "token", scopes=session.scopes, challenged=False, explicit=True, anew=force)


@discreet_async
async def login(server_url: ServerUrl, *, force: bool = False, **options: Unpack[LoginOptions]) -> Credentials:
    """Log in at an MCP server: with what is stored, else by a refresh, else by a person in the browser.

    Works for servers that let anonymous clients in, too, as long as they publish resource metadata. Cancelling the call ends
    the login. `force` asks the person in any case, and registers a dynamic client anew. The keywords are those of `OAuth`.

    Raises any `AuthError`; among them `LoginNotNeeded`, `LoginTimeout`, `AuthorizationErrorResponse` (the person said no),
    `RegistrationRequired`, `LoginRequired` (nobody can be asked), `TransportError`, and `StorageUnavailable` or
    `StorageLocked` where the credentials could not be kept.
    """
    session = login_session(server_url, options)
    record = stored_record(session, force=force)
    if record is None:
        record = await _await(session, session.demand(login_demand(session, force=force), abandonable=True))
    return Credentials.of(record)


@discreet_async
async def access_token(server_url: ServerUrl, *, min_valid_for: float = 30.0, **options: Unpack[LoginOptions]) -> str:
    """An access token for `server_url` that is good for another `min_valid_for` seconds: the stored one, or a refreshed one.

    Never opens a browser: raises `LoginRequired` instead, or any other `AuthError`. A server that gives tokens a shorter life
    than `min_valid_for` is refreshed at every call.
    """
    session = token_session(server_url, options)
    record = stored_record(session, min_valid_for=min_valid_for)
    if record is None:
        record = await _await(session, session.demand(token_demand(session, min_valid_for), abandonable=True))
    return record.access_token


def token_demand(session: Session, min_valid_for: float) -> Demand:
    """What `access_token` asks of its session."""
    return Demand("token", scopes=session.scopes, min_valid_for=min_valid_for, may_ask=False, challenged=False)


@discreet_async
async def logout(
    server_url: ServerUrl, *, forget_client: bool = False, **options: Unpack[LoginOptions]
) -> LogoutResult:
    """Log out: delete the stored credentials, and revoke them at the server where it can be done (RFC 7009).

    A revocation that fails is reported in the result; the credentials are deleted in any case. Tokens that another account
    uses too are not revoked. `forget_client` also forgets this client's registration at the authorization server.

    Raises `StorageError` where what is stored could not be deleted. What this program kept in memory is ended all the same.
    """
    session = login_session(server_url, options)
    return await _on_portal(lambda: _log_out(session, forget_client))


@discreet_async
async def accounts() -> tuple[IndexEntry, ...]:
    """The logins that are stored on this machine, without any secret. Raises `StorageError` if the list can't be read.

    Where it was damaged, a warning is logged: logins may be stored that it doesn't name.
    """
    return await _on_portal(_accounts)


async def _log_out(session: Session, forget_client: bool) -> LogoutResult:
    from .revocation import log_out

    return await log_out(session, forget_client=forget_client)


async def _accounts() -> tuple[IndexEntry, ...]:
    import logging

    from .storage.index import Index
    from .threads import in_thread

    index = Index()
    entries = await in_thread(index.entries)
    loss = await in_thread(index.loss)
    if loss is not None:
        logging.getLogger("mcp_login").warning("%s", loss)
    return tuple(entries)


async def _await(session: Session, flight: Flight) -> Record:
    try:
        return (await flight.wait()).record
    finally:
        session.release(flight)


async def _on_portal(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    from .portal import portal, wait

    return await wait(portal().submit(work))
