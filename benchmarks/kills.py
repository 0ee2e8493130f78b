"""SIGKILL in the middle of a refresh or a login: what is stored then, and what a later process's first request comes to.

    python benchmarks/kills.py [--storage file] [--scenario refresh] [--ways walk,random,exit,window] [--times 200] [--seed 1]

`walk` kills at each call to the machine in turn (sends, receives, writes, renames, fsyncs, locks, keychain calls): before it,
with half of what it sends or writes gone out, and when it has returned. `random` kills --times processes at random moments.
`exit` ends the process in good order at each await point of the library's loop. `window` measures how long a kill loses the
login: from the server's rotation to our write. The storage `keychain` is a new Secret Service (gnome-keyring and dbus).
Linux. The exit status is 0 if nothing is unreadable, and nothing lost but in that window. Results: docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.real.conftest import session_bus
from tests.real.kills import SCENARIOS, Kills, summary


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--storage", choices=["file", "keychain"], default="file")
    parser.add_argument("--scenario", choices=SCENARIOS, default="refresh")
    parser.add_argument("--ways", default="walk,random,exit,window")
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    failed = False
    with contextlib.ExitStack() as stack:
        # Short: a bus's socket has at most 107 characters of path.
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mcp-login-")))
        environment = {**os.environ, "HOME": str(home)}
        if options.storage == "keychain":
            environment = stack.enter_context(session_bus(home))
        kills = stack.enter_context(Kills(options.storage, home / "logins", environment))
        for way in options.ways.split(","):
            began = time.monotonic()
            print(f"{options.storage}, {options.scenario}, {way}")
            if way == "window":
                window = kills.window(options.scenario, options.times)
                print(window.text())
                print("calls in it: " + ", ".join(window.calls))
            else:
                ends = list(
                    kills.walk(options.scenario)
                    if way == "walk"
                    else kills.at_random(options.scenario, options.times, options.seed)
                    if way == "random"
                    else kills.leave(options.scenario)
                )
                print(summary(ends, options.scenario))
                failed |= any(end.problem(options.scenario) for end in ends)
            print(f"{time.monotonic() - began:.1f} s\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
