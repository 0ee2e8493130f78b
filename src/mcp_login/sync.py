"""`login`, `access_token`, `logout` and `accounts` for synchronous callers. The same names, keywords, results and errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, Unpack

from . import api
from .credentials import Credentials, LogoutResult
from .tracebacks import discreet

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from .flight import Flight
    from .session import Session
    from .settings import LoginOptions, ServerUrl
    from .storage.index import IndexEntry
    from .storage.record import Record

__all__ = ["access_token", "accounts", "login", "logout"]

T = TypeVar("T")


@discreet
def login(server_url: ServerUrl, *, force: bool = False, **options: Unpack[LoginOptions]) -> Credentials:
    """`mcp_login.login`, waited for in this thread. An interrupt (Ctrl-C) ends the login."""
    session = api.login_session(server_url, options)
    record = api.stored_record(session, force=force)
    if record is None:
        record = _await(session, session.demand(api.login_demand(session, force=force), abandonable=True))
    return Credentials.of(record)


@discreet
def access_token(server_url: ServerUrl, *, min_valid_for: float = 30.0, **options: Unpack[LoginOptions]) -> str:
    """`mcp_login.access_token`, waited for in this thread."""
    session = api.token_session(server_url, options)
    record = api.stored_record(session, min_valid_for=min_valid_for)
    if record is None:
        record = _await(session, session.demand(api.token_demand(session, min_valid_for), abandonable=True))
    return record.access_token


@discreet
def logout(server_url: ServerUrl, *, forget_client: bool = False, **options: Unpack[LoginOptions]) -> LogoutResult:
    """`mcp_login.logout`, waited for in this thread."""
    return _run(lambda: api.logout(server_url, forget_client=forget_client, **options))


@discreet
def accounts() -> tuple[IndexEntry, ...]:
    """`mcp_login.accounts`, waited for in this thread."""
    return _run(api.accounts)


def _await(session: Session, flight: Flight) -> Record:
    try:
        return flight.result().record
    finally:
        session.release(flight)


def _run(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    from .portal import portal, wait_sync

    return wait_sync(portal().submit(work))
