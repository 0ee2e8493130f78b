"""The client under test: an MCP SDK 2.x client over `httpx2.AsyncClient(auth=OAuth(url))`, as the suite starts it.

`python -m tests.conformance.client URL`, with the suite's variables MCP_CONFORMANCE_PROTOCOL_VERSION and, in some
scenarios, MCP_CONFORMANCE_CONTEXT (JSON). Exit status 0: all went well; 3: ended with errors meant for callers, whose
classes are named on standard error; anything else is a defect.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

import anyio
import httpx2
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

from tests import loopback_only

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["CLIENT_METADATA_URL", "REFUSED", "authentication", "main"]

#: The client id that the scenario of Client ID Metadata Documents expects. It is never fetched.
CLIENT_METADATA_URL = "https://conformance-test.local/client-metadata.json"

#: The exit status of a client that ended with errors meant for its caller.
REFUSED = 3


def authentication(url: str, context: dict[str, Any]) -> httpx2.Auth:
    """What is under test, with storage in memory. `context` is what the scenario tells its client beforehand."""
    from mcp_login import MemoryStorage, OAuth

    return OAuth(
        url,
        storage=MemoryStorage(),
        client_name="mcp-login conformance",
        client_metadata_url=CLIENT_METADATA_URL,
        client_id=context.get("client_id"),
        client_secret=context.get("client_secret"),
        # a person is there: BROWSER starts the stand-in, whatever CI says
        interactive=True,
        callback_timeout=20.0,
    )


async def call_tools(url: str, auth: httpx2.Auth, protocol_version: str) -> None:
    """Connect as `protocol_version` has it, list the tools and call the one that the scenarios offer."""
    # 2026-07-28 is stateless and is discovered; earlier versions shake hands with `initialize`.
    mode = "auto" if protocol_version >= "2026-07-28" else "legacy"
    timeout = httpx2.Timeout(30.0)
    async with (
        httpx2.AsyncClient(auth=auth, timeout=timeout, trust_env=False) as http,
        Client(streamable_http_client(url, http_client=http), mode=mode) as client,
    ):
        tools = await client.list_tools()
        for tool in tools.tools:
            await client.call_tool(tool.name, {})


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def main(
    url: str, authentication: Callable[[str, dict[str, Any]], httpx2.Auth], meant_for_callers: type[Exception]
) -> int:
    """Run against the server `url`; the exit status. Errors of the class `meant_for_callers` are refusals."""
    loopback_only.install()
    context = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT", "{}"))
    version = os.environ["MCP_CONFORMANCE_PROTOCOL_VERSION"]
    try:
        anyio.run(call_tools, url, authentication(url, context), version)
    except Exception as error:
        leaves = list(_leaves(error))
        # MCPError and HTTPStatusError: what the MCP SDK makes of a 401 or 403 that stays
        if not all(isinstance(leaf, (meant_for_callers, MCPError, httpx2.HTTPStatusError)) for leaf in leaves):
            raise
        for leaf in leaves:
            sys.stderr.write(f"refused: {type(leaf).__name__}: {leaf}\n")
        return REFUSED
    return 0


if __name__ == "__main__":
    from mcp_login import AuthError

    sys.exit(main(sys.argv[1], authentication, AuthError))
