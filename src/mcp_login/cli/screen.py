"""What people see: plain text, colour only on terminals, and no character of a stranger that controls one."""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING, Any, TextIO

import click

from mcp_login.errors import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["duration", "fields", "prepare_streams", "say", "show", "show_warnings", "styled", "table", "warn"]


def styled(text: str, stream: TextIO, **style: Any) -> str:
    """`text` in the colours of `click.style`, where `stream` is a terminal whose user wants colours (no-color.org)."""
    return click.style(text, **style) if style and _in_colour(stream) else text


def say(text: str = "", **style: Any) -> None:
    """A line for the person, on standard error: standard output is for data."""
    click.echo(styled(text, sys.stderr, **style), file=sys.stderr, color=_in_colour(sys.stderr))


def show(text: str = "", **style: Any) -> None:
    """A line of what the command was asked for, on standard output."""
    click.echo(styled(text, sys.stdout, **style), color=_in_colour(sys.stdout))


def warn(text: str) -> None:
    """A warning, on standard error."""
    click.echo(
        f"{styled('Warning:', sys.stderr, fg='yellow', bold=True)} {printable(text, 2000)}",
        file=sys.stderr,
        color=_in_colour(sys.stderr),
    )


def fields(pairs: Iterable[tuple[str, str]]) -> str:
    """Names and values in two columns."""
    known = list(pairs)
    width = max(len(name) for name, _ in known)
    return "\n".join(f"  {name:<{width}}  {value}" for name, value in known)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Rows under their heads. The last column is as wide as it needs to be."""
    lines = [list(heads), *([printable(cell) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads) - 1)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[-1]]).rstrip()
        for line in lines
    )


def duration(seconds: float) -> str:
    """`seconds` in words, in the largest unit that gives two or more of it: "90 minutes", "45 seconds"."""
    for name, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= 2 * length:
            return f"{round(seconds / length)} {name}s"
    count = max(0, round(seconds))
    return f"{count} second{'' if count == 1 else 's'}"


def show_warnings() -> None:
    """The library's warnings go to standard error as one line each; nothing else that is logged is shown."""
    import logging

    from .wording import in_options

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            warn(in_options(record.getMessage()))

    logger = logging.getLogger("mcp_login")
    if not logger.handlers:
        handler = Lines(logging.WARNING)
        logger.addHandler(handler)
        logger.propagate = False
        # Otherwise Python shows what other libraries log, which may be a traceback.
        logging.getLogger().addHandler(logging.NullHandler())


def prepare_streams() -> None:
    """A stranger's character that the terminal's encoding lacks is no reason to fail."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _in_colour(stream: TextIO) -> bool:
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    try:
        return stream.isatty()
    except (OSError, ValueError):
        return False
