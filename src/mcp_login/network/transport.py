"""The connection itself: resolved once, each address checked, and connected to that very address.

A check before the request would be worth nothing: the name could resolve to another address by the time of the
connection (DNS rebinding). So the check lies below httpcore, where the address is chosen.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import threading
from contextlib import suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import httpcore
import httpx
import truststore

from mcp_login.errors import PolicyError, TransportError

from .failure import host_of
from .policy import AddressSpace, NetworkPolicy, address_space

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Sequence

__all__ = ["CheckedTransport", "default_ssl_context", "resolve"]

_Connected = tuple[str, httpcore.AsyncNetworkStream]  # an address, and a connection to it

#: Seconds after which the next address is tried beside one that has not answered (RFC 8305 section 5).
_ATTEMPT_DELAY = 0.25


def default_ssl_context() -> ssl.SSLContext:
    """The operating system's trust store, and what SSL_CERT_FILE and SSL_CERT_DIR name.

    Raises `TransportError` if SSL_CERT_FILE can't be read: to go on without it would only give a worse message later.
    """
    context: ssl.SSLContext = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    cafile, capath = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    if cafile or capath:
        try:
            # truststore reads these variables where OpenSSL is the verifier, and not on macOS and Windows.
            context.load_verify_locations(cafile=cafile or None, capath=capath or None)
        except (OSError, ssl.SSLError):
            raise TransportError(
                "The certificates named by SSL_CERT_FILE or SSL_CERT_DIR can't be read. Correct or unset the variable."
            ) from None
    return context


async def resolve(host: str, port: int) -> list[str]:
    """The addresses of `host`, best first, each once. Raises `socket.gaierror`.

    In a daemon thread of its own: a resolver may hang for minutes, and the event loop's threads are waited for at exit.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[list[str]] = loop.create_future()

    def deliver(addresses: list[str], error: BaseException | None) -> None:
        if answer.done():
            return
        if error is None:
            answer.set_result(addresses)
        else:
            answer.set_exception(error)

    def look_up() -> None:
        addresses: list[str] = []
        failure: BaseException | None = None
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            addresses = list(dict.fromkeys(str(info[4][0]) for info in found))
        except UnicodeError:  # a label of no or more than 63 characters
            failure = socket.gaierror(socket.EAI_NONAME, "not a valid host name")
        except BaseException as error:  # noqa: BLE001 - carried over to the task that waits
            failure = error
        with suppress(RuntimeError):  # the loop was closed in the meantime
            loop.call_soon_threadsafe(deliver, addresses, failure)

    threading.Thread(target=look_up, name="mcp-login resolver", daemon=True).start()
    return await answer


async def _first_to_connect(addresses: Sequence[str], connect: Callable[[str], Awaitable[_Connected]]) -> _Connected:
    """The first address that accepts a connection, tried in order, the next one beside a slow one (RFC 8305)."""
    waiting = list(addresses)
    attempts: set[asyncio.Future[_Connected]] = set()
    failure: BaseException | None = None
    try:
        while waiting or attempts:
            if waiting:
                attempts.add(asyncio.ensure_future(connect(waiting.pop(0))))
            done, _ = await asyncio.wait(
                attempts, timeout=_ATTEMPT_DELAY if waiting else None, return_when=asyncio.FIRST_COMPLETED
            )
            for attempt in done:
                attempts.discard(attempt)
                error = attempt.exception()
                if error is None:
                    return attempt.result()
                failure = failure or error
    finally:
        for attempt in attempts:
            attempt.cancel()
        await asyncio.gather(*attempts, return_exceptions=True)
    raise failure or socket.gaierror(socket.EAI_NONAME, "no address")


class _Backend(httpcore.AsyncNetworkBackend):
    """httpcore's way to the network, with a choice of addresses between the name and the connection.

    `choose` gives the addresses that may be connected to, or raises. `address` is the one that was.
    """

    def __init__(self, choose: Callable[[Sequence[str]], Sequence[str]]) -> None:
        self._choose = choose
        self.address: str | None = None
        self._sockets = httpcore.AnyIOBackend()
        self._opened: list[httpcore.AsyncNetworkStream] = []

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        async def connect(address: str) -> _Connected:
            stream = await self._sockets.connect_tcp(address, port, timeout, local_address, socket_options)
            self._opened.append(stream)
            return address, stream

        address, stream = await _first_to_connect(self._choose(await resolve(host, port)), connect)
        self.address = address
        return stream

    async def sleep(self, seconds: float) -> None:
        await self._sockets.sleep(seconds)

    async def aclose(self) -> None:
        """Close every connection: httpcore forgets one whose TLS handshake is cancelled, and the race leaves losers."""
        while self._opened:
            await self._opened.pop().aclose()


