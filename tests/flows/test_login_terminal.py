"""`mcp-login login` and `demo` on a real pseudo-terminal: who asks for what, the line that waits, the questions."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from mcp_login.cli.output import schema_text
from mcp_login.testing import EmbeddedServer, RegisteredClient

if os.name == "nt":
    pytest.skip("pseudo-terminals are POSIX's", allow_module_level=True)

from tests.flows.pseudo_terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.flows.conftest import Serve

__all__: list[str] = []

assert sys.platform != "win32"  # so reads mypy

STAND_IN = Path(__file__).with_name("browser_stand_in.py")
SECRET = "s3cret-of-the-client"
WAITING = r"[⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏](?:\x1b\[0m)? Waiting for you in the browser  \d:\d\d left · Ctrl-C ends the login"


@pytest.fixture(autouse=True)
def storage(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no keychain in tests."""
    monkeypatch.setenv("MCP_LOGIN_STORAGE", "file")


def browser(answer: str = "approve", **more: str) -> dict[str, str]:
    """The environment with a browser whose person gives that answer."""
    return {**os.environ, "BROWSER": f"{sys.executable} {STAND_IN} {answer} %s &", **more}


def browser_that_waits_for(path: Path, **more: str) -> dict[str, str]:
    """The environment with a browser whose person approves once there is something to read in the pipe `path`."""
    os.mkfifo(path)
    script = path.with_suffix(".sh")
    stand_in = shlex.join([sys.executable, str(STAND_IN), "approve"])
    script.write_text(f'#!/bin/sh\nread line < {shlex.quote(str(path))}\nexec {stand_in} "$1"\n')
    script.chmod(0o700)
    return browser(**{"BROWSER": f"{script} %s &", **more})


@contextlib.contextmanager
def two_sites(**settings: Any) -> Iterator[EmbeddedServer]:
    """An MCP server on 127.0.0.1 whose authorization server is on localhost."""
    with (
        EmbeddedServer(**settings).run(host="localhost") as other,
        EmbeddedServer(authorization_server=other).run() as server,
    ):
        yield server


def pre_registered() -> EmbeddedServer:
    """A server that lets nobody register."""
    client = RegisteredClient(
        client_id="known",
        client_secret=SECRET,
        redirect_uris=("http://127.0.0.1/callback",),
        token_endpoint_auth_method="client_secret_basic",
    )
    return EmbeddedServer(registration=("pre_registered",), clients=(client,), any_loopback_port=True)


# The line that waits.


@pytest.mark.parametrize("columns", [80, 40, 20])
def test_while_the_browser_is_open_one_line_says_so_and_none_of_it_stays(
    serve: Serve, tmp_path: Path, columns: int
) -> None:
    server = serve()
    environment = browser_that_waits_for(tmp_path / "approved")
    with Terminal("login", server.url, environment=environment, columns=columns) as terminal:
        terminal.until(r"4:59 left" if columns > 20 else "4:59")
        waiting = [row for row in terminal.rows if re.search(r" \d:\d\d( left|$)", row)]
        assert len(waiting) == 1
        assert len(waiting[0]) < columns
        (tmp_path / "approved").write_text("yes\n")
        assert terminal.end() == 0
    assert "left" not in terminal.text
    assert f"Logged in at {server.url}" in terminal.text.replace("\n", "" if columns < 80 else "\n")
    assert "\x1b[?" not in terminal.written


def test_a_spinner_turns_and_the_time_is_the_login_s_own(serve: Serve, tmp_path: Path) -> None:
    environment = browser_that_waits_for(tmp_path / "approved")
    with Terminal("login", serve().url, "--timeout", "90", environment=environment) as terminal:
        terminal.until(r"1:30 left")
        terminal.until(r"1:29 left")
        spinners = set(re.findall(r"([⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏])\S* Waiting", terminal.written))
        assert len(spinners) > 3
        assert re.search(WAITING, terminal.written)
        (tmp_path / "approved").write_text("yes\n")
        assert terminal.end() == 0


