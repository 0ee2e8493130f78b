"""The line that waits: what it says in which room, and that nothing of it stays. Clock and stream are the test's."""

from __future__ import annotations

import io
import re
import sys

import pytest

from mcp_login.cli.live import LiveLine, WaitingLine, can_redraw, left
from mcp_login.cli.screen import say, warn
from tests.screen import rows

__all__: list[str] = []

WHAT = "Waiting for you in the browser"


class Screen(io.StringIO):
    """A terminal's end for programs."""

    def __init__(self, encoding: str = "utf-8") -> None:
        super().__init__()
        self._encoding = encoding

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding

    def isatty(self) -> bool:
        return True

    def rows(self) -> list[str]:
        """What a person sees."""
        return rows(self.getvalue())


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)


@pytest.fixture
def screen() -> Screen:
    return Screen()


def live(screen: Screen, *, columns: int = 80, escapes: bool = True) -> LiveLine:
    """A line that draws only when it is told to."""
    return LiveLine(screen, columns=lambda: columns, in_foreground=lambda: True, wait=lambda _: True, escapes=escapes)


def waiting(clock: Clock, *, seconds: float = 300.0, encoding: str | None = "utf-8") -> WaitingLine:
    return WaitingLine(WHAT, seconds=seconds, clock=clock, encoding=encoding)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(300, "5:00"), (299.99, "5:00"), (272, "4:32"), (9.2, "0:10"), (0, "0:00"), (-5, "0:00"), (3600, "1:00:00")],
)
def test_a_second_that_has_begun_counts(seconds: float, shown: str) -> None:
    assert left(seconds) == shown


def test_the_line_says_what_is_waited_for_how_long_still_and_how_to_end_it() -> None:
    clock = Clock()
    line = waiting(clock)
    clock.now += 28
    spinner, text = line.parts(80)
    assert spinner in "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
    assert text == " Waiting for you in the browser  4:32 left · Ctrl-C ends the login"


def test_the_spinner_turns() -> None:
    clock = Clock()
    line = waiting(clock)
    seen = set()
    for _ in range(10):
        seen.add(line.parts(80)[0])
        clock.now += 0.1001
    assert len(seen) == 10


@pytest.mark.parametrize("encoding", ["ascii", "iso-8859-1", "cp437", None, "unheard-of"])
def test_where_the_encoding_lacks_a_character_another_is_taken(encoding: str | None) -> None:
    spinner, text = waiting(Clock(), encoding=encoding).parts(80)
    assert spinner in "|/-\\"
    (spinner + text).encode(encoding if encoding in ("ascii", "iso-8859-1", "cp437") else "ascii")


@pytest.mark.parametrize("columns", range(100))
def test_the_line_never_reaches_the_last_column(columns: int) -> None:
    spinner, text = waiting(Clock(), seconds=86400).parts(columns)
    assert len(spinner + text) < max(columns, 1)


def test_a_narrow_terminal_is_told_the_time_before_anything_else() -> None:
    assert [waiting(Clock()).parts(columns)[1] for columns in (50, 30, 10)] == [
        f" {WHAT}  5:00 left",
        " Waiting  5:00 left",
        " 5:00",
    ]


@pytest.mark.parametrize("escapes", [True, False])
def test_pictures_are_drawn_over_each_other_and_nothing_stays(screen: Screen, escapes: bool) -> None:
    clock = Clock()
    with live(screen, escapes=escapes) as line:
        line.start(waiting(clock))
        for _ in range(5):
            clock.now += 1
            line.draw()
        assert screen.rows() == [f"{waiting(clock).parts(80)[0]} {WHAT}  4:55 left · Ctrl-C ends the login"]
    assert screen.rows() == [""]


def test_the_cursor_is_never_hidden_so_that_no_end_can_leave_it_hidden(screen: Screen) -> None:
    with live(screen) as line:
        line.start(waiting(Clock()))
    assert "\x1b[?" not in screen.getvalue()


