"""The corpus itself: what an attack has to show, and what counts as shown. Each test runs a small corpus of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.hostile.table import Parts, Table

if TYPE_CHECKING:
    from collections.abc import Callable

__all__: list[str] = []

#: Two doors, either of which keeps everybody out, and the switches that take them away.
BEGINNING = """
import sys, types
import pytest
from tests.hostile.attack import Breach, Switch, attack, refute

doors = sys.modules["doors"] = types.ModuleType("doors")
doors.front = doors.back = doors.cellar = lambda: False
OPEN = lambda: True
FRONT = Switch("front", (("doors.front", OPEN),))
BACK = Switch("back", (("doors.back", OPEN),))
BOTH = Switch("both", (("doors.front", OPEN), ("doors.back", OPEN)))
"""


@pytest.fixture
def corpus(pytester: pytest.Pytester) -> Callable[..., pytest.RunResult]:
    """Runs a corpus of one module."""

    def run(text: str, *options: str, told: Table | Parts | None = None) -> pytest.RunResult:
        pytester.makepyfile(test_house=BEGINNING + text)
        pytester.makeini("[pytest]\nmarkers = attack: one of the corpus\n")
        return pytester.runpytest_inprocess("-p", "tests.hostile.twice", *options, plugins=[told] if told else [])

    return run


def test_an_attack_fails_and_succeeds_without_its_defence(corpus: Callable[..., pytest.RunResult]) -> None:
    corpus("""
@attack("a document", FRONT)
def test_nobody_comes_in(defended):
    refute(doors.front(), "somebody is inside")
""").assert_outcomes(passed=2)


def test_an_attack_that_fails_without_its_defence_is_a_failure(corpus: Callable[..., pytest.RunResult]) -> None:
    result = corpus("""
@attack("a document", FRONT)
def test_nobody_comes_in():
    refute(doors.back(), "somebody is inside")
""")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines("*fails without its defence, too*")


@pytest.mark.parametrize(
    "end", ["assert not doors.front()", "raise ValueError", "raise ExceptionGroup('', [Breach('inside')])"]
)
def test_only_a_breach_shows_that_an_attack_succeeded(corpus: Callable[..., pytest.RunResult], end: str) -> None:
    """A test that only breaks without its defence doesn't show what the attacker would get."""
    corpus(f"""
@attack("a document", FRONT)
def test_nobody_comes_in():
    if doors.front():
        {end}
""").assert_outcomes(passed=1, failed=1)


@pytest.mark.parametrize("moment", ["setup", "teardown"])
def test_what_errs_before_or_after_is_no_success(corpus: Callable[..., pytest.RunResult], moment: str) -> None:
    result = corpus(f"""
@pytest.fixture
def house(defended):
    {"assert not doors.front()" if moment == "setup" else ""}
    yield
    assert not doors.front()

@attack("a document", FRONT)
def test_nobody_comes_in(house):
    refute(doors.front(), "somebody is inside")
""")
    assert result.parseoutcomes()["errors"] == 1
    assert result.ret == 1


def test_a_switch_of_what_there_is_not_is_an_error(corpus: Callable[..., pytest.RunResult]) -> None:
    corpus("""
@attack("a document", Switch("roof", (("doors.roof", OPEN),)))
def test_nobody_comes_in():
    raise Breach
""").assert_outcomes(failed=1, errors=1)


def test_of_several_defences_each_has_to_hold_alone(corpus: Callable[..., pytest.RunResult]) -> None:
    test = """
@attack("a document", FRONT, BACK)
def test_nobody_comes_in():
    refute(doors.front() {} doors.back(), "somebody is inside")
"""
    corpus(test.format("and")).assert_outcomes(passed=4)
    result = corpus(test.format("or"), "-v")
    result.assert_outcomes(passed=2, failed=2)
    result.stdout.fnmatch_lines(["*without front* FAILED*", "*without back* FAILED*"])


