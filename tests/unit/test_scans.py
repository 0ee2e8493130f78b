"""The checks of tests/run.py that look for leaked keys and for known vulnerabilities can fail, and say what they can't see."""

from __future__ import annotations

import base64
import secrets
import shutil
import string
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests import leaks
from tests.vulnerabilities import KNOWN_TO_BE_VULNERABLE, SKIPPED, installed_with, verdict

if TYPE_CHECKING:
    from pathlib import Path

__all__: list[str] = []


def some(count: int, letters: str = string.ascii_letters + string.digits) -> str:
    return "".join(secrets.choice(letters) for _ in range(count))


#: Made anew each time: one that stood here would be found.
PLANTED = {
    "AWS access key": lambda: "AKIA" + some(16, string.ascii_uppercase + string.digits),
    "GitHub token": lambda: "ghp_" + some(36),
    "private key": lambda: "-----BEGIN " + "OPENSSH PRIVATE KEY-----",
    "password in a URL": lambda: f"https://me:{some(12)}@mcp.test/",
    "signed token": lambda: ".".join(
        base64.urlsafe_b64encode(part).decode().rstrip("=") for part in (b'{"alg":"none"}', b'{"sub":"me"}', b"\0" * 20)
    ),
    "random string": lambda: f"'{base64.urlsafe_b64encode(secrets.token_bytes(60)).decode()}'",
}


@pytest.mark.parametrize("kind", PLANTED)
def test_a_planted_key_is_found_and_not_shown(kind: str) -> None:
    planted = PLANTED[kind]()
    [found] = set(leaks.findings([("nothing", "a.txt:1"), (f"key = {planted}", "b.txt:7")]))
    assert found.startswith("b.txt:7: ")
    assert planted not in found


@pytest.mark.parametrize(
    "value", ["s3cret-of-a-test-0123456789-abcdefghijklmn", "AKIAIOSFODNN7EXAMPLE", *leaks.PUBLISHED]
)
def test_what_says_that_it_was_made_up_and_what_was_published_is_passed_over(value: str) -> None:
    assert list(leaks.findings([(f'token = "{value}"', "a.py:1")])) == []


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """An empty one of git."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    git(tmp_path, "init", "--quiet")
    return tmp_path


def git(folder: Path, *words: str) -> None:
    who = ["-c", "user.name=somebody", "-c", "user.email=somebody@mcp.test", "-c", "commit.gpgSign=false"]
    subprocess.run(["git", "-C", str(folder), *who, *words], check=True, capture_output=True)


def test_a_key_is_found_before_it_is_committed_and_for_ever_after(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, planted = "settings \u010d.env", PLANTED["GitHub token"]()
    file = repository / name
    file.write_text("nothing\n", encoding="utf-8")
    git(repository, "add", ".")
    git(repository, "commit", "--quiet", "--message=one")
    assert leaks.main([str(repository)]) == 0

    file.write_text(f"nothing\nTOKEN={planted}\n", encoding="utf-8")
    assert leaks.main([str(repository)]) == 1
    assert f"{name}:2: GitHub Token" in capsys.readouterr().out

    git(repository, "commit", "--quiet", "--all", "--message=two")
    file.unlink()
    git(repository, "commit", "--quiet", "--all", "--message=three")
    assert leaks.main([str(repository)]) == 1
    said = capsys.readouterr().out
    assert f"{name} in the commit " in said
    assert planted not in said


def test_without_a_clone_the_search_for_keys_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert leaks.main([str(tmp_path)]) == leaks.SKIPPED
    assert "no clone" in capsys.readouterr().out


TRIAL = {"name": KNOWN_TO_BE_VULNERABLE[0], "version": KNOWN_TO_BE_VULNERABLE[1], "vulns": [{"id": "PYSEC-2019-217"}]}
FINE = {"name": "httpx", "version": "0.28.1", "vulns": []}
UNKNOWN = {"name": "anyio", "skip_reason": "Dependency not found on PyPI and could not be audited: anyio (4.16.0)"}
BAD = {"name": "h11", "version": "0.15.0", "vulns": [{"id": "GHSA-vqfr-h8mv-ghfj", "fix_versions": ["0.16.0"]}]}


def test_a_known_vulnerability_fails_and_is_told_with_what_mends_it() -> None:
    assert verdict([FINE, BAD, TRIAL]) == (1, ["h11 0.15.0: GHSA-vqfr-h8mv-ghfj, mended in 0.16.0"])


def test_a_service_that_knows_the_trial_and_nothing_of_ours_passes() -> None:
    assert verdict([FINE, TRIAL]) == (0, ["nothing is known against 1 packages"])


@pytest.mark.parametrize(
    ("reports", "reason"),
    [
        ([], "no answer in 120 seconds"),
        # an index without advisories: to pip-audit all is well
        ([FINE, {**TRIAL, "vulns": []}], "the service knows nothing against jinja2==2.10"),
        ([UNKNOWN, {"name": "jinja2", "skip_reason": "not found: jinja2"}], "not found: jinja2"),
        ([FINE, UNKNOWN, TRIAL], UNKNOWN["skip_reason"]),
    ],
)
def test_what_nobody_answered_for_has_not_passed(reports: list[dict[str, Any]], reason: str) -> None:
    status, [said] = verdict(reports, reason if not reports else "")
    assert status == SKIPPED
    assert said.endswith(reason)


def test_the_dependencies_of_all_extras_are_asked_about_and_those_of_the_tests_are_not() -> None:
    base, everything = installed_with("mcp-login"), installed_with("mcp-login", ["cli", "httpx2", "testing"])
    assert {"httpx", "keyring", "pydantic", "anyio", "httpcore", "certifi"} <= set(base)
    assert {"click", "httpx2", "starlette", "uvicorn"} <= set(everything) - set(base)
    assert not {"mcp-login", "pytest", "fastmcp", KNOWN_TO_BE_VULNERABLE[0]} & set(everything)
