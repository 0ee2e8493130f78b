"""What holds for every target: nothing but the library's own errors escapes, and what they say is clean and keeps secrets."""

from __future__ import annotations

import unicodedata
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mcp_login.errors import AuthError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = [
    "LONGEST_MESSAGE",
    "at_end",
    "chain",
    "close_all",
    "is_clean",
    "judged",
    "lines",
    "require_clean_error",
    "text_of",
]

#: The most characters of an error's message, whatever the peer wrote.
LONGEST_MESSAGE = 1500


_closing: list[Callable[[], None]] = []


def at_end(close: Callable[[], None]) -> None:
    """What a target opened once for all inputs is closed by this."""
    _closing.append(close)


def close_all() -> None:
    """Close what the targets opened. No target may be run afterwards in this process."""
    while _closing:
        _closing.pop()()


def text_of(data: bytes) -> str:
    """`data` as text: any text can be had, lone surrogates included (JSON and environment variables can hold them)."""
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def lines(data: bytes, count: int) -> list[str]:
    """`data` as `count` texts: its first lines, and all the rest."""
    parts = text_of(data).split("\n", count - 1)
    return parts + [""] * (count - len(parts))


def is_clean(text: str) -> bool:
    """Whether nothing in `text` controls a terminal or the direction of text, and all of it can be read."""
    return not any(unicodedata.category(c).startswith("C") or unicodedata.category(c) in ("Zl", "Zp") for c in text)


def chain(error: BaseException) -> Iterator[BaseException]:
    """`error` and all that it came from, also what `from None` hides: trackers of errors write that down."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        current = waiting.pop()
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        waiting += [current.__cause__, current.__context__]


def require_clean_error(error: AuthError, *secrets: str) -> None:
    """A person can read what `error` says, and none of `secrets` is in it or in what it came from."""
    message = str(error)
    assert message.strip(), "an error says something"
    assert is_clean(message), f"unclean: {message!a}"
    assert all(is_clean(one) for one in error.args if isinstance(one, str))
    assert len(message) <= LONGEST_MESSAGE, f"{len(message)} characters"
    for one in chain(error):
        told = "\n".join([str(one), repr(one), repr(one.args), repr(vars(one))])
        for secret in secrets:
            assert secret not in told, f"{type(one).__name__} tells a secret"


@contextmanager
def judged(*secrets: str) -> Iterator[None]:
    """The library may refuse what is done here, in its own words and without `secrets`. Anything else escapes."""
    try:
        yield
    except AuthError as error:
        require_clean_error(error, *secrets)
