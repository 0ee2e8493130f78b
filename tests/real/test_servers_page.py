"""docs/servers.md says which versions the flows beside this file are run against."""

from __future__ import annotations

import json
from importlib.metadata import version

import pytest

from tests.real import parts

__all__: list[str] = []

pytestmark = pytest.mark.real


def test_the_page_names_the_versions_that_are_installed() -> None:
    for part in ("node", "oidc-provider"):
        parts.need(part)
    page = (parts.ROOT / "docs" / "servers.md").read_text(encoding="utf-8")
    [line] = [line for line in page.splitlines() if line.startswith("| version |")]
    assert [cell.strip() for cell in line.strip("| ").split("|")] == [
        "version",
        f"{node_package('oidc-provider')}, Node {node_package('node')}",
        version("mcp"),
        version("fastmcp"),
        version("fastmcp"),
    ]


def node_package(name: str) -> str:
    """The installed version of a Node package."""
    description = json.loads((parts.folder() / "node_modules" / name / "package.json").read_text(encoding="utf-8"))
    found: str = description["version"]
    return found
