"""Who is spoken to: hosts, and the servers at them, which do as the documents say but for what a test changes."""

from __future__ import annotations

import json
import secrets
from base64 import urlsafe_b64encode
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote_plus, urlencode

from tests.flows.strangers import Answer, Asked, Stranger

if TYPE_CHECKING:
    from collections.abc import Callable


__all__ = ["AuthorizationServer", "Host", "Resource"]


class Host:
    """A server with a name and addresses of its own. `answer` is what it says; see `tests.flows.strangers`."""

    def __init__(self, origin: str, stranger: Stranger) -> None:
        self.origin = origin
        self.stranger = stranger

    @property
    def answer(self) -> Callable[[Asked], Answer]:
        """How it answers."""
        return self.stranger.answer

    @answer.setter
    def answer(self, answer: Callable[[Asked], Answer]) -> None:
        self.stranger.answer = answer

    @property
    def asked(self) -> list[Asked]:
        """The requests that reached it."""
        return self.stranger.asked

    @property
    def port(self) -> int:
        """The port of loopback that it really is at."""
        return self.stranger.port

    @property
    def connections(self) -> int:
        """How many connections reached it, whatever was said on them."""
        return self.stranger.connections

    def paths(self) -> list[str]:
        """The paths it was asked for."""
        return self.stranger.paths()

    def asked_for(self, path: str) -> list[Asked]:
        """The requests for `path`."""
        return [asked for asked in self.asked if asked.path == path]

    def saw(self, text: str) -> bool:
        """Whether `text` is in anything that reached it: address, header or body, percent-encoded or not."""
        return any(text in part or text in unquote_plus(part) for asked in self.asked for part in _parts(asked))


def _parts(asked: Asked) -> list[str]:
    return [asked.path, urlencode(asked.query), *asked.headers.values(), asked.body.decode("latin-1")]


class AuthorizationServer:
    """An authorization server at `host` that does as the documents say, but for what a test changes.

    `metadata` replaces members of its document (None: left out), `on` answers for a path, `answer` replaces members of the
    token answer. It takes a code once, with its verifier if it was asked for with a challenge, and says yes to every person.
    """

    def __init__(self, host: Host, *, issuer: str | None = None) -> None:
        self.host = host
        self.issuer = host.origin if issuer is None else issuer
        self.metadata: dict[str, Any] = {}
        self.answer: dict[str, Any] = {}
        self.on: dict[str, Callable[[Asked], Answer]] = {}
        self.response: dict[str, str | None] = {}
        #: The secrets that it gave away, by what they are.
        self.given: dict[str, list[str]] = {"code": [], "access_token": [], "refresh_token": [], "client_secret": []}
        self._challenges: dict[str, str] = {}

    def secret(self, kind: str) -> str:
        """A new secret of this server."""
        made = f"{kind}-{secrets.token_hex(16)}"
        self.given.setdefault(kind, []).append(made)
        return made

    def document(self) -> dict[str, Any]:
        """RFC 8414 section 2."""
        base = self.host.origin
        document = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{base}/authorize",
            "token_endpoint": f"{base}/token",
            "registration_endpoint": f"{base}/register",
            "response_types_supported": ["code"],
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": ["none"],
            "authorization_response_iss_parameter_supported": True,
            **self.metadata,
        }
        return {name: value for name, value in document.items() if value is not None}

    def __call__(self, asked: Asked) -> Answer | None:
        """Its answer; None where it has nothing at that path."""
        if asked.path in self.on:
            return self.on[asked.path](asked)
        if asked.path.startswith(("/.well-known/oauth-authorization-server", "/.well-known/openid-configuration")):
            return Answer(body=self.document())
        match asked.path:
            case "/register":
                return self.register(asked)
            case "/authorize":
                return self.authorize(asked)
            case "/token":
                return self.token(asked)
            case "/revoke":
                return Answer(200)
            case _:
                return None

    def register(self, asked: Asked) -> Answer:
        """RFC 7591 section 3."""
        return Answer(201, {**json.loads(asked.body), "client_id": f"client-{len(self.host.asked)}"})

    def authorize(self, asked: Asked) -> Answer:
        """RFC 6749 section 4.1.2, RFC 9207: yes."""
        code = self.secret("code")
        self._challenges[code] = asked.query.get("code_challenge", "")
        said = {"code": code, "state": asked.query["state"], "iss": self.issuer, **self.response}
        query = urlencode({name: value for name, value in said.items() if value is not None})
        return Answer(302, headers={"Location": f"{asked.query['redirect_uri']}?{query}"})

    def token(self, asked: Asked) -> Answer:
        """RFC 6749 sections 4.1.3 and 6, RFC 7636 section 4.6."""
        form = dict(parse_qsl(asked.body.decode()))
        verifier = urlsafe_b64encode(sha256(form.get("code_verifier", "").encode()).digest()).decode().rstrip("=")
        if form.get("grant_type") == "authorization_code":
            if self._challenges.pop(form.get("code", ""), None) not in ("", verifier):
                return Answer(400, {"error": "invalid_grant"})
        elif form.get("refresh_token") not in self.given["refresh_token"]:
            return Answer(400, {"error": "invalid_grant"})
        said = {
            "access_token": self.secret("access_token"),
            "refresh_token": self.secret("refresh_token"),
            "token_type": "Bearer",
            "expires_in": 3600,
            **self.answer,
        }
        return Answer(body={name: value for name, value in said.items() if value is not None})


class Resource:
    """An MCP server at `host` that wants a token, at `path`. `challenge` and `document` are what it says; `on` as above."""

    def __init__(self, host: Host, *servers: AuthorizationServer, path: str = "/mcp") -> None:
        self.host = host
        self.path = path
        self.servers = servers
        self.url = f"{host.origin}{path}"
        self.challenge = "Bearer"
        self.metadata: dict[str, Any] = {}
        self.on: dict[str, Callable[[Asked], Answer]] = {}
        # A host may have an authorization server of its own, too.
        host.answer = _first_of(self, *(server for server in servers if server.host is host))
        for server in servers:
            if server.host is not host:
                server.host.answer = _first_of(server)

    def document(self) -> dict[str, Any]:
        """RFC 9728 section 2."""
        document = {
            "resource": self.url,
            "authorization_servers": [server.issuer for server in self.servers],
            **self.metadata,
        }
        return {name: value for name, value in document.items() if value is not None}

    def __call__(self, asked: Asked) -> Answer | None:
        """Its answer; None where it has nothing at that path."""
        if asked.path in self.on:
            return self.on[asked.path](asked)
        if asked.path.startswith("/.well-known/oauth-protected-resource"):
            return Answer(body=self.document())
        if asked.path.startswith(self.path):
            tokens = [token for server in self.servers for token in server.given["access_token"]]
            if asked.headers.get("authorization", "").removeprefix("Bearer ") in tokens:
                return Answer(200, {"jsonrpc": "2.0", "id": 1, "result": {}})
            return Answer(401, headers={"WWW-Authenticate": self.challenge})
        return None


def _first_of(*parties: Callable[[Asked], Answer | None]) -> Callable[[Asked], Answer]:
    def answer(asked: Asked) -> Answer:
        return next((said for one in parties if (said := one(asked)) is not None), Answer(404))

    return answer
