"""atheris: the targets with its counters in the library's code, each run in a process of its own.

Importing this module imports the library, instrumented. Whoever has imported that before gets no coverage.
"""

from __future__ import annotations

import ctypes
import io
import logging
import os
import signal
import time
from contextlib import redirect_stderr
from typing import TYPE_CHECKING

import atheris

# It names each module that it instruments.
with redirect_stderr(io.StringIO()), atheris.instrument_imports(include=["mcp_login", "h11"]):
    from tests import loopback_only
    from tests.fuzz.targets import TARGETS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.fuzz.targets import Target

__all__ = ["TARGETS", "start"]

_BETWEEN_LOOKS = 16


def start(target: Target, *, seconds: float, flags: Sequence[str], log: Path) -> int:
    """Run the engine on `target` in a new process, and give that process's id. What it prints goes into the file `log`.

    It ends with the first input after which anything escapes, or after so many seconds of its own time, whatever else the
    machine does.
    """
    child: int = os.fork()  # type: ignore[attr-defined, unused-ignore] # on Windows there is no atheris
    if child:
        return child
    try:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for descriptor in (1, 2):
            os.dup2(output, descriptor)
        _run(target, seconds, flags)
    finally:
        # libFuzzer writes the input down in a handler of C's `exit`. Not `sys.exit`: above us is the parent's code.
        ctypes.CDLL(None).exit(70)
        os._exit(70)


def _run(target: Target, seconds: float, flags: Sequence[str]) -> None:
    limit = time.process_time() + seconds
    count = 0

    def once(data: bytes) -> None:
        nonlocal count
        count += 1
        if count % _BETWEEN_LOOKS == 0 and time.process_time() > limit:
            # libFuzzer then writes its figures and exits.
            os.kill(os.getpid(), signal.SIGTERM)
        target.run(data)

    # Warnings about hostile URLs, thousands a second.
    logging.getLogger("mcp_login").setLevel(logging.CRITICAL)
    loopback_only.install()
    atheris.Setup([target.name, *flags], once)
    atheris.Fuzz()
