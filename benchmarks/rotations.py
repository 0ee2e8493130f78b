"""1,000 rotations in a row of one refresh token that 8 processes share: 200 by expiry, 800 by revocation at the server.

    python -m benchmarks.rotations [--rotations 1000] [--server embedded|oidc-provider] [--storage file|keychain] [--seed 1]

From the folder that holds `benchmarks` and `tests`. Each time, the access token ends: for every fifth time its hour passes, by a
clock that all processes look at and by the server's; else the server revokes it, and only a 401 tells. Then some of the
processes, now and then all of them, send a request at the same moment. Who isn't among them falls behind, and comes back with a
token that was replaced several times. Rotation has no grace, and a refresh token that comes back ends the login.

Exits with 1 where a request got no answer, where a refresh token came back, or where there were more or fewer token requests than
rotations. Docs: docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from benchmarks.one_refresh import there
from tests.real.callers import SharedClock
from tests.real.conftest import session_bus
from tests.real.fleet import fleet, rotate, running


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rotations", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--server", choices=["embedded", "oidc-provider"], default="embedded")
    parser.add_argument("--storage", choices=["file", "keychain"], default="file")
    parser.add_argument("--seed", type=int, default=1, help="chooses who takes part in a round")
    options = parser.parse_args()
    if not (there(options.server) and there(options.storage)):
        return 1
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mcp-login-")))
        home = folder / "home"
        home.mkdir(mode=0o700)
        clock = SharedClock.new(folder / "clock")
        environment = stack.enter_context(session_bus(home)) if options.storage == "keychain" else None
        server = stack.enter_context(running(options.server, clock))
        members = stack.enter_context(fleet(options.processes, environment=environment))
        done = rotate(server, members, options.storage, folder, clock, rotations=options.rotations, seed=options.seed)
    print(f"{server.name}, {options.storage}, {options.processes} processes, {done.seconds:.1f} s")
    print(f"ended by expiry: {done.by_expiry}, by revocation: {done.by_revocation}")
    print(f"token requests: {done.token_requests}, refused: {done.refused}, reuse detections: {done.reuse_detections}")
    print(f"requests: {sum(done.seen.values())}, without an answer: {done.lost} {dict(done.seen)}")
    return 0 if done.is_whole else 1


if __name__ == "__main__":
    sys.exit(main())
