"""The engine runs on every target, for a moment: `python -m tests.fuzz` is what searches for long."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.__main__ import Report, table, why_not
from tests.fuzz.targets import TARGETS
from tests.real import parts

__all__: list[str] = []

ROOT = Path(__file__).resolve().parents[2]

#: Where atheris has a wheel. The newest Python waits for one.
TO_BE_HAD = sys.platform == "linux" and os.uname().machine == "x86_64" and sys.version_info < (3, 14)


def need_engine() -> None:
    """Skip the test where there is no engine; fail in CI where there could be one."""
    reason = why_not()
    if reason is not None:
        if parts.in_ci() and TO_BE_HAD:
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)


@pytest.mark.timeout(180)
def test_the_engine_finds_nothing_in_a_moment() -> None:
    need_engine()
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", "--seconds", "0.4", "--jobs", "2", "--seed", "1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=170,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = re.findall(r"(?m)^\| ([a-z-]+) \| ([\d,]+) \| \d+ \| ([\d,]+) \|", done.stdout)
    assert {name for name, *_ in rows} == set(TARGETS)
    # It sees the library's code, and does more than to replay the corpus.
    assert all(int(edges.replace(",", "")) > 5 for _, _, edges in rows)
    assert sum(int(executions.replace(",", "")) for _, executions, _ in rows) > 1000


def test_without_the_engine_the_command_says_what_to_install() -> None:
    code = "import sys; sys.modules['atheris'] = None\nfrom tests.fuzz.__main__ import main\nraise SystemExit(main([]))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False, timeout=25
    )
    assert (done.returncode, done.stdout.count("--group fuzz")) == (2, 1), done.stderr


def test_the_figures_are_a_table() -> None:
    report = Report(TARGETS["token"], executions=12345, seconds=300.4, edges=250, features=1370, memory=80)
    assert table([report]).splitlines()[-1] == "| token | 12,345 | 300 | 250 | 1,370 | 80 | 0 |"
