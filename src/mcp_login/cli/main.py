"""The entry point of the command `mcp-login`. Standard library only: it also runs where the extra `cli` is missing."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with `arguments` (default: those of the process) and give its exit status."""
    try:
        import click  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name != "click":
            raise
        sys.stderr.write('mcp-login: the command line needs its extra. In the clone: python -m pip install ".[cli]"\n')
        return 1
    from .commands import run

    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())
