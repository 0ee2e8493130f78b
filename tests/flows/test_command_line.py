"""The command `mcp-login` as people and scripts run it: real processes, a real loopback server, a real file storage."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

from mcp_login.testing import EmbeddedServer, Fault, RegisteredClient
from tests.unit.cli.documents import parse

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__: list[str] = []

COMMAND = [sys.executable, "-m", "mcp_login.cli.main"]
STAND_IN = Path(__file__).with_name("browser_stand_in.py")
SECRET = "s3cret-of-the-client"

Answer = Literal["approve", "deny", "close"]


@pytest.fixture(autouse=True)
def storage(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no keychain in tests, and nobody's wish for colours."""
    monkeypatch.setenv("MCP_LOGIN_STORAGE", "file")
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server() -> Iterator[EmbeddedServer]:
    with EmbeddedServer().run() as server:
        yield server


def browser(answer: Answer) -> dict[str, str]:
    """The environment with a browser whose person gives that answer."""
    return {**os.environ, "BROWSER": f"{sys.executable} {STAND_IN} {answer} %s &"}


def run(*arguments: str, answer: Answer = "approve", **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    environment = {**browser(answer), **options.pop("env", {})}
    done = subprocess.run(
        [*COMMAND, *arguments], env=environment, capture_output=True, text=True, check=False, timeout=25, **options
    )
    assert "Traceback" not in done.stderr
    return done


def test_a_login_serves_the_processes_after_it_without_browser_and_without_requests(server: EmbeddedServer) -> None:
    first = run("login", server.url)
    assert (first.returncode, first.stdout) == (0, "")
    assert f"Logged in at {server.url}" in first.stderr
    before = len(server.requests)
    token = run("token", server.url)
    assert (token.returncode, token.stderr) == (0, "")
    assert token.stdout.removesuffix("\n") in server.secrets()
    again = run("login", server.url)
    assert again.returncode == 0
    assert f"Already logged in at {server.url}" in again.stderr
    assert len(server.requests) == before
    assert not [secret for secret in server.secrets() if secret in first.stderr + again.stderr]


def test_a_token_that_is_too_short_lived_is_renewed(server: EmbeddedServer) -> None:
    run("login", server.url)
    first = run("token", server.url).stdout
    other = run("token", server.url, "--min-valid-for", "7200").stdout
    assert other
    assert other != first
    assert server.count("token", grant_type="refresh_token") == 1
    assert server.count("authorization") == 1


def test_force_asks_the_person_again_and_scopes_are_asked_for(server: EmbeddedServer) -> None:
    run("login", server.url)
    done = run("login", server.url, "--force", "--scope", "mcp", "--scope", "secret:read")
    assert done.returncode == 0
    assert "mcp secret:read" in done.stderr
    assert server.count("authorization") == 2


def test_accounts_are_apart_and_listed_without_secrets(server: EmbeddedServer) -> None:
    run("login", server.url, "--account", "work")
    assert run("token", server.url).returncode == 3
    assert run("token", server.url, "--account", "work").returncode == 0
    listed = run("list")
    heads, *rows = [re.split(" {2,}", line) for line in listed.stdout.splitlines()]
    assert heads == ["SERVER", "ACCOUNT", "STORAGE", "LOGGED IN", "SCOPES"]
    [[*before, when, scopes]] = rows
    assert (before, scopes) == ([server.url, "work", "file"], "mcp")
    assert abs(time.mktime(time.strptime(when, "%Y-%m-%d %H:%M")) - time.time()) < 180


def test_a_logout_revokes_and_deletes(server: EmbeddedServer) -> None:
    run("login", server.url)
    done = run("logout", server.url)
    assert (done.returncode, done.stdout) == (0, "")
    assert "revoked at the server and deleted here" in done.stderr
    assert server.count("revocation") == 2
    token = run("token", server.url)
    assert (token.returncode, token.stdout) == (3, "")
    assert f"mcp-login login {server.url}" in token.stderr
    assert "There was no login" in run("logout", server.url).stderr
    assert run("list").stdout == ""


def test_a_revocation_that_fails_is_reported_and_the_login_is_deleted_anyway(server: EmbeddedServer) -> None:
    run("login", server.url)
    server.faults.revocation_endpoint = Fault(status=503)
    done = run("logout", server.url)
    assert done.returncode == 13
    assert "did not confirm" in done.stderr
    assert run("token", server.url).returncode == 3


def test_a_person_who_says_no_ends_the_command_and_loses_nothing_that_was_stored(server: EmbeddedServer) -> None:
    run("login", server.url)
    done = run("login", server.url, "--force", answer="deny")
    assert done.returncode == 5
    assert "access_denied" in done.stderr
    assert done.stderr.endswith("Hint:  Start the login again and allow the access.\n")
    assert run("token", server.url).returncode == 0


def test_a_browser_that_was_closed_ends_the_command_when_its_time_is_up(server: EmbeddedServer) -> None:
    done = run("login", server.url, "--timeout", "1", answer="close")
    assert done.returncode == 6
    assert done.stderr.count("--timeout") == 1
    assert "callback_timeout" not in done.stderr


def test_a_server_that_needs_no_login_says_so() -> None:
    with EmbeddedServer(protected=False).run() as server:
        done = run("login", server.url)
    assert done.returncode == 11
    assert "asks for no login" in done.stderr


def test_a_server_that_is_not_there_keeps_what_was_stored() -> None:
    with EmbeddedServer().run() as server:
        run("login", server.url)
    assert run("login", server.url, "--force").returncode == 4
    assert run("token", server.url).returncode == 0


def test_broken_metadata_is_told_from_an_outage(server: EmbeddedServer) -> None:
    server.faults.server_metadata = Fault(body=b'{"issuer": 7}', content_type="application/json")
    assert run("login", server.url).returncode == 10
    server.faults.server_metadata = Fault(status=503)
    assert run("login", server.url).returncode == 4


@pytest.mark.parametrize("url", ["http://mcp.example.com/mcp", "https://", "ftp://127.0.0.1/", "https://a/#b"])
@pytest.mark.parametrize("command", ["login", "token", "logout"])
def test_a_url_that_is_not_allowed_is_refused_before_anything_is_sent(command: str, url: str) -> None:
    done = run(command, url)
    assert (done.returncode, done.stdout) == (8, "")
    assert done.stderr.startswith("Error: ")


@pytest.mark.parametrize("command", ["login", "token", "logout"])
def test_without_a_keychain_the_choices_are_named(server: EmbeddedServer, command: str) -> None:
    done = run(command, server.url, "--storage", "keychain")
    assert (done.returncode, done.stdout) == (7, "")
    assert "--storage file" in done.stderr
    assert done.stderr.count("MCP_LOGIN_STORAGE") == 1
    assert "export MCP_LOGIN_STORAGE=file" in done.stderr
    assert "memory" not in done.stderr
    assert len(server.requests) == 0


def test_a_login_in_another_storage_than_the_default_says_how_programs_find_it(server: EmbeddedServer) -> None:
    said = "Programs find it with MCP_LOGIN_STORAGE=file"
    assert said not in run("login", server.url, "--storage", "file").stderr
    done = run("login", server.url, "--storage", "file", env={"MCP_LOGIN_STORAGE": ""})
    assert done.returncode == 0
    assert said in done.stderr
    assert run("token", server.url, env={"MCP_LOGIN_STORAGE": "file"}).returncode == 0


def test_the_resource_can_be_left_out() -> None:
    with EmbeddedServer().run() as server:
        run("login", server.url, "--no-resource")
        asked = server.requests.matching("authorization")[0].params
    assert "resource" not in asked


def test_a_server_that_is_silent_about_pkce_can_be_trusted() -> None:
    with EmbeddedServer(server_metadata_overrides={"code_challenge_methods_supported": ...}).run() as server:
        done = run("login", server.url)
        assert done.returncode == 10
        assert "--trust-pkce" in done.stderr
        done = run("login", server.url, "--trust-pkce")
        assert done.returncode == 0, done.stderr
        assert server.requests.matching("authorization")[0].params["code_challenge_method"] == "S256"


@pytest.mark.parametrize("command", ["login", "token", "logout"])
def test_a_server_in_a_private_network_may_do_without_tls_if_that_is_said(command: str) -> None:
    # No name is looked up: there is a proxy on this machine, or rather nobody. The URL itself is not refused.
    proxy = {"HTTP_PROXY": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}
    url = "http://intranet.invalid/mcp"
    assert run(command, url).returncode == 8
    done = run(command, url, "--allow-private-network", env=proxy)
    assert done.returncode == {"login": 4, "token": 3, "logout": 0}[command], done.stderr
    if command == "login":
        assert "127.0.0.1:9" in done.stderr
    if command == "token":
        assert f"mcp-login login {url} --allow-private-network" in done.stderr


def test_a_callback_port_that_is_taken_is_its_own_error(server: EmbeddedServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        done = run("login", server.url, "--callback-port", str(other.getsockname()[1]))
    assert done.returncode == 12
    assert "--callback-port" in done.stderr


def pre_registered(**more: Any) -> EmbeddedServer:
    """A server that lets nobody register."""
    client = RegisteredClient(
        client_id="known",
        client_secret=SECRET,
        redirect_uris=("http://127.0.0.1/callback",),
        token_endpoint_auth_method="client_secret_basic",
    )
    return EmbeddedServer(registration=("pre_registered",), clients=(client,), any_loopback_port=True, **more)


def test_the_client_secret_comes_from_the_environment_and_the_browser_does_not_get_it() -> None:
    with pre_registered().run() as server:
        done = run("login", server.url, "--client-id", "known", env={"MCP_LOGIN_CLIENT_SECRET": SECRET})
        assert done.returncode == 0, done.stderr
        assert SECRET not in done.stderr
        assert run("token", server.url, "--min-valid-for", "7200").returncode == 0


def test_the_client_secret_comes_from_standard_input() -> None:
    with pre_registered().run() as server:
        done = run("login", server.url, "--client-id", "known", "--client-secret-stdin", input=f"{SECRET}\n")
        assert done.returncode == 0, done.stderr
        assert run("login", server.url, "--client-id", "known", "--client-secret-stdin", input="").returncode == 2
    assert run("login", "https://mcp.example.com", "--client-secret-stdin", input=f"{SECRET}\n").returncode == 2


def test_the_redirect_uri_has_the_host_and_port_that_were_asked_for(server: EmbeddedServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
    done = run("login", server.url, "--callback-host", "localhost", "--callback-port", str(port))
    assert done.returncode == 0, done.stderr
    redirect_uri = server.requests.matching("authorization")[0].params["redirect_uri"]
    assert redirect_uri.startswith(f"http://localhost:{port}/")


def test_a_client_metadata_document_is_used_where_the_server_supports_it() -> None:
    url = "https://client.example.com/metadata.json"
    document = {
        "client_id": url,
        "client_name": "test",
        "redirect_uris": ["http://127.0.0.1/callback"],
        "token_endpoint_auth_method": "none",
    }
    fetch = {url: json.dumps(document).encode()}.__getitem__
    settings: dict[str, Any] = {"registration": ("metadata_document",), "fetch": fetch, "any_loopback_port": True}
    with EmbeddedServer(**settings).run() as server:
        done = run("login", server.url, "--client-metadata-url", url)
        assert done.returncode == 0, done.stderr
        assert server.requests.matching("authorization")[0].params["client_id"] == url
        assert run("login", server.url, "--force", "--client-metadata-url", "http://a/b").returncode == 8


def test_a_client_id_is_used_at_its_issuer_only() -> None:
    with pre_registered().run() as server:
        done = run("login", server.url, "--client-id", "known", "--issuer", "https://auth.example.com")
        assert done.returncode == 10
        assert server.count("authorization") == 0


def test_without_a_way_to_register_the_options_are_named() -> None:
    with pre_registered().run() as server:
        done = run("login", server.url, stdin=subprocess.DEVNULL)
    assert done.returncode == 9
    for option in ("--client-id", "MCP_LOGIN_CLIENT_SECRET", "--client-secret-stdin", "--callback-port"):
        assert option in done.stderr
    for keyword in ("client_id", "client_secret", "callback_port"):
        assert keyword not in done.stderr


def test_where_nobody_can_see_the_address_the_command_ends_at_once_and_does_not_print_it(
    server: EmbeddedServer,
) -> None:
    done = run("login", server.url, env={"BROWSER": ""}, stdin=subprocess.DEVNULL)
    assert done.returncode == 3
    assert "There is no browser here, and no terminal" in done.stderr
    assert "--no-browser" in done.stderr
    assert "state=" not in done.stderr
    assert server.count("registration") == 0


def test_a_login_in_place_of_a_damaged_one_says_so_and_does_not_advise_what_is_being_done(
    server: EmbeddedServer, home: Path
) -> None:
    assert run("login", server.url).returncode == 0
    for path in home.rglob("*.login"):
        path.write_text("torn", encoding="utf-8")
    done = run("login", server.url)
    assert done.returncode == 0
    assert (
        f"Warning: {server.url}: The stored value is not one of mcp-login's: another program wrote it.\n" in done.stderr
    )
    assert "Log in again" not in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for another process")
@pytest.mark.parametrize("arguments", [["login"], ["login", "--no-browser"]])
def test_an_interrupt_ends_the_command_and_the_login_with_it(server: EmbeddedServer, arguments: list[str]) -> None:
    process = subprocess.Popen(
        [*COMMAND, *arguments, server.url],
        env=browser("close"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    said = ""
    while "Waiting for you" not in said:
        said += process.stderr.readline()
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, rest = process.communicate(timeout=10)
    assert process.returncode == 130
    assert time.monotonic() - started < 5
    assert out == ""
    assert rest.strip() == "Interrupted."
    # Nothing can be pasted here, so that a browser elsewhere would end nowhere.
    assert ("open this address in a browser on this machine:" in said) is ("--no-browser" in arguments)
    assert "another machine" not in said
    port = int(server.requests.matching("registration")[0].body.decode().split("127.0.0.1:")[1].split("/")[0])
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 2)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for another process")
def test_an_interrupt_is_a_document_where_documents_are_asked_for(server: EmbeddedServer) -> None:
    process = subprocess.Popen(
        [*COMMAND, "login", "--json", server.url],
        env=browser("close"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    said = ""
    while "Waiting for you" not in said:
        said += process.stderr.readline()
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=10)
    assert process.returncode == 130
    assert parse(out)["error"]["code"] == "interrupted"


def test_the_status_says_whether_a_login_is_needed_and_asks_no_server(server: EmbeddedServer) -> None:
    assert run("status", server.url).returncode == 3
    run("login", server.url)
    before = len(server.requests)
    done = run("status", server.url)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search("^  state +valid$", done.stdout, re.MULTILINE)
    assert len(server.requests) == before
    assert not [secret for secret in server.secrets() if secret in done.stdout]


def test_a_login_s_document_is_that_of_the_status_after_it(server: EmbeddedServer) -> None:
    login = parse(run("login", server.url, "--json").stdout)
    assert login["outcome"] == "logged_in"
    assert parse(run("login", server.url, "--json").stdout)["outcome"] == "already_logged_in"
    [status] = parse(run("status", server.url, "--json").stdout)["logins"]
    for document in (login, status):
        document.pop("expires_in")
    assert {**status, "document": "login", "format": 1, "outcome": "logged_in"} == {**login, "problem": None}


def test_the_token_s_document_has_the_token_that_the_command_prints(server: EmbeddedServer) -> None:
    run("login", server.url)
    document = parse(run("token", server.url, "--json").stdout)
    assert f"{document['access_token']}\n" == run("token", server.url).stdout
    assert 3500 < document["expires_in"] <= 3600


def test_a_person_who_says_no_is_a_document_with_the_server_s_word(server: EmbeddedServer) -> None:
    done = run("login", server.url, "--json", answer="deny")
    error = parse(done.stdout)["error"]
    assert (done.returncode, error["code"], error["oauth_error"]["error"]) == (5, "refused", "access_denied")


def test_a_demo_s_document_is_all_there_is_on_standard_output() -> None:
    document = parse(run("demo", "--no-browser", "--json").stdout)
    assert [part["name"] for part in document["parts"]] == ["login", "reuse", "refresh", "logout"]
    assert len(document["results"]) == 3


@pytest.mark.skipif(os.name == "nt", reason="Windows reports closed pipes in another way")
@pytest.mark.parametrize(
    "arguments",
    [["list"], ["--help"], ["demo"], ["status"], ["list", "--json"], ["lst", "--json"], ["completion", "bash"]],
)
def test_a_reader_that_goes_away_is_no_event(server: EmbeddedServer, arguments: list[str]) -> None:
    run("login", server.url)
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [*COMMAND, *arguments], stdout=writing, stderr=subprocess.PIPE, text=True, check=False, timeout=20
        )
    finally:
        os.close(writing)
    assert done.stderr.strip() == ""


def test_the_demo_ends_with_authorised_calls_where_there_is_neither_browser_nor_keychain(home: Path) -> None:
    done = run("demo", env={"BROWSER": "", "MCP_LOGIN_STORAGE": "", "MCP_LOGIN_HOME": ""})
    assert (done.returncode, done.stderr) == (0, "")
    assert "in memory: the keychain can't be used here" in done.stdout
    assert "stand-in" in done.stdout
    assert "1 request: no browser, no discovery, no token request." in done.stdout
    assert done.stdout.count('whoami answers  {"client_id"') == 3
    assert "\x1b" not in done.stdout
    assert [path for path in home.rglob("*") if path.is_file()] == []
    steps = re.findall(r"^  (\w+) {2,}(?:GET|POST|the)", done.stdout, re.MULTILINE)
    assert steps == [
        *("challenge", "metadata", "metadata", "registration", "browser", "consent", "code", "token", "call"),
        "call",
        *("refused", "refresh", "call"),
        *("revocation", "revocation"),
    ]


def test_the_demo_leaves_nothing_in_the_storage_it_used(home: Path) -> None:
    done = run("demo", env={"BROWSER": ""})
    assert done.returncode == 0
    assert "finds the login in the file" in done.stdout
    assert not (home / "mcp-login").exists()


def test_the_demo_opens_a_real_browser_where_there_is_one_but_not_in_ci_nor_when_told_not_to() -> None:
    assert "yours opens: approve there" in run("demo").stdout
    assert "yours opens" not in run("demo", env={"CI": "true"}).stdout
    assert "yours opens" not in run("demo", "--no-browser").stdout


def test_where_the_browser_cannot_be_started_the_demo_goes_on_without() -> None:
    done = run("demo", env={"BROWSER": "false %s &"})
    assert done.returncode == 0
    assert "yours could not be started: the stand-in approves" in done.stdout


def test_a_demo_that_nobody_answers_says_how_to_go_on() -> None:
    code = (
        "import sys, mcp_login.cli.demo as demo; demo.PATIENCE = 1.0\n"
        "from mcp_login.cli.main import main\n"
        "sys.exit(main(['demo']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=browser("close"), capture_output=True, text=True, check=False, timeout=25
    )
    assert done.returncode == 6
    assert "mcp-login demo --no-browser" in done.stderr


class Terminal:
    """The command on a terminal of its own, inside a `with` block."""

    def __init__(self, *arguments: str, environment: dict[str, str]) -> None:
        pty = pytest.importorskip("pty")

        self._master, slave = pty.openpty()
        self._process = subprocess.Popen(
            [*COMMAND, *arguments],
            env={**environment, "TERM": "xterm"},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        #: What was on screen so far.
        self.text = ""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._master)

    def read_until(self, pattern: str, seconds: float = 15.0) -> re.Match[str]:
        """Wait until `pattern` is on screen."""
        deadline = time.monotonic() + seconds
        while (found := re.search(pattern, self.text)) is None:
            assert self._read(deadline), f"never saw {pattern!r}: {self.text}"
        return found

    def type(self, line: str) -> None:
        """Type `line` and press Enter."""
        os.write(self._master, f"{line}\n".encode())

    @property
    def echoes(self) -> bool:
        """Whether what is typed is shown."""
        termios = pytest.importorskip("termios")

        return bool(termios.tcgetattr(self._master)[3] & termios.ECHO)

    def interrupt(self) -> None:
        """What Ctrl-C does."""
        self._process.send_signal(signal.SIGINT)

    def end(self, seconds: float = 15.0) -> int:
        """Wait for the command's end; its exit status."""
        deadline = time.monotonic() + seconds
        while self._read(deadline):
            pass
        return self._process.wait(max(0.1, deadline - time.monotonic()))

    def _read(self, deadline: float) -> bool:
        ready, _, _ = select.select([self._master], [], [], max(0.0, deadline - time.monotonic()))
        try:
            data = os.read(self._master, 4096) if ready else b""
        except OSError:  # Linux: the other side is closed
            return False
        self.text += data.decode().replace("\r\n", "\n")
        return bool(data)


def follow_once(url: str) -> str:
    """Where the browser is sent by an authorization server that approves at once."""

    class Stop(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_: Any, **__: Any) -> None:
            return None

    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), Stop())
    try:
        opener.open(url, timeout=5).close()
    except urllib.error.HTTPError as answer:
        with answer:
            return answer.headers["Location"]
    raise AssertionError("there was no redirect")


terminal_only = pytest.mark.skipif(os.name == "nt", reason="needs a pseudo-terminal")


@terminal_only
def test_without_a_browser_the_address_is_shown_and_the_pasted_redirect_is_the_answer() -> None:
    with (
        EmbeddedServer(auto_approve=True).run() as server,
        Terminal("login", "--no-browser", server.url, environment=browser("approve")) as terminal,
    ):
        url = terminal.read_until(r"open this address in a browser, here or on another machine:\n\n  (\S+)\n")[1]
        terminal.read_until("Waiting for you")
        assert server.count("authorization") == 0
        terminal.type(follow_once(url))
        terminal.read_until("Logged in at")
        assert terminal.end() == 0
        assert run("token", server.url).returncode == 0


@terminal_only
def test_on_a_terminal_a_person_is_asked_for_the_client_id_and_the_secret_is_not_shown() -> None:
    with pre_registered().run() as server, Terminal("login", server.url, environment=browser("approve")) as terminal:
        terminal.read_until("Client id: ")
        terminal.type("known")
        terminal.read_until("Client secret[^\n]*: ")
        terminal.type(SECRET)
        terminal.read_until("Logged in at")
        assert terminal.end() == 0
        assert SECRET not in terminal.text


@terminal_only
def test_an_interrupt_at_the_question_ends_the_command() -> None:
    with pre_registered().run() as server, Terminal("login", server.url, environment=browser("approve")) as terminal:
        terminal.read_until("Client id: ")
        terminal.type("known")
        terminal.read_until("Client secret[^\n]*: ")
        terminal.interrupt()
        assert terminal.end() == 130
        assert "Interrupted." in terminal.text
        assert terminal.echoes


@terminal_only
@pytest.mark.parametrize(
    ("variables", "coloured"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, False)],
)
def test_colour_is_for_terminals_whose_person_wants_it(variables: dict[str, str], coloured: bool) -> None:
    with Terminal("demo", "--no-browser", environment={**os.environ, **variables}) as terminal:
        assert terminal.end() == 0
        assert ("\x1b[" in terminal.text) is coloured


@pytest.mark.skipif(os.name == "nt", reason="a POSIX shell closes the stream")
@pytest.mark.parametrize("away", ["2>&-", "2>/dev/full"])
def test_what_nobody_can_be_told_is_no_failure_and_there_is_one_document(server: EmbeddedServer, away: str) -> None:
    if "full" in away and not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")

    def quietly(*arguments: str) -> subprocess.CompletedProcess[str]:
        # A sub-shell: what is closed is the command's standard error only.
        line = ["sh", "-c", f'"$@" {away}', "sh", *COMMAND, *arguments]
        return subprocess.run(line, env=browser("approve"), capture_output=True, text=True, check=False, timeout=25)

    login = quietly("login", server.url, "--json")
    assert (login.returncode, parse(login.stdout)["document"]) == (0, "login")
    assert quietly("login", server.url).returncode == 0
    for arguments, code in (
        (["token"], 0),
        (["status"], 0),
        (["logout"], 0),
        (["token"], 3),
        (["login", "--storage", "nowhere"], 2),
    ):
        done = quietly(*arguments, server.url, "--json")
        assert done.returncode == code, arguments
        parse(done.stdout)
        if arguments == ["token"] and code == 0:
            assert quietly("list").returncode == 0
    assert quietly("logout", server.url).returncode == 0
    assert quietly("lst").returncode == 2


def test_a_key_in_the_query_of_the_url_is_never_printed(server: EmbeddedServer) -> None:
    url = f"{server.url}?key=k3y"
    for json_option in ([], ["--json"]):
        for arguments, code in (
            (["token"], 3),
            (["status"], 3),
            (["login"], 0),
            (["login"], 0),
            (["status"], 0),
            (["logout"], 0),
            (["logout"], 0),
        ):
            done = run(*arguments, url, *json_option)
            assert done.returncode == code, (arguments, done.stderr)
            assert "k3y" not in done.stdout + done.stderr, arguments
            if code == 3:
                assert "mcp-login login" in done.stderr + done.stdout
