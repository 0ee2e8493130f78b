"""Programs that call a protected MCP server: one in this process, and others in processes of their own.

As a script it is such a process: `python programs.py SETTINGS`, JSON. It says `ready`, waits for a line where it was told
to, makes its call, and prints one line of JSON: `{"result": ...}`, or `{"error": CLASS}`.
"""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from mcp_login import AuthError, FileStorage, OAuth

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mcp_login.storage.record import Record
    from tests.real.people import Visitor

__all__ = [
    "Program",
    "add_with_the_sdk",
    "call_in_processes",
    "call_tool",
    "free_port",
    "jwt_claims",
    "request_tool",
]

HEADERS = {"accept": "application/json, text/event-stream"}

#: Seconds for a request, a login by a visitor, and a process with both.
REQUEST_LIMIT = 30.0
LOGIN_LIMIT = 20.0
PROCESS_LIMIT = 60.0


def request_tool(
    url: str, auth: httpx.Auth | None, tool: str, *, headers: Mapping[str, str] | None = None
) -> httpx.Response:
    """The answer to one call of a tool without arguments, by a synchronous httpx client of its own."""
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": {}}}
    # verify=False: all is http on loopback, and loading the certificates takes longer than the request.
    with httpx.Client(auth=auth, trust_env=False, verify=False, timeout=REQUEST_LIMIT) as client:
        return client.post(url, json=message, headers={**HEADERS, **(headers or {})})


def call_tool(url: str, auth: httpx.Auth, tool: str) -> dict[str, Any]:
    """What `tool` gives. Fails where the server refuses."""
    answer = request_tool(url, auth, tool)
    assert answer.status_code == 200, f"{answer.status_code} from the MCP server"
    found: dict[str, Any] = answer.json()["result"]["structuredContent"]
    return found


class Program:
    """A program with a person before it: its logins are in `folder`, as files, and others can share them."""

    def __init__(self, url: str, folder: Path, visitor: Visitor, **options: Any) -> None:
        self.url = url
        self.folder = folder
        self.visitor = visitor
        self.options: dict[str, Any] = {
            "storage": FileStorage(folder),
            "on_authorization_url": visitor,
            "interactive": True,
            "callback_timeout": LOGIN_LIMIT,
            **options,
        }

    def oauth(self, **options: Any) -> OAuth:
        """An `OAuth` that has nothing in memory."""
        return OAuth(self.url, **{**self.options, **options})

    def call(self, tool: str = "whoami", **options: Any) -> dict[str, Any]:
        """What `tool` gives to a program that was started for it."""
        return call_tool(self.url, self.oauth(**options), tool)

    @property
    def visits(self) -> int:
        """How often the person was asked."""
        return len(self.visitor.urls)

    @property
    def record(self) -> Record:
        """What is stored."""
        from tests.flows.support import stored

        record = stored(self.options["storage"], self.url)
        assert record is not None
        return record

    def age(self, seconds: float = 7200.0) -> None:
        """Make the stored access token an expired one."""
        from tests.flows.support import age

        age(self.options["storage"], self.url, seconds)


def add_with_the_sdk(program: Program) -> Any:
    """What 2 and 3 make, by the MCP SDK's client over httpx2."""
    return asyncio.run(_add(program))


async def _add(program: Program) -> Any:
    import httpx2
    from mcp import Client
    from mcp.client.streamable_http import streamable_http_client

    async with (
        httpx2.AsyncClient(auth=program.oauth(), trust_env=False, verify=False, timeout=REQUEST_LIMIT) as http,
        Client(streamable_http_client(program.url, http_client=http)) as client,
    ):
        result = await client.call_tool("add", {"a": 2, "b": 3})
        return (result.structured_content or {})["result"]


def free_port() -> int:
    """A port of loopback that nobody listens at now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def jwt_claims(token: str) -> dict[str, Any]:
    """What a JWT says, unverified."""
    payload = token.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return claims


def call_in_processes(
    url: str,
    folder: Path | None,
    *,
    count: int = 1,
    tool: str = "whoami",
    visitor: bool = False,
    environment: Mapping[str, str] | None = None,
) -> list[dict[str, Any]]:
    """What `count` new processes got that called `tool` at the same moment.

    `folder`: where logins are kept; None: the default storage. `visitor`: whether each has a person, who says yes.
    """
    settings = {"url": url, "folder": None if folder is None else str(folder), "tool": tool, "visitor": visitor}
    command: Sequence[str] = [sys.executable, "-W", "error", "-m", "tests.real.programs", json.dumps(settings)]
    with ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(
                    command,
                    cwd=Path(__file__).resolve().parents[2],
                    env=None if environment is None else dict(environment),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
            for _ in range(count)
        ]
        for process in processes:
            stack.callback(process.kill)
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        results = []
        for process in processes:
            output, errors = process.communicate(timeout=PROCESS_LIMIT)
            assert process.returncode == 0, errors[-2000:]
            results.append(json.loads(output))
        return results


def _main(settings: Mapping[str, Any]) -> None:
    from tests.real.people import Visitor

    options: dict[str, Any] = {"interactive": False}
    if settings["visitor"]:
        options = {"interactive": True, "on_authorization_url": Visitor(), "callback_timeout": LOGIN_LIMIT}
    if settings["folder"] is not None:
        options["storage"] = FileStorage(Path(settings["folder"]))
    auth = OAuth(settings["url"], **options)
    _say("ready")
    sys.stdin.readline()
    try:
        _say(json.dumps({"result": call_tool(settings["url"], auth, settings["tool"])}))
    except AuthError as error:
        _say(json.dumps({"error": type(error).__name__}))


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    _main(json.loads(sys.argv[1]))
