"""`OAuth`: the httpx and httpx2 adapter over a session."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import httpx

from .attempt import REFUSALS, Attempt
from .errors import AuthError
from .session import SERVER_RESOURCE, ServerResource
from .settings import open_session
from .tracebacks import discreet

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator, Mapping, Sequence

    import httpx2

    from .flight import Flight, Renewed
    from .grants.authorization_url import AuthorizationUrl
    from .grants.base import Grant
    from .settings import ServerUrl
    from .storage.base import Storage

    _SyncByteStream = httpx.SyncByteStream
    _AsyncByteStream = httpx.AsyncByteStream

    class _Auth(httpx.Auth, httpx2.Auth):
        """For type checkers: an Auth of both libraries. Their flows differ in the types of requests only."""

        def auth_flow(self, request: Any) -> Generator[Any, Any, None]: ...
        def sync_auth_flow(self, request: Any) -> Generator[Any, Any, None]: ...
        def async_auth_flow(self, request: Any) -> AsyncGenerator[Any, Any]: ...

else:
    try:
        import httpx2
    except ModuleNotFoundError:
        httpx2 = httpx

    def _base(name):
        # httpx2.alias_httpx() makes the two classes one.
        return type(f"_{name}", tuple(dict.fromkeys((getattr(httpx2, name), getattr(httpx, name)))), {})

    _Auth = _base("Auth")
    _SyncByteStream = _base("SyncByteStream")
    _AsyncByteStream = _base("AsyncByteStream")

__all__ = ["OAuth"]

#: How much of a refused response's body is read before the request is sent again, in bytes and seconds.
DRAIN_BYTES = 16 * 1024
DRAIN_SECONDS = 2.0


class OAuth(_Auth):
    """Logs an MCP client in, for the `auth=` of an httpx or httpx2 client, asynchronous or synchronous.

    A request gets the stored token of its server. When there is none, or the server refuses it, the token is refreshed or a
    person logs in through the browser, and the request goes out again. Credentials are kept in the OS keychain, so that the
    next process needs neither. One object may serve any number of clients, threads and event loops.

    Implements the MCP specification 2026-07-28, "Authorization".

    Arguments:
        server_url: The MCP endpoint, a string or a URL of httpx or httpx2. https, or http on loopback.
        scopes: Scopes to ask for besides those that the server names: a space-separated string or a sequence.
        client_name: How this client introduces itself when it registers.
        client_id: A client id that the authorization server's operator gave you; `client_secret` with it, if there is one.
        issuer: The issuer that `client_id` belongs to; it is used at no other.
        client_metadata_url: Your Client ID Metadata Document, used where the server supports them.
        additional_client_metadata: More fields for dynamic registration (RFC 7591 section 2).
        callback_host: Host of the redirect URI: `127.0.0.1`, `localhost` or `::1`.
        callback_port: Port of the redirect URI. None: the registered one, else any that is free.
        callback_timeout: How long a person has to finish a login, in seconds.
        storage: Where credentials are kept. None: what MCP_LOGIN_STORAGE says, else the OS keychain.
        account: A label that keeps several logins at one server apart.
        interactive: Whether a person may be asked. None: unless this is CI or there is nothing to show an address on.
        on_authorization_url: Called with the address a person has to open, a string that also says who asks for what (an
            `AuthorizationUrl`): a plain function in a thread of its own, an asynchronous one on the library's asyncio loop.
            If it answers True, it has opened a browser; if False, there is to be none; else the library opens one. The
            default writes the address to stderr, if that is a terminal.
        resource: The resource indicator (RFC 8707), where it isn't the one of the server's metadata; None leaves it out.
        authorize_params: More parameters for the authorization request, such as `audience` or `prompt`.
        grant: Another way to obtain tokens than a person's login.
        http_client: Makes an httpx.AsyncClient for the library's own requests, a new one each time. Nothing that it would send by
            itself is sent. Addresses are then judged by URL only.
        allow_private_network: For intranets and tests: lets metadata lead to private, link-local and loopback addresses, and
            those be used without TLS.
        trust_pkce: Go on where the server's metadata doesn't say whether it supports PKCE (Entra ID). It is used anyway.
        tolerate_trailing_slash: Accept metadata whose issuer differs from the expected one by a slash at its end.

    Requests raise any `AuthError`: `LoginRequired` where a person would have to be asked, `TransportError` where a server is
    down. Inside an MCP client these arrive in exception groups: catch them with `except* AuthError`.

    Raises `PolicyError` for a URL that is neither https nor loopback, `TypeError` and `ValueError` for an argument of another
    type, or one that makes no sense, such as a `client_secret` without a `client_id`.
    """

    requires_request_body = False
    requires_response_body = False

    @discreet
    def __init__(
        self,
        server_url: ServerUrl,
        *,
        scopes: str | Sequence[str] | None = None,
        client_name: str = "mcp-login",
        client_id: str | None = None,
        client_secret: str | None = None,
        issuer: str | None = None,
        client_metadata_url: str | None = None,
        additional_client_metadata: Mapping[str, Any] | None = None,
        callback_host: str = "127.0.0.1",
        callback_port: int | None = None,
        callback_timeout: float = 300.0,
        storage: Storage | None = None,
        account: str | None = None,
        interactive: bool | None = None,
        on_authorization_url: Callable[[AuthorizationUrl], object] | None = None,
        resource: str | ServerResource | None = SERVER_RESOURCE,
        authorize_params: Mapping[str, str] | None = None,
        grant: Grant | None = None,
        http_client: Callable[[], httpx.AsyncClient] | None = None,
        allow_private_network: bool = False,
        trust_pkce: bool = False,
        tolerate_trailing_slash: bool = False,
    ) -> None:
        self._session = open_session(
            server_url,
            scopes=scopes,
            client_name=client_name,
            client_id=client_id,
            client_secret=client_secret,
            issuer=issuer,
            client_metadata_url=client_metadata_url,
            additional_client_metadata=additional_client_metadata,
            callback_host=callback_host,
            callback_port=callback_port,
            callback_timeout=callback_timeout,
            storage=storage,
            account=account,
            interactive=interactive,
            on_authorization_url=on_authorization_url,
            resource=resource,
            authorize_params=authorize_params,
            grant=grant,
            http_client=http_client,
            allow_private_network=allow_private_network,
            trust_pkce=trust_pkce,
            tolerate_trailing_slash=tolerate_trailing_slash,
        )

    def __repr__(self) -> str:
        account = "" if self._session.account is None else f", account={self._session.account!r}"
        return f"OAuth({self._session.shown_url!r}{account})"

    def sync_auth_flow(self, request: Any) -> Generator[Any, Any, None]:
        """Authenticate one request of a synchronous client."""
        session = self._session
        attempt = None
        if not session.authorize(request):
            attempt = Attempt(session, request)
            flight = attempt.begin()
            if flight is not None:
                attempt.settle(_outcome(flight, attempt.patience))
        while True:
            response = yield request
            if response.status_code not in REFUSALS and not session.on_watch and not response.history:
                return
            attempt = attempt or Attempt(session, request, is_sent=True)
            flight = attempt.judge(response)
            if flight is None:
                return
            # Frees the connection: a person may take minutes.
            response.stream = _Drained(response.stream, _undecoded(response))
            response.read()
            if not attempt.take(_outcome(flight, None)):
                return

    async def async_auth_flow(self, request: Any) -> AsyncGenerator[Any, Any]:
        """Authenticate one request of an asynchronous client, on asyncio or trio."""
        session = self._session
        attempt = None
        if not session.authorize(request):
            attempt = Attempt(session, request)
            flight = attempt.begin()
            if flight is not None:
                attempt.settle(await _outcome_async(flight, attempt.patience))
        while True:
            response = yield request
            if response.status_code not in REFUSALS and not session.on_watch and not response.history:
                return
            attempt = attempt or Attempt(session, request, is_sent=True)
            flight = attempt.judge(response)
            if flight is None:
                return
            # Frees the connection: a person may take minutes.
            response.stream = _DrainedAsync(response.stream, _undecoded(response))
            await response.aread()
            if not attempt.take(await _outcome_async(flight, None)):
                return


def _undecoded(response: Any) -> str:
    """The coding of the body of `response`, which is taken out of its head: the client's decoders have no limit."""
    coding: str = response.headers.pop("content-encoding", "")
    return coding.strip().lower()


