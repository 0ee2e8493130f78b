"""The documents' text: links lead somewhere, nothing public is left out, and what is named exists."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
import sys
import tomllib
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

import pytest
from fastmcp.client.auth import OAuth as FastMCPOAuth
from mcp.client.auth import OAuthClientProvider

import mcp_login
from mcp_login.cli.commands import command_line
from mcp_login.settings import LoginOptions
from tests.conformance.run import RUNS
from tests.docs.pages import DOCUMENTS, ROOT, anchors, text_of, without_code

if TYPE_CHECKING:
    from pathlib import Path

    import click

__all__: list[str] = []

_LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)")


def by_name(document: Path) -> str:
    return document.relative_to(ROOT).as_posix()


def test_there_are_documents() -> None:
    names = {by_name(document) for document in DOCUMENTS}
    assert {"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "docs/index.md", "docs/start.md"} <= names


@pytest.mark.parametrize("document", DOCUMENTS, ids=by_name)
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


@pytest.mark.parametrize("document", DOCUMENTS, ids=by_name)
def test_every_external_link_is_https_and_well_formed(document: Path) -> None:
    """Whether they answer is asked by maintainers: `sphinx-build -b linkcheck docs build/linkcheck`."""
    targets = [match["target"] for match in _LINK.finditer(without_code(document.read_text(encoding="utf-8")))]
    wrong = []
    for target in targets:
        if "://" in target or target.startswith("//"):
            parts = urlsplit(target)
            if parts.scheme != "https" or "." not in (parts.hostname or "") or parts.username or parts.port:
                wrong.append(target)
    assert wrong == []


@pytest.mark.parametrize("name", mcp_login.__all__)
def test_every_public_name_is_in_the_documents(name: str) -> None:
    described = "".join(document.read_text(encoding="utf-8") for document in ROOT.joinpath("docs").glob("*.md"))
    assert re.search(rf"(?<!\w){name}(?!\w)", described)


@pytest.mark.parametrize("name", mcp_login.__all__)
def test_every_public_name_is_in_the_reference(name: str) -> None:
    assert re.search(rf"^\.\. auto\w+:: mcp_login\.{name}$", text_of("reference/python.md"), re.MULTILINE)


def test_whole_modules_are_in_the_reference() -> None:
    modules = re.findall(r"^\.\. automodule:: (.+)$", text_of("reference/python.md"), re.MULTILINE)
    assert {"mcp_login.sync", "mcp_login.testing"} <= set(modules)


def test_every_page_is_reached_from_the_first_one() -> None:
    index = text_of("index.md")
    linked = {match["target"].partition("#")[0] for match in _LINK.finditer(index)}
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in DOCUMENTS if "docs" in path.parts}
    assert pages - {"index.md"} <= linked


def test_every_keyword_is_in_the_configuration() -> None:
    described = text_of("configuration.md")
    assert [name for name in LoginOptions.__annotations__ if f"`{name}`" not in described] == []


LIMITS = re.findall(
    r"^\| ([^|]+) \| ([^|]+) \| ([^|]+) \|$",
    text_of("configuration.md").partition("## Named limits")[2].partition("\n## ")[0],
    re.MULTILINE,
)[2:]
#: Names, and the modules that have them; a cell may have several such groups.
_NAMED = re.compile(r"(?P<names>`\w+`(?:, `\w+`)*) in (?P<modules>`[\w/]+\.py`(?: and `[\w/]+\.py`)*)")
_UNITS = {"KiB": 1 << 10, "Ki": 1 << 10, "MiB": 1 << 20, "years": 365 * 86_400}


def numbers(limit: str) -> list[float]:
    """The numbers of a cell, in its units: `1 MiB, in at most 10,000 parts`."""
    found = re.findall(r"(?<![\w.])(\d[\d,]*(?:\.\d+)?)(?: (KiB|Ki|MiB|years)\b)?", re.sub(r"`[^`]*`", "", limit))
    return [float(number.rstrip(",").replace(",", "")) * _UNITS.get(unit, 1) for number, unit in found]


def values(name: str, module: str) -> list[float]:
    """What `name` is in `module`: a constant with one number or several, or a parameter with a default."""
    loaded = importlib.import_module(f"mcp_login.{module.removesuffix('.py').replace('/', '.')}")
    if hasattr(loaded, name):
        value = getattr(loaded, name)
        return [float(one) for one in (value if isinstance(value, tuple) else [value])]
    defaults = re.findall(rf"^ +{name}: \w+ = ([\d.]+),$", inspect.getsource(loaded), re.MULTILINE)
    assert defaults != [], f"{name} is not in {module}"
    assert len(set(defaults)) == 1, f"{name} has several defaults in {module}"
    return [float(defaults[0])]


@pytest.mark.parametrize(("what", "limit", "where"), LIMITS, ids=[row[0] for row in LIMITS])
def test_every_limit_in_the_configuration_is_that_of_the_module_it_names(what: str, limit: str, where: str) -> None:
    named = [(match["names"], match["modules"]) for match in _NAMED.finditer(where)]
    assert "`" not in re.sub(r"`[\w/]+\.py`", "", _NAMED.sub("", where)), "a name without its module"
    for module in re.findall(r"`([\w/]+\.py)`", where):
        assert ROOT.joinpath("src", "mcp_login", module).exists()
    real = [
        value
        for names, modules in named
        for name in names.replace("`", "").split(", ")
        for module in modules.replace("`", "").split(" and ")
        for value in values(name, module)
    ]
    said = numbers(limit)
    if real:
        assert real == (said * len(real) if len(said) == 1 else said)


def test_there_are_limits_with_and_without_an_underscore() -> None:
    cells = " ".join(where for _, _, where in LIMITS)
    assert {"DEADLINE", "_LIMIT", "patience"} <= set(re.findall(r"`(\w+)`", cells))
    assert numbers("1 MiB, in at most 10,000 parts, 0.25, `MAX_2`") == [1 << 20, 10_000, 0.25]


def layers() -> list[list[str]]:
    """The modules of each layer of the contract that import-linter checks, from the one that nobody imports."""
    settings = tomllib.loads(ROOT.joinpath("pyproject.toml").read_text(encoding="utf-8"))
    [contract] = [one for one in settings["tool"]["importlinter"]["contracts"] if one["type"] == "layers"]
    return [layer.split(" | ") for layer in contract["layers"]]


def test_the_chain_of_imports_in_the_design_is_that_of_the_contract() -> None:
    [chain] = re.findall(r"`([^`]* → [^`]*)`", text_of("design.md").partition("## 2.")[2].partition("## 3.")[0])
    assert [re.findall(r"\w+", layer) for layer in chain.split("→")] == layers()


def test_the_house_that_contributing_draws_has_all_modules() -> None:
    drawn = ROOT.joinpath("CONTRIBUTING.md").read_text(encoding="utf-8").partition("src/mcp_login/\n")[2]
    rows = re.findall(r"^  ((?:\w+(?:\.py|/)(?:, )?)+) +\S", drawn.partition("\ntests/")[0], re.MULTILINE)
    names = [name.removesuffix(".py").removesuffix("/") for row in rows for name in row.split(", ")]
    assert sorted(names) == sorted(["__init__", *(name for layer in layers() for name in layer)])


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


def test_what_the_moving_page_maps_to_exists() -> None:
    """The second column of its last table has options of the command, the third keywords of `OAuth`."""
    commands = cast("click.Group", command_line).commands
    options = {option for command in commands.values() for parameter in command.params for option in parameter.opts}
    rows = re.findall(r"^\|(.*)\|(.*)\|(.*)\|$", text_of("moving.md"), re.MULTILINE)
    assert len(rows) > 10
    for _, option, keyword in rows:
        assert set(re.findall(r"`(--[\w-]+)", option)) <= options
        assert set(re.findall(r"`([a-z_]+)[`=]", keyword)) <= set(LoginOptions.__annotations__)


def test_the_moving_page_maps_every_keyword_of_the_other_classes() -> None:
    for head, theirs in (("| `OAuthClientProvider` |", OAuthClientProvider), ("| FastMCP's `OAuth` |", FastMCPOAuth)):
        table = text_of("moving.md").partition(head)[2].partition("\n\n")[0]
        names = list(inspect.signature(theirs).parameters)
        assert [name for name in names if f"`{name}`" not in table and f"`{name}." not in table] == []


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


def test_the_sequence_diagram_is_what_its_script_draws() -> None:
    """After a change: `python docs/diagrams.py`."""
    spec = importlib.util.spec_from_file_location("diagrams", ROOT / "docs" / "diagrams.py")
    assert spec is not None
    assert spec.loader is not None
    diagrams = importlib.util.module_from_spec(spec)
    # its dataclasses look their module up
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "diagrams", diagrams)
        spec.loader.exec_module(diagrams)
        assert diagrams.IMAGE.read_text(encoding="utf-8") == diagrams.draw()


def test_the_sequence_diagram_has_the_steps_of_the_page() -> None:
    drawn = ROOT.joinpath("docs", "images", "login-sequence.svg").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+)\. ", text_of("how-a-login-works.md"), re.MULTILINE)
    numbers = re.findall(r'class="step"[^>]*>([\d, ]+)', drawn)
    assert [number for group in numbers for number in group.replace(" ", "").split(",") if number] == rows
    assert "<title" in drawn
    assert "<desc" in drawn
