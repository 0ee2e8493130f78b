"""Chromium as the person's browser: started by Python's `webbrowser`, looked at and clicked by WebDriver.

    with desk() as person:
        ... a program with BROWSER=person.browser opens a page ...
        driver = person.look()        # Selenium, attached to the very browser that the program has started
        driver.find_element(...).click()

As a script, `python chromium.py PORT URL`, it is that browser. It starts Chromium with a new profile, tells the desk at
PORT how to attach to it, and ends it, with its profile, when the desk closes that connection: also when the process of
the desk is gone, however it ended.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import IO, TYPE_CHECKING
from unittest import mock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from selenium.webdriver import Chrome

__all__ = ["Desk", "desk"]

ROOT = Path(__file__).resolve().parents[2]

#: Seconds until a browser that was told to start has, and until one that was told to end has.
START_LIMIT = 20.0
END_LIMIT = 5.0

# Root, as in containers and some CI, can't have the sandbox. The rest: no request to anybody but the page's own server.
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-breakpad",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--hide-scrollbars",
    "--no-default-browser-check",
    "--no-first-run",
    "--no-proxy-server",
    "--remote-debugging-port=0",
    "--window-size=1280,800",
)

_LISTENING = re.compile(rb"DevTools listening on ws://127\.0\.0\.1:([0-9]+)/")


class Desk:
    """Where a person sits: `browser` is their BROWSER, and `look` shows what it has opened. Made by `desk`."""

    def __init__(self, listening: socket.socket, stack: contextlib.ExitStack) -> None:
        self._listening = listening
        self._stack = stack
        command = [sys.executable, str(Path(__file__).resolve()), str(listening.getsockname()[1])]
        #: The value of BROWSER; with the `&`, `webbrowser` goes on at once, as with the browser of a desktop.
        self.browser: str = f"{shlex.join(command)} %s &"

    def look(self) -> Chrome:
        """The next browser that was started, at the page it was started with. Waits for it."""
        connection, _ = self._listening.accept()
        with contextlib.ExitStack() as until_attached:
            until_attached.callback(_end, connection)
            connection.settimeout(START_LIMIT)
            port = connection.makefile().readline().strip()
            assert port, "Chromium did not start"
            driver = _attach(f"127.0.0.1:{port}")
            ending = until_attached.pop_all()
        self._stack.callback(driver.quit)
        # The browser first: a driver that waits for a page would wait for its whole time limit.
        self._stack.callback(ending.close)
        return driver

    def open(self, url: str) -> Chrome:
        """Start a browser with `url`, without a program that asks for it."""
        command = [word.replace("%s", url) for word in shlex.split(self.browser)[:-1]]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        # After the browser was told to end, which is done first.
        self._stack.callback(process.wait, END_LIMIT * 3)
        return self.look()


@contextlib.contextmanager
def desk() -> Iterator[Desk]:
    """A desk, until the end of the block; then all its browsers have ended. Skips the test where there is no Chromium."""
    from tests.real import parts

    chromium = parts.need("chromium")
    parts.need("chromedriver")
    quiet = {"SE_OFFLINE": "true", "SE_AVOID_STATS": "true", "MCP_LOGIN_TEST_CHROMIUM": str(chromium)}
    with (
        mock.patch.dict(os.environ, quiet),
        socket.create_server(("127.0.0.1", 0)) as listening,
        contextlib.ExitStack() as stack,
    ):
        listening.settimeout(START_LIMIT)
        yield Desk(listening, stack)


def _attach(address: str) -> Chrome:
    """A driver of the browser whose remote debugging is at `address`."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    from tests.real import parts

    options = webdriver.ChromeOptions()
    options.debugger_address = address
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, Service(str(parts.need("chromedriver"))))
    driver.set_page_load_timeout(START_LIMIT)
    return driver


def _end(connection: socket.socket) -> None:
    """Tell a browser to end, and wait until it has."""
    with connection:
        connection.settimeout(END_LIMIT * 3)
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b"", "a browser said more than where it is"


def main(port: int, url: str) -> None:
    """Be the browser, until the desk has seen enough."""
    # Ctrl-C, or a time limit, may end all processes of a test run at once: the desk's end is what counts here.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    with (
        socket.create_connection(("127.0.0.1", port)) as told,
        tempfile.TemporaryDirectory(prefix="mcp-login-browser-", ignore_cleanup_errors=True) as folder,
        subprocess.Popen(
            [os.environ["MCP_LOGIN_TEST_CHROMIUM"], *_FLAGS, f"--user-data-dir={folder}/profile", url],
            env={**os.environ, "TMPDIR": folder},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        ) as chromium,
    ):
        assert chromium.stderr is not None
        try:
            reader = threading.Thread(target=_read, args=(chromium.stderr, told), daemon=True)
            reader.start()
            while told.recv(64):
                pass
        finally:
            _end_all(chromium)


def _read(errors: IO[bytes], told: socket.socket) -> None:
    """Pass on where the browser listens, and keep its pipe empty."""
    for line in errors:
        found = _LISTENING.search(line)
        if found:
            told.sendall(found[1] + b"\n")


def _end_all(chromium: subprocess.Popen[bytes]) -> None:
    """End the browser and the processes it has started, which are a group of their own."""
    if sys.platform == "win32":
        chromium.kill()
    else:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(chromium.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                chromium.wait(END_LIMIT)


if __name__ == "__main__":
    # Nothing of the tests is needed here, and their folder is no place to import from.
    main(int(sys.argv[1]), sys.argv[2])
