"""One value over one or more items of a keychain, so that it is never missing, torn or mixed.

Standard library only, and plain classes: the warm path loads it, and each named tuple takes as long as a small module.

Items, by service name (`<key>` is the storage's key)::

    mcp-login:<key>            slot 0: the value, or its first part
    mcp-login/1:<key>          slot 1: a second copy of that item, only while slot 0 is being replaced
    mcp-login/<s>.<n>:<key>    part n (from 2) of the generations whose remainder by 2 is s

The value is the one of the higher generation, of two slots whose checksum fits; of equal ones slot 0's.

Writing touches nothing that the value before needs, until the new one is complete:

1. The other parts of the new value go where the parts of the generation before are not.
2. Where the backend replaces an item in two steps, and slot 0 holds the value, the new one goes to slot 1 first.
3. Slot 0 is replaced. Where the backend does that in one step, this is the moment at which the value changes.
4. Slot 1 and the parts of the generation before are deleted.

Deleting begins with the slot that is not the value, so that a crash brings no older value back. A crash leaves items that
nothing refers to. The next write or deletion finds them: parts are written upwards and deleted downwards, so that what
is left of them has no gap.

Writers exclude each other by a lock of the caller's. Readers take none: they look again when they see what may be the
middle of a write, until two looks agree. (Where items are deleted and added, a reader finds nothing that is there if a write
ends between its two calls, and another one in the same way the next time. Who has the record's lock meets none.)
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from mcp_login.errors import StorageError, StorageLocked, StorageUnavailable, StorageUnreadable

from .envelope import MOST_PARTS, seal_parts, unseal, utf16_units

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Protocol

    from .envelope import Envelope

    class Items(Protocol):
        """A backend: named texts. Each method raises `StorageError`."""

        @property
        def rules(self) -> ItemRules:
            """How it keeps them; known after the first call to it."""
            ...

        def get(self, name: str) -> str | None:
            """The text of the item, or None."""
            ...

        def set(self, name: str, text: str) -> None:
            """Make or replace the item."""
            ...

        def delete(self, name: str) -> None:
            """Delete the item; it is no error if it is absent."""
            ...


__all__ = ["SMALLEST_LIMIT", "Found", "ItemRules", "Slots"]

#: The least that any known backend takes in an item, in UTF-16 code units (Windows).
SMALLEST_LIMIT = 1280

#: What stands in an item that is being deleted, where a backend keeps the text before.
_DELETED = "mcp-login 1 deleted\n"

#: How often a reader looks. It needs more than two looks only if a write ends within each of them.
_LOOKS = 10

#: How often an item is deleted that is still there.
_DELETIONS = 3


class ItemRules:
    """How a backend keeps items.

    `at_once`: it replaces an item in one step: whoever reads meanwhile, or after a crash, finds the old text or the
    new. `limit`: the most UTF-16 code units that an item takes; None: no limit that matters. `tries_parts`: the limit is
    not known, so a value that is refused is tried in parts. `keeps_previous`: it keeps the text before beside the item,
    and a deletion that is interrupted brings that back.
    """

    def __init__(
        self,
        *,
        at_once: bool = False,
        limit: int | None = None,
        tries_parts: bool = False,
        keeps_previous: bool = False,
    ) -> None:
        self.at_once = at_once
        self.limit = limit
        self.tries_parts = tries_parts
        self.keeps_previous = keeps_previous
        #: Whether there may be parts.
        self.has_parts: bool = limit is not None or tries_parts


class Found:
    """What the slots hold, by number; `live` is the number of the slot that has the value, if there is one."""

    def __init__(self, slots: Sequence[_Seen]) -> None:
        whole = [number for number, seen in enumerate(slots) if seen.value is not None]
        self.slots = slots
        self.live: int | None = max(whole, key=lambda number: (_generation(slots[number]), -number), default=None)

    @property
    def value(self) -> Envelope | None:
        """The value; None where there is none, or none that is whole."""
        return None if self.live is None else self.slots[self.live].value

    def whole_value(self) -> Envelope | None:
        """The value, or None where nothing is stored. Raises `StorageUnreadable` where what is stored is torn or foreign."""
        if self.live is None:
            for seen in self.slots:
                if seen.problem is not None:
                    raise seen.problem
        return self.value


class _Seen:
    """A slot: its text, and the value in it, or why there is none."""

    def __init__(
        self, text: str | None, value: Envelope | None = None, problem: StorageUnreadable | None = None
    ) -> None:
        self.text = text
        self.value = value
        self.problem = problem


class Slots:
    """The items of one key."""

    def __init__(self, items: Items, key: str) -> None:
        self._items = items
        self._key = key

    def read(self, *, newest: bool = True) -> Envelope | None:
        """The value, or None. Without a lock.

        Without `newest` a whole value in slot 0 is enough: one call for one part. After a crash in the middle of a write it
        may be the old value, while others find the new one. Raises `StorageUnreadable` where what is stored is torn or
        foreign, and `StorageUnavailable` where others change it all the time.
        """
        before: list[str | None] = []
        for _ in range(_LOOKS):
            found = self._look(quick=not newest)
            texts = [seen.text for seen in found.slots]
            if found.live is not None or texts == before or self._is_final(texts):
                return found.whole_value()
            before = texts
        raise StorageUnavailable("Other processes change the stored login all the time. Try again.")

    def find(self) -> Found:
        """What there is. Only under the lock of writers, since then it is not the middle of a write."""
        return self._look(quick=False)

    def write(self, payload: str, found: Found) -> None:
        """Replace what is there by `payload`. `found` is what `find` has found, under the lock that is still held.

        After a crash, or an error, there is the old value or the new one.
        """
        rules = self._items.rules
        before = found.value
        generation = 1 if before is None else before.generation + 1
        texts = seal_parts(payload, key=self._key, generation=generation, limit=rules.limit)
        refused: StorageError | None = None
        try:
            return self._put(texts, generation, found)
        except StorageError as error:
            # Of an unknown backend nobody knows what it says of a value that is too large.
            tried = len(texts) > 1 or utf16_units(texts[0]) <= SMALLEST_LIMIT
            if isinstance(error, (StorageLocked, StorageUnavailable)) or not rules.tries_parts or tried:
                raise
            refused = error
        with contextlib.suppress(StorageError):
            texts = seal_parts(payload, key=self._key, generation=generation, limit=SMALLEST_LIMIT)
            # Looked up again: the first try may have changed the slots, as far as it came.
            return self._put(texts, generation, self.find())
        raise refused

    def remove(self, found: Found) -> None:
        """Delete all items. `found` is what `find` has found, under the lock that is still held."""
        for number in sorted(range(len(found.slots)), key=lambda number: number == found.live):
            if found.slots[number].text is not None:
                self._erase(self._slot(number))
        if self._items.rules.has_parts:
            self._remove_parts(0)
            self._remove_parts(1)

    # Names

    def _slot(self, number: int) -> str:
        return f"mcp-login:{self._key}" if number == 0 else f"mcp-login/{number}:{self._key}"

    def _part(self, generation: int, number: int) -> str:
        return f"mcp-login/{generation % 2}.{number}:{self._key}"

    # Reading

    def _look(self, *, quick: bool) -> Found:
        slots = [self._seen(0)]
        if not (self._items.rules.at_once or (quick and slots[0].value is not None)):
            slots.append(self._seen(1))
        return Found(slots)

    def _seen(self, number: int) -> _Seen:
        text = self._items.get(self._slot(number))
        if text is None or text == _DELETED:
            return _Seen(text)
        try:
            return _Seen(text, unseal(text, key=self._key, more=lambda *part: self._items.get(self._part(*part))))
        except StorageUnreadable as error:
            return _Seen(text, problem=error)

    def _is_final(self, texts: Sequence[str | None]) -> bool:
        """Whether `texts`, which hold no whole value, can't be the middle of a write."""
        return self._items.rules.at_once and (texts[0] is None or not self._items.rules.has_parts)

    # Writing

    def _put(self, texts: Sequence[str], generation: int, found: Found) -> None:
        items = self._items
        if items.rules.has_parts:
            self._remove_parts(generation)
        for number, text in enumerate(texts[1:], 2):
            items.set(self._part(generation, number), text)
        second = not items.rules.at_once and found.live == 0
        if second:
            items.set(self._slot(1), texts[0])
        elif found.slots[0].problem is not None:
            # What is there is nobody's value; beside it a backend might keep both and answer with either.
            self._erase(self._slot(0))
        items.set(self._slot(0), texts[0])
        with contextlib.suppress(StorageError):  # the value is saved: what is left over waits for the next write
            if second or (len(found.slots) > 1 and found.slots[1].text is not None):
                items.delete(self._slot(1))
            if items.rules.has_parts:
                self._remove_parts(generation + 1)

    def _erase(self, name: str) -> None:
        """Delete the item, and see that it is gone."""
        if self._items.rules.keeps_previous:
            for _ in range(2):  # the item itself, then the text before that is kept beside it
                self._items.set(name, _DELETED)
        for _ in range(_DELETIONS):
            self._items.delete(name)
            if self._items.get(name) is None:
                return
        raise StorageError("A stored login is still there after it was deleted. Delete it in the keychain itself.")

    def _remove_parts(self, generation: int) -> None:
        """Delete the parts of the generations of that parity, the last one first."""
        last = 1
        while last < MOST_PARTS and self._items.get(self._part(generation, last + 1)) is not None:
            last += 1
        for number in range(last, 1, -1):
            self._items.delete(self._part(generation, number))


def _generation(seen: _Seen) -> int:
    return 0 if seen.value is None else seen.value.generation
