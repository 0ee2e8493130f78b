"""A FastMCP 4 server behind its own authorization server: `python examples/fastmcp_server.py [PORT]`.

To try a client against, on this machine only: `InMemoryOAuthProvider` approves every login without asking anybody.
"""

from __future__ import annotations

import sys

from fastmcp import FastMCP
from fastmcp.server.auth.providers.in_memory import InMemoryOAuthProvider
from mcp.server.auth.settings import ClientRegistrationOptions, RevocationOptions


def build(port: int) -> FastMCP:
    auth = InMemoryOAuthProvider(
        base_url=f"http://127.0.0.1:{port}",
        client_registration_options=ClientRegistrationOptions(enabled=True, valid_scopes=["mcp"]),
        revocation_options=RevocationOptions(enabled=True),
        required_scopes=["mcp"],
    )
    server = FastMCP("FastMCP example", auth=auth)

    @server.tool
    def add(a: int, b: int) -> int:
        """The sum of two numbers."""
        return a + b

    return server


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    print(f"http://127.0.0.1:{port}/mcp", flush=True)
    try:
        build(port).run(transport="http", host="127.0.0.1", port=port, show_banner=False, log_level="warning")
    except KeyboardInterrupt:
        sys.exit("Interrupted.")
