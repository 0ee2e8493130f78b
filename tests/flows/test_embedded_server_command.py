"""`python -m mcp_login.testing`, as somebody uses it who has no server of their own."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mcp_login import AuthorizationErrorResponse, MemoryStorage, sync
from mcp_login.testing import Person
from tests.docs.test_python import environment

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__: list[str] = []

COMMAND = [sys.executable, "-m", "mcp_login.testing"]
posix = pytest.mark.skipif(sys.platform == "win32", reason="a signal of Ctrl-C, and commands for sh")


@contextmanager
def started(home: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The running command, and what it printed."""
    process = subprocess.Popen(
        [*COMMAND, *options],
        env=environment(home),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        said = ""
        while line := process.stdout.readline():
            said += line
            if "logout" in line:
                break
        try:
            yield process, said
        finally:
            process.kill()


def test_a_person_is_asked_and_may_say_no(home: Path) -> None:
    with started(home) as (_, said):
        url = re.findall(r"http://127\.0\.0\.1:\d+/mcp", said)[0]
        with pytest.raises(AuthorizationErrorResponse):
            sync.login(url, storage=MemoryStorage(), interactive=True, on_authorization_url=Person.denies())


@posix
def test_the_commands_that_it_prints_work_as_they_are(home: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is missing")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    with started(home) as (_, said):
        commands = said.partition("In another terminal:")[2]
        done = subprocess.run(
            ["sh", "-eu", "-c", commands],
            env=environment(home, PATH=path),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=25,
        )
    assert done.returncode == 0, done.stderr
    assert '"structuredContent":{"client_id":' in done.stdout
    assert "Logged in at" in done.stdout + done.stderr
    assert "Logged out at" in done.stdout + done.stderr


@posix
def test_ctrl_c_ends_it_in_silence(home: Path) -> None:
    with started(home) as (process, _):
        process.send_signal(signal.SIGINT)
        rest, problem = process.communicate(timeout=20)
    assert (process.returncode, rest, problem) == (0, "", "")


def test_a_port_that_is_taken_is_told(home: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = str(listener.getsockname()[1])
        done = subprocess.run(
            [*COMMAND, "--port", port], env=environment(home), capture_output=True, text=True, check=False, timeout=20
        )
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"The server could not be started on 127\.0\.0\.1: [^\n]+\.\n", done.stderr)


@pytest.mark.parametrize("missing", ["starlette", "uvicorn"])
def test_without_the_extra_it_says_what_to_install(home: Path, missing: str) -> None:
    code = f"""
import runpy, sys
sys.modules[{missing!r}] = None
runpy.run_module("mcp_login.testing", run_name="__main__", alter_sys=True)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(home), capture_output=True, text=True, check=False, timeout=20
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f'{missing} is missing. In the clone: python -m pip install ".[testing]"\n'
