"""What stands in for a program's surroundings: the innermost counts, and nothing is left."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from pathlib import Path

from mcp_login.storage.memory import MemoryStorage
from mcp_login.surroundings import Surroundings, clock, replaced, stand_in

__all__: list[str] = []


def surroundings(now: float) -> Surroundings:
    return Surroundings(
        storage=MemoryStorage(),
        open_browser=lambda _: True,
        person_present=lambda: True,
        clock=lambda: now,
        home=Path("nowhere"),
        started=lambda _: None,
    )


def test_a_program_that_is_no_test_has_the_machines_clock_itself() -> None:
    assert stand_in() is None
    assert clock() is time.time


def test_the_innermost_counts_and_an_exception_restores_the_outer() -> None:
    outer, inner = surroundings(1), surroundings(2)
    with replaced(outer):
        with contextlib.suppress(ZeroDivisionError), replaced(inner):
            assert (stand_in(), clock()()) == (inner, 2)
            raise ZeroDivisionError
        assert (stand_in(), clock()()) == (outer, 1)
    assert stand_in() is None


def test_blocks_may_end_in_any_order() -> None:
    first, second = surroundings(1), surroundings(2)
    one, other = replaced(first), replaced(second)
    one.__enter__()
    other.__enter__()
    one.__exit__(None, None, None)
    assert stand_in() is second
    other.__exit__(None, None, None)
    assert stand_in() is None


def test_it_imports_nothing_but_the_standard_library() -> None:
    code = (
        "import sys, mcp_login; before = set(sys.modules); import mcp_login.surroundings;"
        "print(*sorted(name for name in set(sys.modules) - before if name.partition('.')[0] not in sys.stdlib_module_names))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=20)
    assert done.stdout.split() == ["mcp_login.surroundings"]
