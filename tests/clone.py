"""Whether a command of tests/ can be run in this environment: what it needs is there, and `mcp_login` is this clone's."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

__all__ = ["INSTALL", "ROOT", "why_not"]

ROOT = Path(__file__).resolve().parents[1]

#: What installs the library as it stands in src/, and all that the tests need.
INSTALL = 'python -m pip install --editable ".[cli,httpx2,testing]" --group test'


def why_not(*modules: str, install: str = INSTALL) -> str | None:
    """What is missing here, and the command that installs it; None where nothing is. Imports none of `modules`."""
    missing = [name for name in ("mcp_login", *modules) if find_spec(name) is None]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        command = INSTALL if "mcp_login" in missing else install
        return f"{', '.join(missing)} {verb} not installed. In the clone, with pip 25.1 or newer: {command}"
    found = find_spec("mcp_login")
    if found is None or found.origin is None or not Path(found.origin).resolve().is_relative_to(ROOT / "src"):
        return (
            "The mcp_login that is installed here is a copy, so a change in src/ would not be tested. "
            f"In the clone, with pip 25.1 or newer: {INSTALL}"
        )
    return None
