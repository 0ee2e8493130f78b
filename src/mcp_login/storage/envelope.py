"""The wrapping of a stored value, which tells a torn or foreign value from ours.

Standard library only: the warm path loads it.

One header line, then the value::

    mcp-login 1 <generation> <parts> <checksum>\\n<payload>

`1` is the version of this wrapping. `generation` counts the writes of the key, so that of two copies the newer one is
known. `parts` is the number of texts that the value is spread over. `checksum` is the first 16 hexadecimal digits of
the SHA-256 of the key, the other header fields and the whole payload: a value that was cut, edited, put together of
two writes' parts or copied under another key doesn't fit it. It is no protection against someone who can write to the
storage.

Of several parts the first one is as above, with the beginning of the payload. Each of the others, numbered from 2::

    mcp-login 1 <generation> <number>/<parts>\\n<more of the payload>

A line of its own there too, so that no part begins with a character that a backend might take for a byte order mark.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from mcp_login.errors import StorageError, StorageUnreadable

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["MOST_PARTS", "Envelope", "seal", "seal_parts", "unseal", "utf16_units"]

#: A value is spread over this many parts at most. With Windows' limit that is some 39,000 characters: more than any
#: login has that was ever seen, and few enough to be read within a call's time.
MOST_PARTS = 32

_NAME = "mcp-login"
_VERSION = 1
_MOST_DIGITS = 15


class Envelope(NamedTuple):
    """A value as it was stored. `generation` counts the writes of its key, from 1; `parts` the texts it is spread over."""

    payload: str
    generation: int
    parts: int = 1

    def __repr__(self) -> str:
        """Without the payload, which is secret."""
        return f"Envelope(generation={self.generation}, parts={self.parts})"


def seal(payload: str, *, key: str, generation: int) -> str:
    """The text to store for `payload` under `key`. Raises `StorageError` where the payload is not encodable text."""
    return _head(payload, payload, key, generation, 1)


def seal_parts(payload: str, *, key: str, generation: int, limit: int | None) -> list[str]:
    """The texts to store for `payload` under `key`, each of at most `limit` UTF-16 code units (None: no limit).

    Raises `StorageError` where the payload is not encodable text, or needs more than `MOST_PARTS` parts.
    """
    whole = seal(payload, key=key, generation=generation)
    if limit is None or utf16_units(whole) <= limit:
        return [whole]
    room = limit - len(_head("", payload, key, generation, MOST_PARTS))
    pieces = _cut(payload, room, limit - len(_line(generation, MOST_PARTS, MOST_PARTS)))
    parts = len(pieces)
    if parts > MOST_PARTS:
        raise StorageError(
            f"A value of {len(payload):,} characters is too large for this keychain, which takes {limit:,} in an item "
            f"and is given {MOST_PARTS} items at most. Set MCP_LOGIN_STORAGE=file (not encrypted)."
        )
    others = [_line(generation, number, parts) + piece for number, piece in enumerate(pieces[1:], 2)]
    return [_head(pieces[0], payload, key, generation, parts), *others]


def unseal(text: str, *, key: str, more: Callable[[int, int], str | None] | None = None) -> Envelope:
    """What `seal` was given for `key`, or `seal_parts` where `more` is given: the part of a generation and number.

    Raises `StorageUnreadable` where the text is torn, foreign or of a newer version, and what `more` raises. `more` is
    called for no part beyond `MOST_PARTS`, and for none after one that doesn't fit.
    """
    header, separator, payload = text.partition("\n")
    words = header.split(" ", 5)
    if not separator or len(words) < 2 or words[0] != _NAME or _number(words[1]) is None:
        raise StorageUnreadable("The stored value is not one of mcp-login's: another program wrote it. Log in again.")
    version, generation, parts = [*(_number(word) for word in words[1:4]), None, None][:3]
    most = 1 if more is None else MOST_PARTS
    if version != _VERSION or (len(words) == 5 and parts is not None and parts > most):
        raise StorageUnreadable(
            "The stored value was written by a newer version of mcp-login. Upgrade, or log in again.", is_newer=True
        )
    if len(words) == 5 and generation is not None and parts is not None:
        whole = payload if more is None else _joined(payload, generation, parts, more)
        if whole is not None and words[4] == _checksum(key, f"{generation} {parts}", whole):
            return Envelope(whole, generation, parts)
    raise StorageUnreadable("The stored value is torn, or another program changed it. Log in again.")


def utf16_units(text: str) -> int:
    """The length of `text` in UTF-16 code units, in which Windows counts: two for a character beyond U+FFFF."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


def _head(piece: str, payload: str, key: str, generation: int, parts: int) -> str:
    checksum = _checksum(key, f"{generation} {parts}", payload)
    if checksum is None:
        raise StorageError("A value can't be stored: it holds characters that have no UTF-8.")
    return f"{_NAME} {_VERSION} {generation} {parts} {checksum}\n{piece}"


def _line(generation: int, number: int, parts: int) -> str:
    return f"{_NAME} {_VERSION} {generation} {number}/{parts}\n"


def _cut(text: str, first: int, others: int) -> list[str]:
    """`text` in pieces of at most `first` and then `others` UTF-16 code units; no pair of surrogates is parted."""
    data = text.encode("utf-16-le")
    pieces = []
    begin, room = 0, first
    while begin < len(data):
        end = begin + 2 * room
        if end < len(data) and 0xDC <= data[end + 1] <= 0xDF:  # the second half of a pair would begin the next piece
            end -= 2
        pieces.append(data[begin:end].decode("utf-16-le"))
        begin, room = end, others
    return pieces


def _joined(payload: str, generation: int, parts: int, more: Callable[[int, int], str | None]) -> str | None:
    """The payload with its other parts; None where one is missing or another write's."""
    pieces = [payload]
    for number in range(2, parts + 1):
        line = _line(generation, number, parts)
        text = more(generation, number)
        if text is None or not text.startswith(line):
            return None
        pieces.append(text[len(line) :])
    return "".join(pieces)


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
