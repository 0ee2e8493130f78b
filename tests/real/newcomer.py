"""The newcomer's path: `python -m tests.real.newcomer [--record]`.

Takes the commands between `<!-- newcomer -->` and `<!-- /newcomer -->` out of README.md and runs exactly those, in one shell,
in a new clone, with an empty home folder and a new virtual environment. The server is FastMCP's. The browser is Chromium, the
keychain gnome-keyring; where one of them is missing a stand-in takes its place, and the record says so. Prints what was
typed, what was printed and how long each command took; `--record` also rewrites docs/recorded/newcomer.txt, without the times.

The exit status is 0 only if every command went well and the last one printed the result of the server's tool.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.real import parts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = [
    "PORT",
    "RECORD",
    "RECORDED_ON",
    "RESULT",
    "Step",
    "commands",
    "is_free",
    "main",
    "record",
    "session",
    "succeeded",
]

RECORD = parts.ROOT / "docs" / "recorded" / "newcomer.txt"
BROWSER = parts.ROOT / "tests" / "conformance" / "browser.py"

#: What the last command has to print: the server's tool adds two numbers.
RESULT = "2 + 3 = 5"
#: That of the server in README.md.
PORT = 8000
#: The machine of docs/recorded/newcomer.txt.
RECORDED_ON = "Chromium, gnome-keyring"
#: Seconds for all commands together.
LIMIT = 280.0

_SECTION = re.compile(r"^<!-- newcomer -->$(.*?)^<!-- /newcomer -->$", re.MULTILINE | re.DOTALL)
_BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)

#: This machine's way to the package registries, which a newcomer's machine has, too.
_KEPT = re.compile(r"(?i)(pip_\w+|(http|https|all|no)_proxy|ssl_cert_(file|dir)|requests_ca_bundle|lang|lc_all|tmpdir)")

#: Begins a line of the shell script's own; no program prints it.
_MARK = "\x1e"

_CHROMIUM = """#!/bin/sh
echo $$ >{pid}
exec timeout {limit} {chromium} --headless --no-sandbox --disable-gpu --disable-quic --no-first-run \\
  --disable-background-networking --disable-component-update --disable-sync --remote-debugging-port=0 \\
  --user-data-dir={profile} "$1" >/dev/null 2>&1
