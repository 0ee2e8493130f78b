"""Requests to strangers: one exchange, bounded in time and size, to addresses that the policy allows.

All OAuth traffic of this library goes through `HttpClient`, never through the caller's MCP client.
"""

from __future__ import annotations

import asyncio
import sys
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import cache
from importlib import metadata
from typing import TYPE_CHECKING, Any

import httpx

from mcp_login.errors import PolicyError, TransportError, without_query
from mcp_login.protocol.message import HttpRequest, HttpResponse

from .body import ACCEPTED_ENCODING, BoundedBody
from .discretion import discretion
from .failure import Route, Sending, host_of, proxy_shown, transport_error, wire_errors
from .policy import AddressSpace, NetworkPolicy, address_space, space_of_host
from .proxy import proxy_for
from .transport import CheckedTransport, default_ssl_context, resolve

if TYPE_CHECKING:
    import ssl

__all__ = ["HttpClient", "built_for"]

#: The time limit of a whole exchange: name resolution, connection, redirects and bodies, in seconds.
DEADLINE = 20.0

#: The largest body, on the wire and decompressed, in bytes.
MAX_BYTES = 1 << 20

#: What may come over the connection in one exchange besides a body: heads, interim answers, the marks between chunks,
#: the bodies of redirects. In bytes.
MAX_OVERHEAD = 1 << 20

#: How often one request is redirected.
MAX_REDIRECTS = 3

_REDIRECTS = (301, 302, 303, 307, 308)
#: Headers that make a request one with a secret: such a request is never sent a second time to another URL.
_SECRET_HEADERS = ("authorization", "cookie", "proxy-authorization")


#: Sends one request and gives the answer, its body not yet read.
_Channel = Callable[[HttpRequest, httpx.URL], Awaitable[httpx.Response]]


