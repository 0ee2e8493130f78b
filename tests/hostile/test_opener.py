"""Authorization endpoints that aim at what lies between this library and the browser (CVE-2025-6514, CVE-2025-10619)."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from typing import TYPE_CHECKING, Any, get_args

import pytest

import mcp_login.sync
from mcp_login import MemoryStorage, PolicyError
from mcp_login.browser.opener import open_browser
from mcp_login.cli.commands import command_line, run
from tests.hostile.attack import attack, refute
from tests.hostile.launchers import Launchers, System, real_launchers
from tests.hostile.switches.opener import DEFUSED, NO_VARIABLES, SECRET_TAKEN_OUT, WEB_ADDRESSES_ONLY

if TYPE_CHECKING:
    from pathlib import Path

    from tests.hostile.world import Outcome, World

__all__: list[str] = []

posix = pytest.mark.skipif(os.name != "posix", reason="the browser is a POSIX script")

SYSTEMS: tuple[System, ...] = get_args(System)

#: What shells, AppleScript, PowerShell, cmd.exe and `webbrowser` read in an argument.
READ_BY_SOMEBODY = set("\"'`<>{}|^$()\\ \t\r\n\0")


def lead_to(world: World, endpoint: str, **options: Any) -> Outcome:
    """A login, by the system's browser, at a server whose authorization endpoint is `endpoint` (a path: of its own)."""
    resource, server = world.server()
    server.metadata["authorization_endpoint"] = (
        f"{resource.host.origin}{endpoint}" if endpoint.startswith("/") else endpoint
    )
    options = {"storage": MemoryStorage(), "interactive": True, "callback_timeout": 0.3, **options}
    return world.attempt(lambda: mcp_login.sync.login(resource.url, **options))


@pytest.mark.parametrize(
    ("system", "endpoint"),
    [
        ("linux", "file:///etc/passwd"),
        ("linux", "javascript:alert(1)"),
        ("linux", "--gpu-launcher=calc:https://mcp.example.com"),
        ("linux", " https://mcp.example.com/authorize"),
        ("linux", "https://mcp.example.com/authorize --load-extension=/tmp/x"),
        ("linux", "https://mcp.example.com/\x00authorize"),
        ("linux", "https:evil.example/authorize"),
        ("linux", "http://mcp.example.com/authorize"),
        ("darwin", 'https://mcp.example.com/\\"\ndo shell script "open -a Calculator"'),
        ("darwin", "file:///System/Applications/Calculator.app"),
        ("darwin", "https://mcp.example.com\u202e/moc.live//:sptth"),
        ("darwin", "https://m\u0441p.example.com/authorize"),
        ("win32", "C:\\Windows\\System32\\calc.exe"),
        ("win32", "\\\\evil.example\\share\\calc.exe"),
        ("win32", "ms-msdt:/id PCWDiagnostic"),
        ("win32", "data:text/html,<script>alert(1)</script>"),
        ("win32", "https://mcp.example.com\\@evil.example/"),
    ],
)
@attack("security best practices, OAuth Authorization URL Validation; CVE-2025-6514", WEB_ADDRESSES_ONLY)
def test_no_program_gets_anything_but_a_web_address(world: World, system: System, endpoint: str) -> None:
    launchers = Launchers(system).install(world.monkeypatch)
    outcome = lead_to(world, endpoint)
    refute(launchers.vectors, "a program was started")
    assert isinstance(outcome.error, PolicyError)


@pytest.mark.parametrize("system", SYSTEMS)
@attack("CVE-2025-6514", DEFUSED)
def test_a_web_address_is_one_argument_without_anything_to_read_in_it(world: World, system: System) -> None:
    launchers = Launchers(system, visit=world.person).install(world.monkeypatch)
    outcome = lead_to(
        world, "/authorize?a=\"'`id`$(id)${IFS}|calc&calc<x>y^&b=%USERNAME%&c=;ls&d=%s&e=&&", callback_timeout=3.0
    )
    [vector] = launchers.vectors
    [url] = launchers.opened
    refute(READ_BY_SOMEBODY & set(url), "an address arrives with what a launcher reads")
    expected = {"linux": ["xdg-open", url], "darwin": ["osascript", f'open location "{url}"'], "win32": [url]}
    assert vector == expected[system]
    assert outcome.error is None
    # The server reads what it wrote: percent-encoding changes nothing of that.
    assert world.person.urls == [url]


@pytest.mark.parametrize("browser", ["firefox", "elinks", "kfmclient", "gio"])
@attack("CVE-2025-6514", DEFUSED)
def test_a_browser_gets_the_address_as_this_library_gave_it(world: World, browser: str) -> None:
    """`webbrowser` has placeholders, `%action` among them, and looks for some of them in the address, too."""
    world.monkeypatch.setenv("TERM", "xterm")
    world.monkeypatch.setenv("KDE_FULL_SESSION", "true")
    launchers = Launchers("linux", (browser,)).install(world.monkeypatch)
    with contextlib.suppress(ValueError):  # newer versions of `webbrowser` refuse some addresses
        open_browser("https://mcp.example.com/authorize?a=%s&b=%action&c=),new-window")
    expected = "https://mcp.example.com/authorize?a=%25s&b=%ac%74ion&c=%29,new-window"
    refute(launchers.opened != [expected], "the address was changed on its way")
    assert len(launchers.vectors) == 1


