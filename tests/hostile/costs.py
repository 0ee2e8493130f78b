"""`python -m tests.hostile.costs`: what each hostile answer costs at most, at the real limits; some minutes.

Prints a Markdown table: seconds, the documented limit, the peak of memory above what the process had before. The exit status is 1
if anything went beyond a limit, and 2 if nothing can be measured here. Linux only.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.clone import why_not
from tests.hostile.__main__ import NEEDED

if TYPE_CHECKING:
    from tests.hostile.cost_cases import Case

__all__ = ["main"]


def main(arguments: list[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.hostile.costs",
        description="Measures what each hostile answer costs at most, at the real limits: seconds and memory. "
        "All of them take some minutes. Linux only.",
    )
    parser.add_argument(
        "words", nargs="*", metavar="WORD", help="only the answers whose name holds one of these; default: all"
    )
    parser.add_argument("--case", help=argparse.SUPPRESS)  # one of them, in this process: two figures
    options = parser.parse_args(arguments)
    reason = why_not(*NEEDED) or (None if sys.platform == "linux" else "This is measured on Linux only.")
    if reason is not None:
        sys.stderr.write(f"{reason}\n")
        return 2
    from tests import loopback_only
    from tests.hostile.cost_cases import CASES, measure

    loopback_only.install()
    if options.case is not None:
        cost = measure(next(case for case in CASES if case.name == options.case))
        sys.stdout.write(f"{cost.seconds} {cost.memory}\n")
        return 0
    chosen = [case for case in CASES if not options.words or any(word in case.name for word in options.words)]
    if not chosen:
        parser.error(f"no answer of such a name: {', '.join(options.words)}")
    return _measured(chosen)


def _measured(cases: list[Case]) -> int:
    from tests.hostile.cost import LARGEST
    from tests.hostile.cost_cases import BESIDES, PATIENCE

    beyond = 0
    sys.stdout.write("| answer | seconds | limit | peak (MiB) |\n| --- | ---: | ---: | ---: |\n")
    for case in cases:
        command = [sys.executable, "-m", "tests.hostile.costs", "--case", case.name]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=2 * PATIENCE)
        seconds, memory = map(float, done.stdout.splitlines()[-1].split())
        beyond += seconds > case.limit + BESIDES or memory > LARGEST
        sys.stdout.write(f"| {case.name} | {seconds:.1f} | {case.limit:g} | {memory / (1 << 20):.1f} |\n")
        sys.stdout.flush()
    return 1 if beyond else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
