"""What people see: plain text, colour only on terminals, and no character of a stranger that controls one."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import sys
import textwrap
import unicodedata
from typing import TYPE_CHECKING, Any, TextIO

import click

from mcp_login.errors import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    #: The style of a cell, from its head and its text.
    Paint = Callable[[str, str], Mapping[str, Any]]

__all__ = [
    "block",
    "duration",
    "fields",
    "forget",
    "help_width",
    "listing",
    "note",
    "output_width",
    "prepare_streams",
    "say",
    "show",
    "show_warnings",
    "styled",
    "table",
    "terminal_width",
    "warn",
]


def styled(text: str, stream: TextIO | None, **style: Any) -> str:
    """`text` in the colours of `click.style`, where `stream` is a terminal whose user wants colours.

    NO_COLOR (no-color.org) and TERM=dumb turn them off, FORCE_COLOR (force-color.org) has them everywhere.
    """
    return click.style(text, **style) if style and _in_colour(stream) else text


def say(text: str = "", **style: Any) -> None:
    """A line for the person, on standard error: standard output is for data. Nothing happens where it is closed or fails."""
    _tell(styled(text, sys.stderr, **style))


def show(text: str = "", **style: Any) -> None:
    """A line of what the command was asked for, on standard output."""
    if sys.stdout is not None:
        # Not click's own idea of it, which in ASCII is a copy: what is written has to pass by the live line.
        click.echo(styled(text, sys.stdout, **style), file=sys.stdout, color=_in_colour(sys.stdout))


def warn(text: str) -> None:
    """A warning, on standard error."""
    note("Warning:", text, fg="yellow")


def note(label: str, text: str, **style: Any) -> None:
    """`text` on standard error, behind `label` in bold and `style`.

    On a terminal what doesn't fit into a line goes on below its beginning: words of a server, however long, never stand where a
    line of ours begins.
    """
    first = len(label) + 1
    width = terminal_width(sys.stderr)
    # A narrow terminal has no columns to spare. Nor is the last one used: some begin a line behind it at once.
    margin = first if width is None or width > 3 * first else 2
    told = _hung(printable(text, 2000), first=first, margin=margin, width=None if width is None else width - 1)
    _tell(f"{styled(label, sys.stderr, bold=True, **style)} {told}")


def forget(stream: TextIO | None) -> None:
    """Drop what `stream` can't write: Python tries again at its end, and makes a failure of it."""
    if stream is None:
        return
    try:
        stream.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)


def fields(pairs: Iterable[tuple[str, str]], *, width: int | None = None) -> str:
    """Names and values in two columns. Values are wrapped between words to `width` columns; None: not at all."""
    known = list(pairs)
    names = max(len(name) for name, _ in known)
    lines = []
    for name, value in known:
        first, *rest = _wrapped(value, None if width is None else width - names - 4)
        lines.append(f"  {name:<{names}}  {first}")
        lines += [f"  {'':<{names}}  {line}" for line in rest]
    return "\n".join(lines)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, paint: Paint | None = None) -> str:
    """Rows under their heads. The last column is as wide as it needs to be.

    `paint` gives the style of a cell (the arguments of `click.style`) from its head and text.
    """
    lines = [list(heads), *([_cell(cell) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads) - 1)]
    shown = []
    for number, line in enumerate(lines):
        *padded, last = [cell.ljust(width) for cell, width in zip(line, [*widths, 0], strict=True)]
        texts = [*padded, last.rstrip()]
        if number and paint is not None:
            texts = [
                styled(text, sys.stdout, **paint(head, cell)) if cell else text
                for head, cell, text in zip(heads, line, texts, strict=True)
            ]
        shown.append("  ".join(texts).rstrip())
    return "\n".join(shown)


def listing(
    heads: Sequence[str], rows: Iterable[Sequence[str]], *, width: int | None, paint: Paint | None = None
) -> str:
    """A table; where it doesn't fit into `width` columns, a block of lines for each row, headed by its first cell.

    `width` is that of the terminal; None where there is none: whatever reads a pipe wants a row to be a line.
    """
    known = [[_cell(cell) for cell in row] for row in rows]
    plain = table(heads, known)
    if width is None or max(len(line) for line in plain.splitlines()) <= width:
        return table(heads, known, paint=paint)
    return "\n\n".join(block(heads, row, width=width, paint=paint) for row in known)


