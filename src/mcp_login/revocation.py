"""Logging out: revoke at the server (RFC 7009), delete here in any case. Runs on the library's loop only."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from .credentials import LogoutResult
from .errors import AuthError, StorageError, StorageUnreadable
from .obtaining import opened_http
from .portal import protect
from .revoking import revoke
from .storage.ended import note_ended
from .storage.index import Index, leave
from .storage.memory import standing_in_for
from .storage.record import Record, record_key
from .storage.replacing import replace_stored
from .threads import in_thread
from .unsaved import is_derived, settled, waiting_for

if TYPE_CHECKING:
    from .session import Session
    from .storage.base import Storage
    from .storage.index import IndexEntry
    from .unsaved import Unsaved

__all__ = ["log_out"]

_log = logging.getLogger("mcp_login")

#: How long to wait for others who refresh the same login or log in, in seconds.
LOCK_LIMIT = 20.0


async def log_out(session: Session, *, forget_client: bool = False) -> LogoutResult:
    """End the login of `session`: delete it, then revoke its tokens, as far as nobody else uses them.

    What this process keeps in memory in place of the storage is ended as well, even where the storage can't be reached.
    `forget_client` also drops what dynamic registration gave at the record's issuer. Raises `StorageError` only.
    """
    async with contextlib.AsyncExitStack() as stack:
        try:
            async with asyncio.timeout(LOCK_LIMIT):
                await stack.enter_async_context(session.storage.lock(session.key))
        except TimeoutError:
            # Somebody has a login open, and whoever logs out means it.
            _log.warning("another login or refresh at %s is under way; logged out all the same", session.shown_url)
        except StorageError as error:
            raise await protect(_without_storage(session, error)) from None
        # As one: whoever is cancelled between the two would leave tokens alive that nobody has any more.
        return await protect(_log_out(session, forget_client=forget_client))


async def _log_out(session: Session, *, forget_client: bool) -> LogoutResult:
    records, waiting = await _take_from_memory(session)
    try:
        stored, text, found = await _delete(session)
    except StorageError as error:
        raise await _after(session, records, error) from None
    used_up = waiting is not None and text is not None and is_derived(text, waiting.base)
    if stored is not None and not used_up:
        records.append(stored)
    result = await _revoke(session, records, found=found or bool(records))
    if found and stored is None:
        result = replace(result, revoked=False, error=_unread(session))
    if forget_client:
        forgotten = await _forget_client(session, records[0] if records else None)
        result = replace(result, client_forgotten=forgotten)
    return result


def _unread(session: Session) -> StorageUnreadable:
    return StorageUnreadable(
        f"What was stored of the login at {session.shown_url} could not be read, so its tokens were not revoked: they may live "
        "until they expire. Where the server lists its sessions, end this one there."
    )


async def _without_storage(session: Session, error: StorageError) -> StorageError:
    records, _ = await _take_from_memory(session)
    return await _after(session, records, error)


async def _after(session: Session, in_memory: list[Record], error: StorageError) -> StorageError:
    """What to raise for `error`, because of which nothing could be deleted but what this process had in memory."""
    if not in_memory:
        return error
    await _revoke(session, in_memory, found=True)
    return type(error)(
        f"The login at {session.shown_url} that this program kept in memory is ended, but what is stored could not be "
        f"deleted. {error}"
    )


async def _take_from_memory(session: Session) -> tuple[list[Record], Unsaved | None]:
    """The logins that this process keeps while the storage is locked or silent, and which of them waits to be saved there.

    They are gone from memory then: kept by another session of this process, they would bring the login back.
    """
    storage, key = session.storage, session.key
    waiting = waiting_for(storage, key)
    settled(storage, key)
    records = [] if waiting is None else [waiting.record]
    memory = standing_in_for(storage)
    if memory is not None:
        record, _, _ = await _load(memory, key)
        await memory.delete(key)
        records += [] if record is None else [record]
    return records, waiting


async def _delete(session: Session) -> tuple[Record | None, str | None, bool]:
    """The record that was stored and its text, if it was readable, and whether there was anything."""
    storage, key = session.storage, session.key
    record, text, found = await _load(storage, key)
    # First: a refresh that is under way and finds its login gone looks whether that was a logout.
    await in_thread(functools.partial(note_ended, storage, key, record, at=session.clock()))
    if record is not None and text is not None:
        record, text = await _compare_and_delete(storage, key, record, text)
    else:
        await storage.delete(key)  # what can't be read, or was set aside
    await in_thread(functools.partial(leave, storage, key))
    session.forget()
    return record, text, found


async def _compare_and_delete(storage: Storage, key: str, record: Record, text: str) -> tuple[Record, str]:
    """Delete `record`, or what a refresh that took longer than our patience has made of it: that is then to be revoked."""

    async def is_gone(found: str | None) -> bool:
        nonlocal record, text
        if found is not None:
            record, text = Record.parse(found), found
            await in_thread(functools.partial(note_ended, storage, key, record))
        return found is None

    if await replace_stored(storage, key, text, None, unless=is_gone) == "contended":
        await storage.delete(key)
    return record, text


async def _load(storage: Storage, key: str) -> tuple[Record | None, str | None, bool]:
    """The record and its text, if it is readable, and whether there is anything: an unreadable one is deleted all the same."""
    try:
        text = await storage.load(key)
        return (None, None, False) if text is None else (Record.parse(text), text, True)
    except StorageUnreadable:
        return None, None, True


async def _forget_client(session: Session, record: Record | None) -> bool:
    """Forget the registration at the record's issuer, or, after a login that never succeeded, at the one to be found.

    Whether one was found.
    """
    grant = session.grant()
    if record is not None:
        await grant.forget(session.server_url, record.issuer, session.storage)
        return True
    from .discovery import discover

    try:
        async with opened_http(session) as http:
            found = await discover(http, session.server_url, allow_http=session.allow_private_network)
    except AuthError as error:
        _log.info("the authorization server of %s can't be found: %s", session.shown_url, type(error).__name__)
        return False
    await grant.forget(session.server_url, found.server.issuer, session.storage)
    return True


async def _revoke(session: Session, records: list[Record], *, found: bool) -> LogoutResult:
    """Revoke what nobody else uses, each record's tokens by themselves; the first failure is told."""
    result = LogoutResult(session.server_url, deleted=found, revoked=None)
    for record in records:
        try:
            if await _used_elsewhere(session, record):
                continue
            revoked = await revoke(session, record, session.current_client(record))
        except AuthError as error:
            _log.info("the tokens for %s could not be revoked: %s", session.shown_url, type(error).__name__)
            result = replace(result, revoked=False, error=result.error or error)
        else:
            if revoked and result.revoked is None:
                result = replace(result, revoked=True)
    return result


def _listed() -> list[IndexEntry]:
    try:
        return Index().entries()
    except StorageError as error:
        _log.info("the list of logins can't be read: %s", type(error).__name__)
        return []


async def _used_elsewhere(session: Session, record: Record) -> bool:
    """Whether another record holds the same tokens, as far as the list tells: revoking them would log that one out.

    A listed record that can't be read may be one. A list that can't be read tells of none: tokens are not left alive for that.
    """
    ours = {record.access_token, record.refresh_token} - {None}
    for entry in await in_thread(_listed):
        key = record_key(entry.server_url, entry.account)
        if key == session.key or entry.issuer != record.issuer or entry.storage != session.storage.name:
            continue
        other, _, found = await _load(session.storage, key)
        if (found and other is None) or (other and ours & {other.access_token, other.refresh_token}):
            return True
    return False
