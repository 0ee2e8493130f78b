"""Runs scenarios of the official MCP conformance suite singly, because its suite mode ignores the client's exit status.

`python -m tests.conformance.run`                      all runs, one line each
`python -m tests.conformance.run auth/iss-supported`   some scenarios, with what the suite and the client said
`... --client sdk`                                     with the MCP SDK's own OAuth client instead of this library
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.conformance.client import REFUSED
from tests.real import parts

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ALLOWED_TO_FAIL", "CLIENTS", "RUNS", "WORKERS", "Result", "Run", "run"]

#: At 2025-11-25, where the protocol is stateful, and at 2026-07-28, where it is stateless.
SINCE_2025_11_25 = (
    "basic-cimd",
    "metadata-default",
    "metadata-var1",
    "metadata-var2",
    "metadata-var3",
    "pre-registration",
    "scope-from-scopes-supported",
    "scope-from-www-authenticate",
    "scope-omitted-when-undefined",
    "scope-retry-limit",
    "scope-step-up",
    "token-endpoint-auth-basic",
    "token-endpoint-auth-none",
    "token-endpoint-auth-post",
)
SINCE_2026_07_28 = (
    "authorization-server-migration",
    "iss-normalized",
    "iss-not-advertised",
    "iss-supported",
    "iss-supported-missing",
    "iss-unexpected",
    "iss-wrong-issuer",
    "metadata-issuer-mismatch",
    "offline-access-not-supported",
    "offline-access-scope",
    "resource-mismatch",
)
ONLY_2025_03_26 = ("2025-03-26-oauth-endpoint-fallback", "2025-03-26-oauth-metadata-backcompat")

#: The scenarios that say `allowClientError`, as a client that refuses ends with an error: which one ours ends with.
ALLOWED_TO_FAIL = {
    "auth/iss-normalized": "IssuerMismatch",
    "auth/iss-supported-missing": "IssuerMismatch",
    "auth/iss-unexpected": "IssuerMismatch",
    "auth/iss-wrong-issuer": "IssuerMismatch",
    "auth/metadata-issuer-mismatch": "IssuerMismatch",
    "auth/resource-mismatch": "InvalidResponse",
    # the 403 is given back to the MCP SDK once stepping up has not helped a few times
    "auth/scope-retry-limit": "MCPError",
}

CLIENTS = {"mcp-login": "tests.conformance.client", "sdk": "tests.conformance.sdk_client"}

#: How many runs at a time: each is a Node process that mostly waits for a Python process.
WORKERS = min(4, max(2, os.cpu_count() or 2))


@dataclass(frozen=True)
class Run:
    """One scenario at one version of the protocol."""

    scenario: str
    version: str

    def __str__(self) -> str:
        return f"{self.scenario.removeprefix('auth/')}@{self.version}"


RUNS = tuple(
    Run(f"auth/{name}", version)
    for names, versions in (
        (SINCE_2025_11_25, ("2025-11-25", "2026-07-28")),
        (SINCE_2026_07_28, ("2026-07-28",)),
        (ONLY_2025_03_26, ("2025-03-26",)),
    )
    for name in names
    for version in versions
)


@dataclass(frozen=True)
class Result:
    """What came of a run. `status` is the suite's own exit status, `client_status` that of the client under test."""

    status: int
    client_status: int
    checks: tuple[Mapping[str, object], ...]
    output: str
    seconds: float

    @property
    def skipped(self) -> bool:
        """The suite exits with 0 for a scenario that it finds inapplicable, too."""
        return not self.checks or "SKIPPED:" in self.output

    def named(self, *statuses: str) -> list[str]:
        """The checks that ended with one of `statuses`, with their reasons."""
        return [
            f"{check['id']}: {check.get('errorMessage') or check['description']}"
            for check in self.checks
            if check["status"] in statuses
        ]

    @property
    def refusals(self) -> tuple[str, ...]:
        """The classes of the errors that the client ended with, as it names them itself."""
        return tuple(re.findall(r"^refused: (\w+):", self.output, re.MULTILINE))

    def passed(self, scenario: str) -> bool:
        """Whether nothing failed, warned or was skipped, and the client ended as `scenario` allows."""
        statuses = (0, REFUSED) if scenario in ALLOWED_TO_FAIL else (0,)
        right = self.status == 0 and self.client_status in statuses and not self.skipped
        return right and bool(self.named("SUCCESS")) and not self.named("FAILURE", "WARNING")


