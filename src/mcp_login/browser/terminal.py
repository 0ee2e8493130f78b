"""The person at a terminal: they are shown the URL, and paste back the answer that their browser can't bring here."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mcp_login.errors import printable
from mcp_login.surroundings import stand_in

from .opener import browser_available

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO

__all__ = ["person_present", "read_pasted_line", "show_url", "terminal_present", "why_nobody_is_present"]

#: The most bytes of a pasted line. Terminals have lower limits of their own.
MAX_LINE = 64 * 1024
#: Seconds between two looks at a terminal that can't wake the loop.
POLL = 0.1
#: Seconds between two looks while this process is in the background.
BACKGROUND_POLL = 0.5

# What a terminal puts round a paste, where a program before us left that mode on.
_PASTE_MARKS = ("\x1b[200~", "\x1b[201~")

#: Set by services that run programs with nobody watching.
_CI_VARIABLES = ("CI", "TF_BUILD", "JENKINS_URL", "TEAMCITY_VERSION", "CODEBUILD_BUILD_ID", "BUILDKITE")


def show_url(
    url: str,
    *,
    server: str | None = None,
    issuer: str | None = None,
    scopes: Sequence[str] = (),
    seconds: float | None = None,
    browser: bool = False,
) -> None:
    """Write `url` to standard error for the person to open, if that is a terminal; else nothing.

    `server` and `scopes` say what the login is for, `seconds` how long it may take. The host of `issuer`, the authorization
    server, is named where it isn't the server's own. With `browser` one is about to open by itself; without, the answer can
    be pasted.
    """
    stream = sys.stderr
    if not _is_terminal(stream):
        return
    what = "To log in" if server is None else f"To log in to {printable(server)}"
    if issuer is not None and (host := _host(issuer)) != _host(server or ""):
        what += f" at {printable(host)}"
    if scopes:
        what += f" (scopes: {printable(' '.join(scopes))})"
    way = (
        "your browser opens. If nothing happens there, open this address"
        if browser
        else "open this address in a browser"
    )
    after = []
    if not browser and _is_terminal(sys.stdin):
        after.append("If the page that you end at doesn't load, paste its whole address here and press Enter.")
    if seconds is not None:
        after.append(
            f"Waiting for {f'{seconds / 60:g} minutes' if seconds >= 120 else f'{seconds:g} seconds'} at most."
        )
    ending = f"{' '.join(after)}\n\n" if after else ""
    with suppress(OSError, ValueError):
        stream.write(f"\n{what}, {way}:\n\n  {printable(url, max(len(url), 1))}\n\n{ending}")
        stream.flush()


def person_present(*, shown_elsewhere: bool = False) -> bool:
    """Whether a person can be assumed who would see a login: not in CI, and where there is a browser or a terminal.

    `shown_elsewhere`: the caller has a way of its own to show an address.
    """
    return why_nobody_is_present(shown_elsewhere=shown_elsewhere) is None


def why_nobody_is_present(*, shown_elsewhere: bool = False) -> str | None:
    """Why no person can be assumed, as half a sentence; None where one can (`person_present`)."""
    surroundings = stand_in()
    if surroundings is not None:
        there = shown_elsewhere or surroundings.person_present()
        return None if there else "this is a test in which nobody is there to be asked"
    for name in _CI_VARIABLES:
        if os.environ.get(name, "").lower() not in ("", "0", "false", "no"):
            return f"the variable {name} is set, so nobody is there to be asked (interactive=True says otherwise)"
    if shown_elsewhere or terminal_present() or browser_available():
        return None
    return (
        "there is neither a browser nor a terminal here to ask a person with (on_authorization_url can be another way)"
    )


def terminal_present() -> bool:
    """Whether an address can be shown on a terminal and an answer read from it."""
    return _is_terminal(sys.stderr) and _is_terminal(sys.stdin)


async def read_pasted_line(stream: TextIO | None = None) -> str | None:
    """The next line that is not blank from the terminal `stream` (default: standard input), without its line end.

    None where it isn't a terminal, and at its end (Ctrl-D; Ctrl-Z on Windows). There is no time limit: cancel it
    instead. Nothing of a later line is taken from the terminal, and cancelled, this takes nothing at all (on Windows:
    what was typed of an unfinished line is lost). While this process is in the background of its terminal it waits, and
    leaves the input to the foreground. A terminal takes no longer lines than its own limit: 4,095 characters on Linux,
    1,023 on macOS.
    """
    source = sys.stdin if stream is None else stream
    if not _is_terminal(source):
        return None
    while True:
        line = await _read_line(source.fileno())
        if line is None:
            return None
        for mark in _PASTE_MARKS:
            line = line.replace(mark, "")
        if line.strip():
            return line.strip()


def _host(url: str) -> str:
    return urlsplit(url).hostname or ""


def _is_terminal(stream: TextIO | None) -> bool:
    if stand_in() is not None:
        return False  # a test's own person is asked, and not whoever runs it
    # Closed streams raise, and there may be none at all (pythonw).
    try:
        return stream is not None and stream.isatty()
    except (OSError, ValueError):
        return False


if sys.platform == "win32":
    import msvcrt

    async def _read_line(_fd: int) -> str | None:
        typed: list[str] = []
        while True:
            while msvcrt.kbhit():
                key = msvcrt.getwch()
                if key in ("\r", "\n"):
                    _echo("\r\n")
                    return "".join(typed)
                if key in ("\x03", "\x1a") and not typed:
                    return None
                if key in ("\x00", "\xe0"):
                    msvcrt.getwch()  # the second half of an arrow or function key
                elif key == "\b":
                    if typed:
                        typed.pop()
                        _echo("\b \b")
                elif key.isprintable() and len(typed) < MAX_LINE:
                    typed.append(key)
                    _echo(key)
            await asyncio.sleep(POLL)

    def _echo(text: str) -> None:
        for character in text:
            msvcrt.putwch(character)

else:

    async def _read_line(fd: int) -> str | None:
        # The terminal is in canonical mode: it gives whole lines, one to each read, and keeps what is not finished. So
        # nothing is taken before there is a line, and nothing can be lost between taking it and returning it.
        own, is_private = _own_descriptor(fd)
        try:
            received = b""
            while len(received) < MAX_LINE:
                await _until_readable(own)
                if not _in_foreground(own):
                    # Reading would stop the process (SIGTTIN), and the input is meant for the shell.
                    await asyncio.sleep(BACKGROUND_POLL)
                    continue
                if not is_private and not _is_readable(own):
                    continue
                try:
                    data = os.read(own, MAX_LINE)
                except BlockingIOError:
                    continue  # another reader was faster
                except OSError:
                    return None  # the terminal hung up
                received += data
                if not data or received.endswith(b"\n"):
                    break
            return received.decode(errors="replace") if received else None
        finally:
            os.close(own)

    def _own_descriptor(fd: int) -> tuple[int, bool]:
        """A descriptor of our own for the terminal, and whether it can be read without blocking.

        The non-blocking flag belongs to what is open, not to the descriptor: set on `fd`, it would reach the shell and
        every other program on this terminal. So the terminal is opened anew, where its name leads to it.
        """
        with suppress(OSError):
            return os.open(os.ttyname(fd), os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC), True
        return os.dup(fd), False

    async def _until_readable(fd: int) -> None:
        loop = asyncio.get_running_loop()
        readable = loop.create_future()
        try:
            loop.add_reader(fd, _wake, readable)
        except (OSError, NotImplementedError):
            # Some kernels' selectors don't take terminals.
            while not _is_readable(fd):  # noqa: ASYNC110 - there is nothing that could wake us
                await asyncio.sleep(POLL)
            return
        try:
            await readable
        finally:
            loop.remove_reader(fd)

    def _wake(readable: asyncio.Future[None]) -> None:
        if not readable.done():
            readable.set_result(None)

    def _is_readable(fd: int) -> bool:
        import select

        ready, _, _ = select.select([fd], [], [], 0)
        return bool(ready)

    def _in_foreground(fd: int) -> bool:
        try:
            return os.tcgetpgrp(fd) == os.getpgrp()
        except OSError:
            return True  # not the terminal that controls this process: reading it stops nobody
