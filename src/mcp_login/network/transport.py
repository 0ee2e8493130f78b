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

from mcp_login.errors import InvalidResponse, PolicyError, TransportError

from .failure import proxy_shown
from .policy import AddressSpace, NetworkPolicy, address_space

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Sequence

__all__ = ["CheckedTransport", "default_ssl_context", "resolve"]

_Connected = tuple[str, httpcore.AsyncNetworkStream]  # an address, and a connection to it

#: Seconds after which the next address is tried beside one that has not answered (RFC 8305 section 5).
_ATTEMPT_DELAY = 0.25

#: How many addresses of one name are tried: more than honest names have, and too few to sweep a network with.
MAX_ADDRESSES = 16


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


class _Counted(httpcore.AsyncNetworkStream):
    """A connection that tells `count` how many bytes came over it."""

    def __init__(self, stream: httpcore.AsyncNetworkStream, count: Callable[[int], None]) -> None:
        self._stream = stream
        self._count = count

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data = await self._stream.read(max_bytes, timeout)
        self._count(len(data))
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        return _Counted(await self._stream.start_tls(ssl_context, server_hostname, timeout), self._count)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _Backend(httpcore.AsyncNetworkBackend):
    """httpcore's way to the network, with a choice of addresses between the name and the connection.

    `choose` gives the addresses that may be connected to, or raises. `address` is the one that was. More than `max_bytes`
    that come are an `InvalidResponse`: no limit for bodies counts interim answers and the marks between chunks.
    """

    def __init__(self, choose: Callable[[Sequence[str]], Sequence[str]], *, max_bytes: int, url: str) -> None:
        self._choose = choose
        self._max_bytes = max_bytes
        self._url = url
        self._received = 0
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
            opened = await self._sockets.connect_tcp(address, port, timeout, local_address, socket_options)
            stream = _Counted(opened, self._count)
            self._opened.append(stream)
            return address, stream

        address, stream = await _first_to_connect(self._choose(await resolve(host, port)), connect)
        self.address = address
        return stream

    def _count(self, received: int) -> None:
        self._received += received
        if self._received > self._max_bytes:
            raise InvalidResponse(f"it sent more than {self._max_bytes} bytes for one answer", url=self._url)

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
    to point to somebody else's machine for a moment proves nothing. `max_bytes` may come over the connection, whatever they
    are. Exceptions are httpcore's, `OSError`, `PolicyError`, `InvalidResponse` for more than that, and `TransportError` for
    a proxy that can't be used.

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
        max_bytes: int,
        proxy: str | None = None,
    ) -> None:
        self._reached = None if proxy is not None else reached
        if proxy is not None:
            self._backend = _Backend(list, max_bytes=max_bytes, url=url)
            self._pool = _proxy_pool(proxy, ssl_context, self._backend)
            return
        self._backend = _Backend(
            lambda addresses: _allowed(addresses, policy, floor, url)[:MAX_ADDRESSES], max_bytes=max_bytes, url=url
        )
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
    settings: httpx.Proxy | None = None
    with suppress(httpx.InvalidURL, ValueError):  # raised below: what they say may be the password
        settings = httpx.Proxy(proxy)
    # An `@` that is left over was behind a password with a raw `/`, `?` or `#`: the host that was read is a piece of it.
    if settings is None or "@" in str(settings.url):
        raise TransportError(
            f"The proxy {proxy_shown(proxy)} that the environment names can't be used. Correct HTTP_PROXY, HTTPS_PROXY or "
            "ALL_PROXY; in a password, `/` is written %2F, `?` %3F and `#` %23."
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
            f"The proxy {proxy_shown(proxy)} is a SOCKS proxy, which needs the package socksio: install httpx[socks]."
        )
    return httpcore.AsyncSOCKSProxy(
        core_url,
        proxy_auth=settings.raw_auth,
        ssl_context=context,
        max_keepalive_connections=0,
        network_backend=backend,
    )
