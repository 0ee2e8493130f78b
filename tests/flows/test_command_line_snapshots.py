"""What the command line looks like, over pipes and on a real pseudo-terminal 80 and 40 columns wide, kept in `snapshots/`.

After a change that is meant: `UPDATE_SNAPSHOTS=1 python -m pytest tests/flows/test_command_line_snapshots.py`, then read the
difference in the snapshots as a user would. Ports, times, ids and tokens are replaced by others; colours are written as `␛[32m`.

On a pipe standard output and standard error are told apart, and every line of JSON is checked with the schema. A terminal's
snapshot is what it was sent.
"""

from __future__ import annotations

import contextlib
import os
import re
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mcp_login import sync
from mcp_login.cli.commands import command_line
from mcp_login.storage.index import Index, IndexEntry
from mcp_login.testing import EmbeddedServer, Person
from tests.unit.cli.documents import parse

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__: list[str] = []

COMMAND = [sys.executable, "-m", "mcp_login"]
SNAPSHOTS = Path(__file__).with_name("snapshots")
STAND_IN = Path(__file__).with_name("browser_stand_in.py")
UPDATE = os.environ.get("UPDATE_SNAPSHOTS") == "1"

terminal_only = pytest.mark.skipif(os.name == "nt", reason="needs a pseudo-terminal")

#: What differs from run to run, and what stands for it: as wide, so that columns stay columns.
_NORMAL = [
    (re.compile(pattern), normal)
    for pattern, normal in (
        (r"\b127\.0\.0\.1:\d{5}\b", "127.0.0.1:54321"),
        (r"\bclient-[0-9a-f]{16}\b", "client-0123456789abcdef"),
        (r"\baccess-[\w-]{43}", "access-TOKEN"),
        (r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "2026-07-28T09:05:00Z"),
        (r"\b\d{4}-\d\d-\d\d \d\d:\d\d\b", "2026-07-28 09:05"),
        (r'("expires_in": )3[56]\d\d\b', r"\g<1>3599"),
        (r"\b59 minutes\b", "60 minutes"),
    )
]


def normal(text: str) -> str:
    """`text` without what differs from run to run."""
    for pattern, replacement in _NORMAL:
        text = pattern.sub(replacement, text)
    return text.replace("\x1b", "␛")


def compare(name: str, shown: str) -> None:
    """Fail unless `shown` is the snapshot of that name; where snapshots are updated, make it that."""
    path = SNAPSHOTS / f"{name}.txt"
    if UPDATE:
        SNAPSHOTS.mkdir(exist_ok=True)
        path.write_text(shown, encoding="utf-8", newline="\n")
    assert shown == path.read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A browser whose person approves, and no keychain."""
    monkeypatch.setenv("MCP_LOGIN_STORAGE", "file")
    monkeypatch.setenv("BROWSER", f"{sys.executable} {STAND_IN} approve %s &")
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setenv("LANG", "C.UTF-8")
    monkeypatch.setenv("TERM", "xterm")
    for name in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server() -> Iterator[EmbeddedServer]:
    """A server that nobody is logged in at."""
    with EmbeddedServer().run() as server:
        yield server


@pytest.fixture
def known(server: EmbeddedServer) -> EmbeddedServer:
    """A server with a login of the account `work`, and the lasting mark of one that is gone."""
    person = Person.approves()
    sync.login(server.url, account="work", interactive=True, on_authorization_url=person)
    person.join()
    Index().put(
        IndexEntry("https://gone.example.com/mcp", None, "file", "https://issuer.example.com", "", ("files:read",), 0.0)
    )
    return server


def over_pipes(*arguments: str) -> str:
    """What the command says, and its exit status."""
    done = subprocess.run(
        [*COMMAND, *arguments],
        env=dict(os.environ),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=20,
    )
    assert "\x1b" not in done.stdout + done.stderr
    if "--json" in arguments:
        parse(done.stdout)
    return normal(f"{done.stdout}--- standard error\n{done.stderr}--- exit status {done.returncode}\n")


def on_a_terminal(columns: int, *arguments: str) -> str:
    """What a terminal of that width is sent, and the exit status."""
    fcntl = pytest.importorskip("fcntl")
    pty = pytest.importorskip("pty")
    termios = pytest.importorskip("termios")

    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    # `environ` by name: the readline library has set COLUMNS behind its back.
    process = subprocess.Popen(
        [*COMMAND, *arguments], env=dict(os.environ), stdin=slave, stdout=slave, stderr=slave, start_new_session=True
    )
    os.close(slave)
    text = b""
    try:
        with contextlib.suppress(OSError):  # Linux: the other side is closed
            while data := os.read(master, 4096):
                text += data
        code = process.wait(20)
    finally:
        process.kill()
        process.wait()
        os.close(master)
    shown = settled(text.decode().replace("\r\n", "\n"))
    return normal(f"{shown}--- exit status {code}\n")


def settled(text: str) -> str:
    """`text` without the lines that were drawn over: how often they were is a matter of the machine's speed."""
    return re.sub(r"\r[^\n]*(?:\r|\x1b\[K)(?=[^\r\n]*\n|$)", "", text)


