"""Python's own `webbrowser`, as it is on Linux, macOS and Windows, whose programs nobody starts: what would be is written down.

The module is read anew for the system that is named; only what leaves the process is replaced: `subprocess.Popen`,
`os.startfile`, `os.popen` (osascript).
"""

from __future__ import annotations

import os
import subprocess
import sys
import types
import webbrowser
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pytest

__all__ = ["Launchers", "System", "real_launchers"]

System = Literal["linux", "darwin", "win32"]


@dataclass
class Launchers:
    """What was started on `system`, as vectors of arguments; for macOS with the script that osascript reads, at the end.

    `programs` are those that there are, `visit` is what their browser does with an address.
    """

    system: System
    programs: tuple[str, ...] = ("xdg-open",)
    visit: Callable[[str], object] = lambda _: None
    vectors: list[list[str]] = field(default_factory=list)
    environments: list[Mapping[str, str]] = field(default_factory=list)

    def install(self, monkeypatch: pytest.MonkeyPatch) -> Launchers:
        """Let this library have them until the test ends, on a desktop."""
        monkeypatch.setenv("DISPLAY", ":0")
        module = self._module(monkeypatch)
        monkeypatch.setattr("mcp_login.browser.opener.webbrowser", module)
        monkeypatch.setattr("mcp_login.browser.opener.subprocess", self._subprocess())
        return self

    @property
    def opened(self) -> list[str]:
        """The addresses that were given to a program, with all that came with them in one argument."""
        return [address for vector in self.vectors if (address := _address(vector[-1]))]

    def _module(self, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
        module = types.ModuleType("webbrowser")
        source = Path(webbrowser.__file__).read_text(encoding="utf-8")
        # Which classes there are is decided when it is read, which programs when it is first used.
        with monkeypatch.context() as reading:
            reading.setattr(sys, "platform", self.system)
            exec(compile(source, webbrowser.__file__, "exec"), module.__dict__)
        edges: dict[str, Any] = {
            "sys": types.SimpleNamespace(platform=self.system, audit=sys.audit),
            "os": _Over(os, startfile=lambda url: self._start([url]), popen=self._popen),
            "shutil": types.SimpleNamespace(which=lambda name: f"/usr/bin/{name}" if name in self.programs else None),
            "subprocess": self._subprocess(),
        }
        for name, edge in edges.items():
            setattr(module, name, edge)
        return module

    def _subprocess(self) -> Any:
        def popen(arguments: list[str], **keywords: Any) -> _Started:
            assert not keywords.get("shell")
            self.environments.append(keywords.get("env") or dict(os.environ))
            self._start(arguments)
            return _Started()

        def check_output(*_: Any, **__: Any) -> bytes:
            raise FileNotFoundError

        return _Over(subprocess, Popen=popen, check_output=check_output)

    def _start(self, arguments: list[str]) -> None:
        self.vectors.append([str(argument) for argument in arguments])
        if address := _address(self.vectors[-1][-1]):
            self.visit(address)

    def _popen(self, command: str, _mode: str = "r") -> _Pipe:
        return _Pipe(lambda script: self._start([command, script]))


def _address(argument: str) -> str:
    """The address in `argument`: a string in AppleScript, in parentheses for elinks; else it is the whole argument, if any."""
    for before, after in (('open location "', '"'), ("openURL(", ")")):
        if argument.startswith(before):
            return argument.removeprefix(before).removesuffix(after)
    return argument if argument.startswith("http") else ""


class _Over:
    """A module, but for what is given here."""

    def __init__(self, module: types.ModuleType, **replaced: Any) -> None:
        self.__dict__.update(replaced)
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


class _Started:
    """A program that does as it should."""

    def wait(self, timeout: float | None = None) -> int:
        return 0

    def poll(self) -> None:
        return None


class _Pipe:
    """The standard input of a program."""

    def __init__(self, start: Callable[[str], None]) -> None:
        self._start = start
        self._written = ""

    def write(self, text: str) -> None:
        self._written += text

    def close(self) -> None:
        self._start(self._written)


def real_launchers(monkeypatch: pytest.MonkeyPatch, browser: str) -> None:
    """Let this library have this system's own launchers, which start the command `browser`. They read BROWSER once."""
    monkeypatch.setenv("BROWSER", browser)
    module = types.ModuleType("webbrowser")
    exec(compile(Path(webbrowser.__file__).read_text(encoding="utf-8"), "webbrowser", "exec"), module.__dict__)
    monkeypatch.setattr("mcp_login.browser.opener.webbrowser", module)
