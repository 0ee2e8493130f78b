"""A plain OAuth client over httpx, so that the embedded server is tested without the library that it tests."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

if TYPE_CHECKING:
    import httpx

    from mcp_login.testing import EmbeddedServer

__all__ = ["REDIRECT_URI", "VERIFIER", "Login", "answer_of", "call", "challenge_of", "rpc"]

REDIRECT_URI = "http://127.0.0.1:49200/callback"
#: RFC 7636 appendix B.
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"


def challenge_of(verifier: str) -> str:
    """RFC 7636 section 4.2."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")


def rpc(method: str, *, message_id: int | None = 1, **params: Any) -> dict[str, Any]:
    """A JSON-RPC message; a notification if `message_id` is None."""
    message: dict[str, Any] = {"jsonrpc": "2.0", "method": method, "params": params}
    return message if message_id is None else {**message, "id": message_id}


def call(tool: str, **arguments: Any) -> dict[str, Any]:
    """A `tools/call` message."""
    return rpc("tools/call", name=tool, arguments=arguments)


def answer_of(response: httpx.Response) -> dict[str, str]:
    """The parameters of the redirect URI that `response` redirects to."""
    location = response.headers["location"]
    assert location.startswith(REDIRECT_URI)
    return dict(parse_qsl(urlsplit(location).query))


@dataclass
class Login:
    """A client's way through one login at `server`, step by step; each step's parameters can be changed or (None) left out."""

    server: EmbeddedServer
    client: dict[str, Any] = field(default_factory=dict)
    http: httpx.AsyncClient = field(init=False)

    def __post_init__(self) -> None:
        self.http = self.server.http_client()

    async def register(self, **changes: Any) -> httpx.Response:
        """Register a native public client, and remember it where that succeeds."""
        metadata: dict[str, Any] = {
            "redirect_uris": [REDIRECT_URI],
            "application_type": "native",
            "client_name": "Test client",
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "token_endpoint_auth_method": "none",
        }
        response = await self.http.post(self.server.endpoint("register"), json=_present(metadata | changes))
        if response.is_success:
            self.client = response.json()
        return response

    async def authorize(self, **changes: Any) -> httpx.Response:
        """The authorization request."""
        params: dict[str, Any] = {
            "response_type": "code",
            "client_id": self.client["client_id"],
            "redirect_uri": REDIRECT_URI,
            "state": "a state",
            "code_challenge": challenge_of(VERIFIER),
            "code_challenge_method": "S256",
            "resource": self.server.resource,
            "scope": "mcp",
        }
        return await self.http.get(self.server.endpoint("authorize"), params=_present(params | changes))

    async def decide(self, page: httpx.Response, decision: str = "approve") -> httpx.Response:
        """Press a button of the consent page."""
        found = re.search(r'name="transaction" value="([^"]+)"', page.text)
        assert found is not None
        form = {"transaction": found[1], "decision": decision}
        return await self.http.post(self.server.endpoint("consent"), data=form)

    async def code(self, **changes: Any) -> str:
        """Register where needed, ask, approve where asked, and take the code."""
        if not self.client:
            assert (await self.register()).is_success
        response = await self.authorize(**changes)
        if response.status_code == 200:
            response = await self.decide(response)
        return answer_of(response)["code"]

    async def exchange(self, code: str, /, **changes: Any) -> httpx.Response:
        """The token request for `code`."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": REDIRECT_URI,
            "code_verifier": VERIFIER,
        }
        return await self.token(form | changes)

    async def refresh(self, refresh_token: str, /, **changes: Any) -> httpx.Response:
        """The token request for `refresh_token`."""
        return await self.token({"grant_type": "refresh_token", "refresh_token": refresh_token} | changes)

    async def token(self, form: dict[str, Any], *, headers: dict[str, str] | None = None) -> httpx.Response:
        """Any token request; `client_id` and `resource` are added."""
        full = {"client_id": self.client["client_id"], "resource": self.server.resource} | form
        return await self.http.post(self.server.endpoint("token"), data=_present(full), headers=headers)

    async def tokens(self, **changes: Any) -> dict[str, Any]:
        """The whole login; `changes` are those of the authorization request. The members of the token answer."""
        response = await self.exchange(await self.code(**changes))
        assert response.is_success, response.text
        members: dict[str, Any] = response.json()
        return members

    async def mcp(self, message: dict[str, Any], token: str | None = None, **headers: str) -> httpx.Response:
        """A request to the MCP endpoint."""
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.http.post(self.server.url, json=message, headers=named)


def _present(params: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in params.items() if value is not None}