class HttpClient:
    """Sends requests to servers that nobody vouches for.

    `policy` says which URLs and addresses may be reached. `factory` makes a client of the caller's (httpx or httpx2),
    used instead of our own transport; its redirects, `auth`, cookies, headers and parameters are not used, and addresses are
    judged by URL only.
    `deadline` is the time limit in seconds of a whole exchange (None: `DEADLINE`), `max_bytes` bounds the body on the wire
    and decompressed (None: `MAX_BYTES`).

    Use it on one asyncio event loop. The operating system's trust store, SSL_CERT_FILE, SSL_CERT_DIR and the proxy
    variables count, except with a `factory`. No cookie is kept.
    """

    def __init__(
        self,
        policy: NetworkPolicy | None = None,
        factory: Callable[[], httpx.AsyncClient] | None = None,
        deadline: float | None = None,
        max_bytes: int | None = None,
    ) -> None:
        self._policy = policy or NetworkPolicy()
        self._factory = factory
        self._deadline = DEADLINE if deadline is None else deadline
        self._max_bytes = MAX_BYTES if max_bytes is None else max_bytes
        self._client: httpx.AsyncClient | None = None
        self._ssl_context: ssl.SSLContext | None = None
        self._spaces: dict[tuple[str, int | None], AddressSpace] = {}

    async def send(
        self,
        request: HttpRequest,
        *,
        floor: AddressSpace = AddressSpace.LOOPBACK,
        follow_redirects: bool = False,
    ) -> HttpResponse:
        """Send `request` and read the answer whole.

        `floor` is the address space of the server that led to this URL; the default is for URLs that a person gave.
        With `follow_redirects` a GET without body and secrets follows at most three redirects within its origin; in
        every other case the 3xx answer is returned as it is.

        Raises `TransportError` (DNS, refused, TLS, reset, time-out; `may_have_acted` says whether the request may have been
        sent), `PolicyError` (before anything was sent) and `InvalidResponse` (too large, or not in the encoding it declares).
        """
        with discretion():
            return await self._send(request, floor, follow_redirects=follow_redirects)

    async def _send(self, request: HttpRequest, floor: AddressSpace, *, follow_redirects: bool) -> HttpResponse:
        ambient = sys.exception()
        url = self._checked(request.url, floor)
        floor = self._floor_of(url, floor)
        proxy = None if self._factory is not None else proxy_for(str(url))
        route = Route(without_query(str(url)), None if proxy is None else proxy_shown(proxy))
        limit = asyncio.timeout(self._deadline)
        sending = Sending(traced=self._factory is None)
        try:
            async with limit, self._channel(url, proxy, floor, sending) as channel:
                return await self._exchange(channel, request, url, follow_redirects and _may_be_repeated(request))
        except wire_errors() as error:
            if limit.expired():
                failure = self._too_slow(route, may_have_acted=sending.may_have_acted())
            else:
                acted = sending.may_have_acted(error)
                failure = transport_error(error, route, ambient=ambient, may_have_acted=acted)
        # Out here: as a hidden context the library's own error would hold the whole request.
        raise failure

    def reached(self, url: str) -> AddressSpace | None:
        """The least private space of the addresses at which the origin of `url` answered our requests; None: it is not known.

        Raises `PolicyError` for a URL that would not be requested.
        """
        return self._spaces.get(_place(self._checked(url, AddressSpace.LOOPBACK)))

    async def space_of(self, url: str) -> AddressSpace:
        """The least private space of the addresses at which the origin of `url` answered our requests.

        If there was none, its name is looked up. Through a proxy or a caller's client only a literal address tells; any
        name counts as PUBLIC, the strictest.

        Raises `TransportError` if the name can't be resolved, and `PolicyError` for a URL that would not be requested.
        """
        known = self.reached(url)
        if known is not None:
            return known
        parsed = self._checked(url, AddressSpace.LOOPBACK)
        if self._is_sent_by_others(parsed):
            # Whoever connects looks the name up for itself: what it says here proves nothing.
            said = space_of_host(parsed.host)
            return AddressSpace.PUBLIC if said is None else said
        ambient = sys.exception()
        route = Route(without_query(str(parsed)))
        limit = asyncio.timeout(self._deadline)
        try:
            async with limit:
                addresses = await resolve(parsed.raw_host.decode("ascii"), parsed.port or 0)
        except OSError as error:
            if limit.expired():
                raise self._too_slow(route, may_have_acted=False) from None
            raise transport_error(error, route, ambient=ambient, may_have_acted=False) from None
        return min(map(address_space, addresses))

    def would_learn_space(self, url: str) -> bool:
        """Whether a request to `url` would tell `space_of` more than it knows: our first connection to an origin does."""
        return self.reached(url) is None and not self._is_sent_by_others(self._checked(url, AddressSpace.LOOPBACK))

    async def check_place(self, url: str, *, floor: AddressSpace) -> None:
        """Raise `PolicyError` if a person's browser may not be sent to `url` because of a server in `floor`.

        A name is looked up, as the browser will; with a proxy or a caller's client only the URL is judged.
        """
        parsed = self._checked(url, floor)
        if self._is_sent_by_others(parsed):
            return
        try:
            async with asyncio.timeout(self._deadline):
                addresses = await resolve(parsed.raw_host.decode("ascii"), parsed.port or 0)
        except OSError:
            return  # the browser will say so
        for address in addresses:
            self._policy.check_address(address, floor=floor, url=url)

    async def aclose(self) -> None:
        """Close the caller's client, if one was made. Requests after that make a new one."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    def _checked(self, url: str, floor: AddressSpace) -> httpx.URL:
        """`url`, judged both as it was given and as httpx will request it."""
        self._policy.check_url(url, floor=floor)
        try:
            parsed = httpx.URL(url).copy_with(fragment=None)
        except (httpx.InvalidURL, ValueError):
            raise PolicyError(f"The URL of {host_of(url)} is not one that can be requested. Correct it.") from None
        self._policy.check_url(str(parsed), floor=floor)
        return parsed

    def _is_sent_by_others(self, url: httpx.URL) -> bool:
        return self._factory is not None or proxy_for(str(url)) is not None

    def _floor_of(self, url: httpx.URL, floor: AddressSpace) -> AddressSpace:
        """`floor`, or less: a name that led to a public address a moment ago isn't followed to where it leads now (rebinding)."""
        return min(floor, self._spaces.get(_place(url), floor))

    @asynccontextmanager
    async def _channel(
        self, url: httpx.URL, proxy: str | None, floor: AddressSpace, sending: Sending
    ) -> AsyncIterator[_Channel]:
        extensions = {"trace": sending.trace}
        if self._factory is not None:

            async def send_by_callers_client(request: HttpRequest, target: httpx.URL) -> httpx.Response:
                return await self._send_by_callers_client(request, target, extensions)

            yield send_by_callers_client
            return
        async with self._transport(url, proxy, floor) as transport:

            async def send(request: HttpRequest, target: httpx.URL) -> httpx.Response:
                built = httpx.Request(
                    request.method, target, headers=_headers(request), content=request.body, extensions=extensions
                )
                return await transport.handle_async_request(built)

            yield send

    def _transport(self, url: httpx.URL, proxy: str | None, floor: AddressSpace) -> CheckedTransport:
        def reached(space: AddressSpace) -> None:
            # The least private counts: a name that also resolves elsewhere must not loosen what it may lead to.
            self._spaces[_place(url)] = min(space, self._spaces.get(_place(url), space))

        return CheckedTransport(
            str(url),
            policy=self._policy,
            floor=floor,
            ssl_context=self._trust() if "https" in (url.scheme, (proxy or "").partition(":")[0].lower()) else None,
            reached=reached,
            proxy=proxy,
            max_bytes=self._max_bytes + MAX_OVERHEAD,
        )

    def _trust(self) -> ssl.SSLContext:
        if self._ssl_context is None:
            self._ssl_context = default_ssl_context()
        return self._ssl_context

    async def _send_by_callers_client(
        self, request: HttpRequest, target: httpx.URL, extensions: dict[str, Any]
    ) -> httpx.Response:
        if self._client is None:
            assert self._factory is not None  # noqa: S101 - this channel is chosen only then
            self._client = self._factory()
        if self._client.is_closed:
            raise ValueError("http_client has to make a new client each time: it is closed when its work is done")
        built = built_for(self._client, request, str(target), extensions)
        try:
            # auth=None: the client may be one whose `auth` is this very library.
            return await self._client.send(built, stream=True, auth=None, follow_redirects=False)
        except UnicodeError:
            raise
        except ValueError as error:
            if not _is_about_a_url(error):
                raise  # a defect of the caller's client, which is theirs to see
        # httpx reads a Location that it is not to follow, and of one that can't be read lets urllib's error out.
        raise httpx.RemoteProtocolError("a Location that can't be read")

    async def _exchange(self, channel: _Channel, request: HttpRequest, url: httpx.URL, follow: bool) -> HttpResponse:
        # The caller's own spelling, not httpx's: URLs are compared character for character.
        response = replace(await self._answer(channel, request, url), url=request.url)
        for _ in range(MAX_REDIRECTS if follow else 0):
            target = _redirect_target(response, url)
            if target is None:
                break
            url = target
            response = await self._answer(channel, request, url)
        return response

    async def _answer(self, channel: _Channel, request: HttpRequest, url: httpx.URL) -> HttpResponse:
        response = await channel(request, url)
        try:
            body = await self._read(response, without_query(str(url)))
        finally:
            await response.aclose()
        headers = tuple((name.lower(), value) for name, value in response.headers.multi_items())
        return HttpResponse(status=response.status_code, url=str(url), headers=headers, body=body)

    async def _read(self, response: httpx.Response, url: str) -> bytes:
        if response.is_stream_consumed:
            # Transports for tests give answers that are read and decoded already.
            whole = BoundedBody(encoding=None, limit=self._max_bytes, url=url)
            whole.feed(response.content)
            return whole.whole()
        body = BoundedBody(encoding=response.headers.get("content-encoding"), limit=self._max_bytes, url=url)
        body.announce(response.headers.get("content-length"))
        async for part in response.aiter_raw():
            body.feed(part)
        return body.whole()

    def _too_slow(self, route: Route, *, may_have_acted: bool) -> TransportError:
        return TransportError(
            f"{route.host} did not answer in full within {self._deadline:g} seconds. Check the network and that the "
            "server is up, then try again.",
            url=route.url,
            may_have_acted=may_have_acted,
        )


