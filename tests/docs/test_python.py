"""Every block of Python in the documents is run as it stands, or says why not.

Against embedded servers in the place of https://mcp.example.com/mcp; a script is the person's browser. What a page shows as a
block's output is compared.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import mcp_login
from mcp_login.testing import EmbeddedServer
from tests.docs import pages
from tests.real import parts

__all__: list[str] = []

HERE = Path(__file__).parent
BROWSER = f"{shlex.quote(sys.executable)} {shlex.quote(str(HERE / 'browser.py'))} %s &"
URL = "https://mcp.example.com/mcp"

BLOCKS = pages.blocks("python")
PROGRAMS = [block for block in BLOCKS if block.mark is None and not block.is_test]
TESTS = sorted({block.document for block in BLOCKS if block.is_test and block.mark not in ("not run", "attack")})
ATTACKS = [block for block in BLOCKS if block.mark == "attack"]
ELSEWHERE = [block for block in BLOCKS if block.mark == "run with"]

#: How long all programs together may take, in seconds.
LIMIT = 100.0


def environment(home: Path, **more: str) -> dict[str, str]:
    """That of a person with a browser, whose logins are in files."""
    return {
        # A person, and so not CI, whatever runs these tests.
        **{name: value for name, value in os.environ.items() if name != "CI"},
        "BROWSER": BROWSER,
        "HOME": str(home),
        "MCP_LOGIN_HOME": str(home / "logins"),
        "MCP_LOGIN_STORAGE": "file",
        "PYTHONPATH": str(pages.ROOT),
        **more,
    }


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str | None]]:
    """What came of each program, by its place."""
    folder = tmp_path_factory.mktemp("blocks")
    wanted = folder / "blocks.json"
    wanted.write_text(json.dumps([{"name": str(block), "code": block.code} for block in PROGRAMS]))
    try:
        done = subprocess.run(
            [sys.executable, "-W", "error", str(HERE / "run_blocks.py"), str(wanted), str(folder / "run")],
            env=environment(folder),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=LIMIT,
        )
        lines, problem = done.stdout, done.stderr.decode()
    except subprocess.TimeoutExpired as expired:
        lines, problem = expired.stdout or b"", f"it took longer than {LIMIT} s"
    found = {result["name"]: result for result in map(json.loads, lines.splitlines())}
    missing = {str(block) for block in PROGRAMS} - set(found)
    return {**found, **{name: {"name": name, "output": "", "error": f"never came back: {problem}"} for name in missing}}


@pytest.mark.timeout(LIMIT + 30)
@pytest.mark.parametrize("block", PROGRAMS, ids=str)
def test_a_program_runs_and_prints_what_is_shown(block: pages.Block, results: dict[str, dict[str, str | None]]) -> None:
    result = results[str(block)]
    assert result["error"] is None, result["error"]
    if block.output is not None:
        assert pages.matches(block.output, result["output"] or ""), result["output"]


@pytest.mark.real
@pytest.mark.timeout(90)
@pytest.mark.parametrize("block", ELSEWHERE, ids=str)
def test_a_program_for_another_interpreter_runs_there(block: pages.Block, home: Path) -> None:
    with EmbeddedServer(auto_approve=True).run() as server:
        done = subprocess.run(
            [str(parts.need(block.words or "")), "-W", "error", "-c", block.code.replace(URL, server.url)],
            env=environment(home, PYTHONPATH=""),
            cwd=home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert done.returncode == 0, done.stderr
    assert block.output is None or pages.matches(block.output, done.stdout), done.stdout


@pytest.mark.timeout(90)
@pytest.mark.parametrize("document", TESTS, ids=lambda path: str(path.relative_to(pages.ROOT)))
def test_the_tests_of_a_document_pass_in_a_project_of_their_own(document: Path, tmp_path: Path) -> None:
    tmp_path.joinpath("pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    for number, block in enumerate(block for block in BLOCKS if block.document == document):
        if block.mark == "file":
            tmp_path.joinpath(block.words or "").write_text(block.code, encoding="utf-8")
        elif block.is_test and block.mark is None:
            tmp_path.joinpath(f"test_block_{number}.py").write_text(block.code, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider"],
        env=environment(tmp_path, PYTHONPATH=str(tmp_path)),
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=80,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\d+ passed", done.stdout), done.stdout


@pytest.mark.timeout(60)
@pytest.mark.parametrize("block", ATTACKS, ids=str)
def test_an_attack_of_a_document_fails_and_succeeds_without_its_defence(block: pages.Block, tmp_path: Path) -> None:
    tmp_path.joinpath("pytest.ini").write_text("[pytest]\nfilterwarnings = error\nmarkers = attack\n")
    tmp_path.joinpath("test_mine.py").write_text(block.code, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-v", "--no-header", "-p", "no:cacheprovider", "-p", "tests.hostile.conftest"],
        env=environment(tmp_path),
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    runs = re.findall(r"\[(\w+)\] (\w+)", done.stdout)
    assert runs == [("defended", "PASSED"), ("undefended", "PASSED")], done.stdout + done.stderr


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_every_block_compiles_and_imports_only_public_names(block: pages.Block) -> None:
    tree = ast.parse(block.code, str(block))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "mcp_login":
            assert {alias.name for alias in node.names} <= {*mcp_login.__all__, "sync"}


def test_every_program_is_run() -> None:
    assert [f"{block}: {block.words}" for block in BLOCKS if block.mark == "not run"] == []
