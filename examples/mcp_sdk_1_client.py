"""The MCP SDK 1.x, logged in: `python examples/mcp_sdk_1_client.py URL`.

It uses httpx, and shares the name `mcp` with version 2, so it needs a virtual environment of its own: `pip install "mcp<2"`.
"""

from __future__ import annotations

import asyncio
import sys
from importlib.metadata import version

import httpx
import mcp
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client

from mcp_login import AuthError, OAuth


async def main(url: str) -> None:
    async with (
        httpx.AsyncClient(auth=OAuth(url), timeout=httpx.Timeout(30, read=300)) as http,
        streamable_http_client(url, http_client=http) as (read, write, _),
        ClientSession(read, write) as session,
    ):
        await session.initialize()
        tools = await session.list_tools()
        print("tools:", ", ".join(tool.name for tool in tools.tools))
        result = await session.call_tool("add", {"a": 2, "b": 3})
        print("2 + 3 =", (result.structuredContent or {}).get("result"))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: python {sys.argv[0]} URL")
    if not version("mcp").startswith("1."):
        sys.exit(f'This is for the MCP SDK 1.x, and {version("mcp")} is installed: python -m pip install "mcp<2"')
    problem: BaseException | None = None
    try:
        asyncio.run(main(sys.argv[1]))
    except* (AuthError, mcp.McpError, httpx.TransportError, KeyboardInterrupt) as group:
        problem = group
    while isinstance(problem, BaseExceptionGroup):  # the SDK's tasks put errors in groups, and groups in groups
        problem = problem.exceptions[0]
    if isinstance(problem, KeyboardInterrupt):
        sys.exit("Interrupted.")
    if isinstance(problem, mcp.McpError):  # of the server: an error, or "Session terminated" where there is nothing
        sys.exit(f"The server answered: {problem}. Is the path of the URL right? Often it is /mcp.")
    if isinstance(problem, httpx.TransportError):  # the program's own request failed, not the login
        sys.exit(f"The server can't be reached: {problem}")
    sys.exit(None if problem is None else f"{type(problem).__name__}: {problem}")
