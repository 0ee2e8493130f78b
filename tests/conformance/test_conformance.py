"""The official conformance suite for MCP clients: every `auth/` scenario that is no extension, each run singly.

14 scenarios at 2025-11-25 and at 2026-07-28, 11 at 2026-07-28, the two of 2025-03-26 at that version: 41 runs.
"""

from __future__ import annotations

import sys

import pytest

from tests.conformance.client import REFUSED
from tests.conformance.run import ALLOWED_TO_FAIL, RUNS, Run, run
from tests.real import parts

__all__: list[str] = []

pytestmark = [pytest.mark.real, pytest.mark.timeout(150)]


@pytest.mark.parametrize("wanted", RUNS, ids=str)
def test_the_client_passes_every_check_of_the_scenario(wanted: Run) -> None:
    result = run(wanted, node=parts.need("node"), conformance=parts.need("conformance"))
    # shown where the test fails
    sys.stdout.write(result.output)

    assert not result.skipped
    assert result.named("FAILURE", "WARNING") == []
    assert result.named("SUCCESS") != []
    if wanted.scenario in ALLOWED_TO_FAIL:
        # the refusal reaches the caller through the MCP SDK as what it is, and nothing crashed
        assert (result.client_status, result.refusals) == (REFUSED, (ALLOWED_TO_FAIL[wanted.scenario],))
    else:
        assert result.client_status == 0
    assert result.status == 0


def test_the_runs_are_those_that_the_suite_has() -> None:
    assert len(RUNS) == len(set(RUNS)) == 41
    assert len({each.scenario for each in RUNS}) == 27
