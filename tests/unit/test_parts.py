"""Where a part of the machine is missing: a failure in CI where it is to be had, else a skipped test with a reason."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.real import parts

if TYPE_CHECKING:
    from pathlib import Path

__all__: list[str] = []

#: The systems of the public CI, as `sys.platform` has them.
SYSTEMS = ["linux", "darwin", "win32"]


def programs(folder: Path, *names: str) -> str:
    """A PATH on which there are programs of these names alone."""
    for name in names:
        program = folder / (f"{name}.exe" if os.name == "nt" else name)
        program.write_text("#!/bin/sh\n", encoding="utf-8")
        program.chmod(0o700)
    return str(folder)


@pytest.mark.parametrize("part", ["chromium", "chromedriver", "secret-service"])
def test_debian_packages_are_to_be_had_on_linux_with_apt_get(
    part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", programs(tmp_path, "apt-get", "npm"))
    assert [system for system in SYSTEMS if parts.to_be_had(part, system=system)] == ["linux"]
    (tmp_path / "bare").mkdir()
    monkeypatch.setenv("PATH", programs(tmp_path / "bare", "npm"))
    assert not parts.to_be_had(part, system="linux")


@pytest.mark.parametrize("part", ["axe-core", "conformance", "node", "oidc-provider"])
def test_node_packages_are_to_be_had_on_linux_with_npm(
    part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", programs(tmp_path, "apt-get", "npm"))
    assert [system for system in SYSTEMS if parts.to_be_had(part, system=system)] == ["linux"]
    (tmp_path / "bare").mkdir()
    monkeypatch.setenv("PATH", programs(tmp_path / "bare", "apt-get"))
    assert not parts.to_be_had(part, system="linux")


@pytest.mark.parametrize("system", SYSTEMS)
def test_python_packages_are_to_be_had_everywhere(system: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert parts.to_be_had("mcp1", system=system)


@pytest.mark.parametrize(
    ("ci", "npm", "outcome"),
    [("true", True, "failed"), ("true", False, "skipped"), ("", True, "skipped"), ("", False, "skipped")],
)
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it is always skipped")
@pytest.mark.timeout(90)
def test_a_missing_part_fails_a_test_only_in_ci_and_only_where_it_is_to_be_had(
    ci: str, npm: bool, outcome: str, tmp_path: Path
) -> None:
    (tmp_path / "test_one.py").write_text(
        "from tests.real.parts import need\n\n\ndef test_one():\n    need('conformance')\n", encoding="utf-8"
    )
    (tmp_path / "programs").mkdir()
    environment = {
        "CI": ci,
        "MCP_LOGIN_PARTS": str(tmp_path / "nothing"),
        "PATH": programs(tmp_path / "programs", *(["npm"] if npm else [])),
        "PYTHONPATH": str(parts.ROOT),
    }
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-rsf", "-p", "no:cacheprovider", "test_one.py"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=80,
    )
    assert f"1 {outcome}" in done.stdout
    assert "conformance is not installed: run `python tests/real/parts.py install`" in done.stdout
