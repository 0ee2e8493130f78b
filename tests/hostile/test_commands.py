"""The commands of the corpus, as somebody runs them who came with a clone: `python -m tests.hostile`, and `.costs`."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.clone import INSTALL, ROOT

if TYPE_CHECKING:
    from pathlib import Path

__all__: list[str] = []

COMMANDS = ["tests.hostile", "tests.hostile.costs"]


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=False, timeout=25)


def without(module: str, command: str) -> list[str]:
    """The words that run `command` where there is no `module`."""
    code = f"import runpy, sys; sys.modules[{module!r}] = None; sys.argv[1:] = sys.argv[2:]"
    return ["-c", f"{code}; runpy.run_module({command!r}, run_name='__main__', alter_sys=True)", "--"]


def test_a_file_that_is_named_is_all_that_is_run() -> None:
    done = run("-m", "tests.hostile", "tests/hostile/test_resources.py", "--collect-only")
    files = {line.partition("::")[0] for line in done.stdout.splitlines() if "::" in line}
    assert (done.returncode, files) == (0, {"tests/hostile/test_resources.py"}), done.stdout + done.stderr


def test_other_options_reach_pytest() -> None:
    done = run("-m", "tests.hostile", "-k", "no_attack_has_this_name")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (5, "No attack was run."), done.stdout + done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_short_and_needs_nothing(command: str) -> None:
    done = run(*without("pytest", command), "--help")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: python -m {command} ")
    assert len(done.stdout.splitlines()) < 20


@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_missing_is_told_with_the_command_that_installs_it(command: str) -> None:
    done = run(*without("trustme", command))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"trustme is not installed. In the clone, with pip 25.1 or newer: {INSTALL}\n"


def test_a_copy_of_the_library_is_refused(tmp_path: Path) -> None:
    tmp_path.joinpath("mcp_login").mkdir()
    tmp_path.joinpath("mcp_login", "__init__.py").touch()
    code = f"import sys; sys.path[:0] = [{str(tmp_path)!r}, '.']; from tests.clone import why_not; print(why_not())"
    done = run("-c", code)
    assert done.stdout.startswith("The mcp_login that is installed here is a copy"), done.stderr
    assert INSTALL in done.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="costs are measured on Linux only")
def test_an_answer_that_is_not_measured_is_told() -> None:
    done = run("-m", "tests.hostile.costs", "no answer of this name")
    assert done.returncode == 2
    assert "no answer of such a name: no answer of this name" in done.stderr
