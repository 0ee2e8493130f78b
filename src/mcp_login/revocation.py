"""Logging out: revoke at the server (RFC 7009), delete here in any case. Runs on the library's loop only."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Literal

from .credentials import LogoutResult
from .errors import AuthError, StorageError
from .network.policy import AddressSpace
from .portal import protect
from .protocol.token import build_revocation_request, parse_revocation_response
from .renewal import open_http
from .storage.index import Index
from .storage.record import Record, record_key

if TYPE_CHECKING:
    from .session import Session

__all__ = ["log_out"]

_log = logging.getLogger("mcp_login")


async def log_out(session: Session, *, forget_client: bool = False) -> LogoutResult:
    """End the login of `session`: delete it, then revoke its tokens, as far as nobody else uses them.

    `forget_client` also drops what dynamic registration gave at the record's issuer. Raises `StorageError` only.
    """
    async with session.storage.lock(session.key):
        return await protect(_log_out(session, forget_client=forget_client))


async def _log_out(session: Session, *, forget_client: bool) -> LogoutResult:
    storage = session.storage
    text = await storage.load(session.key)
    record: Record | None = None
    if text is not None:
        with suppress(StorageError):  # an unreadable one is deleted all the same
            record = Record.parse(text)
        await storage.delete(session.key)
    session.forget()
    if storage.name != "memory":
        with suppress(OSError, AuthError):
            await asyncio.to_thread(Index().remove, session.key, storage.name)
    if forget_client:
        await _forget_client(session, record)
    if record is None:
        return LogoutResult(session.server_url, deleted=text is not None, revoked=None)
    try:
        revoked = await _revoke(session, record)
    except AuthError as error:
        _log.info("the tokens for %s could not be revoked: %s", session.server_url, type(error).__name__)
        return LogoutResult(session.server_url, deleted=True, revoked=False, error=error)
    return LogoutResult(session.server_url, deleted=True, revoked=revoked)


async def _forget_client(session: Session, record: Record | None) -> None:
    """Forget the registration at the record's issuer, or, after a login that never succeeded, at the one to be found."""
    grant = session.grant()
    if record is not None:
        await grant.forget(record.issuer, session.storage)
        return
    from .discovery import discover

    http = open_http(session)
    try:
        found = await discover(http, session.server_url, allow_http=session.allow_private_network)
        await grant.forget(found.server.issuer, session.storage)
    except StorageError:
        raise
    except AuthError as error:
        _log.info("the authorization server of %s can't be found: %s", session.server_url, type(error).__name__)
    finally:
        await http.aclose()


async def _revoke(session: Session, record: Record) -> bool | None:
    """RFC 7009 section 2: the refresh token, with which the server should end its access tokens; then the access token."""
    if record.revocation_endpoint is None or await _used_elsewhere(session, record):
        return None
    client = session.grant().current_client(record.client)
    tokens: tuple[tuple[str | None, Literal["refresh_token", "access_token"]], ...] = (
        (record.refresh_token, "refresh_token"),
        (record.access_token, "access_token"),
    )
    floor = AddressSpace[record.address_space.upper()]
    http = open_http(session)
    try:
        for token, hint in tokens:
            if token is not None:
                request = build_revocation_request(record.revocation_endpoint, client, token, hint)
                parse_revocation_response(await http.send(request, floor=floor), secrets=request.secrets)
    finally:
        await http.aclose()
    return True


async def _used_elsewhere(session: Session, record: Record) -> bool:
    """Whether another record holds the same tokens: revoking them would log that one out."""
    ours = {record.access_token, record.refresh_token} - {None}
    with suppress(OSError, AuthError):
        for entry in await asyncio.to_thread(Index().entries):
            key = record_key(entry.server_url, entry.account)
            if key == session.key or entry.issuer != record.issuer:
                continue
            text = await session.storage.load(key)
            if text is not None:
                other = Record.parse(text)
                if ours & {other.access_token, other.refresh_token}:
                    return True
    return False
