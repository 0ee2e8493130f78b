"""The command on a pseudo-terminal of its own, of which it is the foreground: keys reach it as a person's do."""

from __future__ import annotations

import contextlib
import os
import re
import select
import struct
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.screen import rows

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

__all__ = ["COMMAND", "Terminal"]

COMMAND = [sys.executable, "-m", "mcp_login.cli.main"]

# The new process makes the terminal its own before it becomes the command: then Ctrl-C is a signal for it.
_SIT_DOWN = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"


class Terminal:
    """The command with `arguments`, inside a `with` block, on a terminal of that many columns.

    With `data` its standard output is a pipe: `output` has what came through it, after `end`.
    """

    def __init__(
        self, *arguments: str, environment: dict[str, str], columns: int = 80, term: str = "xterm", data: bool = False
    ) -> None:
        fcntl = pytest.importorskip("fcntl")
        pty = pytest.importorskip("pty")
        termios = pytest.importorskip("termios")

        self._columns = columns
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SIT_DOWN, *COMMAND, *arguments],
            env={"LC_ALL": "C.UTF-8", "PYTHONIOENCODING": "utf-8", **environment, "TERM": term},
            stdin=slave,
            stdout=subprocess.PIPE if data else slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        #: What was written to the terminal so far, echoes included.
        self.written = ""
        #: What went through standard output, where that is a pipe.
        self.output = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        os.close(self._master)

    @property
    def rows(self) -> list[str]:
        """What a person sees."""
        return rows(self.written, self._columns)

    @property
    def text(self) -> str:
        """What a person sees, as one text."""
        return "\n".join(self.rows)

    @property
    def modes(self) -> tuple[int, int, int, int]:
        """The terminal's modes: whether it echoes, gives lines, knows Ctrl-C."""
        termios = pytest.importorskip("termios")

        modes = termios.tcgetattr(self._master)
        return modes[0], modes[1], modes[2], modes[3]

    def until(self, pattern: str, seconds: float = 15.0) -> re.Match[str]:
        """Wait until `pattern` is in what was written."""
        deadline = time.monotonic() + seconds
        while (found := re.search(pattern, self.written)) is None:
            assert self._read(deadline), f"never saw {pattern!r}: {self.text}"
        return found

    def type(self, keys: str) -> None:
        """Type `keys`: "\\n" is Enter, "\\x03" Ctrl-C, "\\x04" Ctrl-D."""
        os.write(self._master, keys.encode())

    def give_up(self) -> None:
        """Press Ctrl-C at a question, again where nothing comes of it.

        Python doesn't notice one between the writing of its question and the wait for the answer.
        """
        for _ in range(10):
            self.type("\x03")
            with contextlib.suppress(AssertionError):
                self.until("Interrupted", 1.0)
                return

    def end(self, seconds: float = 15.0) -> int:
        """Wait for the command's end; its exit status."""
        deadline = time.monotonic() + seconds
        while self._read(deadline):
            pass
        if self._process.stdout is not None:
            self.output = self._process.stdout.read().decode()
        return self._process.wait(max(0.1, deadline - time.monotonic()))

    def _read(self, deadline: float) -> bool:
        ready, _, _ = select.select([self._master], [], [], max(0.0, deadline - time.monotonic()))
        try:
            data = os.read(self._master, 65536) if ready else b""
        except OSError:  # Linux: the other side is closed
            return False
        # Bytes may end within a character.
        while data and data[-1] >= 0x80 and not _whole(data):
            data += os.read(self._master, 1)
        self.written += data.decode()
        return bool(data)


def _whole(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
