"""The real parts of the tests: where they are, and how they are installed. Standard library only.

`python tests/real/parts.py`            says what is there
`python tests/real/parts.py install`    installs what is missing and can be had here; once more does nothing, quickly

Node packages (package.json beside this file) and a virtual environment with the MCP SDK 1.x go into the folder `.parts`
that git ignores (MCP_LOGIN_PARTS names another one). Debian packages are installed only by root, or in CI where sudo
asks for no password. Node packages are left out on Windows: what runs them in the tests is written for a POSIX shell.

A test says `need("chromium")`: it gets the path, or is skipped with a reason, or fails with that reason where CI=true and
`install` can get the part on such a machine (`to_be_had`): Debian packages and Node's on Linux with apt-get and npm, the
MCP SDK 1.x everywhere. So the public CI fails for want of a browser on Linux, and skips those tests on macOS and Windows.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["PARTS", "ROOT", "Part", "become_root", "find", "in_ci", "install", "need", "to_be_had"]

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = Path(__file__).with_name("package.json")

#: Debian's packages, each with a program that shows whether it is there.
DEBIAN = {
    "chromium": "chromium",
    "chromium-driver": "chromedriver",
    "dbus": "dbus-run-session",
    "fish": "fish",
    "gnome-keyring": "gnome-keyring-daemon",
    "libsecret-tools": "secret-tool",
    "zsh": "zsh",
}

# Read now: the tests' own environment is cleaned of it, since it changes what the library assumes about people.
_CI = os.environ.get("CI", "").lower() in ("1", "true", "yes")


def in_ci() -> bool:
    """Whether a missing part is a failure: CI=true when the tests started."""
    return _CI


def folder() -> Path:
    """Where npm's packages and the second virtual environment are kept."""
    return Path(os.environ.get("MCP_LOGIN_PARTS") or ROOT / ".parts")


def _program(*names: str) -> Path | None:
    return next((Path(found) for name in names if (found := shutil.which(name))), None)


def _package(name: str, inside: str) -> Path | None:
    path = folder() / "node_modules" / name / inside
    return path if path.is_file() else None


def _node() -> Path | None:
    return _package("node", "bin/node.exe" if os.name == "nt" else "bin/node")


def _python_of_sdk_1() -> Path | None:
    path = folder() / "mcp1" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    return path if path.exists() and (folder() / "mcp1" / "installed").exists() else None


def _secret_service() -> Path | None:
    needed = [_program(DEBIAN[package]) for package in ("gnome-keyring", "libsecret-tools", "dbus")]
    return needed[-1] if all(needed) else None


@dataclass(frozen=True)
class Part:
    """A program or package that a test runs against. `find` gives the path that starts it, or None.

    `installer` is the program of a Linux machine that brings it; None is pip, which is everywhere.
    """

    find: Callable[[], Path | None]
    lacking: str
    installer: str | None = "apt-get"


def _of_node(package: str, inside: str) -> Part:
    return Part(lambda: _package(package, inside), _NPM, "npm")


_NPM = "run `python tests/real/parts.py install` (needs npm)"

PARTS = {
    "axe-core": _of_node("axe-core", "axe.min.js"),
    "chromedriver": Part(lambda: _program("chromedriver"), "apt-get install chromium-driver"),
    "chromium": Part(lambda: _program("chromium", "chromium-browser"), "apt-get install chromium"),
    "conformance": _of_node("@modelcontextprotocol/conformance", "dist/index.js"),
    "fish": Part(lambda: _program("fish"), "apt-get install fish"),
    "mcp1": Part(_python_of_sdk_1, "run `python tests/real/parts.py install`", None),
    "node": Part(_node, _NPM, "npm"),
    "oidc-provider": _of_node("oidc-provider", "package.json"),
    "secret-service": Part(_secret_service, "apt-get install gnome-keyring dbus libsecret-tools"),
    "zsh": Part(lambda: _program("zsh"), "apt-get install zsh"),
}


def find(name: str) -> Path | None:
    """The path of the part `name`, or None where it is missing. For `secret-service` that of `dbus-run-session`."""
    return PARTS[name].find()


def to_be_had(name: str, *, system: str = sys.platform) -> bool:
    """Whether `install` can get the part `name` on a machine like this one, whose `sys.platform` is `system`."""
    installer = PARTS[name].installer
    return installer is None or (system == "linux" and _program(installer) is not None)


