"""Somebody else's machine: a project in a folder, an empty home, and a keychain and a browser that note that they were used."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["UsersMachine"]

_KEYCHAIN = """
import os
import keyring.backend

class Keychain(keyring.backend.KeyringBackend):
    priority = 9

    def get_password(self, service, username):
        open(os.environ["TRACES"] + "/keychain", "w").close()

    def set_password(self, service, username, password):
        open(os.environ["TRACES"] + "/keychain", "w").close()

    def delete_password(self, service, username):
        open(os.environ["TRACES"] + "/keychain", "w").close()
"""

_BROWSER = """
import os
open(os.environ["TRACES"] + "/browser", "w").close()
"""

#: What programs need to start at all.
_KEPT = ("LD_LIBRARY_PATH", "PATH", "SYSTEMROOT", "TEMP", "TMP", "TMPDIR")


@dataclass(frozen=True)
class UsersMachine:
    """A folder each for the project, the home, and the traces of what must not be touched."""

    project: Path
    home: Path
    noted: Path
    tools: Path

    @classmethod
    def at(cls, folder: Path) -> UsersMachine:
        """A new one below `folder`."""
        machine = cls(folder / "project", folder / "home", folder / "noted", folder / "tools")
        for path in (machine.project, machine.home, machine.noted, machine.tools):
            path.mkdir()
        machine.tools.joinpath("users_keychain.py").write_text(_KEYCHAIN)
        machine.tools.joinpath("browser.py").write_text(_BROWSER)
        return machine

    def environment(self, **more: str) -> dict[str, str]:
        """That of a program there."""
        browser = f"{shlex.quote(sys.executable)} {shlex.quote(str(self.tools / 'browser.py'))} %s"
        return {
            **{name: os.environ[name] for name in _KEPT if name in os.environ},
            "BROWSER": browser,
            "HOME": str(self.home),
            "USERPROFILE": str(self.home),
            "PYTHONPATH": str(self.tools),
            "PYTHON_KEYRING_BACKEND": "users_keychain.Keychain",
            # Hypothesis is for our own tests, and takes longer to load than all else.
            "PYTEST_ADDOPTS": "-p no:hypothesispytest",
            "TRACES": str(self.noted),
            **more,
        }

    def traces(self) -> list[str]:
        """What was written below the home folder, and who was asked: `browser`, `keychain`."""
        return sorted([path.name for folder in (self.home, self.noted) for path in folder.rglob("*")])
