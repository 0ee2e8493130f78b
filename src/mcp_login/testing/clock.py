"""A clock that moves only when told to: seconds since the epoch, as `time.time` gives them."""

from __future__ import annotations

import threading

__all__ = ["Clock"]


class Clock:
    """A `Callable[[], float]` for tests: tokens expire when the test says so, without waiting.

    `start` is the first reading, in seconds since the epoch.
    """

    def __init__(self, start: float = 1_800_000_000.0) -> None:
        self._now = start
        self._lock = threading.Lock()

    def __call__(self) -> float:
        """The current reading, in seconds since the epoch."""
        with self._lock:
            return self._now

    def advance(self, seconds: float) -> float:
        """Move the clock by `seconds` and return the new reading. Raises `ValueError` for a move backwards."""
        if seconds < 0:
            raise ValueError("a clock only moves forwards: give zero or more seconds")
        with self._lock:
            self._now += seconds
            return self._now

    def __repr__(self) -> str:
        return f"Clock({self()!r})"