#: How people write a BROWSER that does more than start one.
SCRIPTS = {
    "double quotes": 'eval "true \\"$1\\""',
    "single quotes": "sh -c \"true '$1'\"",
    "a here document": 'sh <<END\ntrue "$1"\nEND',
}


@posix
@pytest.mark.parametrize("script", SCRIPTS)
@attack("CVE-2025-6514", DEFUSED)
def test_a_person_s_own_script_runs_no_command_of_a_server(world: World, tmp_path: Path, script: str) -> None:
    """A real shell, and a script that would be safe with any address that has no quotes in it."""
    owned, browser = tmp_path / "owned", tmp_path / "browser"
    browser.write_text(f"#!/bin/sh\n{SCRIPTS[script]}\n")
    browser.chmod(0o700)
    real_launchers(world.monkeypatch, f"{browser} %s &")
    lead_to(world, f"/authorize?a='$(touch${{IFS}}{owned})'&b=`touch${{IFS}}{owned}`")
    refute(owned.exists(), "a shell ran a command of the server's")


@pytest.mark.parametrize(
    "hidden", ["%DB_PASSWORD%41", "%DATE:~0,3%41", "%ACCESS.KEY%20", "%Ed-itor%2F", "%C3%ACCESS.KEY%41"]
)
@attack(
    "CVE-2025-6514; RFC 3986 section 6.2.2.2",
    NO_VARIABLES,
)
def test_no_name_of_a_variable_stands_between_two_percent_signs(world: World, hidden: str) -> None:
    """A launcher that goes by way of cmd.exe would put the person's variables into the address, for the server to read."""
    launchers = Launchers("win32").install(world.monkeypatch)
    lead_to(world, f"/authorize?a={hidden}")
    [url] = launchers.opened
    values = {"db_password": "hunter2", "date": "Mon 01/02", "access.key": "hunter2", "ed-itor": "vim"}
    refute(as_cmd_reads(url, values) != url, "a variable of the person's is in the address")


def as_cmd_reads(text: str, values: dict[str, str]) -> str:
    """`text` after the variables of cmd.exe, of which those that don't exist stay as they are."""
    read, rest = "", text
    while (begun := rest.find("%")) >= 0:
        read, rest = read + rest[:begun], rest[begun + 1 :]
        name, sign, after = rest.partition("%")
        value = values.get(name.partition(":~")[0].lower()) if sign else None
        read, rest = (read + "%", rest) if value is None else (read + value, after)
    return read + rest


def test_an_address_beyond_ascii_means_the_same_and_stays_as_short(world: World) -> None:
    launchers = Launchers("linux", visit=world.person).install(world.monkeypatch)
    assert lead_to(world, "/authorize?name=J%C3%BCrgen%20M", callback_timeout=10.0).error is None
    assert "name=J%C3%BC%72gen%20M" in launchers.opened[0]


def recording_browser(folder: Path) -> Path:
    """A browser that writes down its arguments and its environment, each ended by a NUL, and visits nothing."""
    browser = folder / "browser"
    browser.write_text('#!/bin/sh\nprintf "%s\\0" "$@" > "$0.argv"\nenv -0 > "$0.environ"\n')
    browser.chmod(0o700)
    return browser


@posix
@attack("our own rule", SECRET_TAKEN_OUT)
def test_the_browser_s_process_gets_no_secret_of_the_command(
    world: World, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its environment is that of every program that it starts; its arguments are read by all users of the machine."""
    browser = recording_browser(tmp_path)
    real_launchers(world.monkeypatch, f"{browser} %s &")
    world.monkeypatch.setenv("MCP_LOGIN_CLIENT_SECRET", "s3cret-of-the-client")
    world.monkeypatch.setenv("MCP_LOGIN_STORAGE", "file")
    resource, _ = world.server()
    arguments = ["login", resource.url, "--client-id", "known", "--timeout", "0.3", "--issuer", resource.host.origin]
    run(arguments)
    said = capfd.readouterr()
    seen = (tmp_path / "browser.environ").read_text() + (tmp_path / "browser.argv").read_text() + said.out + said.err
    refute("s3cret-of-the-client" in seen, "the client's secret is in the browser's process")
    argv = (tmp_path / "browser.argv").read_text()
    assert "code_challenge=" in argv
    assert not re.search(r"code_verifier|client_secret|access_token|refresh_token", argv)


def test_no_option_of_the_command_takes_a_secret_as_an_argument() -> None:
    """All users of the machine read a process's arguments, and shells keep them."""
    options = [(name, option) for name, command in command_line.commands.items() for option in command.params]
    secret = [(name, option) for name, option in options if re.search("secret|password|token|code", str(option.name))]
    assert [(name, option.name, option.is_flag) for name, option in secret] == [("login", "client_secret_stdin", True)]  # type: ignore[attr-defined]


@posix
def test_what_a_browser_is_started_with_is_not_left_in_files(world: World, tmp_path: Path, home: Path) -> None:
    """Neither the address, with its `state`, nor a page that leads there."""
    browser = recording_browser(tmp_path)
    real_launchers(world.monkeypatch, f"{browser} %s &")
    world.monkeypatch.setenv("TMPDIR", str(home))
    lead_to(world, "/authorize")
    [state] = re.findall(r"state=([\w-]+)", (tmp_path / "browser.argv").read_text())
    files = [path for path in home.rglob("*") if stat.S_ISREG(path.lstat().st_mode)]
    assert not [path.name for path in files if state.encode() in path.read_bytes()]
