"""The one command that checks everything: `python tests/run.py`. Needs Python 3.11 and pip; standard library only.

Makes the virtual environment `.venv`, installs this package with its extras and dependency groups, installs the real
parts that can be had here (tests/real/parts.py: Debian packages only as root, Node packages where there is npm), then
runs the tests: first those marked `alone`, one by one; then all that can run beside each other, in one process more than there
are cores, as many wait for a browser or a server: those of `UNTRACED`, and the others, under branch coverage. The checks of
`CHECKS` are made meanwhile, with what is left of the machine.

`--no-install` takes the environment as it is. Other arguments go to pytest, and then only the tests are run, in one process.
With CI=true a part that is missing is a failure instead of a skipped test. The exit status is 0 if all went well.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
import venv
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")

IN_CI = os.environ.get("CI", "").lower() in ("1", "true", "yes")

#: Made while the tests that are marked `alone` run, and at the lowest priority, so that those notice nothing of it. The longest
#: first, so that none is left over when the others are done.
CHECKS: dict[str, list[str]] = {
    "types": ["mypy"],
    "docs": ["python", "tests/docs/site.py"],
    "types on Windows": ["mypy", "--platform", "win32", "--cache-dir", ".mypy_cache/win32", "src"],
    "types on macOS": ["mypy", "--platform", "darwin", "--cache-dir", ".mypy_cache/darwin", "src"],
    "public types": ["pyright", "--verifytypes", "mcp_login", "--ignoreexternal"],
    "secrets": ["python", "tests/leaks.py"],
    "vulnerabilities": ["python", "tests/vulnerabilities.py"],
    "lint": ["ruff", "check", "."],
    "format": ["ruff", "format", "--check", "."],
    "imports": ["lint-imports"],
    "workflow": ["check-jsonschema", "--builtin-schema", "vendor.github-workflows", ".github/workflows/ci.yml"],
    "workflow's security": ["zizmor", "--offline", "--quiet", "--persona=pedantic", ".github"],
    "updates": ["check-jsonschema", "--builtin-schema", "vendor.dependabot", ".github/dependabot.yml"],
}

#: Made beside the other tests: they are tests as well, and have time limits.
CHECKS_BESIDE_TESTS: dict[str, list[str]] = {"switches of attacks": ["python", "-m", "tests.hostile", "--parts"]}

#: Tests that go the same ways again and again. Tracing would double their time and show nothing new, as it would for those that
#: are marked `alone`: they count for no coverage.
UNTRACED = (
    "tests/conformance",
    "tests/flows/test_cancellation_points.py",
    "tests/flows/test_fault_proxy.py",
    "tests/flows/test_session_machine.py",
    "tests/fuzz",
    "tests/hostile",
    "tests/unit/storage/test_slot_crashes.py",
)

#: The exit status of a check that can't be made here, as automake's: not passed, and no failure.
SKIPPED = 77

#: How many checks run at a time: more than that wait for each other's turn.
AT_ONCE = min(os.cpu_count() or 1, 4)
#: How many processes there are for tests, which wait for other things as well.
PROCESSES = AT_ONCE + 1


def say(text: str) -> None:
    """Tell the person, in order with what the commands print."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def environment() -> dict[str, str]:
    """That of the commands: as if the virtual environment were active."""
    # The tests start a thousand processes: without compiled files, each compiles the package again.
    dropped = ("PYTHONDONTWRITEBYTECODE", "PYTHONHOME", "PYTHONPATH")
    variables = {name: value for name, value in os.environ.items() if name not in dropped}
    path = os.pathsep.join([str(BIN), variables.get("PATH", os.defpath)])
    # the newest pyright is no concern of these checks
    return {**variables, "VIRTUAL_ENV": str(VENV), "PATH": path, "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}


def run(*command: str | Path, **variables: str) -> bool:
    """Run a command in the repository, and show what it prints; whether it went well."""
    return subprocess.run(_words(command), cwd=ROOT, env=environment() | variables, check=False).returncode == 0


def hear(*command: str | Path) -> tuple[int, bytes]:
    """Run a command in the repository: its exit status, and what it would have printed."""
    done = subprocess.run(
        _words(command),
        cwd=ROOT,
        env=environment(),
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    return done.returncode, done.stdout


def show(printed: bytes) -> None:
    """Print what a command would have printed."""
    sys.stdout.buffer.write(printed)
    sys.stdout.flush()


def _words(command: tuple[str | Path, ...]) -> list[str]:
    words = [str(word) for word in command]
    return [shutil.which(words[0], path=str(BIN)) or words[0], *words[1:]]


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
    # Most of what is installed is never imported: what is, is compiled then.
    pip: list[str | Path] = [PYTHON, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-compile"]
    # dependency groups need pip 25.1
    groups_wanted = [word for name in groups for word in ("--group", name)]
    for wishes in (["--upgrade", "pip>=25.1"], ["--editable", ".[cli,httpx2,testing]", *groups_wanted]):
        status, printed = hear(*pip, *wishes)
        if status:
            show(printed)
            return False
    stamp.write_text(wanted)
    return True


def install_all() -> bool:
    """The virtual environment and, at the same time, the real parts; whether the former is there."""
    with ThreadPoolExecutor(1) as pool:
        # It says itself what it left out, and the tests that lack it are skipped or fail with the reason.
        parts = pool.submit(hear, sys.executable, ROOT / "tests" / "real" / "parts.py", "install")
        installed = install()
        show(parts.result()[1])
    return installed


@dataclass(frozen=True)
class Made:
    """A check that was made: "ok", "skipped" where it can't be made here, or "FAILED", and what it printed."""

    name: str
    went: str
    printed: bytes
    seconds: float

    def tell(self) -> None:
        """Say how it went. What it printed is shown if it is not ok."""
        if self.went != "ok":
            show(self.printed)
        tell(self.name, self.went, self.seconds)


def check(name: str, *command: str | Path) -> Made:
    """Make one check."""
    started = time.monotonic()
    status, printed = hear(*command)
    went = {0: "ok", SKIPPED: "skipped"}.get(status, "FAILED")
    return Made(name, went, printed, time.monotonic() - started)


def check_beside(name: str, *command: str) -> Made:
    """Make one check with what others leave of the processors, where a program can be told to."""
    return check(name, *(["nice", "-n", "19"] if shutil.which("nice") else []), *command)


def test(name: str, *options: str, traced: bool) -> Made:
    """Run tests, whose output is shown at once. `traced`: from the first line on, but for the processes that they start."""
    started = time.monotonic()
    tracing = {"COVERAGE_PROCESS_START": str(ROOT / "pyproject.toml")} if traced else {}
    passed = run(PYTHON, "-m", "pytest", *options, **tracing)
    return Made(name, "ok" if passed else "FAILED", b"", time.monotonic() - started)


def tell(name: str, went: str, seconds: float) -> None:
    """Say how it went, and how long it took."""
    say(f"{went:7} {name} ({seconds:.1f} s)")


def all_made() -> list[Made]:
    """All tests and checks; how each went is said when nothing prints any more that runs beside it."""
    made: list[Made] = []

    def done(*more: Made) -> None:
        for one in more:
            one.tell()
        made.extend(more)

    hear("coverage", "erase")
    with ThreadPoolExecutor(AT_ONCE) as pool:
        beside = [pool.submit(check_beside, name, *command) for name, command in CHECKS.items()]
        done(test("tests, alone", "-m", "alone", traced=False))
        done(*(check.result() for check in beside))
    together = ("-m", "not alone", f"--numprocesses={PROCESSES}", "--dist=worksteal")
    with ThreadPoolExecutor(AT_ONCE) as pool:
        beside = [pool.submit(check, name, *command) for name, command in CHECKS_BESIDE_TESTS.items()]
        done(test("tests, untraced", *together, *UNTRACED, traced=False))
        done(*(check.result() for check in beside))
    done(test("tests", *together, *(f"--ignore={path}" for path in UNTRACED), traced=True))
    hear("coverage", "combine")
    # What only other systems run counts as missed here, and on Linux alone are all real parts to be had.
    threshold = [] if sys.platform == "linux" else ["--fail-under=0"]
    done(check("coverage", "coverage", "report", *threshold))
    return made


def main(arguments: list[str]) -> int:
    """The command line."""
    if sys.version_info < (3, 11):  # noqa: UP036 - whoever starts this with an older one shall read why
        say("Python 3.11 or newer is needed")
        return 2
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell starts what it puts in the background so, and the tests of Ctrl-C would inherit it.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for_pytest = [argument for argument in arguments if argument != "--no-install"]
    if "--no-install" not in arguments and not install_all():
        return 2
    if for_pytest:
        return 0 if run(PYTHON, "-m", "pytest", *for_pytest) else 1
    went = {made.name: made.went for made in all_made()}
    if went["coverage"] == "ok":
        say(f"coverage {hear('coverage', 'report', '--format=total')[1].decode().strip()} %")
    failed, skipped = ([name for name in went if went[name] == how] for how in ("FAILED", "skipped"))
    if skipped:
        say(f"not checked, see above: {', '.join(skipped)}")
    say(f"failed: {', '.join(failed)}" if failed else "all other checks passed" if skipped else "all checks passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
