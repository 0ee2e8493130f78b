"""`python -m mcp_login`: the command `mcp-login`."""

from __future__ import annotations

import sys

from mcp_login.cli.main import main

__all__: list[str] = []

if __name__ == "__main__":
    sys.exit(main())
