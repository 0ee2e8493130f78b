"""A user's agent project, in a folder of its own, tests its own login with the kit: briefly, quickly, and touching nothing."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.flows.users_machine import UsersMachine

if TYPE_CHECKING:
    from pathlib import Path

__all__: list[str] = []

AGENT = '''\
import httpx

from mcp_login import OAuth, login


def tools(url: str) -> list[str]:
    """What the server at `url` offers."""
    with httpx.Client(auth=OAuth(url)) as http:
        answer = http.post(url, json={"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
        return [tool["name"] for tool in answer.json()["result"]["tools"]]


async def scopes(url: str) -> tuple[str, ...]:
    """What this agent may do there."""
    return (await login(url)).scopes
'''

TESTS = """\
import asyncio

import agent
import pytest
from mcp_login import AuthorizationErrorResponse


def test_login(mcp_login_server):
    assert "whoami" in agent.tools(mcp_login_server.url)
    assert asyncio.run(agent.scopes(mcp_login_server.url)) == ("mcp",)
    assert len(mcp_login_server.authorizations) == 1


@pytest.mark.mcp_login_person("deny")
def test_refusal(mcp_login_server):
    with pytest.raises(AuthorizationErrorResponse):
        agent.tools(mcp_login_server.url)
"""

#: What the same agent does without the kit, until its time is up.
WITHOUT = """\
from mcp_login import LoginTimeout
from mcp_login.sync import login
from mcp_login.testing import EmbeddedServer

with EmbeddedServer().run() as server:
    try:
        login(server.url, callback_timeout=1)
    except LoginTimeout:
        print("waited for a browser")
"""


@pytest.fixture
def machine(tmp_path: Path) -> UsersMachine:
    made = UsersMachine.at(tmp_path)
    made.project.joinpath("agent.py").write_text(AGENT)
    made.project.joinpath("test_agent.py").write_text(TESTS)
    return made


def run(machine: UsersMachine, *command: str, **variables: str) -> str:
    done = subprocess.run(
        [sys.executable, *command],
        cwd=machine.project,
        env=machine.environment(**variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=25,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def duration(output: str) -> float:
    """What pytest says of itself in its closing line, in seconds."""
    found = re.search(r"=+ 2 passed in ([\d.]+)s =+\s*$", output)
    assert found is not None, output
    return float(found[1])


def test_its_tests_have_less_than_twenty_lines_and_nothing_else() -> None:
    assert len(TESTS.splitlines()) < 20
    assert "isolated" not in TESTS + AGENT


@pytest.mark.timeout(90)
@pytest.mark.parametrize("variables", [{"CI": "true"}, {}], ids=["in CI", "not in CI"])
def test_they_pass_and_leave_no_trace(machine: UsersMachine, variables: dict[str, str]) -> None:
    run(machine, "-m", "pytest", **variables)
    assert machine.traces() == []


@pytest.mark.alone
@pytest.mark.timeout(90)
def test_they_take_less_than_a_second(machine: UsersMachine) -> None:
    run(machine, "-m", "pytest")  # compiles what it imports
    # The best of some, as the machine may be busy with other things.
    durations: list[float] = []
    while not durations or (min(durations) >= 1 and len(durations) < 6):
        durations.append(duration(run(machine, "-m", "pytest")))
    assert min(durations) < 1, durations


def test_without_the_kit_the_same_machine_has_its_keychain_and_browser_used(machine: UsersMachine) -> None:
    assert run(machine, "-c", WITHOUT) == "waited for a browser\n"
    assert {"browser", "keychain"} <= set(machine.traces())
