"""The person at a terminal: a real pseudo-terminal, its master side playing the keyboard.

Over SSH and in containers the redirect URL, or just the code, can be pasted back. Whoever reads the terminal next must
find what was typed for them.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING

import pytest

from mcp_login.browser.terminal import person_present, read_pasted_line, show_url, why_nobody_is_present

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO

if os.name == "nt":
    pytest.skip("pseudo-terminals are POSIX's", allow_module_level=True)

import pty
import select
import subprocess
import termios
import tty

assert sys.platform != "win32"  # so reads mypy

pytestmark = pytest.mark.anyio


class Terminal:
    """A pseudo-terminal: `keyboard` is the person's side, `stream` the program's."""

    def __init__(self) -> None:
        self.keyboard, program = pty.openpty()
        self.stream: TextIO = os.fdopen(program)
        self.output: TextIO = os.fdopen(os.dup(program), "w")

    def type(self, text: str) -> None:
        os.write(self.keyboard, text.encode())

    def shown(self) -> str:
        """What the terminal shows by now: what was written to it, and the echo of what was typed."""
        ready, _, _ = select.select([self.keyboard], [], [], 0)
        return os.read(self.keyboard, 65536).decode() if ready else ""

    def next_line(self) -> bytes:
        """What the next program on this terminal reads, or nothing where that would wait."""
        ready, _, _ = select.select([self.stream], [], [], 0)
        return os.read(self.stream.fileno(), 65536) if ready else b""

    def hang_up(self) -> None:
        if self.keyboard >= 0:
            os.close(self.keyboard)
            self.keyboard = -1


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    opened = Terminal()
    yield opened
    opened.stream.close()
    opened.output.close()
    opened.hang_up()


async def until_waiting() -> None:
    """Let tasks that were just started run until they wait."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_line_that_was_typed_is_returned_without_its_end(terminal: Terminal) -> None:
    terminal.type("http://127.0.0.1:4000/callback?code=x&state=y\n")
    assert await read_pasted_line(terminal.stream) == "http://127.0.0.1:4000/callback?code=x&state=y"


async def test_a_line_typed_while_waiting_is_returned(terminal: Terminal) -> None:
    reading = asyncio.create_task(read_pasted_line(terminal.stream))
    await until_waiting()
    terminal.type("the-co")
    await until_waiting()
    assert not reading.done()
    terminal.type("de\n")
    assert await reading == "the-code"


async def test_lines_after_the_first_stay_in_the_terminal(terminal: Terminal) -> None:
    terminal.type("first\nsecond\nthird\n")
    assert await read_pasted_line(terminal.stream) == "first"
    assert terminal.next_line() == b"second\n"
    assert terminal.next_line() == b"third\n"


async def test_a_cancelled_read_takes_nothing_of_what_is_typed_later(terminal: Terminal) -> None:
    reading = asyncio.create_task(read_pasted_line(terminal.stream))
    await until_waiting()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    terminal.type("for the next program\n")
    await until_waiting()
    assert terminal.next_line() == b"for the next program\n"


async def test_a_cancelled_read_leaves_the_beginning_of_a_line(terminal: Terminal) -> None:
    reading = asyncio.create_task(read_pasted_line(terminal.stream))
    await until_waiting()
    terminal.type("for the ")
    await until_waiting()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    terminal.type("next program\n")
    assert terminal.next_line() == b"for the next program\n"


async def test_a_read_after_a_cancelled_one_gets_the_line(terminal: Terminal) -> None:
    reading = asyncio.create_task(read_pasted_line(terminal.stream))
    await until_waiting()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    terminal.type("line\n")
    assert await read_pasted_line(terminal.stream) == "line"


async def test_of_two_readers_each_gets_a_line(terminal: Terminal) -> None:
    """Two logins at a time must neither block the loop nor lose one of the lines."""
    readers = [asyncio.create_task(read_pasted_line(terminal.stream)) for _ in range(2)]
    await until_waiting()
    terminal.type("one\n")
    done, _ = await asyncio.wait(readers, timeout=5, return_when=asyncio.FIRST_COMPLETED)
    assert [task.result() for task in done] == ["one"]
    terminal.type("two\n")
    assert {await reader for reader in readers} == {"one", "two"}


async def test_blank_lines_are_passed_over(terminal: Terminal) -> None:
    terminal.type("\n  \ncode\n")
    assert await read_pasted_line(terminal.stream) == "code"


async def test_what_a_terminal_puts_round_a_paste_is_taken_off(terminal: Terminal) -> None:
    terminal.type("\x1b[200~code\x1b[201~\n")
    assert await read_pasted_line(terminal.stream) == "code"


async def test_the_end_of_input_is_none(terminal: Terminal) -> None:
    terminal.type("\x04")
    assert await read_pasted_line(terminal.stream) is None


async def test_a_terminal_that_hangs_up_is_none(terminal: Terminal) -> None:
    reading = asyncio.create_task(read_pasted_line(terminal.stream))
    await until_waiting()
    terminal.hang_up()
    assert await reading is None


async def test_the_terminal_is_left_in_the_state_it_was_in(terminal: Terminal) -> None:
    before = termios.tcgetattr(terminal.stream)
    terminal.type("line\n")
    await read_pasted_line(terminal.stream)
    assert termios.tcgetattr(terminal.stream) == before
    assert os.get_blocking(terminal.stream.fileno())


async def test_no_descriptor_is_left_open(terminal: Terminal) -> None:
    before = os.dup(terminal.stream.fileno())
    os.close(before)
    terminal.type("line\n")
    await read_pasted_line(terminal.stream)
    after = os.dup(terminal.stream.fileno())
    os.close(after)
    assert after == before


