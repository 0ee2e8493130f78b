"""The documents: their code compiles, what is marked runnable runs, their links lead somewhere, and nothing public is left out.

A Python block after the line `<!-- runnable -->` is run as it stands in a process of its own, against the embedded server in
place of https://mcp.example.com/mcp. The browser is the stand-in of the conformance runs.
"""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import mcp_login
from mcp_login import errors
from mcp_login.settings import LoginOptions
from mcp_login.testing import EmbeddedServer
from tests.conformance.run import RUNS

__all__: list[str] = []

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.joinpath("docs").rglob("*.md")])
BROWSER = ROOT / "tests" / "conformance" / "browser.py"
URL = "https://mcp.example.com/mcp"

_BLOCK = re.compile(r"^(?P<mark><!-- runnable -->\n)?```python\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
_FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\((?P<target>[^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """A block of Python in a document."""

    document: Path
    line: int
    code: str
    runnable: bool

    def __str__(self) -> str:
        return f"{self.document.relative_to(ROOT)}:{self.line}"


def blocks() -> list[Block]:
    found = []
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        for match in _BLOCK.finditer(text):
            line = text.count("\n", 0, match.start("code")) + 1
            found.append(Block(document, line, match["code"], match["mark"] is not None))
    return found


def text_of(name: str) -> str:
    return ROOT.joinpath("docs", name).read_text(encoding="utf-8")


def without_code(text: str) -> str:
    return _FENCED.sub("", text)


def anchors(document: Path) -> set[str]:
    """The anchors of its headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", without_code(document.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_there_are_documents() -> None:
    names = {str(document.relative_to(ROOT)) for document in DOCUMENTS}
    assert {"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "docs/index.md"} <= names
    assert [block for block in blocks() if block.runnable] != []


@pytest.mark.parametrize("block", blocks(), ids=str)
def test_every_block_of_python_compiles_and_names_what_exists(block: Block) -> None:
    tree = ast.parse(block.code, str(block))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "mcp_login":
            assert {alias.name for alias in node.names} <= {*mcp_login.__all__, "sync"}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("block", [block for block in blocks() if block.runnable], ids=str)
def test_every_block_that_is_marked_runnable_runs(block: Block, home: Path) -> None:
    browser = f"{shlex.quote(sys.executable)} {shlex.quote(str(BROWSER))} %s"
    with EmbeddedServer(auto_approve=True).run() as server:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", block.code.replace(URL, server.url)],
            env={**os.environ, "BROWSER": browser, "MCP_LOGIN_STORAGE": "memory"},
            cwd=home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=50,
        )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_relative_link_leads_to_something(document: Path) -> None:
    broken = []
    for match in _LINK.finditer(without_code(document.read_text(encoding="utf-8"))):
        target = match["target"]
        if target.startswith(("https://", "mailto:")):
            continue
        path, _, fragment = target.partition("#")
        place = document if not path else (document.parent / path).resolve()
        found = place.exists() and place.is_relative_to(ROOT)
        if not found or (fragment and fragment not in anchors(place)):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("name", mcp_login.__all__)
def test_every_public_name_is_in_the_documents(name: str) -> None:
    described = "".join(document.read_text(encoding="utf-8") for document in ROOT.joinpath("docs").rglob("*.md"))
    assert re.search(rf"(?<!\w){name}(?!\w)", described)


def test_every_error_has_an_entry_with_cause_and_next_step() -> None:
    classes = {name for name in errors.__all__ if isinstance(getattr(errors, name), type)}
    entries = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", text_of("errors.md"), re.MULTILINE | re.DOTALL))
    assert classes <= set(entries)
    for name in classes - {"AuthError"}:
        assert "**Cause.**" in entries[name], name
        assert "**Next.**" in entries[name], name


def test_every_keyword_is_in_the_configuration() -> None:
    described = text_of("configuration.md")
    assert [name for name in LoginOptions.__annotations__ if f"`{name}`" not in described] == []


def test_every_named_limit_in_the_configuration_is_in_the_module_it_names() -> None:
    limits = re.findall(r"`([A-Z][A-Z_]+)` in `([\w/]+\.py)`", text_of("configuration.md"))
    assert limits != []
    for name, module in limits:
        source = ROOT.joinpath("src", "mcp_login", module).read_text(encoding="utf-8")
        assert re.search(rf"^{name}\b.*=", source, re.MULTILINE), f"{name} is not in {module}"


def test_every_module_and_test_that_the_specification_page_names_exists() -> None:
    page = text_of("specification.md")
    tests = re.findall(r"`([\w/]+\.py)::(\w+)`", page)
    assert tests != []
    for file, name in tests:
        source = ROOT.joinpath("tests", "unit", file).read_text(encoding="utf-8")
        assert re.search(rf"^\s*(async )?def {name}\(", source, re.MULTILINE), f"{name} is not in {file}"
    scenarios = {run.scenario.removeprefix("auth/") for run in RUNS}
    assert set(re.findall(r"`conformance/([\w-]+)`", page)) - {"NAME"} <= scenarios
    modules = re.findall(r"`([\w/]+\.py)`", page)
    assert [name for name in modules if not ROOT.joinpath("src", "mcp_login", name).exists()] == []


def test_every_benchmark_has_a_section() -> None:
    page = text_of("benchmarks.md")
    scripts = [path.name for path in ROOT.joinpath("benchmarks").glob("[a-z]*.py")]
    assert [name for name in scripts if f"benchmarks/{name}" not in page] == []


def test_every_example_says_how_it_is_started() -> None:
    examples = sorted(ROOT.joinpath("examples").glob("*.py"))
    assert len(examples) >= 7
    for example in examples:
        docstring = ast.get_docstring(ast.parse(example.read_text(encoding="utf-8"))) or ""
        assert f"python examples/{example.name}" in docstring
