"""The wrapping of a stored value, which tells a torn or foreign value from ours.

Standard library only: the warm path loads it.

One header line, then the value::

    mcp-login 1 <generation> <parts> <checksum>\\n<payload>

`1` is the version of this wrapping. `generation` counts the writes of the key, so that of two slots the newer one is
known. `parts` is the number of items the value is spread over; this version writes and reads one. `checksum` is the
first 16 hexadecimal digits of the SHA-256 of the key, the other header fields and the payload: a value that was cut,
edited or copied under another key doesn't fit it. It is no protection against someone who can write to the storage.
"""

from __future__ import annotations

from typing import NamedTuple

from mcp_login.errors import StorageError

__all__ = ["Envelope", "seal", "unseal"]

_NAME = "mcp-login"
_VERSION = 1
_MOST_DIGITS = 15


class Envelope(NamedTuple):
    """A value as it was stored. `generation` counts the writes of its key, from 1."""

    payload: str
    generation: int

    def __repr__(self) -> str:
        """Without the payload, which is secret."""
        return f"Envelope(generation={self.generation})"


def seal(payload: str, *, key: str, generation: int) -> str:
    """The text to store for `payload` under `key`. Raises `StorageError` where the payload is not encodable text."""
    checksum = _checksum(key, f"{generation} 1", payload)
    if checksum is None:
        raise StorageError("A value can't be stored: it holds characters that have no UTF-8.")
    return f"{_NAME} {_VERSION} {generation} 1 {checksum}\n{payload}"


def unseal(text: str, *, key: str) -> Envelope:
    """What `seal` was given for `key`. Raises `StorageError` where the text is torn, foreign or of a newer version."""
    header, separator, payload = text.partition("\n")
    words = header.split(" ", 5)
    if not separator or len(words) < 2 or words[0] != _NAME or _number(words[1]) is None:
        raise StorageError("The stored value is not one of mcp-login's: another program wrote it. Log in again.")
    numbers = [_number(word) for word in words[1:4]]
    if numbers[0] != _VERSION or (len(words) == 5 and numbers[2] not in (None, 1)):
        raise StorageError("The stored value was written by a newer version of mcp-login. Upgrade, or log in again.")
    generation = numbers[1] if len(words) == 5 else None
    if generation is None or words[4] != _checksum(key, f"{words[2]} {words[3]}", payload):
        raise StorageError("The stored value is torn, or another program changed it. Log in again.")
    return Envelope(payload, generation)


def _number(word: str) -> int | None:
    """A decimal number from 1, in its one spelling."""
    if not (word.isascii() and word.isdigit()) or word.startswith("0") or len(word) > _MOST_DIGITS:
        return None
    return int(word)


def _checksum(key: str, numbers: str, payload: str) -> str | None:
    import hashlib  # keyring loads it anyway; a process that reads no value doesn't

    try:
        text = f"{key}\n{_VERSION} {numbers}\n{payload}".encode()
    except UnicodeEncodeError:
        return None
    return hashlib.sha256(text).hexdigest()[:16]
