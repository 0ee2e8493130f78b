"""What the command line writes: columns, words for durations, warnings in one line."""

from __future__ import annotations

import io
import logging
import os
import re
import sys
import unicodedata

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_login.cli.screen import duration, fields, listing, note, output_width, show, show_warnings, table

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


HEADS = ("SERVER", "STATE", "SCOPES")
ROWS = [("https://a.example.com", "valid", "one two three four five six seven"), ("https://b.example.com", "-", "-")]


def test_a_row_is_a_line_where_there_is_room_and_where_there_is_no_terminal() -> None:
    plain = table(HEADS, ROWS)
    assert listing(HEADS, ROWS, width=None) == plain
    assert listing(HEADS, ROWS, width=80) == plain


def test_on_a_narrow_terminal_a_field_is_a_line_and_words_are_wrapped() -> None:
    assert listing(HEADS, ROWS, width=30).splitlines() == [
        "https://a.example.com",
        "  state   valid",
        "  scopes  one two three four",
        "          five six seven",
        "",
        "https://b.example.com",
        "  state   -",
        "  scopes  -",
    ]


@pytest.mark.parametrize(
    ("variables", "coloured"),
    [
        ({}, False),
        ({"FORCE_COLOR": "1"}, True),
        ({"FORCE_COLOR": "1", "TERM": "dumb"}, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
        ({"NO_COLOR": "", "FORCE_COLOR": ""}, False),
    ],
)
def test_colours_away_from_a_terminal_are_asked_for(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], coloured: bool
) -> None:
    for name in ("FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    shown = table(HEADS, ROWS, paint=lambda head, _: {"fg": "green"} if head == "STATE" else {})
    assert ("\x1b[32mvalid" in shown) is coloured
    # The columns are where they are without colours.
    assert re.sub(r"\x1b\[\d+m", "", shown) == table(HEADS, ROWS)


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@given(
    text=st.text(st.sampled_from("ab  \N{CJK UNIFIED IDEOGRAPH-5BBD}\u2026e\u0301"), max_size=300),
    columns=st.integers(12, 100),
    label=st.sampled_from(["Error:", "Hint:", "Warning:"]),
)
def test_a_note_stays_behind_its_label_and_loses_no_word(text: str, columns: int, label: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        terminal = _Terminal()
        patch.setattr("sys.stderr", terminal)
        patch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((columns, 24)))
        note(label, text)
    first, *rest = click.unstyle(terminal.getvalue()).removesuffix("\n").split("\n")
    assert first.startswith(label)
    assert all(line.startswith("  ") for line in rest)
    for line in (first, *rest):
        assert sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in line) < max(columns, 13)
    assert "".join([first, *rest]).replace(" ", "") == label + text.replace(" ", "")


def test_a_note_away_from_a_terminal_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    note("Error:", "word " * 100)
    assert capsys.readouterr().err.count("\n") == 1


def test_standard_output_that_is_no_terminal_has_no_width(capsys: pytest.CaptureFixture[str]) -> None:
    assert output_width() is None


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


def test_what_is_shown_passes_by_the_stream_that_is_standard_output_in_ascii_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The live line replaces the stream. click's own idea of it is another stream, where the encoding is ASCII."""
    written: list[str] = []

    class Above(io.TextIOWrapper):
        def write(self, text: str) -> int:
            written.append(text)
            return len(text)

    monkeypatch.setattr(sys, "stdout", Above(io.BytesIO(), encoding="ascii"))
    show("a token")
    assert "".join(written) == "a token\n"
