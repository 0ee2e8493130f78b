"""Builds the source distribution and the wheel and tries both: `python tests/packages.py [FOLDER]`.

Standard library only; the tools (dependency group `package`) and each trial get a new virtual environment. What is built is
left in FOLDER, if one is given, and must

- pass `twine check --strict`,
- as a source distribution hold every file of the repository but those for its host alone, and pass its own unit tests,
- as a wheel hold the package alone, and give a `mcp-login` that tells its version and walks through its demonstration.

The exit status is 0 if all of it is so.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import venv
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Failure", "forgotten", "left_out", "main", "strangers"]

ROOT = Path(__file__).resolve().parents[1]

#: For the repository's host: of no use in a source distribution.
FOR_THE_HOST = (".ci/", ".gitattributes", ".gitignore")

#: Seconds for any one command.
LIMIT = 900.0


class Failure(Exception):
    """What was built is not as it should be."""


def run(*command: str | Path, cwd: Path = ROOT, shown: bool = False) -> None:
    """Run a command; what it prints is shown, or heard only if it fails. Raises `Failure`."""
    words = [str(word) for word in command]
    done = subprocess.run(
        words,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=None if shown else subprocess.PIPE,
        stderr=None if shown else subprocess.STDOUT,
        check=False,
        timeout=LIMIT,
        env={name: value for name, value in os.environ.items() if name not in ("PYTHONHOME", "PYTHONPATH")},
    )
    if done.returncode:
        sys.stdout.buffer.write(done.stdout or b"")
        raise Failure(f"{' '.join(words)} ended with {done.returncode}")


def say(text: str) -> None:
    """Tell the person, in order with what the commands print."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def environment(folder: Path, *wanted: str, cwd: Path = ROOT) -> Path:
    """The folder of the programs of a new virtual environment that has what pip was told to install."""
    venv.EnvBuilder(with_pip=True).create(folder)
    programs = folder / ("Scripts" if os.name == "nt" else "bin")
    pip: list[str | Path] = [programs / "python", "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    run(*pip, "--upgrade", "pip>=25.1")  # dependency groups
    run(*pip, *wanted, cwd=cwd)
    return programs


def left_out(archive: Path) -> list[str]:
    """The files of the repository that the source distribution `archive` lacks.

    Empty where there is no git, or this is no clone. Raises `Failure` where git can't say what is in it.
    """
    if shutil.which("git") is None or not ROOT.joinpath(".git").exists():
        return []
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, encoding="utf-8", check=False
    )
    if listed.returncode:
        raise Failure(f"git ls-files ended with {listed.returncode}: {listed.stderr.strip()}")
    with tarfile.open(archive) as opened:
        packed = {name.partition("/")[2] for name in opened.getnames()}
    files = [name for name in listed.stdout.split("\0") if name and ROOT.joinpath(name).exists()]
    return [name for name in files if name not in packed and not name.startswith(FOR_THE_HOST)]


def packed_in(wheel: Path) -> set[str]:
    """The files of a wheel but its metadata."""
    with zipfile.ZipFile(wheel) as opened:
        return {name for name in opened.namelist() if ".dist-info/" not in name}


def package() -> set[str]:
    """The files of the package, as a wheel names them."""
    source = ROOT / "src"
    files = {path.relative_to(source).as_posix() for path in source.joinpath("mcp_login").rglob("*") if path.is_file()}
    return {name for name in files if "__pycache__" not in name}


def strangers(wheel: Path) -> list[str]:
    """What the wheel holds beside the package and its metadata."""
    return sorted(packed_in(wheel) - package())


def forgotten(wheel: Path) -> list[str]:
    """What of the package the wheel lacks."""
    return sorted(package() - packed_in(wheel))


def build(folder: Path, target: Path) -> tuple[Path, Path]:
    """The source distribution, and the wheel that was built from it."""
    tools = environment(folder / "tools", "--group", "package")
    for earlier in (*target.glob("mcp_login-*.tar.gz"), *target.glob("mcp_login-*.whl")):
        earlier.unlink()
    run(tools / "python", "-m", "build", "--outdir", target)
    [archive], [wheel] = target.glob("mcp_login-*.tar.gz"), target.glob("mcp_login-*.whl")
    run(tools / "twine", "check", "--strict", archive, wheel)
    for what, wrong in (
        ("the source distribution lacks", left_out(archive)),
        ("the wheel lacks", forgotten(wheel)),
        ("in the wheel alone", strangers(wheel)),
    ):
        if wrong:
            raise Failure(f"{what}: {', '.join(wrong)}")
    return archive, wheel


def try_wheel(folder: Path, wheel: Path) -> None:
    """As a user: the command, from nowhere near the sources."""
    programs = environment(folder / "user", f"{wheel}[cli]")
    run(programs / "mcp-login", "--version", cwd=folder, shown=True)
    run(programs / "mcp-login", "demo", "--no-browser", cwd=folder, shown=True)


def try_sources(folder: Path, archive: Path) -> None:
    """As a distributor: the unit tests, from the unpacked archive."""
    with tarfile.open(archive) as opened:
        opened.extractall(folder, filter="data")
    sources = folder / archive.name.removesuffix(".tar.gz")
    programs = environment(folder / "distributor", "--editable", ".[cli,httpx2,testing]", "--group", "dev", cwd=sources)
    run(programs / "python", "-m", "pytest", "-q", "tests/unit", cwd=sources)


def main(arguments: Sequence[str]) -> int:
    """The command line."""
    folder = Path(tempfile.mkdtemp(prefix="mcp-login-packages-")).resolve()
    target = Path(arguments[0]).resolve() if arguments else folder / "dist"
    try:
        archive, wheel = build(folder, target)
        say(f"built and checked: {archive.name}, {wheel.name}")
        try_wheel(folder, wheel)
        try_sources(folder, archive)
    except Failure as failure:
        say(f"FAILED {failure}")
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    version = tomllib.loads(ROOT.joinpath("pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    say(f"the distributions of {version} are fit for use")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
