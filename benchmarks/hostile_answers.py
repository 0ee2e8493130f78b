"""What a hostile answer can cost: for each parser the largest input, the worst of its shapes, time and memory.

    python -m benchmarks.hostile_answers

Times are of this process's own, the least of three. A target does more than the library: it reads what was parsed again.
"""

from __future__ import annotations

import gc
import logging
import os
import shutil
import time
import tracemalloc
from typing import TYPE_CHECKING

from tests.fuzz.checks import close_all
from tests.fuzz.shapes import LARGEST, SHAPES
from tests.fuzz.stored import home_of
from tests.fuzz.targets import TARGETS

if TYPE_CHECKING:
    from collections.abc import Callable

__all__: list[str] = []


def seconds_of(run: Callable[[bytes], None], data: bytes) -> float:
    """The least of three."""
    needed = []
    for _ in range(3):
        began = time.process_time()
        run(data)
        needed.append(time.process_time() - began)
    return min(needed)


def memory_of(run: Callable[[bytes], None], data: bytes) -> int:
    """The peak above what there was, in bytes."""
    gc.collect()
    tracemalloc.start()
    try:
        run(data)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def main() -> None:
    """Print the table."""
    logging.getLogger("mcp_login").setLevel(logging.CRITICAL)
    print("| parser | largest input (KiB) | slowest | time (ms) | most memory | MiB |")
    print("| --- | ---: | --- | ---: | --- | ---: |")
    for name, shapes in SHAPES.items():
        run, size = TARGETS[name].run, LARGEST[name]
        run(shapes[0].of(size))
        slowest, seconds = max(
            ((one.name, seconds_of(run, one.of(size))) for one in shapes), key=lambda found: found[1]
        )
        most, memory = max(((one.name, memory_of(run, one.of(size))) for one in shapes), key=lambda found: found[1])
        print(
            f"| {name} | {size / 1024:,.0f} | {slowest} | {seconds * 1000:.0f} | {most} | {memory / 2**20:.1f} |",
            flush=True,
        )
    close_all()
    shutil.rmtree(home_of(os.getpid()), ignore_errors=True)


if __name__ == "__main__":
    main()
