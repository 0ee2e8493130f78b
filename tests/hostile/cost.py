"""What something costs: seconds, and memory above that of before, at its peak."""

from __future__ import annotations

import contextlib
import gc
import time
import tracemalloc
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.hostile.attack import refute

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["LARGEST", "LONGEST", "Cost", "limited", "measured"]

#: The most memory that any answer may cost, in bytes above what the process had.
LARGEST = 32 << 20

#: The longest that anything may take, in seconds, which is one or two on a machine with nothing else to do.
LONGEST = 20.0

_STATUS = Path("/proc/self/status")
_PEAK = Path("/proc/self/clear_refs")


@dataclass
class Cost:
    """What was spent: `seconds`, and `memory` in bytes."""

    seconds: float = 0.0
    memory: int = 0


@contextlib.contextmanager
def limited(*, memory: int = LARGEST) -> Iterator[None]:
    """Raise `Breach` if the block takes longer than `LONGEST` or more than `memory` bytes.

    Servers of a test share this process, so they give what they give part by part. What the process grows by says little where
    other tests have freed memory in it before: what Python takes is counted instead, at the cost of time. What a library in C
    takes by itself is counted by `measured` only.
    """
    gc.collect()
    tracemalloc.start()
    began = time.monotonic()
    try:
        yield
        took = time.monotonic() - began
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    refute(peak > memory, f"it took {peak >> 20} MiB")
    refute(took > LONGEST, f"it took {took:.1f} seconds")


@contextlib.contextmanager
def measured() -> Iterator[Cost]:
    """What the block takes, in a process of its own: the memory is what the process grows by. Linux only."""
    cost = Cost()
    gc.collect()
    before = _forget_peak()
    began = time.monotonic()
    yield cost
    cost.seconds = time.monotonic() - began
    cost.memory = max(0, _of_status("VmHWM") - before)


def _forget_peak() -> int:
    """Let the peak be what is used now; that, in bytes."""
    _PEAK.write_text("5")  # proc(5): resets the peak of the resident set
    return _of_status("VmRSS")


def _of_status(name: str) -> int:
    lines = _STATUS.read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(f"{name}:"))
