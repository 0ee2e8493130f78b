"""The command line's promises that need no server: exit statuses, options, imports, and what is said where."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import time

import click
import pytest

from mcp_login import errors
from mcp_login.cli.commands import command_line, run
from mcp_login.cli.exit_codes import MEANINGS, ExitCode, exit_code_of
from mcp_login.cli.failure import failure_of, hint_for
from mcp_login.cli.group import ENVIRONMENT
from mcp_login.cli.main import main
from mcp_login.storage.index import Index, IndexEntry

__all__: list[str] = []

EXAMPLES = {
    errors.AuthError("x"): 1,
    errors.LoginRequired("x", resource="https://a"): 3,
    errors.TransportError("x"): 4,
    errors.AuthorizationErrorResponse("access_denied"): 5,
    errors.TokenErrorResponse("invalid_grant"): 5,
    errors.RegistrationErrorResponse("invalid_redirect_uri"): 5,
    errors.LoginTimeout("x", seconds=1): 6,
    errors.StorageError("x"): 7,
    errors.StorageLocked("x"): 7,
    errors.StorageUnavailable("x"): 7,
    errors.StorageUnreadable("x"): 7,
    errors.PolicyError("x"): 8,
    errors.RegistrationRequired("x", issuer="https://a"): 9,
    errors.InvalidResponse("x", url="https://a"): 10,
    errors.IssuerMismatch(expected="a", received="b", url="https://a"): 10,
    errors.LoginNotNeeded("x"): 11,
    errors.RedirectPortTaken("x", port=1): 12,
}


@pytest.mark.parametrize(("error", "code"), EXAMPLES.items(), ids=lambda value: type(value).__name__)
def test_every_error_has_its_exit_status(error: errors.AuthError, code: int) -> None:
    assert exit_code_of(error) == code
    assert failure_of(error).code == code


@pytest.mark.parametrize(
    "arguments",
    [["--account", ""], ["--client-id", ""], ["--client-id", "x", "--issuer", " "], ["--client-metadata-url", ""]],
    ids=str,
)
def test_an_empty_option_is_a_wrong_argument(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["login", "https://mcp.example.com/mcp", *arguments]) == 2
    assert "it is empty" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["login", "status", "token", "logout"])
@pytest.mark.parametrize("url", ["foo", "", "/mcp", "mailto:a@b"])
def test_what_is_no_url_is_a_wrong_argument(command: str, url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([command, url]) == 2
    assert "is not a URL that starts with https://" in capsys.readouterr().err


def test_no_error_of_the_library_is_forgotten() -> None:
    classes = {one for name in errors.__all__ if isinstance(one := getattr(errors, name), type)} - {
        errors.ErrorResponse
    }
    assert {type(error) for error in EXAMPLES} == classes


def test_the_help_explains_every_exit_status(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    shown = capsys.readouterr().out
    for code in ExitCode:
        assert re.search(rf"^ +{code:d}  {re.escape(MEANINGS[code])}$", shown, re.MULTILINE)


def test_the_help_begins_with_three_lines_to_start_with_and_names_the_environment(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["--help"]) == 0
    shown = capsys.readouterr().out
    start = shown.split("Start:\n")[1].split("\n\n")[0].splitlines()
    assert [line.split()[:2] for line in start] == [["mcp-login", name] for name in ("demo", "login", "token")]
    for name in ENVIRONMENT:
        assert f"  {name}" in shown


@pytest.mark.parametrize("command", command_line.commands)
def test_every_command_explains_itself_with_examples_that_are_right(
    capsys: pytest.CaptureFixture[str], command: str
) -> None:
    assert main([command, "-h"]) == 0
    shown = capsys.readouterr().out
    assert f"Usage: mcp-login {command}" in shown
    lines = [line[4:] for line in shown.split("Examples:\n")[1].splitlines() if line.startswith("    ")]
    assert f"mcp-login {command}" in lines[0]
    for line in lines:
        words = re.findall(r"mcp-login ((?:[\w-]+)(?: [^|>;)\"]+)?)", line)
        for arguments in words:
            name, *rest = shlex.split(arguments)
            # Parsed, not run. With the settings of the whole, as click keeps what it makes of them.
            parent = click.Context(command_line, info_name="mcp-login", **command_line.context_settings)
            command_line.commands[name].make_context(name, rest, parent=parent)


def test_the_help_cuts_no_sentence_and_shows_no_formula(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["-h"], *([command, "-h"] for command in command_line.commands)):
        assert main(arguments) == 0
    shown = capsys.readouterr().out
    assert "..." not in shown.replace("[ARGS]...", "")
    assert "<=" not in shown


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_the_help_fits_the_terminal_but_for_lines_to_copy(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    assert main(["logout", "-h"]) == 0
    lines = capsys.readouterr().out.splitlines()
    wide = [line for line in lines if len(line) > columns and "mcp-login logout" not in line]
    # An option is not broken either.
    assert [line for line in wide if not line.strip().startswith("--")] == []


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("logn", "login"), ("tokn", "token"), ("stats", "status"), ("log-out", "logout"), ("xyzzy", None)],
)
def test_a_misspelt_command_is_answered_with_the_right_one(
    capsys: pytest.CaptureFixture[str], typed: str, meant: str | None
) -> None:
    assert main([typed]) == 2
    said = capsys.readouterr().err
    assert f"No such command '{typed}'." in said
    assert ("Did you mean" in said) is (meant is not None)
    assert meant is None or f"Did you mean '{meant}'?" in said


def test_ctrl_c_while_modules_are_loaded_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    done = python(
        "import builtins, sys\n"
        "load = builtins.__import__\n"
        "def interrupted(name, *rest):\n"
        "    if name == 'click':\n"
        "        raise KeyboardInterrupt\n"
        "    return load(name, *rest)\n"
        "builtins.__import__ = interrupted\n"
        "from mcp_login.cli.main import main\n"
        "sys.exit(main(['list']))"
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "Interrupted.\n")


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert re.fullmatch(r"mcp-login \d+\.\d+\.\d+\n", capsys.readouterr().out)


@pytest.mark.parametrize(
    "arguments",
    [
        ["login"],
        ["login", "https://a", "--client-secret", "s3cret"],
        ["login", "https://a", "--callback-port", "0"],
        ["login", "https://a", "--callback-host", "0.0.0.0"],
        ["login", "https://a", "--timeout", "0"],
        ["login", "https://a", "--timeout", "nan"],
        ["login", "https://a", "--timeout", "86401"],
        ["login", "https://a", "--callback-port", "65536"],
        ["token", "https://a", "--min-valid-for", "-1"],
        ["token", "https://a", "--min-valid-for", "inf"],
        ["token", "https://a", "--storage", "paper"],
        ["login", "https://a", "--storage", "memory"],
        ["token", "https://a", "--storage", "memory"],
        ["logout", "https://a", "--storage", "memory"],
        ["unknown"],
        ["status", "https://a", "https://b"],
        ["logout"],
        ["logout", "https://a", "--all"],
        ["completion"],
        ["list", "https://a"],
        [],
    ],
)
def test_wrong_arguments_are_refused_with_2(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Error: " in captured.err or (not arguments and captured.err.startswith("Usage: "))


def test_what_a_server_says_cannot_control_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    failure_of(errors.TransportError("\x1b[2J\u202eevil\r\n")).show()
    shown = capsys.readouterr().err
    assert not set(shown.rstrip("\n")) & set("\x1b\u202e\r\n")


def test_a_server_s_wish_to_wait_is_passed_on() -> None:
    assert hint_for(errors.TransportError("x", retry_after=90)) == "The server asks to wait 90 seconds."
    assert hint_for(errors.TransportError("x")) is None


def test_a_storage_of_an_unknown_name_is_an_error_of_its_own(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MCP_LOGIN_STORAGE", "paper")
    assert main(["token", "https://mcp.example.com/mcp"]) == 7
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "keychain, memory or file" in captured.err


def test_an_empty_list_says_so_where_people_look(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MCP_LOGIN_STORAGE", "file")
    assert main(["list"]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "mcp-login login URL" in captured.err


def python(code: str) -> subprocess.CompletedProcess[str]:
    """Run `code` in a new interpreter."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=20)