def test_an_error_takes_the_line_away(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", screen)

    def interrupted() -> None:
        with live(screen) as line:
            line.start(waiting(Clock()))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert screen.rows() == [""]
    assert sys.stderr is screen


def test_a_warning_appears_above_the_line(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", screen)
    clock = Clock()
    with live(screen) as line:
        line.start(waiting(clock))
        warn("the answer is 42")
        line.draw()
        assert [row[:28] for row in screen.rows()] == ["Warning: the answer is 42", "⠋ Waiting for you in the bro"]
        say("and more")
    assert screen.rows() == ["Warning: the answer is 42", "and more", ""]


def test_a_line_that_somebody_has_begun_is_not_drawn_over(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", screen)
    with live(screen) as line:
        line.start(waiting(Clock()))
        sys.stderr.write("a question: ")
        line.draw()
        assert screen.rows() == ["a question:"]
        sys.stderr.write("\n")
        line.draw()
        assert len(screen.rows()) == 2


def test_a_pause_takes_it_away_and_a_start_brings_it_back(screen: Screen) -> None:
    with live(screen) as line:
        line.start(waiting(Clock()))
        line.pause()
        line.draw()
        assert screen.rows() == [""]
        line.start(waiting(Clock(), seconds=60))
        assert "1:00 left" in screen.rows()[0]


def test_what_was_stopped_does_not_come_back(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", screen)
    line = live(screen)
    line.stop()
    line.start(waiting(Clock()))
    line.draw()
    assert screen.getvalue() == ""
    assert sys.stderr is screen


def test_in_the_background_nothing_is_drawn(screen: Screen) -> None:
    with LiveLine(screen, columns=lambda: 80, in_foreground=lambda: False, wait=lambda _: True) as line:
        line.start(waiting(Clock()))
    assert screen.getvalue() == ""


def test_the_streams_are_the_old_ones_afterwards_and_unlike_pipes_only_terminals_are_replaced(
    screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = io.StringIO()
    monkeypatch.setattr(sys, "stdout", data)
    monkeypatch.setattr(sys, "stderr", screen)
    with live(screen) as line:
        line.start(waiting(Clock()))
        assert sys.stdout is data
        assert sys.stderr is not screen
        assert sys.stderr.isatty()
        assert sys.stderr.encoding == "utf-8"
    assert sys.stderr is screen


def test_a_terminal_that_is_gone_is_no_error(screen: Screen) -> None:
    with live(screen) as line:
        line.start(waiting(Clock()))
        screen.close()
        line.draw()


@pytest.mark.parametrize(("variables", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_colour_is_for_those_who_want_it(
    screen: Screen, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], coloured: bool
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with live(screen) as line:
        line.start(waiting(Clock()))
    assert ("\x1b[36m" in screen.getvalue()) is coloured


def test_neither_a_dumb_terminal_nor_a_pipe_is_drawn_over(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    assert can_redraw(screen)
    assert not can_redraw(io.StringIO())
    assert not can_redraw(None)
    monkeypatch.setenv("TERM", "dumb")
    assert not can_redraw(screen)
    screen.close()
    assert not can_redraw(screen)


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are POSIX's")
def test_on_a_real_terminal_it_lives_follows_the_width_and_leaves_nothing() -> None:
    import os
    import struct

    fcntl = pytest.importorskip("fcntl")
    pty = pytest.importorskip("pty")
    termios = pytest.importorskip("termios")

    master, slave = pty.openpty()

    def set_columns(columns: int) -> None:
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

    def read_until(pattern: str) -> str:
        read = ""
        while not re.search(pattern, read):
            read += os.read(master, 1).decode("ascii")
        return read

    set_columns(70)
    with os.fdopen(slave, "w", encoding="ascii") as stream:
        with LiveLine(stream) as line:
            line.start(WaitingLine(WHAT, seconds=60, encoding=stream.encoding))
            written = read_until(r"[|/\\-]\S* Waiting for you in the browser  1:00 left - Ctrl-C ends the login\x1b\[K")
            set_columns(30)
            written += read_until(r"[|/\\-]\S* Waiting  \d:\d\d left\x1b\[K")
        stream.write("end\n")
        stream.flush()
        written += read_until("end")
    os.close(master)
    assert rows(written, 70)[-1] == "end"
