"""Logging out: revoke at the server (RFC 7009), delete here in any case. Runs on the library's loop only."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from .credentials import LogoutResult
from .errors import AuthError, StorageError, TokenErrorResponse
from .network.policy import AddressSpace
from .obtaining import opened_http
from .portal import protect
from .protocol.token import build_revocation_request, parse_revocation_response
from .saving import settled, waiting_for
from .storage.index import Index
from .storage.record import Record, record_key

if TYPE_CHECKING:
    from .network.http import HttpClient
    from .protocol.client import ClientInformation
    from .session import Session
    from .storage.base import Storage

__all__ = ["log_out"]

_log = logging.getLogger("mcp_login")

#: How long to wait for others who refresh the same login or log in, in seconds.
LOCK_LIMIT = 20.0


async def log_out(session: Session, *, forget_client: bool = False) -> LogoutResult:
    """End the login of `session`: delete it, then revoke its tokens, as far as nobody else uses them.

    `forget_client` also drops what dynamic registration gave at the record's issuer. Raises `StorageError` only.
    """
    async with contextlib.AsyncExitStack() as stack:
        try:
            async with asyncio.timeout(LOCK_LIMIT):
                await stack.enter_async_context(session.storage.lock(session.key))
        except TimeoutError:
            # Somebody has a login open, and whoever logs out means it.
            _log.warning("another login or refresh at %s is under way; logged out all the same", session.shown_url)
        # As one: whoever is cancelled between the two would leave tokens alive that nobody has any more.
        return await protect(_log_out(session, forget_client=forget_client))


async def _log_out(session: Session, *, forget_client: bool) -> LogoutResult:
    record, found = await _delete(session)
    return await _end(session, record, found=found, forget_client=forget_client)


async def _delete(session: Session) -> tuple[Record | None, bool]:
    """What was stored, if it was readable, and whether there was anything."""
    storage = session.storage
    record, found = await _load(storage, session.key)
    if found:
        await storage.delete(session.key)
    # What waits to be saved, perhaps by another session of this process, would bring the login back.
    waiting = waiting_for(storage, session.key)
    settled(storage, session.key)
    record = session.unsaved or (waiting.record if waiting is not None else None) or record
    session.unsaved = None
    session.forget()
    if storage.name != "memory":
        with suppress(OSError, AuthError):
            await asyncio.to_thread(Index().remove, session.key, storage.name)
    return record, found


async def _end(session: Session, record: Record | None, *, found: bool, forget_client: bool) -> LogoutResult:
    result = LogoutResult(session.server_url, deleted=found or record is not None, revoked=None)
    if record is not None:
        try:
            result = replace(result, revoked=await _revoke(session, record))
        except AuthError as error:
            _log.info("the tokens for %s could not be revoked: %s", session.shown_url, type(error).__name__)
            result = replace(result, revoked=False, error=error)
    if forget_client:
        await _forget_client(session, record)
    return result


async def _load(storage: Storage, key: str) -> tuple[Record | None, bool]:
    """The record, if it is readable, and whether there is anything: an unreadable one is deleted all the same."""
    try:
        text = await storage.load(key)
        return (None, False) if text is None else (Record.parse(text), True)
    except StorageError as error:
        if type(error) is not StorageError:  # locked, or out of reach
            raise
        return None, True


async def _forget_client(session: Session, record: Record | None) -> None:
    """Forget the registration at the record's issuer, or, after a login that never succeeded, at the one to be found."""
    grant = session.grant()
    if record is not None:
        await grant.forget(session.server_url, record.issuer, session.storage)
        return
    from .discovery import discover

    try:
        async with opened_http(session) as http:
            found = await discover(http, session.server_url, allow_http=session.allow_private_network)
    except AuthError as error:
        _log.info("the authorization server of %s can't be found: %s", session.shown_url, type(error).__name__)
        return
    await grant.forget(session.server_url, found.server.issuer, session.storage)


async def _revoke(session: Session, record: Record) -> bool | None:
    """RFC 7009 section 2: the refresh token, with which the server should end its access tokens; then the access token."""
    if record.revocation_endpoint is None or await _used_elsewhere(session, record):
        return None
    client = session.current_client(record)
    tokens: tuple[tuple[str | None, Literal["refresh_token", "access_token"]], ...] = (
        (record.refresh_token, "refresh_token"),
        (record.access_token, "access_token"),
    )
    floor = AddressSpace[record.address_space.upper()]
    problem: AuthError | None = None
    async with opened_http(session) as http:
        for token, hint in tokens:
            if token is None:
                continue
            try:
                await _revoke_one(http, floor, record.revocation_endpoint, client, token, hint)
            except AuthError as error:
                problem = problem or error  # the other one may be revoked all the same
    if problem is not None:
        raise problem
    return True


async def _revoke_one(
    http: HttpClient,
    floor: AddressSpace,
    endpoint: str,
    client: ClientInformation,
    token: str,
    hint: Literal["refresh_token", "access_token"],
) -> None:
    for name_empty_secret in (False, True):
        request = build_revocation_request(endpoint, client, token, hint, name_empty_secret=name_empty_secret)
        try:
            parse_revocation_response(await http.send(request, floor=floor), secrets=request.secrets)
        except TokenErrorResponse as error:
            # The MCP SDK's and FastMCP's servers want the parameter of public clients, too.
            wants_parameter = error.error == "invalid_request" and "client_secret" in (error.error_description or "")
            if name_empty_secret or client.client_secret is not None or not wants_parameter:
                raise
        else:
            return


async def _used_elsewhere(session: Session, record: Record) -> bool:
    """Whether another record holds the same tokens: revoking them would log that one out. What can't be read may be one."""
    ours = {record.access_token, record.refresh_token} - {None}
    for entry in await asyncio.to_thread(Index().entries):
        key = record_key(entry.server_url, entry.account)
        if key == session.key or entry.issuer != record.issuer or entry.storage != session.storage.name:
            continue
        other, found = await _load(session.storage, key)
        if (found and other is None) or (other and ours & {other.access_token, other.refresh_token}):
            return True
    return False
