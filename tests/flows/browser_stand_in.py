"""A browser for the commands' own processes: `BROWSER="python browser_stand_in.py approve %s &"`.

Never approves where the client's secret has leaked into the browser's environment.
"""

from __future__ import annotations

import os
import sys
from typing import Literal, cast

from mcp_login.testing import Person

__all__ = ["visit"]


def visit(answer: Literal["approve", "deny", "close"], url: str) -> None:
    """Open `url` and answer the page found there."""
    person = Person("close" if "MCP_LOGIN_CLIENT_SECRET" in os.environ else answer)
    person(url)
    person.join()


if __name__ == "__main__":
    visit(cast("Literal['approve', 'deny', 'close']", sys.argv[1]), sys.argv[2])
