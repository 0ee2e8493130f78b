"""The shape of the house: what imports what, how large modules are, what they offer, and what no file may hold."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import mcp_login

__all__: list[str] = []

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(ROOT.joinpath("src").rglob("*.py"))
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(mcp_login.__path__, "mcp_login.")
    if not module.name.endswith("__main__")
)


def python(code: str) -> str:
    """What a new interpreter prints that runs `code`, as a user's would: without pytest and its plugins."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_import_contracts_hold() -> None:
    command = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([command, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=25)
    assert done.returncode == 0, done.stdout + done.stderr


def test_importing_the_package_loads_none_of_the_heavy_libraries() -> None:
    """DESIGN: importing `mcp_login` loads nothing else."""
    heavy = {"anyio", "asyncio", "httpx", "httpx2", "keyring", "pydantic", "trio"}
    loaded = python(
        "import sys; before = set(sys.modules); import mcp_login; print(*sorted(set(sys.modules) - before))"
    )
    assert heavy.isdisjoint(loaded.split())
    assert [name for name in loaded.split() if name.startswith("mcp_login.")] == []


def test_the_protocol_works_without_anything_that_reaches_outside() -> None:
    names = [name for name in MODULES if name.startswith("mcp_login.protocol")]
    outside = [
        "anyio",
        "h11",
        "httpcore",
        "httpcore2",
        "httpx",
        "httpx2",
        "keyring",
        "platformdirs",
        "trio",
        "truststore",
    ]
    standard = [
        "asyncio",
        "http.client",
        "logging",
        "random",
        "secrets",
        "select",
        "socket",
        "ssl",
        "subprocess",
        "time",
    ]
    blocked = [*outside, *standard, "urllib.request", "webbrowser"]
    code = f"""
import importlib, importlib.metadata, sys
import pydantic, pydantic.networks
class Model(pydantic.BaseModel):  # has pydantic load what it loads late
    url: str
for name in {blocked}:
    sys.modules[name] = None
for name in {names}:
    importlib.import_module(name)
print(len({names}))
"""
    assert python(code) == str(len(names))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT / "src")))
def test_no_module_is_longer_than_400_lines(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


def _order(name: str) -> tuple[int, str]:
    """Constants, then classes, then the rest: the order that the linter keeps too."""
    return (0 if name.isupper() and len(name) > 1 else 1 if name[0].isupper() else 2, name)


@pytest.mark.parametrize("name", ["mcp_login", *MODULES])
def test_what_a_module_offers_is_sorted_and_true(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__file__
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    defined = {
        node.name
        for node in tree.body
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and not node.name.startswith("_")
    }
    if not hasattr(module, "__all__"):
        # only an empty `__init__.py` has nothing to offer
        assert hasattr(module, "__path__"), f"{name} has no __all__"
        assert not defined
        return
    offered = list(module.__all__)
    assert offered == sorted(set(offered), key=_order)
    assert [name for name in offered if not hasattr(module, name)] == []
    assert defined <= set(offered)


def files_in_git() -> list[Path]:
    """Every text file that is or is about to be tracked."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=20)
    except FileNotFoundError:
        pytest.skip("git is not installed")
    if done.returncode != 0:
        pytest.skip("this is not a git checkout")
    return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_no_file_names_a_package_registry_or_a_place_on_somebody_s_machine() -> None:
    # Written so that this file doesn't hold what it looks for.
    registries = [r"registry\.[\w-]+\.\w", r"--(?:extra-)?index[-]url", r"--find[-]links", "artifact" + "ory"]
    places = [r"(?<![\w.~])/root[/]", r"(?<![\w.~])/home[/]\w+[/]", r"(?<![\w.~])/Users[/]\w+[/]"]
    mine = [re.escape(str(ROOT))]
    pattern = re.compile("|".join([*registries, *places, *mine]))
    found = []
    for path in files_in_git():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [
            f"{path.relative_to(ROOT)}:{number}: {match[0]}"
            for number, line in enumerate(text.splitlines(), 1)
            if (match := pattern.search(line))
        ]
    assert found == []


def test_no_lock_file_is_kept() -> None:
    locks = {"package-lock.json", "yarn.lock", "pnpm-lock.yaml", "uv.lock", "poetry.lock", "pdm.lock"}
    assert [path.name for path in files_in_git() if path.name in locks] == []
