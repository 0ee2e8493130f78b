"""What a person sees of what a program wrote to a terminal."""

from __future__ import annotations

import re

__all__ = ["rows"]

_PIECES = re.compile(r"\x1b\[[0-9;]*m|\x1b\[K|.", re.DOTALL)


def rows(written: str, columns: int = 80) -> list[str]:
    """The rows of the terminal, scrolled-off ones too: overwritten, erased and wrapped, without colours.

    Knows line ends, carriage returns, colours and "erase to the end of the line". Any other control character is an error.
    """
    shown: list[list[str]] = [[]]
    column = 0
    for piece in _PIECES.findall(written.replace("\r\n", "\n")):
        row = shown[-1]
        if piece == "\n":
            shown.append([])
            column = 0
        elif piece == "\r":
            column = 0
        elif piece == "\x1b[K":
            del row[column:]
        elif not piece.startswith("\x1b["):
            if not piece.isprintable():
                raise ValueError(f"the terminal was sent {piece!r}")
            if column == columns:
                row = []
                shown.append(row)
                column = 0
            row.extend(" " * (column - len(row)))
            row[column : column + 1] = [piece]
            column += 1
    return ["".join(row).rstrip() for row in shown]
