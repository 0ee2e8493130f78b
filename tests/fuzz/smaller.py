"""Makes an input smaller after which something escapes, as long as the same escapes at the same place."""

from __future__ import annotations

import logging
import multiprocessing
import os
import traceback
from typing import TYPE_CHECKING

from .targets import TARGETS

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from pathlib import Path

    from .targets import Target

__all__ = ["escape_of", "made_smaller"]

#: Seconds for one input: what takes longer, or ends the process, is not made smaller.
_LIMIT = 60.0


def escape_of(target: Target, data: bytes) -> tuple[str, str, int] | None:
    """What escapes from `target` after `data`: the exception's class, and the file and line it came from. None: nothing."""
    try:
        target.run(data)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what was looked for
        last = traceback.extract_tb(error.__traceback__)[-1]
        return type(error).__name__, last.filename, last.lineno or 0
    return None


def made_smaller(target: Target, path: Path) -> str:
    """Replace the file `path` by a smaller input with the same escape, in a process of its own. Says what became of it."""
    if not path.is_file():
        return "no input to make smaller"
    parent, child = multiprocessing.Pipe(duplex=False)
    worker = multiprocessing.get_context("spawn").Process(target=_work, args=(target.name, path.read_bytes(), child))
    worker.start()
    child.close()
    data = parent.recv() if parent.poll(_LIMIT) else None
    worker.kill()
    worker.join()
    if data is None:
        return "it escapes in the engine only, or takes too long to be made smaller"
    path.write_bytes(data)
    return f"{len(data)} bytes: {data!r}"


def _work(name: str, data: bytes, answer: Connection) -> None:
    logging.getLogger("mcp_login").setLevel(logging.CRITICAL)
    os.environ["NO_COLOR"] = "1"
    target = TARGETS[name]
    wanted = escape_of(target, data)
    answer.send(None if wanted is None else _smallest(target, data, wanted))


def _smallest(target: Target, data: bytes, wanted: tuple[str, str, int]) -> bytes:
    """Without each piece that is not needed, in pieces of half the size each time."""
    size = max(1, len(data) // 2)
    while True:
        at = 0
        while at < len(data):
            without = data[:at] + data[at + size :]
            if escape_of(target, without) == wanted:
                data = without
            else:
                at += size
        if size == 1:
            return data
        size = max(1, size // 2)
