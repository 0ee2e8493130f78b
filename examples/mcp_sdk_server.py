"""An MCP SDK 2.x server behind its own authorization server: `python examples/mcp_sdk_server.py [PORT]`.

To try a client against, on this machine only: it approves every login without asking anybody, and forgets all when it ends.
"""

from __future__ import annotations

import secrets
import sys
import time

from mcp.server.auth.provider import (
    AccessToken,
    AuthorizationCode,
    AuthorizationParams,
    OAuthAuthorizationServerProvider,
    RefreshToken,
    construct_redirect_uri,
)
from mcp.server.auth.settings import AuthSettings, ClientRegistrationOptions, RevocationOptions
from mcp.server.mcpserver import MCPServer
from mcp.shared.auth import OAuthClientInformationFull, OAuthToken
from pydantic import AnyHttpUrl

LIFETIME = 3600  # seconds


class Provider(OAuthAuthorizationServerProvider[AuthorizationCode, RefreshToken, AccessToken]):
    """The five things an authorization server remembers, in dictionaries. Each login has a number; logging out ends it."""

    def __init__(self) -> None:
        self._clients: dict[str | None, OAuthClientInformationFull] = {}
        self._codes: dict[str, AuthorizationCode] = {}
        self._access_tokens: dict[str, AccessToken] = {}
        self._refresh_tokens: dict[str, RefreshToken] = {}
        self._logins: dict[str, int] = {}  # which login a token belongs to

    async def get_client(self, client_id: str) -> OAuthClientInformationFull | None:
        return self._clients.get(client_id)

    async def register_client(self, client_info: OAuthClientInformationFull) -> None:
        self._clients[client_info.client_id] = client_info

    async def authorize(self, client: OAuthClientInformationFull, params: AuthorizationParams) -> str:
        """Where the browser goes next. A real server would show a person a page first."""
        code = AuthorizationCode(
            code=secrets.token_urlsafe(32),
            client_id=client.client_id or "",
            scopes=params.scopes or ["mcp"],
            expires_at=time.time() + 60,
            code_challenge=params.code_challenge,
            redirect_uri=params.redirect_uri,
            redirect_uri_provided_explicitly=params.redirect_uri_provided_explicitly,
            resource=params.resource,
        )
        self._codes[code.code] = code
        return construct_redirect_uri(str(params.redirect_uri), code=code.code, state=params.state)

    async def load_authorization_code(
        self, client: OAuthClientInformationFull, authorization_code: str
    ) -> AuthorizationCode | None:
        code = self._codes.get(authorization_code)
        return code if code is not None and code.client_id == client.client_id else None

    async def exchange_authorization_code(
        self, client: OAuthClientInformationFull, authorization_code: AuthorizationCode
    ) -> OAuthToken:
        del self._codes[authorization_code.code]  # it counts once
        return self._issue(client, authorization_code.scopes, authorization_code.resource, secrets.randbits(64))

    async def load_refresh_token(self, client: OAuthClientInformationFull, refresh_token: str) -> RefreshToken | None:
        token = self._refresh_tokens.get(refresh_token)
        return token if token is not None and token.client_id == client.client_id else None

    async def exchange_refresh_token(
        self, client: OAuthClientInformationFull, refresh_token: RefreshToken, scopes: list[str]
    ) -> OAuthToken:
        del self._refresh_tokens[refresh_token.token]  # each counts once: the answer has the next one
        login = self._logins[refresh_token.token]
        return self._issue(client, scopes or refresh_token.scopes, refresh_token.resource, login)

    async def load_access_token(self, token: str) -> AccessToken | None:
        return self._access_tokens.get(token)

    async def revoke_token(self, token: AccessToken | RefreshToken) -> None:
        ended = self._logins.get(token.token)
        for known in [name for name, login in self._logins.items() if login == ended]:
            self._access_tokens.pop(known, None)
            self._refresh_tokens.pop(known, None)
            del self._logins[known]

    def _issue(
        self, client: OAuthClientInformationFull, scopes: list[str], resource: str | None, login: int
    ) -> OAuthToken:
        client_id = client.client_id or ""
        access = AccessToken(
            token=secrets.token_urlsafe(32),
            client_id=client_id,
            scopes=scopes,
            expires_at=int(time.time()) + LIFETIME,
            resource=resource,
        )
        refresh = RefreshToken(token=secrets.token_urlsafe(32), client_id=client_id, scopes=scopes, resource=resource)
        self._access_tokens[access.token] = access
        self._refresh_tokens[refresh.token] = refresh
        self._logins[access.token] = self._logins[refresh.token] = login
        return OAuthToken(
            access_token=access.token, expires_in=LIFETIME, refresh_token=refresh.token, scope=" ".join(scopes)
        )


def build(port: int) -> MCPServer:
    settings = AuthSettings(
        issuer_url=AnyHttpUrl(f"http://127.0.0.1:{port}"),
        resource_server_url=AnyHttpUrl(f"http://127.0.0.1:{port}/mcp"),
        client_registration_options=ClientRegistrationOptions(
            enabled=True, valid_scopes=["mcp"], default_scopes=["mcp"]
        ),
        revocation_options=RevocationOptions(enabled=True),
        required_scopes=["mcp"],
        validate_token_resource=True,  # tokens for another server are refused
    )
    server = MCPServer("MCP SDK example", auth_server_provider=Provider(), auth=settings, log_level="WARNING")

    @server.tool()
    def add(a: int, b: int) -> int:
        """The sum of two numbers."""
        return a + b

    return server


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    print(f"http://127.0.0.1:{port}/mcp", flush=True)
    try:
        build(port).run("streamable-http", host="127.0.0.1", port=port)
    except KeyboardInterrupt:
        sys.exit("Interrupted.")
