"""The embedded server as one ASGI application: it logs a request, lets its fault happen, asks the endpoint, answers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import anyio
from starlette.responses import Response

from .authorization_server import absent
from .request_log import Endpoint, RecordedRequest

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping

    from starlette.types import Message, Receive, Scope, Send

    from .authorization_server import AuthorizationServer
    from .faults import Fault, Faults
    from .mcp_server import McpServer
    from .request_log import RequestLog
    from .site import Site
    from .token_endpoint import TokenEndpoint

__all__ = ["Application", "ConnectionDropped"]

_BODY_LIMIT = 1 << 20


class ConnectionDropped(ConnectionResetError):
    """Raised out of the application where it is called in process: what a reset connection is on a network."""


class Application:
    """ASGI 3, for all endpoints.

    `drop` ends the connection of a scope, by a reset where its second argument is true, and answers True; False: there is
    no connection, the caller is in process. `closing` says whether the server is about to stop.
    """

    def __init__(
        self,
        *,
        site: Site,
        clock: Callable[[], float],
        faults: Faults,
        log: RequestLog,
        authorization_server: AuthorizationServer,
        token_endpoint: TokenEndpoint,
        mcp_server: McpServer,
    ) -> None:
        self._site = site
        self._clock = clock
        self._faults = faults
        self._log = log
        self._authorization_server = authorization_server
        self._token_endpoint = token_endpoint
        self._mcp_server = mcp_server
        self.drop: Callable[[MutableMapping[str, Any], bool], bool] = lambda _scope, _at_once: False
        self.closing: Callable[[], bool] = lambda: False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI connection."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            return
        request = self._recorded(scope, await _body(receive))
        answered = self._log.add(request)
        fault = self._faults.take(request)
        if fault is not None and fault.wait_for is not None:
            # Polled: waiting in a worker thread would keep the interpreter alive when nobody sets it.
            while not fault.wait_for.is_set() and not self.closing():  # noqa: ASYNC110 (another thread sets it)
                await anyio.sleep(0.002)
        response = await self._response(request, fault)
        if response is None:
            await self._drop(scope, receive, at_once=True)
            return
        if fault is not None and fault.truncate:
            await self._send_half(scope, receive, send, response)
            return
        answered(response.status_code)
        await response(scope, receive, send)

    async def _response(self, request: RecordedRequest, fault: Fault | None) -> Response | None:
        """The answer, or None where the connection has to be reset."""
        if fault is None or not fault.replaces_the_answer:
            return await self._endpoint(request)
        if fault.error is not None and request.endpoint == "authorization" and fault.status is None:
            failure = (fault.error, fault.error_description or "")
            return await self._authorization_server.authorize(request, failure)
        if fault.after_acting:
            await self._endpoint(request)
        return None if fault.reset else fault.answer()

    async def _endpoint(self, request: RecordedRequest) -> Response:
        endpoint = request.endpoint
        if endpoint.endswith("_metadata") and request.method != "GET":
            return Response(status_code=405, headers={"Allow": "GET"})
        if endpoint == "authorization":
            return await self._authorization_server.authorize(request)
        if endpoint == "token":
            return await self._token_endpoint.token(request)
        if endpoint == "revocation":
            return await self._token_endpoint.revoke(request)
        simple: dict[Endpoint, Callable[[RecordedRequest], Response]] = {
            "mcp": self._mcp_server.mcp,
            "resource_metadata": self._mcp_server.metadata,
            "server_metadata": self._authorization_server.metadata,
            "registration": self._authorization_server.register,
            "consent": self._authorization_server.decide,
        }
        answer = simple.get(endpoint)
        return absent(404) if answer is None else answer(request)

    def _recorded(self, scope: Scope, body: bytes) -> RecordedRequest:
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        path: str = scope["path"]
        endpoint = self._site.endpoint(headers.get("host", ""), path)
        query = tuple(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
        form: tuple[tuple[str, str], ...] = ()
        if headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
            form = tuple(parse_qsl(body.decode("latin-1"), keep_blank_values=True))
        params = dict((*query, *form))
        if endpoint == "mcp":
            params |= _rpc_params(body)
        return RecordedRequest(
            endpoint=endpoint,
            method=scope["method"],
            path=path,
            params=params,
            at=self._clock(),
            headers=headers,
            query=query,
            form=form,
            body=body,
        )

    async def _drop(self, scope: Scope, receive: Receive, *, at_once: bool) -> None:
        if not self.drop(scope, at_once):
            raise ConnectionDropped("the embedded server reset the connection")
        # Until the protocol has noticed: it would log a missing answer as an error of ours.
        while (await receive())["type"] != "http.disconnect":
            pass

    async def _send_half(self, scope: Scope, receive: Receive, send: Send, response: Response) -> None:
        body = bytes(response.body)
        await send({"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers})
        await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
        await self._drop(scope, receive, at_once=False)


def _rpc_params(body: bytes) -> dict[str, str]:
    try:
        message = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(message, dict):
        return {}
    params = message.get("params")
    name = params.get("name") if isinstance(params, dict) else None
    found = {"method": message.get("method"), "name": name}
    return {key: value for key, value in found.items() if isinstance(value, str)}


async def _body(receive: Receive) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while True:
        message: Message = await receive()
        chunk = message.get("body", b"")
        size += len(chunk)
        if size <= _BODY_LIMIT:
            chunks.append(chunk)
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            return b"".join(chunks)


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