def test_without_click_one_line_says_how_to_install_it() -> None:
    done = python(
        "import sys; sys.modules['click'] = None\n"
        "from mcp_login.cli.main import main\n"
        "sys.exit(main(['login', 'https://a']))"
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        'mcp-login: the command line needs its extra. In the clone: python -m pip install ".[cli]"'
    ]


def test_without_click_an_error_is_a_document_where_documents_are_asked_for() -> None:
    done = python(
        "import sys; sys.modules['click'] = None\n"
        "from mcp_login.cli.main import main\n"
        "sys.exit(main(['list', '--json']))"
    )
    assert (done.returncode, done.stderr) == (1, "")
    assert json.loads(done.stdout)["error"]["hint"] == 'In the clone: python -m pip install ".[cli]"'


def test_without_the_testing_extra_the_demo_says_how_to_install_it() -> None:
    done = python(
        "import sys; sys.modules['uvicorn'] = None; sys.modules['starlette'] = None\n"
        "from mcp_login.cli.main import main\n"
        "sys.exit(main(['demo']))"
    )
    assert done.returncode == 1
    assert 'python -m pip install ".[cli]"' in done.stderr
    assert "Traceback" not in done.stderr


def test_the_embedded_server_says_which_extra_it_lacks() -> None:
    done = python("import sys; sys.modules['starlette'] = None\nfrom mcp_login.testing import EmbeddedServer")
    said = done.stderr.splitlines()[-1]
    assert said.startswith("ModuleNotFoundError: mcp_login.testing.EmbeddedServer needs starlette")
    assert 'python -m pip install ".[testing]"' in said


