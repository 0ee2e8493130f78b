"""The MCP SDK 2.x's own server auth, in the manner of its "simple auth" example: servers for foreign_servers.py.

What is the SDK's: metadata, registration, the authorization, token and revocation endpoints, client authentication, the
bearer check. What a user of the SDK writes is below: what is remembered, and a page where people log in. As in the
example there is no refresh token, no `iss` in authorization responses, and the issuer ends with a slash.
"""

from __future__ import annotations

import html
import secrets
import time
from typing import TYPE_CHECKING, Any

import httpx2
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.provider import (
    AccessToken,
    AuthorizationCode,
    AuthorizationParams,
    OAuthAuthorizationServerProvider,
    RefreshToken,
    TokenVerifier,
    construct_redirect_uri,
)
from mcp.server.auth.routes import create_auth_routes
from mcp.server.auth.settings import AuthSettings, ClientRegistrationOptions, RevocationOptions
from mcp.server.mcpserver import MCPServer
from pydantic import AnyHttpUrl
from starlette.applications import Starlette
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

if TYPE_CHECKING:
    from collections.abc import Callable

    from mcp.shared.auth import OAuthClientInformationFull, OAuthToken
    from starlette.requests import Request

__all__ = ["Provider", "authorization_server", "resource_server", "whole_server"]

SCOPES = ["mcp"]


class Provider(OAuthAuthorizationServerProvider[AuthorizationCode, RefreshToken, AccessToken]):
    """What the authorization server remembers; there are no refresh tokens.

    `lifetime` is that of tokens, in seconds. `withheld`: scopes that are never granted, whoever asks.
    """

    def __init__(self, origin: str, lifetime: int) -> None:
        self._origin = origin
        self._lifetime = lifetime
        self.withheld: set[str] = set()
        self._asked: dict[str, tuple[str, AuthorizationParams]] = {}
        self._codes: dict[str, AuthorizationCode] = {}
        self.clients: dict[str, OAuthClientInformationFull] = {}
        self.tokens: dict[str, AccessToken] = {}

    async def get_client(self, client_id: str) -> OAuthClientInformationFull | None:
        return self.clients.get(client_id)

    async def register_client(self, client_info: OAuthClientInformationFull) -> None:
        self.clients[client_info.client_id or ""] = client_info

    async def authorize(self, client: OAuthClientInformationFull, params: AuthorizationParams) -> str:
        """Where the browser goes next: our page."""
        number = secrets.token_urlsafe(16)
        self._asked[number] = (client.client_id or "", params)
        return f"{self._origin}/login?asked={number}"

    async def load_authorization_code(
        self, client: OAuthClientInformationFull, authorization_code: str
    ) -> AuthorizationCode | None:
        return self._codes.get(authorization_code)

    async def exchange_authorization_code(
        self, client: OAuthClientInformationFull, authorization_code: AuthorizationCode
    ) -> OAuthToken:
        from mcp.shared.auth import OAuthToken

        del self._codes[authorization_code.code]
        token = AccessToken(
            token=secrets.token_urlsafe(32),
            client_id=authorization_code.client_id,
            scopes=authorization_code.scopes,
            expires_at=int(time.time()) + self._lifetime,
            resource=authorization_code.resource,
        )
        self.tokens[token.token] = token
        return OAuthToken(access_token=token.token, expires_in=self._lifetime, scope=" ".join(token.scopes))

    async def load_refresh_token(self, client: OAuthClientInformationFull, refresh_token: str) -> RefreshToken | None:
        return None

    async def exchange_refresh_token(
        self, client: OAuthClientInformationFull, refresh_token: RefreshToken, scopes: list[str]
    ) -> OAuthToken:
        raise NotImplementedError  # there are none

    async def load_access_token(self, token: str) -> AccessToken | None:
        return self.tokens.get(token)

    async def revoke_token(self, token: AccessToken | RefreshToken) -> None:
        self.tokens.pop(token.token, None)

    async def login_page(self, request: Request) -> Response:
        number = html.escape(request.query_params["asked"])
        return HTMLResponse(
            f'<form method="post" action="/login"><input type="hidden" name="asked" value="{number}">'
            '<input type="text" name="username"><input type="password" name="password">'
            '<button type="submit">Sign in</button></form>'
        )

    async def log_in(self, request: Request) -> Response:
        form = await request.form()
        if not form["username"] or not form["password"]:
            return HTMLResponse("Who are you?", status_code=401)
        client_id, params = self._asked.pop(str(form["asked"]))
        code = AuthorizationCode(
            code=secrets.token_urlsafe(32),
            client_id=client_id,
            scopes=[scope for scope in params.scopes or SCOPES if scope not in self.withheld],
            expires_at=time.time() + 60,
            code_challenge=params.code_challenge,
            redirect_uri=params.redirect_uri,
            redirect_uri_provided_explicitly=params.redirect_uri_provided_explicitly,
            resource=params.resource,
        )
        self._codes[code.code] = code
        target = construct_redirect_uri(str(params.redirect_uri), code=code.code, state=params.state)
        return RedirectResponse(target, status_code=302)

    async def introspect(self, request: Request) -> Response:
        form = await request.form()
        token = self.tokens.get(str(form.get("token")))
        if token is None:
            return JSONResponse({"active": False})
        return JSONResponse(
            {
                "active": True,
                "client_id": token.client_id,
                "scope": " ".join(token.scopes),
                "exp": token.expires_at,
                "aud": token.resource,
            }
        )

    def commands(self) -> dict[str, Callable[..., dict[str, Any]]]:
        """What can be done to it from outside."""

        def forget(what: dict[str, Any]) -> dict[str, Any]:
            count = len(what)
            what.clear()
            return {"count": count}

        def withhold(scopes: list[str]) -> dict[str, Any]:
            self.withheld = set(scopes)
            return {}

        return {
            "withhold": withhold,
            "expire_access_tokens": lambda: forget(self.tokens),
            "forget_clients": lambda: forget(self.clients),
        }


