"""A protected MCP server that costs next to nothing, before any authorization server: for rounds of a thousand requests.

Tokens are judged by introspection (RFC 7662). Section 4 lets the answer be kept for a while: here until `forget`.
"""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import uvicorn

from mcp_login.testing.loopback import listening_socket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Guarded", "guarded"]

START_LIMIT = 20.0


class Guarded:
    """The server at `url`. `introspect` says what the authorization server `issuer` knows of a token."""

    def __init__(self, origin: str, issuer: str, scope: str, introspect: Callable[[str], dict[str, Any]]) -> None:
        self.url = f"{origin}/mcp"
        self._metadata_url = f"{origin}/.well-known/oauth-protected-resource/mcp"
        self._metadata = {"resource": self.url, "authorization_servers": [issuer], "scopes_supported": [scope]}
        self._introspect = introspect
        self._guard = threading.Lock()
        self._known: dict[str, bool] = {}

    def forget(self) -> None:
        """Ask about every token anew."""
        with self._guard:
            self._known.clear()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """The ASGI application."""
        if scope["type"] == "lifespan":
            return
        if scope["path"] != "/mcp":
            await _answer(send, 200, self._metadata)
            return
        while (await receive()).get("more_body"):
            pass
        sent = dict(scope["headers"]).get(b"authorization", b"").decode("latin-1")
        if sent.startswith("Bearer ") and await anyio.to_thread.run_sync(self._is_active, sent.removeprefix("Bearer ")):
            await _answer(send, 200, {"jsonrpc": "2.0", "id": 1, "result": {"tools": []}})
            return
        challenge = f'Bearer resource_metadata="{self._metadata_url}"'
        await _answer(send, 401, {"error": "invalid_token"}, (b"www-authenticate", challenge.encode()))

    def _is_active(self, token: str) -> bool:
        with self._guard:
            if token not in self._known:
                found = self._introspect(token)
                self._known[token] = bool(found["active"]) and found.get("aud") == self.url
            return self._known[token]


async def _answer(send: Any, status: int, content: Any, *headers: tuple[bytes, bytes]) -> None:
    body = json.dumps(content).encode()
    length = (b"content-length", str(len(body)).encode())
    start = {"type": "http.response.start", "status": status}
    await send({**start, "headers": [(b"content-type", b"application/json"), length, *headers]})
    await send({"type": "http.response.body", "body": body})


@contextmanager
def guarded(issuer: str, scope: str, introspect: Callable[[str], dict[str, Any]]) -> Iterator[Guarded]:
    """Such a server on loopback, until the end of the block."""
    listener = listening_socket("127.0.0.1", 0)
    application = Guarded(f"http://127.0.0.1:{listener.getsockname()[1]}", issuer, scope, introspect)
    started = threading.Event()

    class Server(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            started.set()

    server = Server(uvicorn.Config(application, lifespan="off", log_level="warning", access_log=False))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="guarded", daemon=True)
    thread.start()
    try:
        assert started.wait(START_LIMIT)
        yield application
    finally:
        server.should_exit = True
        thread.join(START_LIMIT)