def test_another_module_that_is_missing_is_not_blamed_on_the_extra() -> None:
    done = python("import sys; sys.modules['httpx'] = None\nfrom mcp_login.testing import EmbeddedServer")
    assert "the extra `testing`" not in done.stderr


def test_the_package_is_the_command_too() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mcp_login", "--version"], capture_output=True, text=True, check=False, timeout=20
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("mcp-login ")


def test_importing_the_package_s_entry_point_runs_nothing_and_needs_no_click() -> None:
    done = python("import sys; sys.modules['click'] = None; import mcp_login.__main__")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_storage_that_forgets_is_told_before_a_login_and_instead_of_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MCP_LOGIN_STORAGE", "memory")
    assert main(["token", "https://mcp.example.com/mcp"]) == 3
    said = capsys.readouterr().err
    assert "MCP_LOGIN_STORAGE=memory keeps no login" in said
    assert "mcp-login login" not in said
    assert main(["login", "http://mcp.example.com"]) == 8
    assert capsys.readouterr().err.startswith("Warning: MCP_LOGIN_STORAGE is memory: nothing of this login is left")


def test_the_time_of_a_login_is_local_and_a_number_that_is_none_is_no_reason_to_fail(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, when in (("a", time.mktime((2026, 7, 28, 9, 5, 0, 0, 0, -1))), ("b", 1e300)):
        url = f"https://{name}.example.com"
        Index().put(IndexEntry(url, None, "file", "https://issuer.example.com", url, (), when))
    assert main(["list"]) == 0
    heads, first, second = capsys.readouterr().out.splitlines()
    assert "LOGGED IN" in heads
    assert "2026-07-28 09:05" in first
    assert second.split() == ["https://b.example.com", "-", "file", "-", "-"]


def test_help_loads_none_of_the_heavy_libraries() -> None:
    done = python("import sys\nfrom mcp_login.cli.main import main\nmain(['--help'])\nprint(*sys.modules)")
    heavy = {"anyio", "asyncio", "httpx", "httpx2", "keyring", "logging", "platformdirs", "pydantic", "starlette"}
    assert heavy.isdisjoint(done.stdout.split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--issuer", "https://auth.example.com"], "--issuer needs --client-id."),
        (["--scope", " "], "--scope needs a scope."),
        (["--callback-port", "70000"], "70000 must be from 1 to 65535."),
    ],
)
def test_arguments_that_can_only_be_a_slip_are_refused(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["login", "https://mcp.example.com/mcp", *arguments]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("url", "meant"),
    [
        ("mcp.example.com/mcp", "https://mcp.example.com/mcp?\n"),
        ("localhost:8123/mcp", "http://localhost:8123/mcp?\n"),
        ("127.0.0.1:8123/mcp", "http://127.0.0.1:8123/mcp?\n"),
    ],
)
def test_a_url_without_its_scheme_is_asked_back(url: str, meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["login", url]) == 2
    assert f"Did you mean {meant}" in capsys.readouterr().err
