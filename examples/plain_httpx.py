"""A synchronous httpx.Client that speaks JSON-RPC itself: `python examples/plain_httpx.py URL`.

Enough of MCP's streamable HTTP to call one tool; any other program that sends requests to a protected server looks the same.
"""

from __future__ import annotations

import itertools
import json
import sys
from typing import Any

import httpx

from mcp_login import AuthError, OAuth

HEADERS = {"Accept": "application/json, text/event-stream"}
ids = itertools.count(1)


def call(http: httpx.Client, url: str, method: str, params: dict[str, Any]) -> Any:
    """One request and its answer, which servers send as JSON or as one event."""
    message = {"jsonrpc": "2.0", "id": next(ids), "method": method, "params": params}
    response = http.post(url, json=message)
    response.raise_for_status()
    if "mcp-session-id" in response.headers:
        http.headers["Mcp-Session-Id"] = response.headers["mcp-session-id"]
    if response.headers["content-type"].startswith("application/json"):
        return response.json()["result"]
    data = next(line for line in response.text.splitlines() if line.startswith("data:") and "result" in line)
    return json.loads(data.removeprefix("data:"))["result"]


def main(url: str) -> None:
    with httpx.Client(auth=OAuth(url), headers=HEADERS, timeout=30) as http:
        hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "example", "version": "1"}}
        http.headers["MCP-Protocol-Version"] = call(http, url, "initialize", hello)["protocolVersion"]
        http.post(url, json={"jsonrpc": "2.0", "method": "notifications/initialized"}).raise_for_status()
        tools = call(http, url, "tools/list", {})["tools"]
        print("tools:", ", ".join(tool["name"] for tool in tools))
        result = call(http, url, "tools/call", {"name": "add", "arguments": {"a": 2, "b": 3}})
        print("2 + 3 =", result["content"][0]["text"])


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: python {sys.argv[0]} URL")
    try:
        main(sys.argv[1])
    except KeyboardInterrupt:
        sys.exit("Interrupted.")
    except httpx.HTTPStatusError as error:
        sys.exit(f"The server answered: {error.response.status_code}. Is the path of the URL right? Often it is /mcp.")
    except AuthError as error:  # no tasks, no groups
        sys.exit(f"{type(error).__name__}: {error}")
    except httpx.TransportError as error:  # the program's own request failed, not the login
        sys.exit(f"The server can't be reached: {error}")