def test_ctrl_c_ends_the_login_and_leaves_a_clean_terminal(serve: Serve) -> None:
    with Terminal("login", serve().url, environment=browser("close")) as terminal:
        before = terminal.modes
        terminal.until(WAITING)
        terminal.type("\x03")
        assert terminal.end() == 130
        assert terminal.modes == before
    assert "Waiting" not in terminal.text
    assert "^C" not in terminal.text
    assert terminal.text.rstrip().endswith("Interrupted.")
    assert "\x1b[?" not in terminal.written


def test_a_time_that_is_up_leaves_a_clean_terminal(serve: Serve) -> None:
    with Terminal("login", serve().url, "--timeout", "0.5", environment=browser("close")) as terminal:
        assert terminal.end() == 6
    assert "Waiting" in terminal.written
    assert "Waiting" not in terminal.text


def test_a_person_who_says_no_leaves_a_clean_terminal(serve: Serve) -> None:
    with Terminal("login", serve().url, environment=browser("deny")) as terminal:
        assert terminal.end() == 5
    assert "Waiting for you" not in terminal.text
    assert "Error:" in terminal.text


@pytest.mark.parametrize(
    ("term", "variables", "redraws", "spinner"),
    [
        ("dumb", {}, False, ""),
        ("xterm", {"PYTHONIOENCODING": "ascii"}, True, "|/-\\"),
        ("xterm", {"NO_COLOR": "1"}, True, "⠋"),
    ],
)
def test_a_terminal_that_can_less_gets_less(
    serve: Serve, term: str, variables: dict[str, str], redraws: bool, spinner: str
) -> None:
    with Terminal("login", serve().url, environment=browser("close", **variables), term=term) as terminal:
        terminal.until("Waiting for you")
        terminal.type("\x03")
        assert terminal.end() == 130
    assert ("\x1b[K" in terminal.written) is redraws
    assert ("Waiting for you, at most 5 minutes. Ctrl-C ends the login." in terminal.text) is not redraws
    assert not redraws or re.search(rf"\r[{re.escape(spinner)}] Waiting for you", _uncoloured(terminal.written))
    assert "NO_COLOR" not in variables or "\x1b[3" not in terminal.written


