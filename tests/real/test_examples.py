"""The examples, as a person would start them: every client against every server, each in a process of its own.

The browser is a stand-in, started by Python's `webbrowser` through BROWSER: one GET that follows redirects. Every server
approves at once. Logins are kept in files under the test's own folder.
"""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from mcp_login.testing import EmbeddedServer
from tests.real import parts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__: list[str] = []

# FastMCP alone takes some seconds to import on a busy machine.
pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]

EXAMPLES = parts.ROOT / "examples"
BROWSER = parts.ROOT / "tests" / "conformance" / "browser.py"

#: Each with the words that show that the protected server did what it was asked for.
CLIENTS = {
    "mcp_sdk_2_client": "2 + 3 = 5",
    "mcp_sdk_1_client": "2 + 3 = 5",
    "fastmcp_client": "2 + 3 = 5",
    "plain_httpx": "2 + 3 = 5",
    "login_script": "logged out",
}
SERVERS = ["embedded", "fastmcp_server", "mcp_sdk_server"]

#: How long a server may take to start, in seconds.
START_LIMIT = 60.0


def interpreter(client: str) -> str:
    """The Python of `client`: the MCP SDK 1.x lives in an environment of its own."""
    return str(parts.need("mcp1")) if client == "mcp_sdk_1_client" else sys.executable


def environment(home: Path, *, browser: bool) -> dict[str, str]:
    """That of a person's shell, with their own home folder and, if wanted, the stand-in for their browser."""
    chosen = {**os.environ, "HOME": str(home), "MCP_LOGIN_HOME": str(home / "logins"), "MCP_LOGIN_STORAGE": "file"}
    if browser:
        chosen["BROWSER"] = f"{shlex.quote(sys.executable)} {shlex.quote(str(BROWSER))} %s"
    return chosen


def run(client: str, url: str, home: Path, *, browser: bool = True) -> subprocess.CompletedProcess[str]:
    """Run the example `client` against the server at `url`."""
    return subprocess.run(
        [interpreter(client), str(EXAMPLES / f"{client}.py"), url],
        env=environment(home, browser=browser),
        cwd=home,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def example_server(name: str, home: Path) -> Iterator[str]:
    """The URL of the example server `name`, running in a process of its own."""
    port = free_port()
    log = home / f"{name}.log"
    with (
        log.open("w") as output,
        subprocess.Popen(
            [sys.executable, str(EXAMPLES / f"{name}.py"), str(port)],
            env=environment(home, browser=False),
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        try:
            until = time.monotonic() + START_LIMIT
            while not answers(port):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < until, f"{name} did not start: {log.read_text()}"
                threading.Event().wait(0.05)
            yield log.read_text().splitlines()[0]
        finally:
            process.terminate()


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The URL of every server."""
    home = tmp_path_factory.mktemp("servers")
    with (
        EmbeddedServer(auto_approve=True).run() as embedded,
        example_server("fastmcp_server", home) as fastmcp,
        example_server("mcp_sdk_server", home) as mcp_sdk,
    ):
        yield {"embedded": embedded.url, "fastmcp_server": fastmcp, "mcp_sdk_server": mcp_sdk}


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_logs_in_and_the_next_process_needs_no_browser(
    client: str, server: str, servers: dict[str, str], tmp_path: Path
) -> None:
    first = run(client, servers[server], tmp_path)
    assert first.returncode == 0, first.stderr
    assert CLIENTS[client] in first.stdout
    assert "Traceback" not in first.stderr
    if client == "login_script":
        return  # it has logged out again
    second = run(client, servers[server], tmp_path, browser=False)
    assert second.returncode == 0, second.stderr
    assert CLIENTS[client] in second.stdout


def test_the_login_script_revokes_at_a_server_that_offers_it(servers: dict[str, str], tmp_path: Path) -> None:
    done = run("login_script", servers["embedded"], tmp_path)
    assert "revoked at the server: yes" in done.stdout
    assert re.search(r"token: \d+ characters", done.stdout)
    assert list((tmp_path / "logins" / "credentials").glob("*.login")) != []  # the registration stays


@pytest.mark.parametrize("client", CLIENTS)
def test_where_nobody_can_log_in_an_example_says_so_in_one_line(
    client: str, servers: dict[str, str], tmp_path: Path
) -> None:
    """Errors come out of an MCP client in exception groups; the examples show how they are caught."""
    done = run(client, servers["embedded"], tmp_path, browser=False)
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith("LoginRequired: ")
    assert servers["embedded"] in line


@pytest.mark.parametrize("client", sorted(set(CLIENTS) - {"login_script"}))
def test_where_the_server_is_down_an_example_says_so_in_one_line(client: str, tmp_path: Path) -> None:
    """What goes wrong with the program's own request is its HTTP client's error, no AuthError."""
    done = run(client, f"http://127.0.0.1:{free_port()}/mcp", tmp_path, browser=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("The server can't be reached: ")
    assert "Traceback" not in done.stderr


def test_every_client_among_the_examples_is_run_here() -> None:
    names = {path.stem for path in EXAMPLES.glob("*.py")}
    assert names == {*CLIENTS, *SERVERS} - {"embedded"}
