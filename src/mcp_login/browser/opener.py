"""Opens the authorization URL in the person's browser.

The URL comes from a server's metadata, so it is an attacker's input (CVE-2025-6514, CVE-2025-10619): only https, or
http on loopback, goes to a browser, never through a shell, and without the characters that shells, scripts and
launchers read.
"""

from __future__ import annotations

import concurrent.futures
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import webbrowser
from typing import TYPE_CHECKING, TypeVar

from mcp_login.protocol.uri import require_secure
from mcp_login.surroundings import stand_in

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["browser_available", "defuse", "open_browser"]

_T = TypeVar("_T")
_logger = logging.getLogger("mcp_login.browser")

#: Seconds that starting a browser may take.
TIME_LIMIT = 10.0
#: Seconds in which a launcher such as xdg-open says that it found no browser.
LAUNCH_TIME = 2.0

# Hardly needed in the URL of an honest server, and read as quotes, variables or redirections by launchers between us
# and the browser: xdg-open and programs in BROWSER are shell scripts, some launchers on Windows run PowerShell. The
# last one is a percent sign that begins no escape: `webbrowser` and cmd.exe have placeholders of that form.
_SUSPICIOUS = re.compile(r"""["'`<>{}|^$()]|%(?![0-9A-Fa-f]{2})""")
# cmd.exe reads a variable in `%DB_PASSWORD%41`, though both percent signs begin an escape. Escaped too, the character means
# what it meant (RFC 3986 section 6.2.2.2), and what is left between the signs is two letters, or begins with a digit.
_IN_VARIABLE = re.compile(r"(?<=%[A-Fa-f][0-9A-Fa-f])[A-Za-z0-9_:~.\-]")


def defuse(url: str, *, allow_http: bool = False) -> str:
    """`url` fit to be given to a browser: characters that a launcher could misread are percent-encoded, and logged.

    Raises `PolicyError` unless `url` is https, or http on loopback (`allow_http`: anywhere), without user information,
    spaces, backslashes, control characters and characters beyond ASCII.
    """
    require_secure(url, what="authorization URL", allow_loopback=True, allow_http=allow_http)
    found = set(_SUSPICIOUS.findall(url))
    if found:
        # The URL itself holds the state, so it isn't logged.
        _logger.warning(
            "The authorization URL has unusual characters, now percent-encoded: %s", " ".join(sorted(found))
        )
    return _IN_VARIABLE.sub(_escaped, _SUSPICIOUS.sub(_escaped, url))


def _escaped(character: re.Match[str]) -> str:
    return f"%{ord(character[0]):02X}"


def open_browser(url: str, *, timeout: float = TIME_LIMIT, allow_http: bool = False) -> bool:
    """Open `url` in the person's browser, and say whether one was started.

    Waits `timeout` seconds at most, so an event loop gives it to a thread. A browser that is still starting after that,
    or that runs in the foreground, counts as started. Raises `PolicyError` as `defuse` does.
    """
    surroundings = stand_in()
    launch = _launch if surroundings is None else surroundings.open_browser
    try:
        return _in_daemon_thread(launch, defuse(url, allow_http=allow_http)).result(timeout)
    except TimeoutError:
        return True


def browser_available() -> bool:
    """Whether there is a browser that this person would see.

    Not over SSH (it would open on the other machine's screen) and not on a Linux without a display, unless BROWSER
    names one: editors with remote sessions set it. May wait up to 10 s for a desktop that doesn't answer.
    """
    surroundings = stand_in()
    if surroundings is not None:
        return surroundings.person_present()
    if not os.environ.get("BROWSER") and not _has_screen():
        return False
    try:
        return _in_daemon_thread(_has_browser).result(TIME_LIMIT)
    except TimeoutError:
        return False


def _has_screen() -> bool:
    if os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        return True
    if os.environ.get("SSH_CONNECTION") or os.environ.get("SSH_TTY"):
        return False
    return sys.platform in ("win32", "darwin", "cygwin")


def _has_browser() -> bool:
    try:
        webbrowser.get()
    except webbrowser.Error:
        return False
    return True


def _launch(url: str) -> bool:
    try:
        browser = webbrowser.get()
        if isinstance(browser, webbrowser.BackgroundBrowser):
            return _start([browser.name, *(argument.replace("%s", url) for argument in browser.args)])
        return browser.open(url)
    except (webbrowser.Error, OSError):
        return False


def _start(arguments: list[str]) -> bool:
    """What `webbrowser` does for launchers and browsers in the background, but not with our standard streams.

    Those may be a protocol's channel (an MCP server on stdio) or data (`$(mcp-login token URL)`), and browsers write to
    theirs. And a launcher's exit code is heard: `webbrowser` never learns that xdg-open found no browser.
    """
    child = subprocess.Popen(  # noqa: S603 - a list, no shell; the URL was judged by `defuse`
        arguments,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        # Ctrl-C in the moment before it has a session of its own ends it, too: who pressed that needs no other way.
        return child.wait(LAUNCH_TIME) in (0, -signal.SIGINT)
    except subprocess.TimeoutExpired:
        threading.Thread(target=child.wait, name="mcp-login: browser", daemon=True).start()
        return True


def _in_daemon_thread(work: Callable[..., _T], *arguments: str) -> concurrent.futures.Future[_T]:
    # `webbrowser` runs programs without a time limit; a thread that hangs in one must not keep the process alive.
    future: concurrent.futures.Future[_T] = concurrent.futures.Future()

    def run() -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            future.set_result(work(*arguments))
        except BaseException as error:  # noqa: BLE001 - raised where the result is asked for
            future.set_exception(error)

    threading.Thread(target=run, name="mcp-login: opens a browser", daemon=True).start()
    return future
