"""Word to a program that has tokens which it can't save: that another one waits for them.

It may be left alone by design, since its last try asked a person, who said no. Whoever waits has just read the storage, so that
it is open now. The word is an empty file beside the record's lock.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from mcp_login.errors import StorageError

from .paths import note_path
from .private_files import open_private, private_directory

if TYPE_CHECKING:
    from .base import Storage

__all__ = ["ask_to_save", "was_asked_to_save"]


def ask_to_save(storage: Storage, key: str) -> None:
    """Leave word that the tokens of the record `key` are waited for. Raises nothing: it is a hint."""
    with contextlib.suppress(OSError, StorageError):
        path = note_path(storage, key, "wanted")
        private_directory(path.parent)
        os.close(open_private(path, os.O_WRONLY | os.O_CREAT))


def was_asked_to_save(storage: Storage, key: str) -> bool:
    """Whether there is such a word, which is taken away with that. Raises nothing."""
    try:
        note_path(storage, key, "wanted").unlink()
    except (OSError, StorageError):
        return False
    return True
