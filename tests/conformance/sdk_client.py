"""The same client with the MCP SDK's own `OAuthClientProvider`: tells a broken harness from a broken library.

`python -m tests.conformance.run --client sdk`. Not part of the tests.
"""

from __future__ import annotations

import sys
import threading
import webbrowser
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import anyio.to_thread
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider, OAuthFlowError
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata, OAuthToken
from pydantic import AnyUrl

from tests.conformance.client import CLIENT_METADATA_URL, main

if TYPE_CHECKING:
    import httpx2

__all__ = ["authentication"]


class _Memory:
    """Token storage as the SDK wants it."""

    def __init__(self, client: OAuthClientInformationFull | None) -> None:
        self.tokens: OAuthToken | None = None
        self.client = client

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


class _Page(BaseHTTPRequestHandler):
    query = ""

    def do_GET(self) -> None:
        type(self).query = urlsplit(self.path).query
        self.send_response(204)
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        pass


def authentication(url: str, context: dict[str, Any]) -> httpx2.Auth:
    """The SDK's provider, with a listener of its own."""
    server = HTTPServer(("127.0.0.1", 0), _Page)
    redirect_uri = AnyUrl(f"http://127.0.0.1:{server.server_port}/callback")
    client = None
    if "client_id" in context:
        client = OAuthClientInformationFull(
            client_id=context["client_id"],
            client_secret=context.get("client_secret"),
            redirect_uris=[redirect_uri],
            token_endpoint_auth_method="client_secret_basic",
        )

    async def open_browser(authorization_url: str) -> None:
        threading.Thread(target=webbrowser.open, args=(authorization_url,), daemon=True).start()

    async def receive() -> AuthorizationCodeResult:
        await anyio.to_thread.run_sync(server.handle_request)
        fields = {name: values[0] for name, values in parse_qs(_Page.query).items()}
        return AuthorizationCodeResult(code=fields["code"], state=fields.get("state"), iss=fields.get("iss"))

    metadata = OAuthClientMetadata(client_name="MCP SDK conformance", redirect_uris=[redirect_uri])
    return OAuthClientProvider(url, metadata, _Memory(client), open_browser, receive, CLIENT_METADATA_URL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], authentication, OAuthFlowError))
