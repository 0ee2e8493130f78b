"""Which refresh tokens of a login were used up, for processes that can't read the keychain just now.

A keychain may be locked while several processes hold the same login in memory. Whoever refreshes then can't show the others
the new tokens, and a token that rotates and is offered a second time ends the login (RFC 9700 section 4.14.2). So the SHA-256
of each token that was used up is left beside the record's lock. A refresh token is long and random: its hash tells nobody more.

It is a hint: a file that is missing or torn means that nothing is known.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from mcp_login.errors import StorageError

from .paths import lock_path, state_path
from .private_files import read_private, write_private

if TYPE_CHECKING:
    from pathlib import Path

    from .base import Storage

__all__ = ["is_spent", "needs_notes", "note_tokens", "token_digest"]

#: How many of a login's tokens are remembered: a process that was silent for longer than that many refreshes is rare.
_REMEMBERED = 64

_HASH = re.compile("[0-9a-f]{64}")


def needs_notes(storage: Storage) -> bool:
    """Whether `storage` can be locked while its processes run: then a record can't always be read before a refresh."""
    return bool(getattr(storage, "can_be_locked", False))


def note_tokens(key: str, *, spent: str | None, fresh: str | None) -> None:
    """Leave word that the refresh token `spent` of the record `key` was used up, and that `fresh` can be used.

    A server may give one again that it took back before. The caller holds the record's lock. Raises `OSError` and `StorageError`.
    """
    used, usable = ([] if token is None else [token_digest(token)] for token in (spent, fresh))
    known = _read(key)
    noted = [*(one for one in known if one not in used), *used]
    noted = [one for one in noted if one not in usable][-_REMEMBERED:]
    if used or noted != known:
        write_private(_path(key), "\n".join(noted))


def is_spent(key: str, token: str) -> bool:
    """Whether it is known that the refresh token `token` of the record `key` was used up. Raises nothing."""
    return token_digest(token) in _read(key)


def _path(key: str) -> Path:
    return lock_path(state_path() / "locks", key, "spent")


def token_digest(token: str) -> str:
    """What is noted of a token in its place."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _read(key: str) -> list[str]:
    try:
        text = read_private(_path(key)) or ""
    except StorageError:
        return []
    return [line for line in text.split("\n") if _HASH.fullmatch(line)]