class ByIntrospection(TokenVerifier):
    """Asks the authorization server about each token (RFC 7662)."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint

    async def verify_token(self, token: str) -> AccessToken | None:
        async with httpx2.AsyncClient(trust_env=False, verify=False, timeout=10) as client:
            answer = (await client.post(self._endpoint, data={"token": token})).json()
        if not answer["active"]:
            return None
        return AccessToken(
            token=token,
            client_id=answer["client_id"],
            scopes=answer["scope"].split(),
            expires_at=answer["exp"],
            resource=answer["aud"],
        )


def _registration() -> ClientRegistrationOptions:
    return ClientRegistrationOptions(enabled=True, valid_scopes=SCOPES, default_scopes=SCOPES)


def whole_server(port: int, settings: dict[str, Any]) -> tuple[Any, dict[str, Callable[..., dict[str, Any]]], Any]:
    """An MCP server that is its own authorization server: application, commands, and the MCP server for its tools."""
    origin = f"http://127.0.0.1:{port}"
    provider = Provider(origin, settings["access_token_lifetime"])
    server = MCPServer(
        "Whole",
        auth_server_provider=provider,
        auth=AuthSettings(
            issuer_url=AnyHttpUrl(origin),  # as in the example: this adds a slash
            resource_server_url=AnyHttpUrl(f"{origin}/mcp"),
            client_registration_options=_registration(),
            revocation_options=RevocationOptions(enabled=True),
            required_scopes=SCOPES,
            validate_token_resource=True,
        ),
        log_level="WARNING",
    )
    server.custom_route("/login", methods=["GET"])(provider.login_page)
    server.custom_route("/login", methods=["POST"])(provider.log_in)
    return server, provider.commands(), get_access_token


def authorization_server(port: int, settings: dict[str, Any]) -> tuple[Any, dict[str, Callable[..., dict[str, Any]]]]:
    """The example's authorization server, apart from any MCP server, without a revocation endpoint."""
    origin = f"http://127.0.0.1:{port}"
    provider = Provider(origin, settings["access_token_lifetime"])
    routes = create_auth_routes(
        provider=provider, issuer_url=AnyHttpUrl(origin), client_registration_options=_registration()
    )
    routes += [
        Route("/login", provider.login_page, methods=["GET"]),
        Route("/login", provider.log_in, methods=["POST"]),
        Route("/introspect", provider.introspect, methods=["POST"]),
    ]
    return Starlette(routes=routes), provider.commands()


def resource_server(port: int, settings: dict[str, Any]) -> tuple[Any, Any]:
    """The example's MCP server, whose tokens another server issues: itself, and what gives the request's token."""
    server = MCPServer(
        "Apart",
        token_verifier=ByIntrospection(f"{settings['issuer']}introspect"),
        auth=AuthSettings(
            issuer_url=AnyHttpUrl(settings["issuer"]),
            resource_server_url=AnyHttpUrl(f"http://127.0.0.1:{port}/mcp"),
            required_scopes=SCOPES,
            validate_token_resource=True,
        ),
        log_level="WARNING",
    )
    return server, get_access_token
