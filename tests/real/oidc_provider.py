"""npm's `oidc-provider`, a certified authorization server, and a FastMCP server that it protects; all on loopback.

    with oidc_provider() as provider:
        provider.mcp_url              # the protected MCP server: FastMCP's RemoteAuthProvider, with the tools add, whoami
        provider.issuer               # the authorization server
        provider.server.count("token", grant_type="refresh_token")   # what reached the authorization server
        provider.mcp.count("mcp", status=401)                        # what reached the MCP server
        provider.expire_access_tokens()

People log in with any name and any password, then press "Continue"; "[ Cancel ]" on either page denies. `Visitor` of
people.py does so without a browser. Its endpoints' names are registration, authorization, resume, interaction, submit,
abort, token, revocation, introspection, discovery, jwks; any that doesn't exist is `unknown`.
The pages load nothing from other machines. Authorization responses have `iss` (RFC 9207); the audience of a token is the
resource indicator (RFC 8707), and no resource but the MCP server's is known; refresh tokens rotate, and using an old one
ends the whole family.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import sys
import urllib.parse
import urllib.request
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.real import parts
from tests.real.documents import DOCUMENTS_ORIGIN, documents_server
from tests.real.server_process import ServerProcess, server_process

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["OidcProvider", "fetch_json", "foreign_server", "oidc_provider"]

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class OidcProvider:
    """A running authorization server and the MCP server that it protects."""

    issuer: str
    server: ServerProcess
    mcp: ServerProcess
    #: Client metadata documents by their addresses, which start with documents.DOCUMENTS_ORIGIN; add to it at any time.
    documents: dict[str, Any]
    _secret: str

    @property
    def mcp_url(self) -> str:
        """The protected MCP server."""
        return self.mcp.url

    def clear(self) -> None:
        """Forget the requests so far at both servers."""
        self.server.clear()
        self.mcp.clear()

    def expire_access_tokens(self) -> int:
        """End every access token, as if its time were over; how many there were. (JWTs end when they say.)"""
        return int(self.server.command("expire_access_tokens")["count"])

    def revoke_refresh_tokens(self) -> int:
        """End every refresh token, as an operator may; how many there were."""
        return int(self.server.command("revoke_refresh_tokens")["count"])

    def add_client(self, **metadata: Any) -> None:
        """Make a client known: RFC 7591 metadata with `client_id`, and `client_secret` if it has one."""
        self.server.command("add_client", client=metadata)

    def allow_resource(self, resource: str) -> None:
        """Let tokens be issued for another resource, with the same scopes."""
        self.server.command("allow_resource", resource=resource)

    def forget_clients(self) -> int:
        """Lose every dynamic registration; how many there were."""
        return int(self.server.command("forget_clients")["count"])

    def require_scopes(self, *scopes: str) -> None:
        """From now on the MCP server asks for these scopes: 403 `insufficient_scope` for tokens with fewer."""
        self.mcp.command("require_scopes", scopes=list(scopes))

    def introspect(self, token: str) -> dict[str, Any]:
        """What the authorization server says of `token` (RFC 7662)."""
        pair = base64.b64encode(f"mcp-server:{self._secret}".encode()).decode()
        return fetch_json(
            f"{self.issuer}/token/introspection", form={"token": token}, headers={"Authorization": f"Basic {pair}"}
        )


@contextmanager
def oidc_provider(
    *,
    scopes: Sequence[str] = ("mcp", "files:read", "files:write"),
    required_scopes: Sequence[str] = ("mcp",),
    token_format: str = "opaque",
    access_token_lifetime: int = 3600,
    refresh_token_lifetime: int = 86400,
    registration: bool = True,
) -> Iterator[OidcProvider]:
    """Both servers, until the end of the block. Skips the test, or fails it in CI, where the parts are missing.

    `scopes`: what the resource has. `required_scopes`: what the MCP server asks for at first. `token_format`: `opaque` or
    `jwt`. Lifetimes in seconds. `registration`: whether clients may register.
    """
    node, package = parts.need("node"), parts.need("oidc-provider").parent
    secret = secrets.token_urlsafe(32)
    resource_server = {"client_id": "mcp-server", "client_secret": secret}
    with ExitStack() as stack:
        documents: dict[str, Any] = {}
        settings = {
            "access_token_lifetime": access_token_lifetime,
            "cookie_key": secrets.token_urlsafe(32),
            "documents": {DOCUMENTS_ORIGIN: stack.enter_context(documents_server(documents))},
            "refresh_token_lifetime": refresh_token_lifetime,
            "registration": registration,
            "resource_server": resource_server,
            "scopes": list(scopes),
            "token_format": token_format,
        }
        server = stack.enter_context(
            server_process([node, FOLDER / "oidc_provider.mjs", package, json.dumps(settings)])
        )
        mcp = stack.enter_context(
            foreign_server(
                "fastmcp_remote",
                introspection_endpoint=f"{server.url}/token/introspection",
                issuer=server.url,
                jwks_uri=f"{server.url}/jwks",
                required_scopes=list(required_scopes),
                resource_server=resource_server,
                scopes=list(scopes),
                token_format=token_format,
            )
        )
        provider = OidcProvider(server.url, server, mcp, documents, secret)
        provider.allow_resource(mcp.url)
        yield provider


@contextmanager
def foreign_server(
    name: str, *, environment: Mapping[str, str] | None = None, **settings: Any
) -> Iterator[ServerProcess]:
    """A server of foreign_servers.py. `environment`: variables that it has besides those of this process."""
    command = [sys.executable, "-m", "tests.real.foreign_servers", name, json.dumps(settings)]
    with server_process(command, environment={**os.environ, **(environment or {})}) as server:
        yield server


def fetch_json(
    url: str, *, form: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """GET, or POST of `form`; the JSON that comes back."""
    data = None if form is None else urllib.parse.urlencode(form).encode()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(url, data=data, headers=dict(headers or {}))
    with opener.open(request, timeout=20) as answer:
        found: dict[str, Any] = json.load(answer)
        return found
