"""FastMCP 4, logged in: `python examples/fastmcp_client.py URL`.

`OAuth` of mcp_login takes the place of FastMCP's own, and keeps the login for the next process.
"""

from __future__ import annotations

import asyncio
import sys

import httpx2
from fastmcp import Client
from mcp import MCPError

from mcp_login import AuthError, OAuth


async def main(url: str) -> None:
    async with Client(url, auth=OAuth(url)) as client:
        tools = await client.list_tools()
        print("tools:", ", ".join(tool.name for tool in tools))
        result = await client.call_tool("add", {"a": 2, "b": 3})
        print("2 + 3 =", result.content[0].text)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: python {sys.argv[0]} URL")
    try:
        asyncio.run(main(sys.argv[1]))
    except KeyboardInterrupt:
        sys.exit("Interrupted.")
    except (AuthError, MCPError, RuntimeError) as error:
        # Some of what goes wrong while it connects, FastMCP wraps in a RuntimeError.
        problem = error.__cause__ if isinstance(error, RuntimeError) else error
        if isinstance(problem, httpx2.TransportError):  # the program's own request failed, not the login
            sys.exit(f"The server can't be reached: {problem}")
        if isinstance(problem, (MCPError, httpx2.HTTPStatusError)):  # of the server: an error, or "Not Found"
            sys.exit(f"The server answered: {problem}. Is the path of the URL right? Often it is /mcp.")
        if not isinstance(problem, AuthError):
            raise
        sys.exit(f"{type(problem).__name__}: {problem}")