def _uncoloured(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def test_where_the_answer_may_be_pasted_the_line_stands_still(serve: Serve) -> None:
    with Terminal("login", "--no-browser", serve().url, environment=browser()) as terminal:
        terminal.until("Waiting for you, at most 5 minutes")
        terminal.type("not the address\n")
        terminal.until("Warning")
        terminal.type("half of an addr")
        terminal.until("half of an addr")
        assert terminal.rows[-1] == "half of an addr"
        assert "\x1b[K" not in terminal.written
        terminal.type("\x03")
        assert terminal.end() == 130


def test_where_no_browser_can_be_started_the_line_makes_room_for_the_address(serve: Serve) -> None:
    with Terminal("login", serve().url, environment={**os.environ, "BROWSER": "false %s &"}) as terminal:
        terminal.until("paste its whole address here")
        terminal.until("at most 5 minutes")
        assert "No browser could be started." in terminal.rows
        assert not [row for row in terminal.rows if "left" in row]
        terminal.type("\x03")
        assert terminal.end() == 130


# Who asks for what.


def test_before_the_first_login_at_another_site_it_is_told_who_asks_for_what() -> None:
    with two_sites(server_scopes_supported=("mcp", "offline_access")) as server:
        with Terminal("login", server.url, environment=browser()) as terminal:
            assert terminal.end() == 0
        host = server.issuer.removeprefix("http://")
        told = terminal.text
        assert f"{server.origin.removeprefix('http://')} sends you to another site to log in" in told
        assert f"  resource    {server.url}\n  issuer      {host}\n  scopes      mcp offline_access\n" in told
        assert "offline_access: the login stays" in told
        assert told.index("another site") < told.index("Opening your browser")
        # The issuer is known now.
        with Terminal("login", "--force", server.url, environment=browser()) as again:
            assert again.end() == 0
        assert "another site" not in again.text


def test_the_same_site_on_another_port_is_not_told(serve: Serve) -> None:
    server = serve(separate_authorization_server=True)
    with Terminal("login", server.url, environment=browser()) as terminal:
        assert terminal.end() == 0
    assert "another site" not in terminal.text


def test_it_is_told_before_an_address_is_shown_too() -> None:
    with two_sites() as server, Terminal("login", "--no-browser", server.url, environment=browser()) as terminal:
        terminal.until("Waiting for you")
        assert terminal.text.index("another site") < terminal.text.index("To log in, open this address")


# What is asked on the terminal.


def test_a_person_is_told_where_to_get_a_client_id_and_asked_for_it_and_the_secret_is_not_shown() -> None:
    with pre_registered().run() as server, Terminal("login", server.url, environment=browser()) as terminal:
        terminal.until("Client id: ")
        told = " ".join(terminal.text.split())
        assert "Ask its operator for a client id with the redirect URI http://127.0.0.1/callback" in told
        terminal.type("\n")
        terminal.until("Client id: \r\nClient id: ")
        terminal.type("   \n")
        terminal.until("Client id:    \r\nClient id: ")
        terminal.type("known\n")
        terminal.until(r"Client secret[^\n]*: ")
        terminal.type(f"{SECRET}\n")
        terminal.until("Logged in at")
        assert terminal.end() == 0
    assert SECRET not in terminal.written


def test_ctrl_c_at_a_question_ends_the_command_and_what_is_typed_is_shown_again() -> None:
    with pre_registered().run() as server:
        with Terminal("login", server.url, environment=browser()) as terminal:
            before = terminal.modes
            terminal.until("Client id: ")
            terminal.give_up()
            assert terminal.end() == 130
        assert [row.rstrip("^C") for row in terminal.rows[-3:]] == ["Client id: ", "Interrupted.", ""]
        with Terminal("login", server.url, environment=browser()) as terminal:
            terminal.until("Client id: ")
            terminal.type("known\n")
            terminal.until(r"Client secret[^\n]*: ")
            terminal.give_up()
            assert terminal.end() == 130
            assert terminal.modes == before


def test_an_end_of_input_at_a_question_ends_the_command_as_where_nobody_can_be_asked() -> None:
    with pre_registered().run() as server, Terminal("login", server.url, environment=browser()) as terminal:
        terminal.until("Client id: ")
        terminal.type("\x04")
        assert terminal.end() == 9
    assert "--client-id" in terminal.text


# For programs.


def test_with_json_standard_output_is_one_document_and_the_rest_is_for_the_person(serve: Serve) -> None:
    server = serve()
    for outcome in ("logged_in", "already_logged_in"):
        with Terminal("login", "--json", server.url, environment=browser(), data=True) as terminal:
            assert terminal.end() == 0
        document = json.loads(terminal.output)
        jsonschema.validate(document, json.loads(schema_text()))
        assert (document["outcome"], document["server_url"]) == (outcome, server.url)
        assert "in at" in terminal.text
        assert [secret for secret in server.secrets() if secret in terminal.output] == []


def test_the_demo_waits_for_the_person_in_the_same_way(tmp_path: Path) -> None:
    environment = browser_that_waits_for(tmp_path / "approved")
    with Terminal("demo", environment=environment, columns=60) as terminal:
        terminal.until(r"1:59 left")
        (tmp_path / "approved").write_text("yes\n")
        assert terminal.end() == 0
    assert "left" not in terminal.text
    assert re.search(r"8 requests, \d+\.\d s in all; \d+\.\d s of it for you in the", terminal.text)
    assert max(map(len, terminal.rows)) <= 60


def test_ctrl_c_ends_the_demo_and_leaves_nothing(tmp_path: Path) -> None:
    with Terminal("demo", environment=browser("close", TMPDIR=str(tmp_path))) as terminal:
        terminal.until(WAITING)
        terminal.type("\x03")
        assert terminal.end() == 130
    assert "Waiting" not in terminal.text
    assert list(tmp_path.iterdir()) == []


def test_a_demo_whose_steps_go_through_a_pipe_draws_nothing_beside_it() -> None:
    with Terminal("demo", environment=browser(), data=True) as terminal:
        assert terminal.end() == 0
    assert terminal.written == ""
    assert "yours opens: approve there" in terminal.output
    assert "\x1b" not in terminal.output
