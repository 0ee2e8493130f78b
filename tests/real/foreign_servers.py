"""Protected MCP servers of other people, each in a process of its own: `python -m tests.real.foreign_servers NAME SETTINGS`.

SETTINGS is JSON. What is printed, and which commands are read, is said in server_process.py; every server knows `sync`.
A request's `endpoint` is its path without the first slash; `discovery` is anything well-known. No line holds a secret.
"""

from __future__ import annotations

import json
import logging
import socket
import sys
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import uvicorn

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["SERVERS", "Served"]

_lock = threading.Lock()


def say(line: dict[str, Any]) -> None:
    with _lock:
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


class Served:
    """An ASGI application and what can be done to it from outside."""

    def __init__(self, application: Any, **commands: Callable[..., dict[str, Any]]) -> None:
        self.application = application
        self.commands: dict[str, Callable[..., dict[str, Any]]] = {"sync": dict, **commands}


class Told:
    """`application`, with every request told before it is answered, and the start when it is ready."""

    def __init__(self, application: Any, url: str) -> None:
        self._application = application
        self._url = url

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = bytearray()

        async def hear() -> Any:
            message = await receive()
            body.extend(message.get("body", b""))
            return message

        async def tell(message: Any) -> None:
            if message["type"] == "lifespan.startup.complete":
                say({"listening": self._url})
            elif message["type"] == "http.response.start":
                say({"request": self._request(scope, bytes(body), message["status"])})
            await send(message)

        await self._application(scope, hear, tell)

    @staticmethod
    def _request(scope: Any, body: bytes, status: int) -> dict[str, Any]:
        path = scope["path"].strip("/")
        form = {}
        if dict(scope["headers"]).get(b"content-type", b"").startswith(b"application/x-www-form-urlencoded"):
            form = {name: values[0] for name, values in parse_qs(body.decode(errors="replace")).items()}
        told = {name: form.get(name) for name in ("grant_type", "resource", "scope")}
        endpoint = "discovery" if path.startswith(".well-known") else path
        return {"method": scope["method"], "endpoint": endpoint, "status": status, **told}


def _add_tools(server: Any, token: Callable[[], Any]) -> None:
    def add(a: int, b: int) -> int:
        """The sum of two numbers."""
        return a + b

    def whoami() -> dict[str, Any]:
        """What the server knows of the token, without the token."""
        access = token()
        claims = getattr(access, "claims", None) or {}
        return {
            "client_id": access.client_id,
            "scopes": sorted(access.scopes),
            "subject": claims.get("sub"),
            "audience": claims.get("aud", getattr(access, "resource", None)),
        }

    server.tool()(add)
    server.tool()(whoami)


def fastmcp_remote(port: int, settings: dict[str, Any]) -> Served:
    """FastMCP's RemoteAuthProvider: tokens of a foreign issuer, opaque ones by introspection, JWTs by its keys."""
    from fastmcp import FastMCP
    from fastmcp.server.auth import JWTVerifier, RemoteAuthProvider, TokenVerifier
    from fastmcp.server.auth.providers.introspection import IntrospectionTokenVerifier
    from fastmcp.server.dependencies import get_access_token

    url = f"http://127.0.0.1:{port}/mcp"
    issuer = settings["issuer"]
    verifier: TokenVerifier
    if settings["token_format"] == "jwt":
        verifier = JWTVerifier(jwks_uri=settings["jwks_uri"], issuer=issuer, audience=url)
    else:
        verifier = IntrospectionTokenVerifier(
            introspection_url=settings["introspection_endpoint"],
            client_id=settings["resource_server"]["client_id"],
            client_secret=settings["resource_server"]["client_secret"],
            audience=url,
        )
    required = list(settings["required_scopes"])
    auth = RemoteAuthProvider(
        token_verifier=verifier,
        authorization_servers=[issuer],
        base_url=f"http://127.0.0.1:{port}",
        scopes_supported=settings["scopes"],
        challenge_scopes=required,
    )
    # Not given to the verifier, which would call a token with too few scopes invalid (401): this way it is a 403.
    auth.required_scopes = required
    server = FastMCP("Foreign", auth=auth)
    _add_tools(server, get_access_token)

    def require_scopes(scopes: list[str]) -> dict[str, Any]:
        required[:] = scopes
        return {}

    return Served(server.http_app(path="/mcp", stateless_http=True, json_response=True), require_scopes=require_scopes)


def fastmcp_in_memory(port: int, settings: dict[str, Any]) -> Served:
    """FastMCP's InMemoryOAuthProvider, which says yes to everybody."""
    from fastmcp import FastMCP
    from fastmcp.server.auth.providers.in_memory import InMemoryOAuthProvider
    from fastmcp.server.dependencies import get_access_token
    from mcp.server.auth.settings import ClientRegistrationOptions, RevocationOptions

    auth = InMemoryOAuthProvider(
        base_url=f"http://127.0.0.1:{port}",
        client_registration_options=ClientRegistrationOptions(enabled=True, valid_scopes=settings["scopes"]),
        revocation_options=RevocationOptions(enabled=True),
        required_scopes=settings["scopes"],
    )
    server = FastMCP("In memory", auth=auth)
    _add_tools(server, get_access_token)
    return Served(
        server.http_app(path="/mcp", stateless_http=True, json_response=True),
        expire_access_tokens=lambda: _forget(auth.access_tokens),
        revoke_refresh_tokens=lambda: _forget(auth.refresh_tokens),
        forget_clients=lambda: _forget(auth.clients),
        has_token=lambda token: {"known": token in auth.access_tokens or token in auth.refresh_tokens},
    )


