"""Shell completion: the scripts in their real shells, typed at as a person does, and what is offered where."""

from __future__ import annotations

import os
import re
import select
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from mcp_login.cli.completion import stored_accounts, stored_urls
from mcp_login.cli.main import main
from mcp_login.storage.index import Index, IndexEntry
from tests.real.parts import need

if TYPE_CHECKING:
    from pathlib import Path

__all__: list[str] = []

FILES = "https://files.example.com/mcp"
MAIL = "https://mail.example.com:8443/mcp"


@pytest.fixture
def logins() -> None:
    """Three logins in the list."""
    for url, account in ((FILES, None), (FILES, "my work"), (MAIL, "home")):
        Index().put(IndexEntry(url, account, "file", "https://issuer.example.com", url, (), 0.0))


@pytest.fixture
def command(tmp_path: Path) -> dict[str, str]:
    """The environment of a shell that finds the command `mcp-login`."""
    file = tmp_path / "bin" / "mcp-login"
    file.parent.mkdir()
    file.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m mcp_login "$@"\n', encoding="utf-8")
    file.chmod(0o755)
    return {**os.environ, "PATH": f"{file.parent}{os.pathsep}{os.environ['PATH']}", "TERM": "xterm"}


#: Makes the terminal on standard input the one that controls this process, as a shell expects, and becomes the shell.
CONTROLLED = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""


class Shell:
    """A shell on a terminal of its own, with completion switched on, inside a `with` block."""

    def __init__(self, arguments: list[str], environment: dict[str, str], setup: str) -> None:
        pty = pytest.importorskip("pty")

        self._master, slave = pty.openpty()
        self._process = subprocess.Popen(
            [sys.executable, "-c", CONTROLLED, *arguments],
            env=environment,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        self._text = ""
        self.type(f"{setup}; echo is'-'ready\n")
        self.read_until("is-ready")

    def __enter__(self) -> Shell:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._master)

    def type(self, text: str) -> None:
        """Press these keys."""
        os.write(self._master, text.encode())

    def complete(self, line: str) -> str:
        """The arguments that `mcp-login` would get, after `line` was typed and the Tab key pressed."""
        self._text = ""
        # Then the line is made one that shows them: Ctrl-A and Ctrl-E go to its ends. A shell reads one key after another.
        self.type(f"{line}\t\x01printf '[%s]' be'gin' \x05 e'nd'\n")
        return self.read_until(r"\[begin\]\[mcp-login\](.*)\[end\]")[1]

    def read_until(self, pattern: str) -> re.Match[str]:
        """Wait until `pattern` is on screen."""
        deadline = time.monotonic() + 15
        while (found := re.search(pattern, self._text)) is None:
            ready, _, _ = select.select([self._master], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"never saw {pattern!r}: {self._text!r}"
            self._text += os.read(self._master, 4096).decode(errors="replace")
        return found


#: What is typed before the Tab key, and the arguments that come of it.
LINES = {
    "mcp-login logo": "[logout]",
    "mcp-login status --acc": "[status][--account]",
    "mcp-login token https://f": f"[token][{FILES}]",
    "mcp-login token https://mail.example.com:": f"[token][{MAIL}]",
    "mcp-login token https://mail.example.com:8": f"[token][{MAIL}]",
    "mcp-login token 'https://m": f"[token][{MAIL}]",
    "mcp-login login --storage f": "[login][--storage][file]",
    "mcp-login status --account h": "[status][--account][home]",
    f"mcp-login logout {FILES} --account m": f"[logout][{FILES}][--account][my work]",
    "mcp-login status --account=h": "[status][--account=home]",
    "mcp-login completion f": "[completion][fish]",
}

SHELLS = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "-f", "-i"],
    "fish": ["fish", "--no-config", "-i"],
}
SETUP = {
    "bash": "source {script}",
    "zsh": "autoload -U compinit && compinit -D && source {script}",
    "fish": "source {script}",
}


@pytest.mark.skipif(os.name == "nt", reason="needs a pseudo-terminal")
@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.usefixtures("logins")
def test_a_shell_completes_commands_options_urls_and_accounts(
    shell: str, command: dict[str, str], tmp_path: Path
) -> None:
    if shell != "bash" or os.name == "nt":
        need(shell)
    elif shutil.which(shell) is None:
        pytest.skip("bash is not installed")
    script = tmp_path / f"completion.{shell}"
    with script.open("w", encoding="utf-8") as file:
        subprocess.run(["mcp-login", "completion", shell], env=command, stdout=file, check=True, timeout=20)
    with Shell(SHELLS[shell], command, SETUP[shell].format(script=script)) as terminal:
        assert {line: terminal.complete(line) for line in LINES} == LINES


@pytest.mark.usefixtures("logins")
def test_servers_and_accounts_of_stored_logins_are_offered() -> None:
    assert stored_urls("") == [FILES, MAIL]
    assert stored_urls("https://m") == [MAIL]
    assert stored_accounts("") == ["home", "my work"]
    assert stored_accounts("", FILES) == ["my work"]
    assert stored_accounts("", "https://other.example.com") == ["home", "my work"]
    assert stored_accounts("x") == []


@pytest.mark.usefixtures("logins")
def test_a_label_that_a_terminal_would_obey_is_not_offered() -> None:
    Index().put(IndexEntry(MAIL, "a\x1b[2J\nb", "file", "https://issuer.example.com", MAIL, (), 0.0))
    assert stored_accounts("") == ["home", "my work"]


@pytest.mark.parametrize("point", ["", "junk", "-3", "\u00b2", "9" * 5000])
def test_a_cursor_that_is_no_number_is_at_the_end_of_the_line(
    point: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("_MCP_LOGIN_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_LINE", "mcp-login logo")
    monkeypatch.setenv("COMP_POINT", point)
    with pytest.raises(SystemExit):
        main([])
    assert capsys.readouterr() == ("logout\n", "")


@pytest.mark.parametrize(("typed", "put"), [('"https://e', "https://e"), ("https://e", r"//e.example.com/\$\(id\)")])
def test_what_a_shell_would_run_is_not_put_between_quotes(
    typed: str, put: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Index().put(IndexEntry("https://e.example.com/$(id)", None, "file", "https://issuer.example.com", MAIL, (), 0.0))
    monkeypatch.setenv("_MCP_LOGIN_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_LINE", f"mcp-login token {typed}")
    with pytest.raises(SystemExit):
        main([])
    assert capsys.readouterr() == (f"{put}\n", "")


def test_a_list_that_cannot_be_read_offers_nothing_and_says_nothing(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    index = home / "mcp-login" / "index.json"
    index.parent.mkdir(mode=0o700)
    index.write_text('{"format": 99, "entries": []}', encoding="utf-8")
    assert (stored_urls(""), stored_accounts("")) == ([], [])
    assert capsys.readouterr() == ("", "")


def test_a_shell_without_completion_is_a_wrong_argument(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "tcsh"]) == 2
    assert "bash" in capsys.readouterr().err