"""


@dataclass
class Step:
    """A command, the lines that were printed while it ran, its exit status (None: it didn't end) and its seconds."""

    command: str
    lines: list[str] = field(default_factory=list)
    status: int | None = None
    seconds: float = 0.0


def commands(readme: str) -> list[str]:
    """The newcomer's commands in the text of README.md, one a line."""
    [section] = _SECTION.findall(readme)
    [block] = _BLOCK.findall(section)
    return [line for line in block.splitlines() if line and not line.startswith("#")]


def is_free(port: int) -> bool:
    """Whether a server can listen on this loopback port."""
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def clone(target: Path) -> None:
    """A copy of what git has, or would take, of this repository; of all of it where this is no clone."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = None
    with suppress(OSError):  # there is no git
        listed = subprocess.run(command, cwd=parts.ROOT, capture_output=True, text=True, encoding="utf-8", check=False)
    if listed is None or listed.returncode:
        left_out = shutil.ignore_patterns(".*_cache", ".venv", ".parts", "build", "dist", "__pycache__")
        shutil.copytree(parts.ROOT, target, ignore=left_out)
        return
    for name in filter(None, listed.stdout.split("\0")):
        source, copy = parts.ROOT / name, target / name
        if source.is_file():  # a file that was deleted is still listed
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, copy)


@contextmanager
def browser(folder: Path) -> Iterator[tuple[str, str]]:
    """What to put into BROWSER, and what it is: Chromium, or a program that follows redirects."""
    chromium = parts.find("chromium")
    if chromium is None or shutil.which("timeout") is None:
        yield f"{shlex.quote(sys.executable)} {shlex.quote(str(BROWSER))} %s", "a stand-in for a browser"
        return
    launcher, pid = folder / "chromium.sh", folder / "chromium.pid"
    words = {"pid": pid, "chromium": chromium, "profile": folder / "profile"}
    quoted = {name: shlex.quote(str(path)) for name, path in words.items()}
    launcher.write_text(_CHROMIUM.format(limit=int(LIMIT), **quoted), encoding="utf-8")
    launcher.chmod(0o700)
    try:
        yield f"{shlex.quote(str(launcher))} %s &", "Chromium"
    finally:
        with suppress(OSError, ValueError):  # it may never have been started, or be gone
            os.kill(int(pid.read_text(encoding="utf-8")), signal.SIGTERM)


@contextmanager
def keychain(home: Path) -> Iterator[tuple[dict[str, str], str]]:
    """The variables of a session with a keychain, and what that is; without one, the README's way out."""
    if parts.find("secret-service") is None:
        yield {"HOME": str(home), "MCP_LOGIN_STORAGE": "file"}, "no keychain: MCP_LOGIN_STORAGE=file"
        return
    from tests.real.conftest import session_bus

    kept = ("DBUS_SESSION_BUS_ADDRESS", "HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR")
    with session_bus(home) as variables:
        yield {name: variables[name] for name in kept}, "gnome-keyring"


def walk(typed: Sequence[str], where: Path, environment: Mapping[str, str]) -> list[Step]:
    """Run the commands in one shell in the folder `where`; what is still running afterwards is ended."""
    script = "".join(f"{line}\nprintf '\\n{_MARK}%s\\n' $?\n" for line in typed)
    steps = [Step(line) for line in typed]
    with subprocess.Popen(
        ["sh", "-c", script],
        cwd=where,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    ) as shell:
        assert shell.stdout is not None
        alarm = threading.Timer(LIMIT, _end, [shell.pid])
        alarm.start()
        try:
            # Not to its end: the server in the background has it open, too.
            for step in steps:
                _watch(shell.stdout, step)
        finally:
            alarm.cancel()
            _end(shell.pid)
    return steps


def _watch(output: Iterator[str], step: Step) -> None:
    started = time.monotonic()
    for line in output:
        if line.startswith(_MARK):
            step.status = int(line.removeprefix(_MARK))
            break
        step.lines.append(line.rstrip())
    step.seconds = time.monotonic() - started


def _end(group: int) -> None:
    if sys.platform != "win32":
        with suppress(ProcessLookupError):
            os.killpg(group, signal.SIGTERM)


def _plain(lines: Sequence[str], home: Path) -> list[str]:
    """What was printed, without what differs from machine to machine and from run to run."""
    text = "\n".join(lines).replace(str(home), "~")
    text = re.sub(r"(?m)^(date|server): .*\n?", "", text, flags=re.IGNORECASE)
    text = re.sub(rf"(127\.0\.0\.1|localhost):(?!{PORT}\b)\d+", r"\1:PORT", text)
    return re.sub(r"\n{2,}", "\n", text).strip().splitlines()


def record(steps: Sequence[Step], home: Path, *, times: bool) -> str:
    """The session as it is read by people: commands after `$`, what was printed below."""
    shown = []
    for step in steps:
        shown.append(f"$ {step.command}" + (f"   # {step.seconds:.1f} s" if times else ""))
        # What pip says is about this machine and this day.
        shown += ["..."] if " pip " in step.command and step.status == 0 else _plain(step.lines, home)
        if step.status != 0:
            shown.append(f"(exit status {step.status})")
    return "".join(f"{line}\n" for line in shown)


def succeeded(steps: Sequence[Step]) -> bool:
    """Whether every command went well, and the last one printed the tool's result."""
    return all(step.status == 0 for step in steps) and RESULT in steps[-1].lines


def session() -> tuple[list[Step], Path, str]:
    """Walk the path: the steps, the home folder (gone by then), and a line on the machine."""
    base = Path(sys.base_prefix) / "bin"
    # A bus's socket has at most 107 characters of path.
    folder = Path(tempfile.mkdtemp(prefix="mcp-login-")).resolve()
    home = folder / "home"
    try:
        with ExitStack() as stack:
            home.mkdir(mode=0o700)
            clone(home / "mcp-login")
            variables, kind_of_keychain = stack.enter_context(keychain(home))
            opened_by, kind_of_browser = stack.enter_context(browser(folder))
            environment = {name: value for name, value in os.environ.items() if _KEPT.fullmatch(name)}
            environment |= {**variables, "BROWSER": opened_by, "PATH": f"{base}{os.pathsep}{os.defpath}"}
            typed = commands((home / "mcp-login" / "README.md").read_text(encoding="utf-8"))
            return walk(typed, home / "mcp-login", environment), home, f"{kind_of_browser}, {kind_of_keychain}"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main(arguments: Sequence[str]) -> int:
    """The command line."""
    if os.name == "nt":
        sys.stderr.write("These are commands for a POSIX shell.\n")
        return 2
    if not is_free(PORT):
        sys.stderr.write(f"Port {PORT} of this machine is in use.\n")
        return 2
    steps, home, machine = session()
    sys.stdout.write(f"{record(steps, home, times=True)}\n{machine}; {sum(step.seconds for step in steps):.0f} s\n")
    if not succeeded(steps):
        return 1
    if "--record" in arguments and machine == RECORDED_ON:
        RECORD.write_text(record(steps, home, times=False), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