def _place(url: httpx.URL) -> tuple[str, int | None]:
    return url.raw_host.decode("ascii").rstrip("."), url.port or (443 if url.scheme == "https" else 80)


def built_for(client: httpx.AsyncClient, request: HttpRequest, url: str, extensions: dict[str, Any]) -> Any:
    """`request` for a client of the caller's, in the types of its library: httpx or httpx2.

    Not by the client: its own headers, cookies and parameters are for somebody else, and whoever the metadata names would get
    them.
    """
    library: Any = sys.modules[type(client.headers).__module__.partition(".")[0]]
    return library.Request(request.method, url, headers=_headers(request), content=request.body, extensions=extensions)


def _is_about_a_url(error: ValueError) -> bool:
    """Whether it was raised by what httpx reads URLs with, and not by a transport or hook of the caller's."""
    *_, (frame, _line) = traceback.walk_tb(error.__traceback__)
    module: str = frame.f_globals.get("__name__", "")
    return module.partition(".")[0] in ("httpx", "httpx2", "idna", "ipaddress", "urllib")


def _headers(request: HttpRequest) -> dict[str, str]:
    ours = {"user-agent": _user_agent(), "accept": "*/*", "accept-encoding": ACCEPTED_ENCODING}
    return ours | {name.lower(): value for name, value in request.headers.items()}


@cache
def _user_agent() -> str:
    # read from a file that is parsed like a mail: some milliseconds
    try:
        return f"mcp-login/{metadata.version('mcp-login')}"
    except metadata.PackageNotFoundError:
        return "mcp-login"


def _may_be_repeated(request: HttpRequest) -> bool:
    secret = request.secrets or any(name.lower() in _SECRET_HEADERS for name in request.headers)
    return request.method == "GET" and request.body is None and not secret


def _redirect_target(response: HttpResponse, url: httpx.URL) -> httpx.URL | None:
    """Where a redirect within the origin leads, or None if this is none."""
    location = response.header("location")
    if response.status not in _REDIRECTS or not location:
        return None
    try:
        target = url.join(location).copy_with(fragment=None)
    except (httpx.InvalidURL, ValueError):
        return None
    within = target.scheme == url.scheme and _place(target) == _place(url) and not target.userinfo
    return target if within else None