def fastmcp_proxy(port: int, settings: dict[str, Any]) -> Served:
    """FastMCP's OAuthProxy before another authorization server that knows it as a confidential client."""
    from fastmcp import FastMCP
    from fastmcp.server.auth import OAuthProxy
    from fastmcp.server.auth.providers.introspection import IntrospectionTokenVerifier
    from fastmcp.server.dependencies import get_access_token
    from key_value.aio.stores.memory import MemoryStore

    upstream = settings["upstream"]
    auth = OAuthProxy(
        upstream_authorization_endpoint=f"{upstream}/auth",
        upstream_token_endpoint=f"{upstream}/token",
        upstream_revocation_endpoint=f"{upstream}/token/revocation",
        upstream_client_id=settings["client"]["client_id"],
        upstream_client_secret=settings["client"]["client_secret"],
        token_verifier=IntrospectionTokenVerifier(
            introspection_url=f"{upstream}/token/introspection",
            client_id=settings["client"]["client_id"],
            client_secret=settings["client"]["client_secret"],
            required_scopes=settings["scopes"],
        ),
        base_url=f"http://127.0.0.1:{port}",
        client_storage=MemoryStore(),
    )
    server = FastMCP("Proxy", auth=auth)
    _add_tools(server, get_access_token)
    return Served(server.http_app(path="/mcp", stateless_http=True, json_response=True))


def sdk_whole(port: int, settings: dict[str, Any]) -> Served:
    """The MCP SDK's server auth, authorization server and MCP server in one."""
    from tests.real import sdk_servers

    server, commands, token = sdk_servers.whole_server(port, settings)
    _add_tools(server, token)
    return Served(server.streamable_http_app(stateless_http=True, json_response=True), **commands)


def sdk_authorization_server(port: int, settings: dict[str, Any]) -> Served:
    """The MCP SDK's server auth: the authorization server alone."""
    from tests.real import sdk_servers

    application, commands = sdk_servers.authorization_server(port, settings)
    return Served(application, **commands)


def sdk_resource_server(port: int, settings: dict[str, Any]) -> Served:
    """The MCP SDK's server auth: the MCP server alone."""
    from tests.real import sdk_servers

    server, token = sdk_servers.resource_server(port, settings)
    _add_tools(server, token)
    return Served(server.streamable_http_app(stateless_http=True, json_response=True))


def _forget(what: dict[str, Any]) -> dict[str, Any]:
    count = len(what)
    what.clear()
    return {"count": count}


SERVERS: dict[str, Callable[[int, dict[str, Any]], Served]] = {
    "fastmcp_in_memory": fastmcp_in_memory,
    "fastmcp_proxy": fastmcp_proxy,
    "fastmcp_remote": fastmcp_remote,
    "sdk_authorization_server": sdk_authorization_server,
    "sdk_resource_server": sdk_resource_server,
    "sdk_whole": sdk_whole,
}


def map_names(ports: dict[str, int]) -> None:
    """Let these names have a public address, as a server that fetches documents insists on, and lead to loopback ports.

    Patches the `socket` module, which asyncio goes through. Nothing is sent to the address itself.
    """
    addresses = {f"93.184.216.{number}": name for number, name in enumerate(ports, 34)}
    look_up, connect = socket.getaddrinfo, socket.socket.connect

    def mapped_getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        found = [address for address, name in addresses.items() if name == host]
        return look_up(found[0] if found else host, *args, **kwargs)

    def mapped_connect(self: socket.socket, address: Any) -> None:
        if isinstance(address, tuple) and address[0] in addresses:
            address = ("127.0.0.1", ports[addresses[address[0]]])
        connect(self, address)

    socket.getaddrinfo = mapped_getaddrinfo
    socket.socket.connect = mapped_connect  # type: ignore[method-assign, assignment]


def _obey(served: Served, server: uvicorn.Server) -> None:
    for line in sys.stdin:
        told = json.loads(line)
        number, name = told.pop("id"), told.pop("command")
        say({"reply": number, **served.commands[name](**told)})
    server.should_exit = True


def main(name: str, settings: dict[str, Any]) -> None:
    """Serve until standard input ends."""
    map_names(settings.get("names", {}))
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        served = SERVERS[name](port, settings)
        application = Told(served.application, f"http://127.0.0.1:{port}/mcp")
        server = uvicorn.Server(
            uvicorn.Config(application, log_level="warning", lifespan="on", timeout_graceful_shutdown=1)
        )
        threading.Thread(target=_obey, args=(served, server), daemon=True).start()
        server.run(sockets=[listener])


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
