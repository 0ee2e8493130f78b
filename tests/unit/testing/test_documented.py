"""The page "Testing your own agent": its blocks are test files that pass, and touch nothing of the person who runs them."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from mcp_login.testing import plugin
from tests.docs import pages
from tests.flows.users_machine import UsersMachine

if TYPE_CHECKING:
    from pathlib import Path

__all__: list[str] = []

PAGE = pages.ROOT / "docs" / "testing.md"
BLOCKS = [block for block in pages.blocks("python") if block.document == PAGE]


@pytest.mark.timeout(90)
def test_every_block_passes_and_leaves_nothing_behind(tmp_path: Path) -> None:
    machine = UsersMachine.at(tmp_path)
    for block in BLOCKS:
        name = block.words if block.mark == "file" else f"test_line_{block.line}.py"
        assert name is not None
        machine.project.joinpath(name).write_text(block.code, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-v", "-W", "error", "--strict-markers"],
        cwd=machine.project,
        env=machine.environment(CI="true"),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=80,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    tests = [block for block in BLOCKS if block.mark is None]
    assert [block for block in tests if f"test_line_{block.line}.py::" not in done.stdout] == []
    assert machine.traces() == []


def test_blocks_are_files_or_tests() -> None:
    assert len(BLOCKS) > 10
    assert [str(block) for block in BLOCKS if block.mark != "file" and not block.is_test] == []


def test_every_fixture_and_every_public_name_is_on_the_page() -> None:
    from mcp_login import testing

    text = PAGE.read_text(encoding="utf-8")
    fixtures = [name for name in plugin.__all__ if name.startswith("mcp_login_")]
    assert [name for name in fixtures if f"| `{name}`" not in text] == []
    everyday = {"Clock", "Configuration", "EmbeddedServer", "Fault", "Isolation", "Person", "isolated"}
    assert everyday <= set(testing.__all__)
    assert [name for name in everyday if name not in text] == []