def need(name: str) -> Path:
    """The path of the part `name`. Where it is missing the calling test is skipped with a reason.

    It fails with that reason in CI, where the part is `to_be_had`.
    """
    import pytest

    path = find(name)
    if path is None:
        reason = f"{name} is not installed: {PARTS[name].lacking}"
        if in_ci() and to_be_had(name):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    return path


def _say(text: str) -> None:
    sys.stdout.write(f"parts: {text}\n")
    sys.stdout.flush()


def _run(command: Sequence[str | Path], *, cwd: Path | None = None, seconds: float = 900.0) -> bool:
    """Run `command`, showing what it says only if it fails; whether it went well."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words,
            cwd=cwd,
            timeout=seconds,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        _say(f"{' '.join(words[:3])}: {error}")
        return False
    if done.returncode:
        _say(f"{' '.join(words[:3])} ended with {done.returncode}:\n{done.stdout[-3000:]}")
    return done.returncode == 0


def become_root() -> list[str] | None:
    """What to put before a command that root has to run; None where that can't or shouldn't be had."""
    if not hasattr(os, "geteuid"):
        return None
    if os.geteuid() == 0:
        return []
    # On a contributor's machine nothing needs root.
    return ["sudo", "-n"] if in_ci() and _program("sudo") and _run(["sudo", "-n", "true"], seconds=10) else None


def install_debian_packages() -> None:
    """Install what is missing of `DEBIAN`, where apt-get and root are to be had."""
    missing = sorted(package for package, program in DEBIAN.items() if _program(program) is None)
    if not missing or _program("apt-get") is None:
        return
    root = become_root()
    if root is None:
        _say(f"left out, as they need root: apt-get install {' '.join(missing)}")
        return
    _say(f"apt-get install {' '.join(missing)}")
    options = ["-q", "-o", "DPkg::Lock::Timeout=120"]
    _run([*root, "apt-get", *options, "update"])
    _run([*root, "apt-get", *options, "install", "-y", "--no-install-recommends", *missing])


def _wanted_versions() -> dict[str, str]:
    wanted: dict[str, str] = json.loads(PACKAGES.read_text(encoding="utf-8"))["dependencies"]
    return wanted


def _installed_version(package: str) -> str | None:
    try:
        description = json.loads((folder() / "node_modules" / package / "package.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    version: str | None = description.get("version")
    return version


def install_node_packages() -> None:
    """Install the packages of package.json at their versions, where npm is to be had."""
    if _node() and all(_installed_version(package) == version for package, version in _wanted_versions().items()):
        return
    npm = _program("npm")
    if npm is None:
        _say("left out, as there is no npm: the conformance suite and the foreign authorization server")
        return
    _say(f"npm install {' '.join(f'{package}@{version}' for package, version in _wanted_versions().items())}")
    folder().mkdir(parents=True, exist_ok=True)
    shutil.copyfile(PACKAGES, folder() / "package.json")
    _run([npm, "install", "--no-package-lock", "--no-audit", "--no-fund", "--loglevel=error"], cwd=folder())


def install_sdk_1() -> None:
    """A virtual environment with this package and the MCP SDK 1.x, which shares its name with the current one."""
    place = folder() / "mcp1"
    stamp = place / "installed"
    wanted = hashlib.sha256((ROOT / "pyproject.toml").read_bytes() + sys.version.encode()).hexdigest()
    if _python_of_sdk_1() and stamp.read_text() == wanted:
        return
    _say("a virtual environment with the MCP SDK 1.x")
    try:
        venv.EnvBuilder(with_pip=True, clear=True).create(place)
    except (OSError, subprocess.CalledProcessError) as error:
        _say(f"left out: {error}")
        return
    python = place / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    # dependency groups need pip 25.1
    pip: list[str | Path] = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-compile"]
    if _run([*pip, "--upgrade", "pip>=25.1"]) and _run([*pip, "--editable", ".", "--group", "mcp1"], cwd=ROOT):
        stamp.write_text(wanted)


def install() -> list[str]:
    """Install what is missing and can be had here; the names of the parts that are missing although `to_be_had`."""
    install_debian_packages()
    if os.name != "nt":
        install_node_packages()
    install_sdk_1()
    return [name for name in PARTS if find(name) is None and to_be_had(name)]


def main(arguments: Sequence[str]) -> int:
    """The command line; the exit status says whether all is there: after `install`, all that is to be had here."""
    missing = install() if arguments == ["install"] else [name for name in PARTS if find(name) is None]
    for name in PARTS:
        _say(f"{name}: {find(name) or 'missing: ' + PARTS[name].lacking}")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
