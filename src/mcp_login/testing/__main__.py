"""`python -m mcp_login.testing`: the embedded server on loopback until Ctrl-C, and the commands to try with it."""

from __future__ import annotations

import argparse
import contextlib
import sys
import threading

__all__ = ["main"]

#: How often Windows looks whether somebody has pressed Ctrl-C, in seconds.
_GLANCE = 0.5


def main(arguments: list[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m mcp_login.testing",
        description="Serves a protected MCP server and its authorization server on 127.0.0.1, until Ctrl-C. "
        "Whoever logs in is asked on a page in their browser. For trying things out: nothing in it is real.",
    )
    parser.add_argument("--port", type=int, default=0, help="the port to listen on (default: any free one)")
    port: int = parser.parse_args(arguments).port
    if not 0 <= port <= 65535:
        parser.error(f"--port is a number from 0 to 65535, not {port}")
    with contextlib.ExitStack() as stack, contextlib.suppress(KeyboardInterrupt):
        try:
            from mcp_login.testing import EmbeddedServer

            server = stack.enter_context(EmbeddedServer().run(port=port))
        except ModuleNotFoundError as error:
            sys.stderr.write(f'{error.name} is missing. In the clone: python -m pip install ".[testing]"\n')
            return 1
        except OSError as error:
            sys.stderr.write(f"The server could not be started on 127.0.0.1: {error.strerror or error}.\n")
            return 1
        sys.stdout.write(_TEXT.format(url=server.url))
        sys.stdout.flush()
        over = threading.Event()
        while not over.wait(_GLANCE):
            pass
    return 0


_TEXT = """\
A protected MCP server, for trying things out: {url}

It runs until you press Ctrl-C, and forgets everything then. In another terminal:

  mcp-login login {url}
  curl --silent -H "Authorization: Bearer $(mcp-login token {url})" \\
    --json '{{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {{"name": "whoami"}}}}' {url}
  mcp-login logout --forget-client {url}
"""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
