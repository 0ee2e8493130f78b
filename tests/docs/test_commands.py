"""The shell commands of the documents: those that use mcp-login are run, document by document, in one shell each.

`python -m pip install` is left out: the environment has what it would bring. A page's output is compared where it is shown.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from mcp_login.testing import EmbeddedServer
from tests.docs import pages
from tests.docs.run_blocks import with_free_ports
from tests.docs.test_python import URL, environment
from tests.real import parts

__all__: list[str] = []

BLOCKS = pages.blocks("sh")
SHELL = shutil.which("sh")
#: Git for Windows brings an `sh`, too: it changes paths on their way to programs, and the addresses that begin with a slash.
needs_a_shell = pytest.mark.skipif(
    SHELL is None or sys.platform == "win32", reason="the commands are for the shells of Linux and macOS"
)
#: Printed after each block, so that the output can be told apart.
END = "\x1e"

_PIP = re.compile(r"^(?:\S+ )?-m pip install [^&\n]*(?:&& )?", re.MULTILINE)


def is_run(block: pages.Block) -> bool:
    return block.mark is None and "mcp-login" in block.code


RUN = sorted({block.document for block in BLOCKS if is_run(block)})


def script(document: Path, server: str) -> str:
    """The document's commands as one program."""
    commands = [block.code for block in BLOCKS if block.document == document and is_run(block)]
    return with_free_ports("".join(f"{_PIP.sub('', code).replace(URL, server)}\nprintf '{END}'\n" for code in commands))


@needs_a_shell
@pytest.mark.timeout(90)
@pytest.mark.parametrize("document", RUN, ids=lambda path: str(path.relative_to(pages.ROOT)))
def test_the_commands_of_a_document_run_and_print_what_is_shown(document: Path, home: Path) -> None:
    chosen = [block for block in BLOCKS if block.document == document and is_run(block)]
    if any("curl" in block.code for block in chosen) and shutil.which("curl") is None:
        assert not parts.in_ci(), "curl is missing"
        pytest.skip("curl is missing")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    with EmbeddedServer(auto_approve=True).run() as server:
        done = subprocess.run(
            [SHELL or "sh", "-eu", "-c", script(document, server.url)],
            env=environment(home, PATH=path),
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=80,
        )
    assert done.returncode == 0, done.stdout
    for block, printed in zip(chosen, done.stdout.split(END), strict=False):
        if block.output is not None:
            assert pages.matches(block.output, printed.replace(server.url, URL)), f"{block}: {printed}"


@needs_a_shell
@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_every_block_of_commands_is_a_shell_program(block: pages.Block) -> None:
    done = subprocess.run(
        [SHELL or "sh", "-n", "-c", block.code], capture_output=True, text=True, check=False, timeout=20
    )
    assert done.returncode == 0, done.stderr


def test_few_commands_are_not_run() -> None:
    """What needs a terminal, a second machine, Docker or npm. All else has no excuse."""
    reasons = [f"{block.document.name}: {block.words}" for block in BLOCKS if block.mark == "not run"]
    assert sorted(reasons) == [
        "README.md: tests/real/newcomer.py runs it, in a fresh clone and a fresh environment",
        "headless.md: needs Docker",
        "headless.md: needs a forwarded port",
        "headless.md: needs a second machine",
        "headless.md: needs a terminal; tests/flows/test_command_line.py does it over a pseudo-terminal",
        "moving.md: needs Node and a package from npm",
    ]


@pytest.mark.parametrize("block", pages.blocks("json", "toml"), ids=str)
def test_every_block_of_data_can_be_read(block: pages.Block) -> None:
    read = {"json": json.loads, "toml": tomllib.loads}[block.language]
    assert read(block.code) is not None


def test_no_language_that_nothing_checks_is_used() -> None:
    """Commands are `sh` and Python is `python`: those are run."""
    assert [str(block) for block in pages.blocks("bash", "console", "py", "pycon", "shell")] == []
