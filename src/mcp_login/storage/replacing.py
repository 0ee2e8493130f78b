"""Replacing a value that others may be writing: by comparison, a few times."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from mcp_login.errors import StorageUnreadable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .base import Storage

__all__ = ["replace_stored"]

#: How often one try compares: somebody who doesn't know our lock may be writing.
_COMPARISONS = 3


async def replace_stored(
    storage: Storage,
    key: str,
    expected: str | None,
    value: str | None,
    *,
    unless: Callable[[str | None], Awaitable[bool]],
) -> Literal["replaced", "stays", "contended"]:
    """Replace what is stored by `value` (None: delete it) if it is `expected`, or what is found there instead.

    `unless` is asked of each such find (None: there is nothing) whether it is to stay. What is torn or foreign is nobody's, and
    replaced; `unless` may say so with a `StorageUnreadable`. `contended`: others write all the time. Raises `StorageError`.
    """
    for _ in range(_COMPARISONS):
        # By comparison, and not by reading first: at exit an interpreter may start no more threads to read in.
        try:
            if await storage.compare_and_set(key, expected, value):
                return "replaced"
            expected = await storage.load(key)
            if await unless(expected):
                return "stays"
        except StorageUnreadable:
            await (storage.delete(key) if value is None else storage.save(key, value))
            return "replaced"
    return "contended"
