"""SIGKILL in the middle of a refresh or a login, and what a later process finds.

The storage is readable, with the old record or the new one; a login is lost only where the server had rotated and the answer
was not written yet. All points, on both storages, and 200 random ones: benchmarks/kills.py.
"""

from __future__ import annotations

import contextlib
import os
import platform
from typing import TYPE_CHECKING

import pytest

if platform.system() != "Linux":
    pytest.skip("the calls are told apart by /proc, and the Secret Service is Linux's", allow_module_level=True)

from tests.real.kills import SCENARIOS, End, Kills, Scenario, summary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__: list[str] = []

# A process that is told when to die is told by its calls, whose order has to be that of a process before it.
pytestmark = [pytest.mark.alone, pytest.mark.timeout(170)]


@pytest.fixture
def kills(tmp_path: Path) -> Iterator[Callable[..., Kills]]:
    """Processes with a storage of files, or with the keychain of an environment."""
    with contextlib.ExitStack() as stack:

        def start(environment: dict[str, str] | None = None) -> Kills:
            if environment is None:
                return stack.enter_context(Kills("file", tmp_path / "logins", os.environ))
            return stack.enter_context(Kills("keychain", tmp_path / "logins", environment))

        yield start


def check(kills: Kills, ends: list[End], scenario: Scenario) -> None:
    """Nothing is unreadable, and nothing is lost outside of the window."""
    said = summary(ends, scenario) + "\n" + "\n".join(kills.errors)
    assert not any(end.problem(scenario) for end in ends), said
    assert {end.stored for end in ends} - {"none"} <= {"old", "new"}, said
    # From the last of the request to the one write that is visible to others.
    calls = kills.window(scenario, 1).calls
    lost = {f"{end.when} {end.call}" for end in ends if end.lost}
    outside = {f"before {calls[0]}", f"half {calls[0]}", f"after {calls[-1]}", "exit "}
    assert not lost & outside, said
    # The browser is served, and the end of a connection noticed, beside the exchange: where these calls fall is chance.
    beside = {name for name in lost if name.endswith((" browser", " nobody"))}
    assert {name.partition(" ")[2] for name in lost - beside} - {""} <= set(calls), said


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_process_that_is_killed_at_any_call_to_the_machine_leaves_a_readable_login(
    kills: Callable[..., Kills], scenario: Scenario
) -> None:
    processes = kills()
    # A login has three times as many calls: benchmarks/kills.py meets each of them in each of the ways.
    ends = list(processes.walk(scenario) if scenario == "refresh" else processes.walk(scenario, ["after"], stride=3))
    check(processes, ends, scenario)
    before = "none" if scenario == "login" else "old"
    # Whether the stride hits one of the few calls after the write depends on how many there are before it.
    assert {before} <= {end.stored for end in ends} <= {before, "new"}
    assert any(end.lost for end in ends), "no kill fell into the window: were the calls caught?"


def test_a_process_that_is_killed_at_a_random_moment_leaves_a_readable_login(kills: Callable[..., Kills]) -> None:
    processes = kills()
    check(processes, list(processes.at_random("refresh", 20, seed=4)), "refresh")


def test_a_process_that_ends_at_any_await_point_of_a_refresh_loses_nothing(kills: Callable[..., Kills]) -> None:
    processes = kills()
    ends = list(processes.leave("refresh"))
    check(processes, ends, "refresh")
    assert len(ends) > 10
    assert not any(end.lost for end in ends), summary(ends, "refresh")


@pytest.mark.real
@pytest.mark.parametrize(("scenario", "stride"), [("refresh", 6), ("login", 12), ("login again", 12)])
def test_a_process_that_is_killed_at_calls_to_the_keychain_leaves_a_readable_login(
    kills: Callable[..., Kills], secret_service: dict[str, str], scenario: Scenario, stride: int
) -> None:
    processes = kills(secret_service)
    ends = list(processes.walk(scenario, ["after"], stride=stride))
    check(processes, ends, scenario)
    assert len(ends) > 10
    before = "none" if scenario == "login" else "old"
    # Whether the stride hits one of the few calls after the write depends on how many there are before it.
    assert {before} <= {end.stored for end in ends} <= {before, "new"}
