"""A login in the keychain is never missing, torn or mixed: a crash at any step leaves the old or the new one.

DESIGN, "Storage": a crash leaves the old or the new record; where a backend replaces by delete-and-add (macOS), the other
of two slots is written first; values over a backend's limit (Windows: 1,280 UTF-16 characters) are split without losing that.
"""

from __future__ import annotations

import itertools
from contextlib import ExitStack
from typing import TYPE_CHECKING

import anyio
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from mcp_login.errors import StorageError
from mcp_login.storage.keychain import KeychainStorage
from tests.unit.storage.emulated_keychains import (
    KEY,
    KINDS,
    SIZES,
    SLOT,
    SPARE,
    TRANSITIONS,
    Crash,
    Keychain,
    Past,
    crashes,
    keychain,
    number_of_items,
    read,
    text,
    write,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__: list[str] = []

pytestmark = pytest.mark.anyio


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """The kind of keychain."""
    return str(request.param)


@pytest.fixture
def chain(kind: str) -> Iterator[Keychain]:
    """An empty keychain of that kind."""
    with keychain(kind) as made:
        yield made


# Crashes


@pytest.mark.parametrize(
    ("old", "new", "call"),
    [
        *((old, new, call) for old, new in TRANSITIONS for call in ("save", "compare_and_set")),
        *((old, None, call) for old in SIZES for call in ("delete", "compare_and_set")),
    ],
)
async def test_a_crash_at_any_step_leaves_the_old_or_the_new_value_and_the_next_write_leaves_no_orphan(
    kind: str, old: str | None, new: str | None, call: str
) -> None:
    before, after = text(old, "o"), text(new, "n")
    seen = set()
    for steps in range(200):
        with keychain(kind) as chain:
            storage = KeychainStorage(backend=chain.backend)
            if before is not None:
                await storage.save(KEY, "what was there before the old value " * (40 if old == "large" else 1))
                await storage.save(KEY, before)
            chain.vault.steps_left = steps
            crashed = False
            try:
                if call == "save" and after is not None:
                    await storage.save(KEY, after)
                elif call == "delete":
                    await storage.delete(KEY)
                else:
                    assert await storage.compare_and_set(KEY, before, after) is True
            except StorageError:
                crashed = True
            chain.vault.steps_left = None
            fresh = KeychainStorage(backend=chain.backend)
            found = await fresh.load(KEY)
            assert found in (before, after)
            assert fresh.load_now(KEY, 10) in (before, after)
            if not crashed:
                assert found == after
            seen.add(found)
            last = text("large" if steps % 2 else "small", "l")
            if steps % 3 == 0:
                assert last is not None
                assert await fresh.compare_and_set(KEY, found, last) is True
                assert await fresh.load(KEY) == fresh.load_now(KEY, 10) == last
                assert len(chain.items()) == number_of_items(kind, "large" if steps % 2 else "small")
            else:
                await fresh.delete(KEY)
                assert await fresh.load(KEY) is None
                assert chain.vault.entries == {}
            if not crashed:
                break
    assert seen == {before, after}
    assert not crashed


def test_a_crash_after_a_crash_leaves_the_value_that_was_found_or_the_new_one(kind: str) -> None:
    """All pairs of steps, with every size of the second value: the copy that the first crash left is the only good one."""
    old, new = text("large", "o"), text("large", "n")
    for second in (text("small", "s"), text("large", "s"), None):
        first_steps = 0
        crashed = True
        while crashed:
            again = True
            second_steps = 0
            while again:
                with keychain(kind) as chain:
                    write(chain, old)
                    crashed = crashes(chain, new, first_steps)
                    found = read(chain)
                    again = crashes(chain, second, second_steps)
                    assert read(chain) in (found, second)
                    assert read(chain, newest=False) in (old, found, second)
                second_steps += 1
            first_steps += 1


@pytest.mark.parametrize("kind", ["macOS", "unknown"])
def test_a_new_value_that_was_whole_before_the_crash_is_the_one_that_is_loaded(chain: Keychain) -> None:
    """A refresh token that was rotated is spent: once the new one is anywhere, it is the one that counts."""
    write(chain, "old")
    for steps in range(20):
        crashes(chain, "new", steps)
        if SPARE in chain.vault.entries:
            break
    assert chain.items() == [SPARE, SLOT]
    assert read(chain) == "new"
    assert read(chain, newest=False) == "old"


def test_an_old_value_does_not_come_back_when_a_deletion_is_interrupted_after_crashes(kind: str) -> None:
    """Whatever crashes left: once the value is gone, it stays gone, at each step of the deletion."""
    for first, second in itertools.product(range(14), range(16)):
        with keychain(kind) as chain:
            write(chain, "first")
            write(chain, "old")
            crashes(chain, "new", first)
            crashes(chain, "newer", second)
            found = read(chain)
            chain.vault.watch()
            write(chain, None)
            values = []
            for state in chain.vault.states:
                chain.vault = Past([state], ())
                values.append(read(chain))
            gone = values.index(None)
            assert values[:gone] == [found] * gone
            assert set(values[gone:]) == {None}


# A model


class Model(RuleBasedStateMachine):
    """Saves, deletions, comparisons, crashes at any step and readers beside them, against one variable."""

    def __init__(self) -> None:
        super().__init__()
        self._stack = ExitStack()
        self._count = 0

    @initialize(kind=st.sampled_from(KINDS))
    def open(self, kind: str) -> None:
        self.kind = kind
        self.chain = self._stack.enter_context(keychain(kind))
        self.value: str | None = None
        #: What a reader that is content with slot 0 may find beside the value, after a crash.
        self.older: set[str | None] = set()

    def teardown(self) -> None:
        self._stack.close()

    def new_value(self, size: str) -> str:
        self._count += 1
        return f"{self._count} " + str(text(size, "x"))

    @rule(
        size=st.sampled_from([None, *SIZES]),
        steps=st.none() | st.integers(0, 30),
        pace=st.lists(st.integers(0, 3), max_size=12),
        newest=st.booleans(),
    )
    def change(self, size: str | None, steps: int | None, pace: list[int], newest: bool) -> None:
        value = None if size is None else self.new_value(size)
        vault = self.chain.vault
        vault.watch()
        vault.steps_left = steps
        crashed = False
        try:
            write(self.chain, value)
        except Crash:
            crashed = True
        vault.steps_left = None

        self.chain.vault = Past(vault.states, pace)
        assert read(self.chain, newest=newest) in {self.value, value} | (set() if newest else self.older)
        self.chain.vault = vault

        if crashed:
            found = read(self.chain)
            assert found in (self.value, value)
            self.older |= {self.value}
            self.value = found
        else:
            self.value, self.older = value, set()
            assert len(self.chain.items()) == number_of_items(self.kind, size)

    @rule(right=st.booleans(), size=st.sampled_from([None, *SIZES]))
    def compare(self, right: bool, size: str | None) -> None:
        value = None if size is None else self.new_value(size)
        storage = KeychainStorage(backend=self.chain.backend)
        expected = self.value if right else "another"
        assert anyio.run(storage.compare_and_set, KEY, expected, value) is right
        if right:
            self.value, self.older = value, set()

    @rule()
    def load(self) -> None:
        assert read(self.chain) == self.value
        assert read(self.chain, newest=False) in {self.value} | self.older


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=80, stateful_step_count=15)
