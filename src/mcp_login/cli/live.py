"""One line of a terminal that is alive while a person is in their browser: what is waited for, and how long it still is.

It is drawn over itself with a carriage return, in one write, and the cursor is never hidden: whatever ends this process, the
terminal needs no repair. While it is there, standard output and standard error go through it as far as they are the
terminal, so that warnings appear above it and nothing of it stays behind.
"""

from __future__ import annotations

import math
import os
import sys
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TextIO, cast

from .screen import styled

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

__all__ = ["LiveLine", "WaitingLine", "can_redraw", "left"]

#: Seconds between two pictures.
INTERVAL = 0.1
#: The width of a terminal that doesn't know its own.
USUAL_WIDTH = 80

_BRAILLE = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_ASCII = "|/-\\"


def can_redraw(stream: TextIO | None) -> bool:
    """Whether a line of `stream` can be drawn over: it is a terminal, and not one that says it is dumb."""
    try:
        return stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"
    except (OSError, ValueError):
        return False


def left(seconds: float) -> str:
    """`seconds` as a countdown shows them: "4:32", "1:00:00". A second that has begun counts."""
    whole = max(0, math.ceil(seconds))
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


class WaitingLine:
    """The text: a spinner, what is waited for, a countdown and how to end it, as much of it as there is room for.

    `seconds` is the time limit, counted from now by `clock` (seconds); `encoding` that of the terminal.
    """

    def __init__(
        self, what: str, *, seconds: float, clock: Callable[[], float] = time.monotonic, encoding: str | None = None
    ) -> None:
        self._what = what
        self._clock = clock
        self._begun = clock()
        self._seconds = seconds
        self._frames = _BRAILLE if _has(encoding, _BRAILLE) else _ASCII
        self._dot = "·" if _has(encoding, "·") else "-"

    def parts(self, columns: int) -> tuple[str, str]:
        """The spinner and the text after it. They fit into `columns` even where the dot is as wide as two letters."""
        gone = max(0.0, self._clock() - self._begun)
        spinner = self._frames[int(gone / INTERVAL) % len(self._frames)]
        rest = left(self._seconds - gone)
        room = columns - 2
        for text in (
            f" {self._what}  {rest} left {self._dot} Ctrl-C ends the login",
            f" {self._what}  {rest} left",
            f" Waiting  {rest} left",
            f" {rest}",
        ):
            if 1 + len(text) <= room:
                return spinner, text
        return "", ""


class LiveLine:
    """Draws a `WaitingLine` on the terminal `stream` from `start` to `stop`, or for a `with` block.

    After `stop` it stays away for good, even if `start` comes later from another thread. Arguments:
        columns: The terminal's width, asked for each picture. None: what `stream` says.
        in_foreground: Whether this process may draw, asked for each picture. None: unless a shell has it in the background.
        wait: Waits that many seconds, and says whether the line is to end. None: until `stop`.
        escapes: Whether the terminal knows escape sequences; else a line is cleared by spaces.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        columns: Callable[[], int] | None = None,
        in_foreground: Callable[[], bool] | None = None,
        wait: Callable[[float], bool] | None = None,
        escapes: bool = os.name != "nt",
    ) -> None:
        self._stream = stream
        self._columns: Callable[[], int] = (lambda: _columns(stream)) if columns is None else columns
        self._in_foreground: Callable[[], bool] = (
            (lambda: _in_foreground(stream)) if in_foreground is None else in_foreground
        )
        self._escapes = escapes
        self._line: WaitingLine | None = None
        self._drawn = False
        #: Whether the cursor is at the start of a line that is nobody else's.
        self._free = True
        self._over = threading.Event()
        self._wait: Callable[[float], bool] = self._over.wait if wait is None else wait
        self._lock = threading.RLock()
        self._thread: threading.Thread | None = None
        self._replaced: list[tuple[str, TextIO, TextIO]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, line: WaitingLine) -> None:
        """Show `line`, in place of the one that is shown."""
        with self._lock:
            if self._over.is_set():
                return
            self._line = line
            self.draw()
            if self._thread is None:
                self._replace_streams()
                self._thread = threading.Thread(target=self._run, name="mcp-login: waiting line", daemon=True)
                self._thread.start()

    def pause(self) -> None:
        """Take the line away until the next `start`."""
        with self._lock:
            self._line = None
            self._erase()

    def stop(self) -> None:
        """Take the line away, and give the streams back. May be called at any time, any number of times."""
        self._over.set()
        with self._lock:
            self.pause()
            for name, ours, before in self._replaced:
                if getattr(sys, name) is ours:
                    setattr(sys, name, before)
            self._replaced.clear()

    def draw(self) -> None:
        """One picture, where there is something to show and the line is free."""
        with self._lock:
            if self._line is None or not self._free or not self._in_foreground():
                return
            columns = self._columns()
            spinner, text = self._line.parts(columns)
            used = len(spinner) + len(text)
            if self._escapes:
                spinner, end = styled(spinner, self._stream, fg="cyan"), "\x1b[K"
            else:
                end = " " * (columns - 1 - used)
            self._write(f"\r{spinner}{text}{end}")
            self._drawn = True

    def write(self, stream: TextIO, text: str) -> int:
        """Write `text` to `stream`, another on the same terminal, above the line."""
        with self._lock:
            if text:
                self._erase()
                self._free = text.endswith("\n")
            return stream.write(text)

    def _run(self) -> None:
        while not self._wait(INTERVAL):
            self.draw()

    def _erase(self) -> None:
        if self._drawn:
            self._drawn = False
            self._write("\r\x1b[K" if self._escapes else f"\r{' ' * (self._columns() - 1)}\r")

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            # The terminal is gone. Whoever has something to say will hear of it.
            self._line = None

    def _replace_streams(self) -> None:
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if can_redraw(stream):
                ours = cast("TextIO", _Above(self, stream))
                self._replaced.append((name, ours, stream))
                setattr(sys, name, ours)


class _Above:
    """A stream whose text appears above the live line; in everything else the stream itself."""

    def __init__(self, line: LiveLine, stream: TextIO) -> None:
        self._line = line
        self._stream = stream

    def write(self, text: str) -> int:
        return self._line.write(self._stream, text)

    def writelines(self, lines: list[str]) -> None:
        for text in lines:
            self.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _has(encoding: str | None, characters: str) -> bool:
    try:
        characters.encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _columns(stream: TextIO) -> int:
    try:
        return os.get_terminal_size(stream.fileno()).columns or USUAL_WIDTH
    except (OSError, ValueError):
        return USUAL_WIDTH


def _in_foreground(stream: TextIO) -> bool:
    if sys.platform != "win32":
        with suppress(OSError, ValueError):  # not the terminal that controls this process
            return os.tcgetpgrp(stream.fileno()) == os.getpgrp()
    return True