@pytest.mark.parametrize("command", ["", *command_line.commands])
def test_the_help_over_a_pipe(command: str) -> None:
    compare(f"help-{command or 'all'}", over_pipes(*command.split(), "--help"))


@terminal_only
@pytest.mark.parametrize("columns", [80, 40])
def test_the_help_on_a_terminal(columns: int) -> None:
    compare(f"help-all-{columns}", on_a_terminal(columns, "--help"))


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
@pytest.mark.parametrize("command", ["list", "status", "status-one", "token", "logout", "logout-all"])
def test_stored_logins_over_a_pipe(known: EmbeddedServer, command: str, as_json: bool) -> None:
    arguments = {
        "list": ["list"],
        "status": ["status"],
        "status-one": ["status", known.url, "--account", "work"],
        "token": ["token", known.url, "--account", "work"],
        "logout": ["logout", known.url, "--account", "work"],
        "logout-all": ["logout", "--all"],
    }[command]
    shown = over_pipes(*arguments, *["--json"] * as_json)
    compare(f"{command}{'-json' * as_json}", shown)


@terminal_only
@pytest.mark.parametrize("columns", [80, 40])
@pytest.mark.parametrize("command", ["list", "status"])
def test_stored_logins_on_a_terminal(known: EmbeddedServer, command: str, columns: int) -> None:
    shown = on_a_terminal(columns, command)
    assert ("␛[32mvalid␛[0m" in shown) is (command == "status")
    compare(f"{command}-{columns}", shown)


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_a_login_over_a_pipe(server: EmbeddedServer, as_json: bool) -> None:
    compare(f"login{'-json' * as_json}", over_pipes("login", server.url, *["--json"] * as_json))


@terminal_only
def test_a_second_login_on_a_terminal(known: EmbeddedServer) -> None:
    shown = on_a_terminal(80, "login", known.url, "--account", "work")
    assert "␛[32m" in shown
    compare("login-again-80", shown)


FAILURES = {
    "login-required": ["token", "https://mcp.example.com/mcp"],
    "status-none": ["status", "https://mcp.example.com/mcp"],
    "usage": ["login", "https://mcp.example.com/mcp", "--nonsense"],
    "misspelt": ["lgoin"],
}


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
@pytest.mark.parametrize("failure", FAILURES)
def test_a_failure_over_a_pipe(failure: str, as_json: bool) -> None:
    compare(f"{failure}{'-json' * as_json}", over_pipes(*FAILURES[failure], *["--json"] * as_json))


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_a_server_that_is_not_there_over_a_pipe(closed_port: int, as_json: bool) -> None:
    url = f"http://127.0.0.1:{closed_port}/mcp"
    compare(f"unreachable{'-json' * as_json}", over_pipes("login", url, *["--json"] * as_json))


@terminal_only
@pytest.mark.parametrize("columns", [80, 40])
def test_a_failure_on_a_terminal(columns: int) -> None:
    shown = on_a_terminal(columns, *FAILURES["login-required"])
    assert "␛[31m" in shown
    compare(f"login-required-{columns}", shown)


def test_every_snapshot_is_used() -> None:
    source = Path(__file__).read_text(encoding="utf-8")
    names = {path.stem for path in SNAPSHOTS.glob("*.txt")}
    stems = {re.sub(r"-(json|80|40)$", "", name) for name in names}
    known = {*re.findall(r'"([a-z-]+)"', source), *(f"help-{name}" for name in ("all", *command_line.commands))}
    known |= {"login", "unreachable", "login-again"}
    assert stems <= known


def test_what_is_normalised_is_what_differs() -> None:
    started = time.strftime("%Y-%m-%d %H:%M")
    shown = normal(f"http://127.0.0.1:43210/mcp    -  {started}")
    assert shown == "http://127.0.0.1:54321/mcp    -  2026-07-28 09:05"
    assert settled("\r|  Waiting\x1b[K\r\x1b[KLogged in\n") == "Logged in\n"