class _Start:
    """The start of a refused response's body: nobody reads it, and a hostile one has no end, on the wire or unpacked.

    Of a coding that can't be stopped within a limit there is none.
    """

    def __init__(self, coding: str) -> None:
        import zlib  # httpx has loaded it

        self._inflate = None if coding in ("", "identity") else zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
        self._is_unknown = coding not in ("", "identity", "gzip", "x-gzip", "deflate")
        self._error = zlib.error
        self.left = DRAIN_BYTES
        self._left_unpacked = DRAIN_BYTES

    def take(self, part: bytes) -> bytes:
        """What is kept of `part`, unpacked."""
        part, self.left = part[: self.left], self.left - len(part)
        if self._is_unknown:
            return b""
        if self._inflate is not None and part:
            try:
                part = self._inflate.decompress(part, max(self._left_unpacked, 1))
            except self._error:
                self._is_unknown = True
                return b""
        part = part[: self._left_unpacked]
        self._left_unpacked -= len(part)
        return part


class _Drained(_SyncByteStream):
    """That start, of a stream of a synchronous client."""

    def __init__(self, stream: Any, coding: str) -> None:
        self._stream = stream
        self._start = _Start(coding)

    def __iter__(self) -> Iterator[bytes]:
        deadline = time.monotonic() + DRAIN_SECONDS
        for part in self._stream:
            yield self._start.take(part)
            if self._start.left <= 0 or time.monotonic() > deadline:
                return

    def close(self) -> None:
        self._stream.close()


class _DrainedAsync(_AsyncByteStream):
    """The same for asynchronous clients."""

    def __init__(self, stream: Any, coding: str) -> None:
        self._stream = stream
        self._start = _Start(coding)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        import anyio

        deadline = time.monotonic() + DRAIN_SECONDS
        parts = aiter(self._stream)
        while self._start.left > 0:
            part = b""
            with anyio.move_on_after(deadline - time.monotonic()):
                part = await anext(parts, b"")
            if not part:
                return
            yield self._start.take(part)

    async def aclose(self) -> None:
        await self._stream.aclose()


def _outcome(flight: Flight, patience: float | None) -> Renewed | AuthError | None:
    try:
        return flight.result(patience)
    except AuthError as error:
        return error
    except TimeoutError:
        return None


async def _outcome_async(flight: Flight, patience: float | None) -> Renewed | AuthError | None:
    import anyio

    try:
        with anyio.move_on_after(patience):
            return await flight.wait()
    except AuthError as error:
        return error
    return None