def _environment(home: Path) -> dict[str, str]:
    """That of the client: no proxy, no keychain, no folder of a person's, and a browser that is one GET."""
    kept = {name: os.environ[name] for name in ("LANG", "PATH", "SYSTEMROOT", "TEMP", "TMPDIR") if name in os.environ}
    browser = f"{shlex.quote(sys.executable)} {shlex.quote(str(Path(__file__).with_name('browser.py')))} %s"
    return {
        **kept,
        "BROWSER": browser,
        "HOME": str(home),
        "MCP_LOGIN_HOME": str(home),
        "NODE_COMPILE_CACHE": str(parts.folder() / "compiled"),
        "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",
        "XDG_DATA_HOME": str(home / "data"),
    }


def run(wanted: Run, *, node: Path, conformance: Path, client: str = "mcp-login", seconds: float = 120.0) -> Result:
    """Run one scenario, waiting at most `seconds` for it."""
    with tempfile.TemporaryDirectory(prefix="conformance-") as folder:
        out = Path(folder, "out")
        started = time.monotonic()
        done = subprocess.run(
            [
                str(node),
                str(conformance),
                "client",
                "--command",
                f"exec {shlex.quote(sys.executable)} -m {CLIENTS[client]}",
                *("--scenario", wanted.scenario, "--spec-version", wanted.version, "--output-dir", str(out)),
                *("--timeout", str(int(seconds * 750))),  # in milliseconds, for the client
            ],
            cwd=parts.ROOT,
            env=_environment(Path(folder)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=seconds,
            check=False,
        )
        output = done.stdout.decode(errors="replace")
        exited = re.search(r"^Client exited with code (-?\d+)", output, re.MULTILINE)
        return Result(
            status=done.returncode,
            client_status=int(exited[1]) if exited else 0,
            checks=tuple(check for path in sorted(out.rglob("checks.json")) for check in json.loads(path.read_text())),
            output=output,
            seconds=time.monotonic() - started,
        )


def main() -> int:
    """The command line; the exit status says whether all went well."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.run", description=__doc__)
    parser.add_argument("scenarios", nargs="*", help="auth/..., all that are no extension without")
    parser.add_argument("--client", choices=CLIENTS, default="mcp-login")
    parser.add_argument("--workers", type=int, default=WORKERS)
    arguments = parser.parse_args()
    node, conformance = parts.find("node"), parts.find("conformance")
    if node is None or conformance is None:
        parser.error("the conformance suite is not installed: run `python tests/real/parts.py install`")
    runs = [each for each in RUNS if not arguments.scenarios or each.scenario in arguments.scenarios]
    failures = 0
    started = time.monotonic()
    with ThreadPoolExecutor(arguments.workers) as pool:
        futures = [pool.submit(run, each, node=node, conformance=conformance, client=arguments.client) for each in runs]
        for each, future in zip(runs, futures, strict=True):
            result = future.result()
            passed = result.passed(each.scenario)
            failures += not passed
            tail = "" if passed else " ".join([f"client {result.client_status}", *result.named("FAILURE", "WARNING")])
            sys.stdout.write(f"{'ok  ' if passed else 'FAIL'} {each} {result.seconds:.1f} s {tail}\n")
            if arguments.scenarios:
                sys.stdout.write(result.output)
    sys.stdout.write(f"{len(runs) - failures} of {len(runs)} passed in {time.monotonic() - started:.1f} s\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