def block(heads: Sequence[str], row: Sequence[str], *, width: int | None, paint: Paint | None = None) -> str:
    """One row as lines: its first cell, and under it the other cells with their heads."""
    title, *cells = [_cell(cell) for cell in row]
    names = max(len(head) for head in heads[1:])
    lines = [styled(title, sys.stdout, bold=True)]
    for head, cell in zip(heads[1:], cells, strict=True):
        for number, text in enumerate(_wrapped(cell, None if width is None else width - names - 4)):
            shown = text if paint is None else styled(text, sys.stdout, **paint(head, cell))
            lines.append(f"  {'' if number else head.lower():<{names}}  {shown}")
    return "\n".join(lines)


def output_width() -> int | None:
    """The columns of the terminal that standard output is; None where it is none: a pipe, a file."""
    return terminal_width(sys.stdout)


def terminal_width(stream: TextIO | None) -> int | None:
    """The columns of the terminal that `stream` is; None where it is none: a pipe, a file."""
    try:
        if stream is None or not stream.isatty():
            return None
    except (OSError, ValueError):
        return None
    return shutil.get_terminal_size().columns


def duration(seconds: float) -> str:
    """`seconds` in words, in the largest unit that gives two or more of it: "90 minutes", "45 seconds"."""
    for name, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= 2 * length:
            return f"{round(seconds / length)} {name}s"
    count = max(0, round(seconds))
    return f"{count} second{'' if count == 1 else 's'}"


def show_warnings(*, logging_in: bool = False) -> None:
    """The library's warnings go to standard error as one line each; nothing else that is logged is shown.

    `logging_in`: what advises to log in again is being followed.
    """
    import logging

    from .wording import in_options

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said = in_options(record.getMessage())
            warn(said.removesuffix(" Log in again.") if logging_in else said)

    logger = logging.getLogger("mcp_login")
    if not logger.handlers:
        handler = Lines(logging.WARNING)
        logger.addHandler(handler)
        logger.propagate = False
        # Otherwise Python shows what other libraries log, which may be a traceback.
        logging.getLogger().addHandler(logging.NullHandler())


def help_width() -> int:
    """The columns of a help text. click's own are never less than 50, which a narrower terminal breaks anywhere."""
    return max(28, min(100, shutil.get_terminal_size().columns) - 2)


def prepare_streams() -> None:
    """A stranger's character that the terminal's encoding lacks is no reason to fail."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _tell(text: str) -> None:
    """A line on standard error. What a command has done doesn't fail because nobody could be told."""
    if sys.stderr is None:
        return
    try:
        click.echo(text, file=sys.stderr, color=_in_colour(sys.stderr))
    except (OSError, ValueError):
        forget(sys.stderr)


def _cell(text: str) -> str:
    return printable(text, max(1, len(text)))


def _wrapped(text: str, width: int | None) -> list[str]:
    """`text` in lines of at most `width` columns. A word that is longer, such as a URL, stays whole: it is copied."""
    if width is None:
        return [text]
    return textwrap.wrap(text, max(10, width), break_long_words=False, break_on_hyphens=False) or [text]


def _hung(text: str, *, first: int, margin: int, width: int | None) -> str:
    """`text` in lines of at most `width` columns: the first is `first` columns shorter, the others are indented by `margin`.

    Words that are longer than a line are cut.
    """
    if width is None:
        return text
    width = max(width, first + 1, margin + 1)
    shown: list[str] = []
    left, is_fresh = width - first, True
    for word in text.split():
        taken = sum(map(_columns, word))
        if not is_fresh:
            if taken < left:
                shown.append(" ")
                left -= 1
            else:
                shown.append(f"\n{'':{margin}}")
                left = width - margin
        for character in word:
            if _columns(character) > left:
                shown.append(f"\n{'':{margin}}")
                left = width - margin
            shown.append(character)
            left -= _columns(character)
        is_fresh = False
    return "".join(shown)


def _columns(character: str) -> int:
    """How many columns a character takes at most: some depend on the terminal."""
    return 1 if character.isascii() or unicodedata.east_asian_width(character) in ("N", "Na", "H") else 2


def _in_colour(stream: TextIO | None) -> bool:
    # The order of Python's own traceback and help: no-color.org, then force-color.org, then what the terminal says.
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    if os.environ.get("TERM") == "dumb":
        return False
    try:
        return stream is not None and stream.isatty()
    except (OSError, ValueError):
        return False
