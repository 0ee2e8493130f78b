"""Which of the inputs that an engine found are kept: as few and as small ones as reach what the kept ones don't."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import mcp_login

from .targets import CORPUS, corpus_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import FrameType
    from typing import Any

    from .targets import Target

__all__ = ["LARGEST_KEPT", "MOST_KEPT", "keep", "reached"]

#: So many files for each target, and none that is found may be larger than this (bytes).
MOST_KEPT = 40
LARGEST_KEPT = 2048

_SOURCES = str(Path(mcp_login.__file__).parent)

#: From which line of a file to which.
Arc = tuple[str, int, int]


def keep(target: Target, found: Path) -> list[Path]:
    """Copy files of the folder `found` into the corpus of `target`. Gives the new ones."""
    known: set[Arc] = set()
    kept = corpus_of(target.name)
    for path in kept:
        known |= reached(target, path.read_bytes())
    new: list[Path] = []
    for data in _smallest_first(found):
        if len(kept) + len(new) >= MOST_KEPT:
            break
        here = reached(target, data)
        if not here <= known:
            known |= here
            path = CORPUS / target.name / f"found-{hashlib.sha256(data).hexdigest()[:12]}"
            path.write_bytes(data)
            new.append(path)
    return new


def _smallest_first(folder: Path) -> Iterable[bytes]:
    inputs = [path.read_bytes() for path in folder.iterdir()]
    return sorted((data for data in inputs if len(data) <= LARGEST_KEPT), key=lambda data: (len(data), data))


def reached(target: Target, data: bytes) -> set[Arc]:
    """The ways that the library's code takes with `data`."""
    arcs: set[Arc] = set()
    last: dict[FrameType, int] = {}

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if not frame.f_code.co_filename.startswith(_SOURCES):
            return None
        if event == "line":
            arcs.add((frame.f_code.co_filename, last.get(frame, 0), frame.f_lineno))
            last[frame] = frame.f_lineno
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        target.run(data)
    finally:
        sys.settrace(before)
    return arcs
