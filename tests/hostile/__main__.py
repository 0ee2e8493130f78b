"""`python -m tests.hostile`: every attack with the document it comes from, and how it went with and without its defences.

Files, `-k` and all other arguments but `--parts` go to pytest. The exit status is 0 if every attack that was chosen, and could be
tried here, failed, and succeeded without its defences, or with `--parts` if each patch is needed; 2 if they can't be run.
"""

from __future__ import annotations

import argparse
import sys

from tests.clone import why_not

__all__ = ["NEEDED", "main"]

#: What the corpus imports, and pytest's settings want.
NEEDED = ("pytest", "pytest_timeout", "click", "httpx2", "hypothesis", "selenium", "starlette", "trustme", "uvicorn")


def main(arguments: list[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.hostile",
        usage="%(prog)s [-h] [--parts] [FILE ...] [options of pytest]",
        description="Runs attacks against the library, and again without the defences that they meet: all of tests/hostile, "
        "or those of the FILEs. Prints how each went.",
        epilog="Everything else goes to pytest, such as -k WORD, -x and -v: see python -m pytest --help.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--parts",
        action="store_true",
        help="try instead whether each patch of a switch is needed, and list those that are not",
    )
    options, others = parser.parse_known_args(arguments)
    reason = why_not(*NEEDED)
    if reason is not None:
        sys.stderr.write(f"{reason}\n")
        return 2
    import pytest

    from tests.hostile.table import Parts, Table

    # The corpus is what pytest takes where no file is named.
    ours = ["-o", "testpaths=tests/hostile", "-q", "-m", "attack", *others]
    if not options.parts:
        table = Table()
        status = pytest.main(ours, plugins=[table])
        sys.stdout.write("\n".join(["", *table.lines(), ""]))
        return int(status)
    parts = Parts()
    # An attack that fails is what is hoped for: nobody needs to see how.
    status = pytest.main([*ours, "--parts", "--tb=no", "--no-summary", "--show-capture=no"], plugins=[parts])
    sys.stdout.write("\n".join(["", *parts.lines(), ""]))
    return int(bool(parts.idle())) if status in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED) else int(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
