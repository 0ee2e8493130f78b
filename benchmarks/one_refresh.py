"""One refresh for any number of callers: 1,000 tasks, 64 threads and 16 processes meet one expired credential.

    python -m benchmarks.one_refresh [--server embedded|oidc-provider|both] [--storage memory|file|keychain|all] [--refused]

From the folder that holds `benchmarks` and `tests`. In each round the stored access token is dead, at the server too, and its
record says so (`--refused`: only the server does). Somebody holds the record's lock until the last caller has begun, so that
all of them find the token expired; then everything is let go at once. The token requests are counted at the server: the
embedded one, and npm's oidc-provider with rotation. One login goes through all rounds, and what is lost in one is missing in
the next.

Exits with 1 where a round made more or less than one token request, a refresh token came back after its rotation, or a caller
got anything but an answer. Docs: docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from tests.real import parts
from tests.real.conftest import session_bus
from tests.real.fleet import CROWDS, Login, Outcome, fleet, one_refresh, running

if TYPE_CHECKING:
    from collections.abc import Sequence

NEEDED = {"oidc-provider": ("node", "oidc-provider"), "keychain": ("secret-service",)}


def there(name: str) -> bool:
    """Whether this machine has what `name` needs; says so where it hasn't."""
    lacking = [part for part in NEEDED.get(name, ()) if parts.find(part) is None]
    for part in lacking:
        print(f"{name} is left out: {part} is not installed ({parts.PARTS[part].lacking})")
    return not lacking


def rounds(servers: Sequence[str], storages: Sequence[str], *, known: bool) -> list[tuple[str, Outcome]]:
    """All of them, told as they end."""
    done = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mcp-login-")))
        home = folder / "home"
        home.mkdir(mode=0o700)
        environment = stack.enter_context(session_bus(home)) if "keychain" in storages else None
        members = stack.enter_context(
            fleet(max(crowd.processes for crowd, _ in CROWDS.values()), environment=environment)
        )
        for name in servers:
            login = Login(stack.enter_context(running(name)))
            for title, (crowd, tried) in CROWDS.items():
                for storage in tried:
                    if storage in storages:
                        outcome = one_refresh(login, members, storage, folder, crowd, known=known)
                        done.append((title, outcome))
                        print(row(title, outcome), flush=True)
    return done


def row(title: str, outcome: Outcome) -> str:
    """A line of the table."""
    answered = outcome.got.get("200", 0)
    return (
        f"| {outcome.server} | {title} | {outcome.storage} | {outcome.callers:,} | {outcome.waited:,} | {answered:,} "
        f"| {outcome.token_requests} | {outcome.reuse_detections} | {outcome.seconds:.2f} |"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--server", choices=["embedded", "oidc-provider", "both"], default="both")
    parser.add_argument("--storage", choices=["memory", "file", "keychain", "all"], default="all")
    parser.add_argument("--refused", action="store_true", help="only the server knows that the token is dead")
    options = parser.parse_args()
    servers = [name for name in ("embedded", "oidc-provider") if options.server in (name, "both") and there(name)]
    storages = [name for name in ("memory", "file", "keychain") if options.storage in (name, "all") and there(name)]
    print("| server | callers | storage | callers | waited | answered | token requests | reuse detections | seconds |")
    print("| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    done = rounds(servers, storages, known=not options.refused)
    bad = [f"{title}, {outcome.storage}: {outcome}" for title, outcome in done if not outcome.is_one_refresh]
    print(
        f"\n{len(done) - len(bad)} of {len(done)} rounds: one token request, no reuse detection, an answer for everybody"
    )
    for line in bad:
        print(line)
    return 1 if bad or not done else 0


if __name__ == "__main__":
    sys.exit(main())
