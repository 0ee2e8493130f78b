"""Which logins there are, without their secrets: keychains can't be listed without opening each item."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from mcp_login.errors import AuthError, StorageError, StorageUnreadable, without_query

from .lock import FileLock
from .paths import data_path
from .private_files import broken_path, read_private, set_aside, write_private
from .record import record_key

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .base import Storage
    from .record import Record

__all__ = ["Index", "IndexEntry", "digest_of", "enter", "leave"]

_log = logging.getLogger("mcp_login")

_FORMAT = 1

#: How long a change waits for another process's, in seconds.
_LOCK_LIMIT = 2.0

_DIGEST = re.compile(r"[0-9a-f]{16}")


def digest_of(key: str) -> str:
    """What tells the record `key` from another whose URL differs in the query: one way, as a query may hold a key."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """A login: whose, where, and in which storage (its `name`). `updated_at` is in seconds since the epoch.

    `server_url` is without its query, which may hold a key. `digest` is the `digest_of` the record's whole key; empty where it
    is not known.
    """

    server_url: str
    account: str | None
    storage: str
    issuer: str
    resource: str
    scopes: tuple[str, ...]
    updated_at: float
    digest: str = field(default="", repr=False)

    @property
    def key(self) -> str:
        """The key of the login's record in its storage, unless its URL `has_query`."""
        return record_key(self.server_url, self.account)

    @property
    def has_query(self) -> bool:
        """Whether the URL is known to have a query, so that the record is kept under a key that is not listed."""
        return self.digest not in ("", digest_of(self.key))

    @property
    def identity(self) -> tuple[str, str]:
        """What no two entries have in common."""
        return (self.digest or digest_of(self.key), self.storage)


class Index:
    """The list of logins in the file `path`; by default `index.json` in `MCP_LOGIN_HOME` or the user's data folder.

    It is a convenience: the storages are the truth. Its methods read and write one small local file, and block for as
    long. They raise `StorageError`; a file that can't be understood is renamed to `<name>.broken` and a new one
    begun (`loss`).
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = data_path() / "index.json" if path is None else path
        self._damaged = False

    def entries(self) -> list[IndexEntry]:
        """All logins, by server and account."""
        return sorted(
            self._read().values(),
            key=lambda entry: (entry.server_url, entry.account or "", entry.storage, entry.updated_at),
        )

    def loss(self) -> str | None:
        """What to tell people where logins may be stored that are not listed: the list was damaged; None: it wasn't.

        It is told until the file that was set aside is deleted.
        """
        broken = broken_path(self._path)
        if not (self._damaged or os.path.lexists(broken)):
            return None
        return (
            f"The list of logins was damaged, and is now {broken if os.path.lexists(broken) else self._path}. Logins may be "
            "stored that are not listed. They work, and each can be logged out of, by the server's URL; `mcp-login login URL` "
            "lists one again. Delete that file when none is missing."
        )

    def put(self, entry: IndexEntry) -> None:
        """Add `entry`, in place of the one with the same URL, account and storage."""
        self._change(lambda entries: entries.update({entry.identity: entry}))

    def remove(self, key: str, storage: str | None = None) -> None:
        """Remove the entry of the record `key` in the storage of that name (None: in all storages), if there is one.

        Those of other queries stay.
        """
        digest = digest_of(key)

        def without(entries: dict[tuple[str, str], IndexEntry]) -> None:
            for found in [one for one in entries if one[0] == digest and storage in (None, one[1])]:
                del entries[found]

        self._change(without)

    def _change(self, change: Callable[[dict[tuple[str, str], IndexEntry]], None]) -> None:
        with FileLock(self._path.with_name(f"{self._path.name}.lock")).blocking(_LOCK_LIMIT):
            before = self._read()
            after = dict(before)
            change(after)
            if after != before:
                data = {"format": _FORMAT, "entries": [asdict(entry) for entry in after.values()]}
                write_private(self._path, json.dumps(data, indent=1))

    def _read(self) -> dict[tuple[str, str], IndexEntry]:
        text = None
        broken = False
        try:
            text = read_private(self._path)
        except StorageUnreadable:
            broken = True
        entries = [] if text is None else _parse(text)
        self._damaged = broken or entries is None
        if entries is None or broken:
            with contextlib.suppress(StorageError):
                set_aside(self._path)
            return {}
        return {entry.identity: entry for entry in entries}


def _parse(text: str) -> list[IndexEntry] | None:
    """The entries that can be understood; None where the text is no index."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if (
        not isinstance(data, dict)
        or not isinstance(data.get("format"), int)
        or not isinstance(data.get("entries"), list)
    ):
        return None
    if data["format"] > _FORMAT:
        raise StorageError("The list of logins was written by a newer version of mcp-login. Upgrade.")
    return [entry for item in data["entries"] if (entry := _entry(item)) is not None]


def _entry(item: Any) -> IndexEntry | None:
    if not isinstance(item, dict):
        return None
    texts = [item.get(name) for name in ("server_url", "storage", "issuer", "resource")]
    account, scopes, updated_at = item.get("account"), item.get("scopes"), item.get("updated_at")
    if not (
        all(isinstance(text, str) for text in texts)
        and isinstance(account, (str, type(None)))
        and isinstance(scopes, list)
        and all(isinstance(scope, str) for scope in scopes)
        and isinstance(updated_at, (int, float))
        and not isinstance(updated_at, bool)
    ):
        return None
    digest = item.get("digest")
    return IndexEntry(
        item["server_url"],
        account,
        item["storage"],
        item["issuer"],
        item["resource"],
        tuple(scopes),
        updated_at,
        # Lists of earlier versions have none.
        digest if isinstance(digest, str) and _DIGEST.fullmatch(digest) else "",
    )


def enter(storage: Storage, record: Record, shown_url: str) -> None:
    """Enter the login in the list of logins. Raises nothing."""
    if storage.name == "memory":
        return
    entry = IndexEntry(
        # Without queries, which may hold a key. A server without a document is its own resource, query and all.
        server_url=shown_url,
        account=record.account,
        storage=storage.name,
        issuer=record.issuer,
        resource=without_query(record.resource),
        scopes=record.granted_scopes,
        updated_at=record.obtained_at,
        digest=digest_of(record.key),
    )
    _change_list(lambda index: index.put(entry))


def leave(storage: Storage, key: str) -> None:
    """Take the login off the list of logins. Raises nothing."""
    if storage.name != "memory":
        _change_list(lambda index: index.remove(key, storage.name))


def _change_list(change: Callable[[Index], None]) -> None:
    try:
        change(Index())
    except (OSError, AuthError) as error:
        _log.warning("the list of logins could not be updated: %s", type(error).__name__)