def test_what_was_skipped_is_counted_apart(corpus: Callable[..., pytest.RunResult]) -> None:
    table = Table()
    text = """
@pytest.mark.skipif(True, reason="no house here")
@attack("a document", FRONT)
def test_nobody_comes_in():
    pass

@attack("a document", BACK)
def test_nobody_goes_out():
    refute(doors.back(), "somebody is outside")

@attack("a document", BACK)
def test_nobody_knocks():
    pass
"""
    assert corpus(text, told=table).ret == 1
    assert table.lines() == [
        "defended  without   attack",
        "skipped   skipped   house: nobody comes in",
        "                    a document [front]",
        "held      breached  house: nobody goes out",
        "                    a document [back]",
        "held      FAILED    house: nobody knocks",
        "                    a document [back]",
        "3 attacks: 1 stopped, and let through without defences; 1 went otherwise, 1 skipped here",
    ]


TWO = """
@attack("a document", FRONT)
def test_nobody_comes_in():
    refute(doors.front(), "somebody is inside")

@attack("a document", BACK)
def test_nobody_goes_out():
    refute(doors.back(), "somebody is outside")
"""


def test_the_table_has_only_what_was_run(corpus: Callable[..., pytest.RunResult]) -> None:
    table = Table()
    corpus(TWO, "-k", "comes_in", told=table)
    assert table.lines()[1:] == [
        "held      breached  house: nobody comes in",
        "                    a document [front]",
        "1 attack: 1 stopped, and let through without defences",
    ]
    table = Table()
    corpus(TWO, told=table)
    assert table.lines()[-1] == "2 attacks: all stopped, and let through without defences"


def test_an_attack_that_was_run_one_way_only_has_shown_nothing(corpus: Callable[..., pytest.RunResult]) -> None:
    table = Table()
    corpus(TWO, "-k", "undefended and comes_in", told=table)
    assert table.lines()[1] == "-         breached  house: nobody comes in"
    assert table.lines()[-1] == "1 attack: 0 stopped, and let through without defences; 1 not run both ways"


def test_what_was_chosen_and_not_reached_is_counted(corpus: Callable[..., pytest.RunResult]) -> None:
    table = Table()
    corpus(TWO.replace("refute(", "refute(True or "), "-x", told=table)
    assert "nobody goes out" not in "".join(table.lines())
    assert (
        table.lines()[-1]
        == "2 attacks: 0 stopped, and let through without defences; 1 went otherwise, 1 not run both ways"
    )


def test_no_attack_is_told_as_such(corpus: Callable[..., pytest.RunResult]) -> None:
    table = Table()
    corpus(TWO, "-k", "the_cellar", told=table)
    assert table.lines()[1:] == ["No attack was run."]


def test_a_patch_that_no_attack_needs_is_found(corpus: Callable[..., pytest.RunResult]) -> None:
    parts = Parts()
    text = """
@attack("a document", BOTH)
def test_nobody_comes_in():
    refute(doors.front(), "somebody is inside")
"""
    corpus(text, "--parts", told=parts)
    assert parts.lines() == ["every attack succeeds with both, but for doors.back"]


def test_a_switch_with_one_patch_is_not_tried_without_it(corpus: Callable[..., pytest.RunResult]) -> None:
    parts = Parts()
    corpus(TWO, "--parts", told=parts)
    assert parts.lines() == ["No attack was run."]


def test_an_attack_that_cannot_be_tried_here_calls_no_patch_idle(corpus: Callable[..., pytest.RunResult]) -> None:
    parts = Parts()
    text = """
@pytest.mark.skipif(True, reason="no house here")
@attack("a document", BOTH)
def test_nobody_comes_in():
    refute(doors.front() and doors.back(), "somebody is inside")
"""
    corpus(text, "--parts", told=parts)
    assert parts.idle() == []


def test_patches_that_were_not_tried_are_not_called_idle(corpus: Callable[..., pytest.RunResult]) -> None:
    parts = Parts()
    corpus(TWO, "--parts", "--collect-only", told=parts)
    assert parts.lines() == ["No attack was run."]