class _Stream(httpx.AsyncByteStream):
    def __init__(self, stream: AsyncIterable[bytes]) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._stream:
            yield part

    async def aclose(self) -> None:
        close = getattr(self._stream, "aclose", None)
        if close is not None:
            await close()


class CheckedTransport(httpx.AsyncBaseTransport):
    """Connections for one exchange with the origin of `url`, HTTP/1.1, to addresses that `policy` lets through for `floor`.

    With `proxy`, a URL, they go through that proxy; it resolves the names, so that no address can be checked. `reached`
    is told the space of the address that answered, directly and, for https, with a valid certificate: a name that is made
    to point to somebody else's machine for a moment proves nothing. Exceptions are httpcore's, `OSError`,
    `PolicyError`, and `TransportError` for a proxy that can't be used.

    Closed after one exchange: an idle connection that the server closes just then fails in a way that can't be told from
    a lost answer, which for a rotating refresh token may be the end of the session.
    """

    def __init__(
        self,
        url: str,
        *,
        policy: NetworkPolicy,
        floor: AddressSpace,
        ssl_context: ssl.SSLContext | None,
        reached: Callable[[AddressSpace], None],
        proxy: str | None = None,
    ) -> None:
        self._reached = None if proxy is not None else reached
        if proxy is not None:
            self._backend = _Backend(choose=list)
            self._pool = _proxy_pool(proxy, ssl_context, self._backend)
            return
        self._backend = _Backend(lambda addresses: _allowed(addresses, policy, floor, url))
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=ssl_context, max_keepalive_connections=0, network_backend=self._backend
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        assert isinstance(request.stream, httpx.AsyncByteStream)  # noqa: S101 - httpx's contract for async transports
        url = request.url
        response = await self._pool.handle_async_request(
            httpcore.Request(
                method=request.method,
                url=httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
                headers=request.headers.raw,
                content=request.stream,
                extensions=request.extensions,
            )
        )
        if self._reached is not None and self._backend.address is not None:
            self._reached(address_space(self._backend.address))
        return httpx.Response(
            status_code=response.status,
            headers=response.headers,
            stream=_Stream(response.stream),  # type: ignore[arg-type] # an AsyncIterable in the async pool
            extensions=response.extensions,
        )

    async def aclose(self) -> None:
        await self._pool.aclose()
        await self._backend.aclose()


def _allowed(addresses: Sequence[str], policy: NetworkPolicy, floor: AddressSpace, url: str) -> list[str]:
    """The addresses that the policy lets through; its refusal if there are none."""
    allowed: list[str] = []
    refusal: PolicyError | None = None
    for address in addresses:
        try:
            policy.check_address(address, floor=floor, url=url)
        except PolicyError as error:
            refusal = error
        else:
            allowed.append(address)
    if refusal is not None and not allowed:
        raise refusal
    return allowed


def _proxy_pool(proxy: str, context: ssl.SSLContext | None, backend: _Backend) -> httpcore.AsyncConnectionPool:
    settings = None
    with suppress(httpx.InvalidURL, ValueError):  # raised below: these errors quote what may be a password
        settings = httpx.Proxy(proxy)
    if settings is None:
        raise TransportError(
            f"The proxy {host_of(proxy)} that the environment names can't be used. Correct HTTP_PROXY, HTTPS_PROXY or "
            "ALL_PROXY."
        )
    url = settings.url
    core_url = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
    if url.scheme in ("http", "https"):
        return httpcore.AsyncHTTPProxy(
            core_url,
            proxy_auth=settings.raw_auth,
            ssl_context=context,
            proxy_ssl_context=context if url.scheme == "https" else None,
            max_keepalive_connections=0,
            network_backend=backend,
        )
    if find_spec("socksio") is None:
        raise TransportError(
            f"The proxy {host_of(proxy)} is a SOCKS proxy, which needs the package socksio: install httpx[socks]."
        )
    return httpcore.AsyncSOCKSProxy(
        core_url,
        proxy_auth=settings.raw_auth,
        ssl_context=context,
        max_keepalive_connections=0,
        network_backend=backend,
    )
