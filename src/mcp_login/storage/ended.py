"""Which logins somebody has ended, for programs that still have them.

A program finds the login that it has in memory gone from the storage. Somebody may have cleaned up there by hand: then it goes
on, and its next refresh saves the login again. Or somebody has logged out, and it must not come back. So a logout leaves a note
beside the record's lock: when it was, so that all that was obtained before has ended; and, as clocks are set back, the SHA-256 of
the tokens that it deleted. A later login is another one. Tokens are long and random: their hashes tell nobody more.

Who compares with what is stored comes first: see `replacing`. Without a note, as after a logout with another `MCP_LOGIN_HOME`,
nothing is known, and a login that works goes on.
"""

from __future__ import annotations

import contextlib
import logging
import re
from typing import TYPE_CHECKING, NamedTuple

from mcp_login.errors import StorageError, StorageUnreadable

from .lock import FileLock
from .paths import note_path
from .private_files import read_private, write_private
from .spent import token_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from .base import Storage
    from .record import Record

__all__ = ["begin_anew", "note_ended", "was_ended"]

_log = logging.getLogger("mcp_login")

#: How many hashes are remembered: two for each of the last ends of a login.
_REMEMBERED = 32

#: How long a change waits for another process's, in seconds.
_LOCK_LIMIT = 2.0

_LINE = re.compile(r"before (-?[0-9]{1,16}\.[0-9]{1,17})|([0-9a-f]{64})")


class _Note(NamedTuple):
    """`before`: seconds since the epoch; None: no such time is known."""

    before: float | None
    digests: tuple[str, ...]

    def tells_of(self, record: Record) -> bool:
        """Whether `record` is a login that was ended."""
        by_time = self.before is not None and record.obtained_at <= self.before
        return by_time or not _digests(record).isdisjoint(self.digests)


def note_ended(storage: Storage, key: str, record: Record | None, *, at: float | None = None) -> None:
    """Leave word that the login `record` has ended (None: what was stored could not be read, or there was nothing).

    `at`, in seconds since the epoch: so has all that was obtained until then. Raises nothing.
    """

    def change(note: _Note) -> _Note:
        new = [] if record is None else sorted(_digests(record) - set(note.digests))
        return _Note(note.before if at is None else at, (*note.digests, *new)[-_REMEMBERED:])

    _change(storage, key, change)


def begin_anew(storage: Storage, key: str, records: Iterable[Record]) -> None:
    """Somebody has logged in: forget what a note would say of `records`. Raises nothing."""

    def change(note: _Note) -> _Note:
        for record in records:
            before = None if note.before is None or record.obtained_at <= note.before else note.before
            note = _Note(before, tuple(one for one in note.digests if one not in _digests(record)))
        return note

    _change(storage, key, change)


def was_ended(storage: Storage, key: str, record: Record) -> bool:
    """Whether somebody has ended the login `record`, which is gone. Raises nothing."""
    if storage.name == "memory":
        return True  # nobody cleans up in there
    with contextlib.suppress(StorageError):
        return _note(_text(_path(storage, key))).tells_of(record)
    return False


def _path(storage: Storage, key: str) -> Path:
    return note_path(storage, key, "ended")


def _digests(record: Record) -> set[str]:
    return {token_digest(token) for token in (record.access_token, record.refresh_token) if token is not None}


def _change(storage: Storage, key: str, change: Callable[[_Note], _Note]) -> None:
    if storage.name == "memory":
        return
    try:
        path = _path(storage, key)
        text = _text(path)
        # Also where it says the same already, but torn or with something foreign in it.
        if _written(change(_note(text))) == text:
            return
        with FileLock(path.with_name(f"{path.name}.lock")).blocking(_LOCK_LIMIT):
            write_private(path, _written(change(_note(_text(path)))))
    except (OSError, StorageError) as error:
        _log.warning("no word of the end of a login could be left: %s", type(error).__name__)


def _text(path: Path) -> str:
    """What is in the file: of one that is not ours, nothing. Raises `StorageError`."""
    with contextlib.suppress(StorageUnreadable):
        return read_private(path) or ""
    return ""


def _note(text: str) -> _Note:
    """What is noted: of what is torn or foreign, nothing."""
    found = [match for line in text.split("\n") if (match := _LINE.fullmatch(line))]
    times = [float(match[1]) for match in found if match[1]]
    return _Note(times[0] if times else None, tuple(match[2] for match in found if match[2]))


def _written(note: _Note) -> str:
    time = [] if note.before is None else [f"before {float(note.before)!r}"]
    return "\n".join([*time, *note.digests])
