"""What the command line writes: columns, words for durations, warnings in one line."""

from __future__ import annotations

import logging

import pytest

from mcp_login.cli.screen import duration, fields, show_warnings, table

__all__: list[str] = []


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-3, "0 seconds"),
        (1, "1 second"),
        (90, "90 seconds"),
        (300, "5 minutes"),
        (3599.6, "60 minutes"),
        (86400, "24 hours"),
        (30 * 86400, "30 days"),
    ],
)
def test_durations_are_told_in_the_unit_people_use(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_values_are_aligned() -> None:
    assert fields([("a", "1"), ("long", "2")]) == "  a     1\n  long  2"


def test_a_table_is_aligned_and_shows_no_control_characters() -> None:
    assert table(("A", "BB"), [("long", "\x1b[31mx")]) == "A     BB\nlong  [31mx"


def test_the_library_s_warnings_are_lines_for_people_and_other_libraries_are_silent(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logger, root = logging.getLogger("mcp_login"), logging.getLogger()
    before, propagate = list(root.handlers), logger.propagate
    show_warnings()
    show_warnings()
    try:
        logger.warning("the answer\nis %s", 42)
        logger.info("not this")
        assert capsys.readouterr().err == "Warning: the answer is 42\n"
    finally:
        logger.handlers.clear()
        logger.propagate = propagate
        root.handlers[:] = before
