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
        self._moved = threading.Condition()

    def __call__(self) -> float:
        """The current reading, in seconds since the epoch."""
        with self._moved:
            return self._now

    def advance(self, seconds: float) -> float:
        """Move the clock by `seconds` and return the new reading. Raises `ValueError` for a move backwards."""
        if seconds < 0:
            raise ValueError("a clock only moves forwards: give zero or more seconds")
        with self._moved:
            self._now += seconds
            self._moved.notify_all()
            return self._now

    def wait_until(self, moment: float, timeout: float = 10.0) -> bool:
        """Block until the clock reads `moment` (seconds since the epoch) or more, and say whether it does.

        `timeout`: the most seconds of real time to wait.
        """
        with self._moved:
            return self._moved.wait_for(lambda: self._now >= moment, timeout)

    def __repr__(self) -> str:
        return f"Clock({self()!r})"
