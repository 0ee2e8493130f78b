"""Opening the browser.

The authorization endpoint is attacker's input (CVE-2025-6514, CVE-2025-10619): allow-list schemes, no shell.
MCP specification, "Communication Security": all authorization server endpoints MUST be served over HTTPS.

The browser is a program of the test's own, found through BROWSER as a person would set it, and started by a Python of
its own: `webbrowser` reads its environment once in a process.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_login.browser.opener import browser_available, defuse, open_browser
from mcp_login.errors import PolicyError

if TYPE_CHECKING:
    from pathlib import Path

posix_only = pytest.mark.skipif(os.name != "posix", reason="the stand-in for a browser is a POSIX script")

GOOD = (
    "https://as.example.com/authorize?response_type=code&scope=a%20b&state=x.y~z-_1&resource=https%3A%2F%2Fm.example%2F"
)


@pytest.fixture
def browser(tmp_path: Path) -> Path:
    """A program that writes down its arguments, and what its standard output is, then ends with the code in EXIT."""
    program = tmp_path / "browser"
    program.write_text(
        f"#!{sys.executable}\n"
        "import json, os, sys\n"
        "print('noise of a browser', flush=True)\n"
        "seen = {'arguments': sys.argv[1:], 'stdin': sys.stdin.read()}\n"
        "with open(__file__ + '.new', 'w') as file: json.dump(seen, file)\n"
        "os.replace(__file__ + '.new', __file__ + '.json')\n"
        "sys.exit(int(os.environ.get('EXIT', '0')))\n"
    )
    program.chmod(0o700)
    return program


def run(expression: str, setup: str = "", **environment: str) -> tuple[object, str]:
    """The value of `expression` over the opener's functions in a new Python, and what else it wrote to its output."""
    source = (
        f"{setup}\nimport json, sys; from mcp_login.browser.opener import *; "
        f"value = {expression}; print('\\n' + json.dumps(value))"
    )
    done = subprocess.run(
        [sys.executable, "-c", source],
        env={**os.environ, **environment},
        input="input that is not the browser's",
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    noise, _, value = done.stdout.rstrip("\n").rpartition("\n")
    return json.loads(value), noise


def seen(browser: Path) -> dict[str, Any]:
    return dict(json.loads(browser.with_name(browser.name + ".json").read_text()))


@posix_only
def test_the_browser_gets_the_url_as_one_argument(browser: Path) -> None:
    assert run(f"open_browser({GOOD!r})", BROWSER=str(browser))[0] is True
    assert seen(browser)["arguments"] == [GOOD]


@posix_only
def test_arguments_in_the_variable_stay_arguments(browser: Path) -> None:
    assert run(f"open_browser({GOOD!r})", BROWSER=f"{browser} --new-tab %s")[0] is True
    assert seen(browser)["arguments"] == ["--new-tab", GOOD]


@posix_only
def test_a_browser_in_the_background_gets_none_of_our_standard_streams(browser: Path) -> None:
    """An MCP server on stdio speaks its protocol there; a browser that writes to it would break the protocol."""
    value, noise = run(f"open_browser({GOOD!r})", BROWSER=f"{browser} %s &")
    assert value is True
    assert noise == ""
    assert seen(browser)["stdin"] == ""


@posix_only
def test_a_launcher_that_finds_no_browser_is_heard(browser: Path) -> None:
    assert run(f"open_browser({GOOD!r})", BROWSER=f"{browser} %s &", EXIT="3")[0] is False


@posix_only
def test_a_launcher_that_ctrl_c_has_ended_is_no_missing_browser(tmp_path: Path) -> None:
    """Else a person who gives up is told of another way to log in."""
    program = tmp_path / "browser"
    program.write_text("#!/bin/sh\nkill -INT $$\n")
    program.chmod(0o700)
    assert run(f"open_browser({GOOD!r})", BROWSER=f"{program} %s &")[0] is True


@posix_only
def test_no_browser_at_all_is_said(tmp_path: Path) -> None:
    assert run(f"[browser_available(), open_browser({GOOD!r})]", PATH=str(tmp_path))[0] == [False, False]


@posix_only
def test_a_browser_that_is_named_counts_as_one_even_over_ssh(browser: Path) -> None:
    value, _ = run("browser_available()", BROWSER=str(browser), SSH_CONNECTION="192.0.2.1 1 192.0.2.2 22")
    assert value is True


def test_over_ssh_without_a_display_there_is_no_browser(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_CONNECTION", "192.0.2.1 1 192.0.2.2 22")
    assert not browser_available()


@pytest.mark.skipif(sys.platform != "linux", reason="a Linux without a display")
def test_on_a_linux_without_a_display_there_is_no_browser() -> None:
    assert not browser_available()


@posix_only
def test_with_a_display_and_a_launcher_there_is_a_browser(browser: Path) -> None:
    browser.rename(browser.with_name("xdg-open"))
    value, _ = run("browser_available()", DISPLAY=":99", PATH=str(browser.parent))
    assert value is True


FOREGROUND = """
import threading, webbrowser

class Foreground(webbrowser.BaseBrowser):
    def open(self, url, new=0, autoraise=True):
        threading.Event().wait()

webbrowser.register("foreground", None, Foreground(), preferred=True)
"""


def test_a_browser_that_does_not_return_counts_as_started_and_keeps_no_process_alive() -> None:
    assert run(f"open_browser({GOOD!r}, timeout=0.05)", setup=FOREGROUND)[0] is True


@pytest.mark.parametrize(
    "url",
    [
        "http://as.example.com/authorize",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "JaVaScRiPt://as.example.com/%0aalert(1)",
        "data:text/html,x",
        "ms-settings:privacy",
        "\\\\host\\share",
        "--incognito",
        "-https://as.example.com",
        "",
        "https://",
        "https:///authorize",
        "https://as.example.com@evil.example/",
        "https://as.example.com\\@evil.example/",
        "https://as.example.com/\nx",
        "https://as.example.com/\x00",
        "https://as.example.com/\x1b[31m",
        "https://as.example.com/a b",
        " https://as.example.com/",
        "https://as.example.com/\u202e",
        "http://127.0.0.1.evil.example/",
    ],
)
def test_no_browser_is_given_anything_but_https_and_loopback(url: str) -> None:
    with pytest.raises(PolicyError):
        open_browser(url)


@pytest.mark.parametrize(
    "url",
    [GOOD, "http://127.0.0.1:8080/authorize?x=1", "http://localhost/a", "http://[::1]:9/a", "HTTPS://AS.EXAMPLE.COM/"],
)
def test_an_ordinary_url_is_opened_as_it_is(url: str) -> None:
    assert defuse(url) == url


def test_a_suspicious_url_is_logged_without_the_url(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        defuse("https://as.example.com/?x='&state=very-secret")
    assert "'" in caplog.text
    assert "very-secret" not in caplog.text


@given(st.text(alphabet=st.characters(min_codepoint=0x21, max_codepoint=0x7E)))
def test_what_is_opened_has_no_character_that_a_launcher_reads(rest: str) -> None:
    try:
        opened = defuse("https://as.example.com/" + rest)
    except PolicyError:
        return
    assert not set("\"'`<>{}|^$()\\ ") & set(opened)
    assert defuse(opened) == opened
