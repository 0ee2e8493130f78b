"""The embedded protected MCP server: resource metadata (RFC 9728), challenges (RFC 6750), and MCP's streamable HTTP.

Of the latter it has what any client needs: single JSON answers, no sessions, the revisions with `initialize` and the one without.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response

from .authorization_server import absent, merged

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .request_log import RecordedRequest
    from .site import Site
    from .tokens import AccessToken, Tokens

__all__ = ["McpServer"]

#: Protocol revisions with an `initialize`, and those whose requests stand alone.
_HANDSHAKE_VERSIONS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
_STATELESS_VERSIONS = ("2026-07-28",)
_INFO = {"name": "mcp-login embedded server", "version": "1"}
_META = "io.modelcontextprotocol/"

_TOOLS: list[dict[str, Any]] = [
    {
        "name": "whoami",
        "description": "Who the access token was issued to, and for which scopes.",
        "inputSchema": {"type": "object", "properties": {}},
    },
    {
        "name": "add",
        "description": "The sum of two numbers.",
        "inputSchema": {
            "type": "object",
            "properties": {"a": {"type": "number"}, "b": {"type": "number"}},
            "required": ["a", "b"],
        },
    },
    {
        "name": "secret",
        "description": "A secret that needs a scope of its own.",
        "inputSchema": {"type": "object", "properties": {}},
    },
]


class _RpcError(Exception):
    def __init__(self, code: int, message: str, *, status: int = 200, data: Any = None) -> None:
        super().__init__(message)
        self.code = code
        self.status = status
        self.data = data


class McpServer:
    """The resource server's endpoints. Each takes a request and gives a response."""

    def __init__(self, site: Site, tokens: Tokens) -> None:
        self._site = site
        self._tokens = tokens
        self.protector: Site | None = None

    def accept(self, site: Site, tokens: Tokens) -> None:
        """From now on the authorization server at `site` issues the tokens that count here."""
        self.protector, self._tokens = site, tokens

    def metadata(self, request: RecordedRequest) -> Response:
        """RFC 9728 section 3."""
        site, settings = self._site, self._site.configuration
        here = request.path == site.resource_metadata_path and site.is_mcp(request.headers.get("host", ""))
        if not here or not settings.protected:
            return absent(settings.absent_status)
        document: dict[str, Any] = {
            "resource": site.resource,
            "authorization_servers": [(self.protector or site).issuer],
            "bearer_methods_supported": ["header"],
            "resource_name": "mcp-login embedded server",
        }
        if settings.scopes_supported is not None:
            document["scopes_supported"] = list(settings.scopes_supported)
        return JSONResponse(merged(document, settings.resource_metadata_overrides))

    def mcp(self, request: RecordedRequest) -> Response:
        """The MCP endpoint: the token first, then the message."""
        response = self._unauthorized(request) or self._message(request)
        for name, value in self._site.configuration.mcp_headers.items():
            response.headers[name] = value
        return response

    def _unauthorized(self, request: RecordedRequest) -> Response | None:
        settings = self._site.configuration
        if not settings.protected:
            return None
        if any(name == "access_token" for name, _ in request.query):
            # Specification, "Access Token Usage": never in the query.
            return self._challenge(400, "invalid_request", "The access token is in the URL.")
        if request.access_token is None:
            if "authorization" in request.headers:
                return self._challenge(401, "invalid_request", "The Authorization header holds no Bearer token.")
            if request.params.get("method") in settings.anonymous_methods:
                return None
            # RFC 6750 section 3.1: no error code where there were no credentials.
            return self._challenge(401, None, None, settings.required_scopes)
        token = self._tokens.find(request.access_token)
        if token is None:
            return self._challenge(401, "invalid_token", "The access token is unknown, expired or revoked.")
        if token.grant.resource != self._site.resource:
            return self._challenge(401, "invalid_token", "The access token was issued for another resource.")
        return self._insufficient(request, token)

    def _insufficient(self, request: RecordedRequest, token: AccessToken) -> Response | None:
        settings = self._site.configuration
        needed = settings.required_scopes
        if request.params.get("method") == "tools/call":
            needed = (*needed, *settings.tool_scopes.get(request.params.get("name", ""), ()))
        if set(needed) <= set(token.scopes):
            return None
        # All that this operation needs in one challenge (specification, "Scope Challenge Handling").
        return self._challenge(403, "insufficient_scope", "The operation needs more permissions.", needed)

    def _challenge(
        self, status: int, error: str | None, description: str | None, scopes: tuple[str, ...] = ()
    ) -> Response:
        site, settings = self._site, self._site.configuration
        body = {"error": error or "unauthorized", "error_description": description or "A login is needed."}
        response = JSONResponse(body, status)
        if not settings.challenge:
            return response
        params: dict[str, str] = {}
        if error is not None:
            params["error"] = error
        if description is not None:
            params["error_description"] = description
        if scopes and settings.challenge_scope:
            params["scope"] = " ".join(scopes)
        if settings.challenge_resource_metadata and site.resource_metadata_path is not None:
            params["resource_metadata"] = site.origin + site.resource_metadata_path
        ours = ("Bearer " + ", ".join(f'{name}="{value}"' for name, value in params.items())).strip()
        challenges = [*settings.other_challenges, ours]
        for value in [", ".join(challenges)] if settings.challenges_in_one_line else challenges:
            response.headers.append("WWW-Authenticate", value)
        return response

    def _message(self, request: RecordedRequest) -> Response:
        own = self._site.origin
        if request.headers.get("origin", own) != own:
            # Against DNS rebinding (specification, "Streamable HTTP").
            return Response("Origin not allowed", 403)
        if request.method != "POST":
            return Response(status_code=405, headers={"Allow": "POST"})
        accept = request.headers.get("accept", "*/*")
        if "application/json" not in accept and "*/*" not in accept:
            return Response(status_code=406)
        message_id: Any = None
        try:
            message = _decoded(request.body)
            if "id" not in message or "method" not in message:
                # A notification, or a client's answer.
                return Response(status_code=202)
            message_id = message["id"]
            result = self._result(request, message)
        except _RpcError as error:
            failure = {"code": error.code, "message": str(error)}
            if error.data is not None:
                failure["data"] = error.data
            return JSONResponse({"jsonrpc": "2.0", "id": message_id, "error": failure}, error.status)
        return JSONResponse({"jsonrpc": "2.0", "id": message_id, "result": result})

    def _result(self, request: RecordedRequest, message: Mapping[str, Any]) -> dict[str, Any]:
        method, params = message["method"], message.get("params") or {}
        if not isinstance(params, dict):
            raise _RpcError(-32602, "params is not an object", status=400)
        stateless = _is_stateless(request, method, params)
        if method == "initialize" and not stateless:
            asked = params.get("protocolVersion")
            version = asked if asked in _HANDSHAKE_VERSIONS else _HANDSHAKE_VERSIONS[-1]
            return {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": _INFO}
        if method == "ping":
            result: dict[str, Any] = {}
        elif method == "server/discover":
            result = {
                "supportedVersions": [*_HANDSHAKE_VERSIONS, *_STATELESS_VERSIONS],
                "capabilities": {"tools": {}},
                "ttlMs": 0,
                "cacheScope": "private",
            }
        elif method == "tools/list":
            result = {"tools": _TOOLS, **({"ttlMs": 0, "cacheScope": "private"} if stateless else {})}
        elif method == "tools/call":
            result = self._call(request, params)
        else:
            raise _RpcError(-32601, "Method not found", status=404 if stateless else 200)
        if stateless:
            result |= {"resultType": "complete", "_meta": {f"{_META}serverInfo": _INFO}}
        return result

    def _call(self, request: RecordedRequest, params: Mapping[str, Any]) -> dict[str, Any]:
        arguments = params.get("arguments") or {}
        content: dict[str, Any]
        match params.get("name"):
            case "whoami":
                token = self._tokens.find(request.access_token) if request.access_token else None
                client_id = token.grant.client_id if token else None
                content = {"client_id": client_id, "scopes": list(token.scopes) if token else []}
                text = json.dumps(content)
            case "add":
                numbers = [arguments.get("a"), arguments.get("b")] if isinstance(arguments, dict) else []
                if not numbers or not all(isinstance(n, (int, float)) for n in numbers):
                    return {"content": [{"type": "text", "text": "a and b have to be numbers"}], "isError": True}
                content = {"result": sum(numbers)}
                text = str(content["result"])
            case "secret":
                content = {"result": "The answer is 42."}
                text = content["result"]
            case _:
                raise _RpcError(-32602, "Unknown tool")
        return {"content": [{"type": "text", "text": text}], "structuredContent": content, "isError": False}


def _decoded(body: bytes) -> dict[str, Any]:
    try:
        message = json.loads(body)
    except (ValueError, RecursionError):
        raise _RpcError(-32700, "Parse error", status=400) from None
    if not isinstance(message, dict) or message.get("jsonrpc") != "2.0":
        raise _RpcError(-32600, "Not a single JSON-RPC 2.0 message", status=400)
    return message


def _is_stateless(request: RecordedRequest, method: str, params: Mapping[str, Any]) -> bool:
    """Whether the request is of a revision without `initialize`.

    `_RpcError` where header and message disagree, or the revision is unknown.
    """
    meta = params.get("_meta")
    named = meta.get(f"{_META}protocolVersion") if isinstance(meta, dict) else None
    version = request.headers.get("mcp-protocol-version")
    if named is not None and version != named:
        raise _RpcError(-32020, "The MCP-Protocol-Version header is not that of the message", status=400)
    if version is None or version in _HANDSHAKE_VERSIONS:
        return False
    if version not in _STATELESS_VERSIONS:
        supported = [*_HANDSHAKE_VERSIONS, *_STATELESS_VERSIONS]
        data = {"supported": supported, "requested": version}
        raise _RpcError(-32022, "Unsupported protocol version", status=400, data=data)
    for header, value in (("mcp-method", method), ("mcp-name", params.get("name") if method == "tools/call" else None)):
        if value is not None and request.headers.get(header) != value:
            raise _RpcError(-32020, f"The {header} header is not that of the message", status=400)
    return True
