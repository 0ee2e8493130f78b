"""The MCP SDK 2.x, logged in: `python examples/mcp_sdk_2_client.py URL`.

The first run opens the browser. Later ones find the login in the OS keychain and open nothing.
"""

from __future__ import annotations

import asyncio
import sys

import httpx2
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

from mcp_login import AuthError, OAuth


async def main(url: str) -> None:
    async with (
        httpx2.AsyncClient(auth=OAuth(url), timeout=httpx2.Timeout(30, read=300)) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        tools = await client.list_tools()
        print("tools:", ", ".join(tool.name for tool in tools.tools))
        result = await client.call_tool("add", {"a": 2, "b": 3})
        print("2 + 3 =", (result.structured_content or {}).get("result"))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: python {sys.argv[0]} URL")
    problem: BaseException | None = None
    try:
        asyncio.run(main(sys.argv[1]))
    except* (AuthError, MCPError, httpx2.TransportError, KeyboardInterrupt) as group:
        problem = group
    while isinstance(problem, BaseExceptionGroup):  # the SDK's tasks put errors in groups, and groups in groups
        problem = problem.exceptions[0]
    if isinstance(problem, KeyboardInterrupt):
        sys.exit("Interrupted.")
    if isinstance(problem, MCPError):  # of the server: an error, or "Not Found"
        sys.exit(f"The server answered: {problem}. Is the path of the URL right? Often it is /mcp.")
    if isinstance(problem, httpx2.TransportError):  # the program's own request failed, not the login
        sys.exit(f"The server can't be reached: {problem}")
    sys.exit(None if problem is None else f"{type(problem).__name__}: {problem}")
