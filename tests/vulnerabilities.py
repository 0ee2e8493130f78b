"""Asks for known vulnerabilities of what is installed along with mcp-login: `python tests/vulnerabilities.py [--must-answer]`.

pip-audit is given the dependencies of the package and of all its extras, as pip resolved them in this environment, and asks the
package index's advisories about each. It takes a package that the service doesn't know for one without vulnerabilities, and
so does a mirror's index without advisories look: therefore it is also asked about a version that is known to have some.

The exit status is 0 if nothing is known, 1 if something is, and 77, with a reason, if nobody answered. With `--must-answer`,
where the service is known to be within reach, that is a failure too.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from importlib.metadata import distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["KNOWN_TO_BE_VULNERABLE", "SKIPPED", "installed_with", "main", "verdict"]

#: The exit status of a check that can't be made here, as automake's.
SKIPPED = 77

#: CVE-2019-10906 among others. Not one of our dependencies: nothing is installed.
KNOWN_TO_BE_VULNERABLE = ("jinja2", "2.10")

#: Seconds that one answer, and all of them, may take.
ANSWER_LIMIT, LIMIT = 10, 120


def installed_with(name: str, extras: Iterable[str] = ()) -> dict[str, str]:
    """The versions of what the distribution `name` with `extras` needs here, directly or not, itself left out."""
    found: dict[str, str] = {}
    waiting = [(name, frozenset(extras))]
    seen = set(waiting)
    while waiting:
        one, its_extras = waiting.pop()
        described = distribution(one)
        found[canonicalize_name(one)] = described.version
        for text in described.requires or ():
            requirement = Requirement(text)
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in (its_extras or {""})):
                wanted = (canonicalize_name(requirement.name), frozenset(requirement.extras))
                if wanted not in seen:
                    seen.add(wanted)
                    waiting.append(wanted)
    del found[canonicalize_name(name)]
    return found


def _ask(versions: Iterable[tuple[str, str]]) -> tuple[list[dict[str, Any]], str]:
    """What pip-audit reports of each package, and why there is no report."""
    with tempfile.TemporaryDirectory() as folder:
        wanted = Path(folder, "requirements.txt")
        wanted.write_text("".join(f"{name}=={version}\n" for name, version in versions), encoding="utf-8")
        command = [sys.executable, "-m", "pip_audit", "--requirement", str(wanted), "--no-deps", "--disable-pip"]
        command += ["--format=json", "--progress-spinner=off", "--desc=off", f"--timeout={ANSWER_LIMIT}"]
        try:
            done = subprocess.run(
                command, capture_output=True, encoding="utf-8", errors="replace", timeout=LIMIT, check=False
            )
        except subprocess.TimeoutExpired:
            return [], f"no answer in {LIMIT} seconds"
    try:
        reports: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except ValueError:
        last = done.stderr.strip().rpartition("\n")[2]
        return [], f"pip-audit ended with {done.returncode}: {last[:200]}"
    return reports, ""


def verdict(reports: Iterable[dict[str, Any]], reason: str = "") -> tuple[int, list[str]]:
    """The exit status for pip-audit's `reports`, or for there being none for that `reason`; and what there is to say."""
    by_name = {canonicalize_name(report["name"]): report for report in reports}
    trial = by_name.pop(canonicalize_name(KNOWN_TO_BE_VULNERABLE[0]), {})
    said = [
        f"{name} {report['version']}: {one['id']}"
        + (f", mended in {', '.join(one['fix_versions'])}" if one.get("fix_versions") else "")
        for name, report in by_name.items()
        for one in report.get("vulns", ())
    ]
    if said:
        return 1, said
    if not trial.get("vulns"):
        known = "==".join(KNOWN_TO_BE_VULNERABLE)
        why = reason or trial.get("skip_reason") or f"the service knows nothing against {known}"
        return SKIPPED, [f"no service with advisories is within reach. {why}"]
    unknown = [report["skip_reason"] for report in by_name.values() if "skip_reason" in report]
    return (SKIPPED if unknown else 0), unknown or [f"nothing is known against {len(by_name)} packages"]


def main(arguments: Sequence[str]) -> int:
    """The command line."""
    extras = distribution("mcp-login").metadata.get_all("Provides-Extra") or ()
    status, said = verdict(*_ask([*installed_with("mcp-login", extras).items(), KNOWN_TO_BE_VULNERABLE]))
    sys.stdout.writelines(f"{line}\n" for line in said)
    return 1 if status == SKIPPED and "--must-answer" in arguments else status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
