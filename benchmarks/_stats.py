"""Interleaved runs and their medians: what is compared is measured in turns, so that a slow moment hits both."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["interleaved", "table"]


def interleaved(subjects: Mapping[str, Callable[[], float]], runs: int) -> dict[str, list[float]]:
    """Seconds of each of `subjects`, measured `runs` times in turns."""
    times: dict[str, list[float]] = {name: [] for name in subjects}
    for run in range(runs):
        names = list(subjects)
        # Whoever comes first doesn't always come first.
        for name in names if run % 2 == 0 else reversed(names):
            times[name].append(subjects[name]())
    return times


def table(times: Mapping[str, list[float]], floor: str, *, unit: str = "ms", scale: float = 1e3) -> str:
    """The medians as a Markdown table, with their ratio to `floor`."""
    base = statistics.median(times[floor])
    lines = [f"| | median ({unit}) | fastest ({unit}) | of `{floor}` |", "| --- | ---: | ---: | ---: |"]
    for name, values in times.items():
        median = statistics.median(values)
        lines.append(f"| {name} | {median * scale:.2f} | {min(values) * scale:.2f} | {median / base:.3f} |")
    return "\n".join(lines)
