"""Runs blocks of Python one after the other: `python tests/docs/run_blocks.py BLOCKS FOLDER`. Not for the tests' process.

One process for all of them, since importing the SDKs takes longer than all else. Each block has servers of its own, a storage
and a folder of its own, and runs as a program does (`__main__`, output, warnings are errors). BLOCKS is a JSON list of objects
with `name` and `code`; for each a line with `name`, `output` and `error` (a traceback, or null) is written to standard
output, so that whoever reads sees which one never came back.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import socket
import sys
import traceback
import types
from pathlib import Path

from mcp_login.testing import EmbeddedServer, Person

__all__ = ["free_port", "main", "run", "with_free_ports"]

#: The protected servers of the documents. Each host becomes an embedded server.
_SERVER = re.compile(r"https://[\w-]+\.example\.com/mcp\b")


#: The fixed ports of the documents.
_PORT = re.compile(r"\b(3334|8765|8912)\b")


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def with_free_ports(code: str) -> str:
    """`code` with other ports in the place of its fixed ones, which another program may use."""
    ports = {port: str(free_port()) for port in set(_PORT.findall(code))}
    return _PORT.sub(lambda match: ports[match[0]], code)


class _Chat:
    """The documents' `chat`: whoever reads it opens the first address that has a query, and approves."""

    async def send(self, text: str) -> None:
        address = re.search(r"https?://\S+\?\S+", text)
        assert address is not None, text
        Person.approves()(address[0])


def _stand_ins() -> None:
    agent = types.ModuleType("my_agent")
    agent.chat = _Chat()  # type: ignore[attr-defined]
    sys.modules["my_agent"] = agent


def run(name: str, code: str, folder: Path) -> dict[str, str | None]:
    """What came of one block, run in `folder`."""
    folder.mkdir(parents=True)
    os.chdir(folder)
    os.environ.update(HOME=str(folder), USERPROFILE=str(folder), MCP_LOGIN_HOME=str(folder / "logins"))
    code = with_free_ports(code)
    output, told, error, shown = io.StringIO(), io.StringIO(), None, {}
    with contextlib.ExitStack() as servers:
        for url in sorted(set(_SERVER.findall(code))):
            server = servers.enter_context(EmbeddedServer(auto_approve=True).run())
            code = re.sub(rf"{re.escape(url)}\b", server.url, code)
            shown[server.url] = url
        servers.enter_context(contextlib.redirect_stdout(output))
        servers.enter_context(contextlib.redirect_stderr(told))
        try:
            exec(compile(code, name, "exec"), {"__name__": "__main__"})
        except BaseException:  # noqa: BLE001 - SystemExit and groups too: told, and on to the next
            error = traceback.format_exc()
    printed = output.getvalue()
    for real, url in shown.items():
        printed = printed.replace(real, url)
    return {"name": name, "output": printed, "error": error}


def main(arguments: list[str]) -> None:
    """The command line."""
    wanted, folder = Path(arguments[0]), Path(arguments[1])
    _stand_ins()
    for number, block in enumerate(json.loads(wanted.read_text(encoding="utf-8"))):
        result = run(block["name"], block["code"], folder / str(number))
        sys.stdout.write(f"{json.dumps(result)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