async def test_input_that_is_no_terminal_is_not_read() -> None:
    """Standard input may be a protocol's channel (an MCP server on stdio)."""
    reading, writing = os.pipe()
    with os.fdopen(reading) as stream, os.fdopen(writing, "w") as other:
        other.write("a message of the protocol\n")
        other.flush()
        assert await read_pasted_line(stream) is None
        assert stream.readline() == "a message of the protocol\n"


async def test_a_closed_stream_is_none(terminal: Terminal) -> None:
    terminal.stream.close()
    assert await read_pasted_line(terminal.stream) is None


def test_the_url_is_shown_on_a_terminal(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    tty.setraw(terminal.keyboard)
    monkeypatch.setattr(sys, "stderr", terminal.output)
    url = "https://as.example.com/authorize?" + "x" * 2000
    show_url(url)
    assert f"\n  {url}\n" in terminal.shown()


def test_the_person_is_told_what_for_how_long_and_that_they_can_paste(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", terminal.output)
    monkeypatch.setattr(sys, "stdin", terminal.stream)
    show_url(
        "https://as.example.com/authorize", server="https://mcp.example.com", scopes=("read", "write"), seconds=300
    )
    shown = terminal.shown()
    assert "To log in to https://mcp.example.com (scopes: read write), open this address" in shown
    assert "paste its whole address here" in shown
    assert "5 minutes" in shown


@pytest.mark.parametrize(
    ("issuer", "told"),
    [
        ("https://auth.example.net/tenant", "To log in to https://mcp.example.com/mcp at auth.example.net, open"),
        ("https://MCP.example.com:8443/", "To log in to https://mcp.example.com/mcp, open"),
        ("https://auth.\x1b\u202eexample.net", "To log in to https://mcp.example.com/mcp at auth.example.net, open"),
    ],
)
def test_the_authorization_server_is_named_where_its_host_is_not_the_server_s(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, issuer: str, told: str
) -> None:
    monkeypatch.setattr(sys, "stderr", terminal.output)
    show_url("https://auth.example.net/authorize", server="https://mcp.example.com/mcp", issuer=issuer)
    assert told in terminal.shown()


def test_where_a_browser_opens_nobody_is_told_to_paste(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", terminal.output)
    monkeypatch.setattr(sys, "stdin", terminal.stream)
    show_url("https://as.example.com/authorize", browser=True)
    shown = terminal.shown()
    assert "If nothing happens there" in shown
    assert "paste" not in shown


def test_nobody_is_present_for_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    assert "CI" in (why_nobody_is_present(shown_elsewhere=True) or "")
    monkeypatch.delenv("CI")
    assert why_nobody_is_present(shown_elsewhere=True) is None


def test_what_a_server_put_into_the_url_does_not_drive_the_terminal(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", terminal.output)
    show_url("https://as.example.com/\x1b]0;owned\x07\x1b[2J\u202e\u009b")
    assert not {"\x1b", "\x07", "\u202e", "\u009b"} & set(terminal.shown())


def test_the_url_is_not_written_into_a_log(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    show_url("https://as.example.com/authorize")
    assert capsys.readouterr() == ("", "")


def test_without_a_standard_error_nothing_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    show_url("https://as.example.com/authorize")


def sit_down(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TF_BUILD", "JENKINS_URL", "TEAMCITY_VERSION", "CODEBUILD_BUILD_ID", "BUILDKITE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "stdin", terminal.stream)
    monkeypatch.setattr(sys, "stderr", terminal.output)


def test_somebody_at_a_terminal_is_present(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    sit_down(terminal, monkeypatch)
    assert person_present()


@pytest.mark.parametrize("name", ["CI", "JENKINS_URL"])
def test_nobody_watches_continuous_integration(name: str, terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    sit_down(terminal, monkeypatch)
    monkeypatch.setenv(name, "true")
    assert not person_present()


@pytest.mark.parametrize("value", ["", "0", "false"])
def test_a_ci_variable_that_says_no_means_no(value: str, terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    sit_down(terminal, monkeypatch)
    monkeypatch.setenv("CI", value)
    assert person_present()


@pytest.mark.skipif(sys.platform != "linux", reason="a Linux without a display")
@pytest.mark.parametrize("name", ["stdin", "stderr"])
def test_a_service_without_terminal_and_browser_has_nobody(
    name: str, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    sit_down(terminal, monkeypatch)
    monkeypatch.setattr(sys, name, None)
    assert not person_present()


BACKGROUND = """
import asyncio, fcntl, os, sys, termios
from mcp_login.browser.terminal import read_pasted_line

fcntl.ioctl(0, termios.TIOCSCTTY, 0)
child = os.fork()
if child == 0:
    os.setpgid(0, 0)

    async def read():
        try:
            await asyncio.wait_for(read_pasted_line(), 0.2)
        except TimeoutError:
            os._exit(42)

    asyncio.run(read())
    os._exit(1)
_, status = os.waitpid(child, os.WUNTRACED)
print(os.WIFSTOPPED(status), os.waitstatus_to_exitcode(status), sys.stdin.readline().strip())
"""


def test_in_the_background_the_input_is_left_to_the_foreground(terminal: Terminal) -> None:
    """Reading there would stop the process (SIGTTIN), and the line was typed for the shell."""
    terminal.type("for the shell\n")
    done = subprocess.run(
        [sys.executable, "-c", BACKGROUND],
        stdin=terminal.stream,
        stdout=subprocess.PIPE,
        start_new_session=True,
        text=True,
        timeout=20,
        check=True,
    )
    assert done.stdout.split(maxsplit=2) == ["False", "42", "for the shell\n"]
