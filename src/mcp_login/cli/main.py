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
        try:
            import click  # noqa: F401
        except ModuleNotFoundError as error:
            if error.name != "click":
                raise
            return _without_click(sys.argv[1:] if arguments is None else arguments)
        from .commands import run

        return run(arguments)
    except KeyboardInterrupt:
        # While modules were loaded, or a second time.
        sys.stderr.write("Interrupted.\n")
        return 130


def _without_click(arguments: Sequence[str]) -> int:
    from .exit_codes import ExitCode
    from .output import document_of, error_member, show_json, wants_json

    said, hint = "The command line needs its extra.", 'In the clone: python -m pip install ".[cli]"'
    if wants_json(arguments):
        show_json(document_of("error", error=error_member(ExitCode.ERROR, said, hint=hint, error=None)))
    else:
        sys.stderr.write(f"mcp-login: {said[0].lower()}{said[1:].rstrip('.')}. {hint}\n")
    return ExitCode.ERROR


if __name__ == "__main__":
    sys.exit(main())
