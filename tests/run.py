"""The one command that checks everything: `python tests/run.py`. Needs Python 3.11 and pip; standard library only.

Makes the virtual environment `.venv`, installs this package with its extras and dependency groups, installs the real
parts that can be had here (tests/real/parts.py: Debian packages only as root, Node packages where there is npm), then
checks lint, format, types, the public types, the import contracts, and runs the tests under branch coverage.

`--no-install` takes the environment as it is. Other arguments go to pytest, and then only the tests are run.
With CI=true a part that is missing is a failure instead of a skipped test. The exit status is 0 if all went well.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")

IN_CI = os.environ.get("CI", "").lower() in ("1", "true", "yes")

CHECKS: dict[str, list[str]] = {
    "lint": ["ruff", "check", "."],
    "format": ["ruff", "format", "--check", "."],
    "types": ["mypy"],
    "types on Windows": ["mypy", "--platform", "win32", "--cache-dir", ".mypy_cache/win32"],
    "types on macOS": ["mypy", "--platform", "darwin", "--cache-dir", ".mypy_cache/darwin"],
    "public types": ["pyright", "--verifytypes", "mcp_login", "--ignoreexternal"],
    "imports": ["lint-imports"],
    "workflow": ["check-jsonschema", "--builtin-schema", "vendor.github-workflows", ".github/workflows/ci.yml"],
    "updates": ["check-jsonschema", "--builtin-schema", "vendor.dependabot", ".github/dependabot.yml"],
    "docs": ["python", "tests/docs/site.py"],
}


def say(text: str) -> None:
    """Tell the person, in order with what the commands print."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def environment() -> dict[str, str]:
    """That of the commands: as if the virtual environment were active."""
    variables = {name: value for name, value in os.environ.items() if name not in ("PYTHONHOME", "PYTHONPATH")}
    path = os.pathsep.join([str(BIN), variables.get("PATH", os.defpath)])
    # the newest pyright is no concern of these checks
    return {**variables, "VIRTUAL_ENV": str(VENV), "PATH": path, "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}


def run(*command: str | Path, shown: bool = True) -> bool:
    """Run a command in the repository; whether it went well. Without `shown` it is heard only if it fails."""
    words = [str(word) for word in command]
    words[0] = shutil.which(words[0], path=str(BIN)) or words[0]
    if shown:
        return subprocess.run(words, cwd=ROOT, env=environment(), check=False).returncode == 0
    done = subprocess.run(
        words, cwd=ROOT, env=environment(), check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if done.returncode:
        sys.stdout.buffer.write(done.stdout)
        sys.stdout.flush()
    return done.returncode == 0


def install() -> bool:
    """The virtual environment with all that pyproject.toml names; nothing is done if that was installed already."""
    stamp = VENV / "installed"
    # The engine that fuzzes by coverage is large: whoever wants it installs it by hand (CONTRIBUTING.md).
    groups = ["dev", "fuzz"] if IN_CI else ["dev"]
    wanted = hashlib.sha256((ROOT / "pyproject.toml").read_bytes() + f"{sys.version} {groups}".encode()).hexdigest()
    if PYTHON.exists() and stamp.exists() and stamp.read_text() == wanted:
        return True
    say("installing into .venv")
    try:
        venv.EnvBuilder(with_pip=True, clear=True).create(VENV)
    except (OSError, subprocess.CalledProcessError) as error:
        say(f"no virtual environment could be made ({error}). On Debian: apt-get install python3-venv")
        return False
    pip: list[str | Path] = [PYTHON, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    # dependency groups need pip 25.1
    installed = run(*pip, "--upgrade", "pip>=25.1", shown=False) and run(
        *pip,
        "--editable",
        ".[cli,httpx2,testing]",
        *(word for name in groups for word in ("--group", name)),
        shown=False,
    )
    if installed:
        stamp.write_text(wanted)
    return installed


def check(name: str, *command: str | Path, shown: bool = False) -> bool:
    """Run one check and say how it went."""
    started = time.monotonic()
    passed = run(*command, shown=shown)
    say(f"{'ok    ' if passed else 'FAILED'} {name} ({time.monotonic() - started:.1f} s)")
    return passed


def total_coverage() -> str:
    """The share of lines and branches that the tests ran, in percent."""
    command = [shutil.which("coverage", path=str(BIN)) or "coverage", "report", "--format=total"]
    done = subprocess.run(command, cwd=ROOT, env=environment(), check=False, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip()


def main(arguments: list[str]) -> int:
    """The command line."""
    if sys.version_info < (3, 11):  # noqa: UP036 - whoever starts this with an older one shall read why
        say("Python 3.11 or newer is needed")
        return 2
    as_it_is = "--no-install" in arguments
    for_pytest = [argument for argument in arguments if argument != "--no-install"]
    if not as_it_is:
        if not install():
            return 2
        # It says itself what it left out, and the tests that lack it are skipped or fail with the reason.
        run(PYTHON, ROOT / "tests" / "real" / "parts.py", "install")
    if for_pytest:
        return 0 if run(PYTHON, "-m", "pytest", *for_pytest) else 1
    failed = [name for name, command in CHECKS.items() if not check(name, *command)]
    run("coverage", "erase")
    if not check("tests", "coverage", "run", "-m", "pytest", shown=True):
        failed.append("tests")
    run("coverage", "combine", "--quiet")
    # What only other systems run counts as missed here, and on Linux alone are all real parts to be had.
    threshold = [] if sys.platform == "linux" else ["--fail-under=0"]
    if check("coverage", "coverage", "report", *threshold):
        say(f"coverage {total_coverage()} %")
    else:
        failed.append("coverage")
    say(f"failed: {', '.join(failed)}" if failed else "all checks passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
