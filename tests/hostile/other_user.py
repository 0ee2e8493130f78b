"""A second user of this machine: what a process with another user id can read, make and lock. Linux only.

Only root can be two users. In CI that is whoever may use sudo without a password.
"""

from __future__ import annotations

import functools
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.real import parts

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["as_other", "need_other_user", "read_by_other"]

#: Nobody in particular, on every Linux.
OTHER = 65534


@functools.cache
def _becoming_other() -> list[str] | None:
    """What to put before a command that the other user is to run; None where there can't be one."""
    root = parts.become_root() if sys.platform == "linux" else None
    return None if root is None else [*root, "setpriv", f"--reuid={OTHER}", f"--regid={OTHER}", "--clear-groups"]


def need_other_user() -> None:
    """Skip the calling test where there is none; in CI on Linux that is a failure."""
    if _becoming_other() is None:
        reason = "only root can be two users, on Linux; in CI, who may use sudo without a password"
        if parts.in_ci() and sys.platform == "linux":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)


def as_other(script: str, *arguments: str | Path) -> str:
    """What a shell prints that the other user runs, with a umask that protects nothing."""
    done = subprocess.run(
        [*(_becoming_other() or ()), "/bin/sh", "-c", f"umask 0; {script}", "sh", *map(str, arguments)],
        cwd="/",
        capture_output=True,
        text=True,
        errors="replace",
        timeout=20,
        check=False,
    )
    return done.stdout


def read_by_other(folder: Path) -> str:
    """All that another user can read below `folder`: what one reads, or what the mode bits say where there is none."""
    if _becoming_other() is not None:
        return as_other('find "$1" -type f -exec cat {} +', folder)
    if not folder.stat().st_mode & stat.S_IXOTH:
        return ""
    texts = []
    for path in folder.iterdir():
        if path.is_dir() and path.stat().st_mode & stat.S_IROTH:
            texts.append(read_by_other(path))
        elif path.is_file() and path.stat().st_mode & stat.S_IROTH:
            texts.append(path.read_text())
    return "".join(texts)
