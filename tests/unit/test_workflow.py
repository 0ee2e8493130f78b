"""The public CI runs what people run, on what pyproject.toml promises, with no more rights than reading."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

__all__: list[str] = []

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted(ROOT.joinpath(".github", "workflows").glob("*.yml"))


def load(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = YAML(typ="safe").load(path)
    return found


def jobs(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = load(path)["jobs"]
    return found


def matrix() -> dict[str, Any]:
    found: dict[str, Any] = jobs(ROOT / ".github" / "workflows" / "ci.yml")["tests"]["strategy"]["matrix"]
    return found


def project() -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads(ROOT.joinpath("pyproject.toml").read_text(encoding="utf-8"))["project"]
    return found


def test_there_is_a_workflow() -> None:
    assert [path.name for path in WORKFLOWS] == ["ci.yml"]


def test_it_runs_on_every_python_that_the_classifiers_name() -> None:
    classified = re.findall(
        r"^Programming Language :: Python :: (3\.\d+)$", "\n".join(project()["classifiers"]), re.MULTILINE
    )
    assert matrix()["python"] == classified
    assert project()["requires-python"] == f">={classified[0]}"


def test_it_runs_on_linux_macos_and_windows() -> None:
    assert [system.partition("-")[0] for system in matrix()["os"]] == ["ubuntu", "macos", "windows"]
    assert set(matrix()) == {"os", "python"}  # nothing is left out of the product


def test_it_runs_the_command_of_the_readme() -> None:
    readme = ROOT.joinpath("README.md").read_text(encoding="utf-8")
    [command] = re.findall(r"^(python tests/run\.py\b.*)$", readme, re.MULTILINE)
    tests = jobs(ROOT / ".github" / "workflows" / "ci.yml")["tests"]
    assert command in [step.get("run") for step in tests["steps"]]
    assert tests["env"]["CI"] == "true"


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_every_action_is_pinned_to_a_commit_and_its_version_is_named(path: Path) -> None:
    used = re.findall(r"^\s*(?:- )?uses: *(.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    assert used != []
    assert [line for line in used if not re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line)] == []
    commits: dict[str, str] = {}
    for line in used:
        name, _, version = line.partition("@")
        assert commits.setdefault(name, version) == version


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_it_may_only_read_and_is_given_no_secret(path: Path) -> None:
    workflow = load(path)
    assert workflow["permissions"] == {"contents": "read"}
    assert [name for name, job in workflow["jobs"].items() if "permissions" in job] == []
    text = path.read_text(encoding="utf-8")
    assert [word for word in ("secrets", "github.token", "pull_request_target", "id-token") if word in text] == []
    checkouts = [
        step for job in workflow["jobs"].values() for step in job["steps"] if "checkout" in step.get("uses", "")
    ]
    assert [step for step in checkouts if step["with"]["persist-credentials"] is not False] == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_it_cannot_run_for_ever_nor_beside_a_newer_run(path: Path) -> None:
    workflow = load(path)
    assert workflow["concurrency"]["cancel-in-progress"] is True
    assert [name for name, job in workflow["jobs"].items() if not 0 < job.get("timeout-minutes", 0) <= 60] == []
