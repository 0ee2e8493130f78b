"""The defences that keep secrets where they belong, and how each is switched off."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import ssl
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

from mcp_login import OAuth
from mcp_login.network.http import HttpClient
from mcp_login.protocol.message import HttpRequest, HttpResponse
from tests.hostile.attack import Switch, nothing

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = [
    "CALLERS_CREDENTIALS",
    "DISCRETION",
    "KEY_LOG",
    "OWN_CLIENT",
    "PORTAL_FRAMES",
    "PROXY_PASSWORD",
    "QUERIES_IN_REPRS",
    "QUERIES_OF_ERRORS",
    "QUERIES_OF_SERVERS",
    "REDACTION",
    "TOKEN_BOUNDARY",
    "TRACEBACKS",
    "TWINS",
]


def _itself(value: Any, *_: Any) -> Any:
    return value


#: Which requests may carry a token, and whose challenges count.
TOKEN_BOUNDARY = Switch(
    "tokens stay in their resource",
    (
        ("mcp_login.session.is_within", lambda *_: True),
        ("mcp_login.attempt.is_within", lambda *_: True),
    ),
)

#: Secrets that a server quotes are masked.
REDACTION = Switch("quoted secrets are masked", (("mcp_login.protocol.error_response.redact", _itself),))

#: What HTTP libraries log of our requests.
DISCRETION = Switch(
    "HTTP libraries log nothing of what is said", (("mcp_login.network.http.discretion", contextlib.nullcontext),)
)

#: Queries of URLs are not shown: of those that an error has as an attribute, of the server's own, of a value's members.
QUERIES_OF_ERRORS = Switch("queries in errors are not shown", (("mcp_login.errors.without_query", _itself),))
QUERIES_OF_SERVERS = Switch("a server's query is not shown", (("mcp_login.session.without_query", _itself),))
QUERIES_IN_REPRS = Switch("queries in reprs are not shown", (("mcp_login.protocol.uri._cut", _itself),))

#: What is raised brings no local variables of ours along: not those of the public functions, nor of the work on the portal.
TRACEBACKS = Switch("tracebacks hold no local variables", (("mcp_login.tracebacks.forget_locals", nothing),))
PORTAL_FRAMES = Switch(
    "foreign errors leave the portal without its frames", (("mcp_login.portal.forget_locals", nothing),)
)
TWINS = Switch("our errors leave the portal without a past", (("mcp_login.errors.AuthError.twin", _itself),))


def _built_by_the_client(client: Any, request: Any, url: str, extensions: dict[str, Any]) -> Any:
    """As httpx's own methods do it: with the client's headers, cookies and parameters."""
    return client.build_request(
        request.method, url, headers=request.headers, content=request.body, extensions=extensions
    )


#: A caller's client sends its own credentials to nobody.
CALLERS_CREDENTIALS = Switch(
    "a caller's client keeps its credentials", (("mcp_login.network.http.built_for", _built_by_the_client),)
)

#: The password of a proxy is not part of its name.
PROXY_PASSWORD = Switch(
    "a proxy is named without its password",
    (
        ("mcp_login.network.http.proxy_shown", _itself),
        ("mcp_login.network.transport.proxy_shown", _itself),
    ),
)

_send, _flow = HttpClient.send, OAuth.sync_auth_flow
#: What a flow is to ask for, and where the answer is waited for; None: it may go on by itself. One for each flow under way.
_under_way: list[queue.Queue[tuple[HttpRequest, Future[HttpResponse]] | None]] = []


async def _handed_over(client: HttpClient, request: HttpRequest, **keywords: Any) -> HttpResponse:
    if not request.secrets or not _under_way:
        return await _send(client, request, **keywords)
    answer: Future[HttpResponse] = Future()
    _under_way[-1].put((request, answer))
    return await asyncio.wrap_future(answer)


def _yielded(auth: OAuth, request: Any) -> Generator[Any, Any, None]:
    """As most libraries do it: the requests of a login are yielded to the client whose request needs it."""
    flow, wanted = _flow(auth, request), queue.Queue[tuple[HttpRequest, Future[HttpResponse]] | None]()
    step = partial(next, flow)
    _under_way.append(wanted)
    try:
        with ThreadPoolExecutor(1) as pool:
            while True:
                done = pool.submit(step)
                done.add_done_callback(lambda _: wanted.put(None))
                while (asked := wanted.get()) is not None:
                    ours, answer = asked
                    said = yield type(request)(ours.method, ours.url, headers=ours.headers, content=ours.body)
                    said.read()
                    headers = tuple((name.lower(), value) for name, value in said.headers.multi_items())
                    answer.set_result(HttpResponse(said.status_code, ours.url, headers, said.content))
                try:
                    step = partial(flow.send, (yield done.result()))
                except StopIteration:
                    return
    finally:
        _under_way.remove(wanted)


#: The library's own requests are not the caller's client's, which keeps every answer in `response.history`.
OWN_CLIENT = Switch(
    "a client of our own",
    (
        ("mcp_login.network.http.HttpClient.send", _handed_over),
        ("mcp_login.auth.OAuth.sync_auth_flow", _yielded),
    ),
)

#: Keys of our TLS connections are not written to a file that the environment names.
KEY_LOG = Switch(
    "TLS keys are not logged", (("mcp_login.network.http.default_ssl_context", ssl.create_default_context),)
)
