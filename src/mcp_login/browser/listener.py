"""The loopback listener: it waits for one authorization response (RFC 8252 sections 7.3 and 8.3).

Any program and any web page on this machine can send requests here. So only the caller's `accept`, which knows the
`state`, decides what ends the login; everything else is answered and ignored, and nobody can keep the real answer out
by being slow. How the login ended is told to the browser that brought its answer, and to nobody else.
"""

from __future__ import annotations

import asyncio
import hmac
import re
import secrets
from contextlib import suppress
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING

import h11

from mcp_login.errors import PolicyError

from .exchange import (
    MAX_HEAD,
    Answer,
    close_gently,
    encode,
    is_navigation,
    is_prefetch,
    led_to,
    read_request,
    refusal,
    target,
)
from .loopback import QUEUE, bind, in_url, loopback_addresses, stop_accepting
from .pages import Outcome, render

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Collection

__all__ = ["LoopbackListener", "Outcome", "is_for_us", "is_same", "result_path"]

#: Seconds that `aclose` itself waits for a browser that was redirected and has not fetched its page yet.
GRACE = 0.5

# A path that needs no escaping in a URL or a header (RFC 3986 section 3.3), and no percent-encoding that could be spelt
# in two ways: redirect URIs are compared character for character.
_PATH = re.compile(r"/[A-Za-z0-9._~!$&'()*+,;=:@/-]*")

#: How many connections are accepted in one step of the loop: well below how many are kept (`max_connections`).
ACCEPTED_AT_ONCE = 16

#: The methods that bring an authorization response. A form's POST is none (RFC 6749 section 4.1.2: the query of a redirect).
BRING_ANSWERS = frozenset({b"GET"})

# Those that still wait in the background of a loop for a browser to fetch its last page. A new one may need their port.
_lingering: dict[LoopbackListener, asyncio.AbstractEventLoop] = {}


class LoopbackListener:
    """Listens on loopback for the authorization response of one login. Made by `open`; use it on one asyncio loop.

    `redirect_uri` is the URI to register and to send in the authorization request, `port` its port.
    """

    def __init__(
        self,
        sockets: list[socket.socket],
        *,
        host: str,
        path: str,
        deadline: float = 10.0,
        patience: float = 10.0,
        linger: float = 2.0,
        max_connections: int = 64,
    ) -> None:
        self.port: int = sockets[0].getsockname()[1]
        self.redirect_uri: str = f"http://{host}:{self.port}{path}"
        self._path = path
        self._result_path = result_path(path)
        names = {host} | {in_url(listening.getsockname()[0]) for listening in sockets}
        self._authorities = {f"{name}:{self.port}" for name in names} | (names if self.port == 80 else set())
        self._deadline = deadline
        self._patience = patience
        self._linger = linger
        self._max_connections = max_connections
        self._sockets = sockets
        self._servers: list[asyncio.Server] = []
        # In the order in which they came. The value says whether it waits for the last page.
        self._connections: dict[asyncio.Task[None], bool] = {}
        self._accept: Callable[[str], Outcome] | None = None
        self._failure: Exception | None = None
        self._outcome: Outcome | None = None
        #: The query that decided. It holds the code, but no longer than the listener lives.
        self._answer_query: str | None = None
        self._detail: str | None = None
        self._redirected = False
        self._decided = asyncio.Event()
        self._finished = asyncio.Event()
        self._fetched = asyncio.Event()
        self._lingerer: asyncio.Task[None] | None = None

    @classmethod
    async def open(
        cls,
        host: str = "127.0.0.1",
        port: int = 0,
        path: str = "/callback",
        *,
        deadline: float = 10.0,
        patience: float = 10.0,
        linger: float = 2.0,
        max_connections: int = 64,
    ) -> LoopbackListener:
        """Bind to `host` and `port` (0: any free one) and listen; requests wait in the backlog until `receive`.

        `host` is an address of the loopback network, or `localhost`, which listens on 127.0.0.1 and on ::1 where the
        machine has both. `deadline` is for reading a request and again for writing its answer, `patience` for how long
        a browser is kept waiting for `finish`, `linger` for how long after `aclose` a redirected browser may still come
        for its page; all in seconds. Beyond `max_connections` the oldest unfinished connection is dropped.

        Raises `RedirectPortTaken` where the port can't be had, `TransportError` where there is no such address here and
        `PolicyError` where `host` is not loopback or `port` or `path` can't be part of a redirect URI (RFC 8252 section
        8.3: listen on the loopback interface only).
        """
        bare = host.lower().removeprefix("[").removesuffix("]")
        addresses = loopback_addresses(bare)
        if not 0 <= port <= 65535:
            raise PolicyError(
                f"The redirect URI can't have the port {port}: choose one from 1 to 65535, or 0 for any free one."
            )
        if not _PATH.fullmatch(path) or path.startswith("//"):
            raise PolicyError("The redirect URI's path must begin with one slash and hold no query, space or escape.")
        here = asyncio.get_running_loop()
        for other in [other for other, loop in _lingering.items() if loop is here and other.port == port]:
            await other.stop()
        return cls(
            bind(addresses, port),
            host=in_url(bare),
            path=path,
            deadline=deadline,
            patience=patience,
            linger=linger,
            max_connections=max_connections,
        )

    async def receive(self, accept: Callable[[str], Outcome]) -> None:
        """Serve until `accept` says that the login is decided. There is no time limit here: set one around it.

        `accept` is called with the raw query string of each GET of the redirect URI. `Outcome.IGNORED` goes on waiting
        (MCP specification, "Open Redirection": results with another `state` are discarded); any other outcome ends the
        wait, and `accept` is not called again. What `accept` raises ends it too, and is raised from here. Cancelling
        leaves the listener open: `receive` may be called again, and `aclose` must be.
        """
        self._accept = accept
        try:
            for listening in self._sockets[len(self._servers) :]:
                # In two steps: cancelled within one, the server would be lost, and its socket closed while the loop watches it.
                # So few are accepted at a time, or a flood of them would drop the browser's before it was read once.
                server = await asyncio.start_server(
                    self._connected, sock=listening, limit=MAX_HEAD, backlog=ACCEPTED_AT_ONCE, start_serving=False
                )
                self._servers.append(server)
                await server.start_serving()
                # That made the queue of the system as short, in which a browser's connection waits behind a flood.
                listening.listen(QUEUE)
            await self._decided.wait()
        finally:
            self._accept = None
        if self._failure is not None:
            raise self._failure

    def finish(self, outcome: Outcome, detail: str | None = None) -> None:
        """Say how the login ended, so that the browser's last page says it: until then a redirected browser waits.

        `detail` is shown on that page, cleaned and escaped. It must not be secret. After `Outcome.EXPIRED` a browser that
        comes too late is told so for the `linger` of `open`, instead of finding nobody here.
        """
        self._outcome = outcome
        self._detail = detail
        self._finished.set()

    async def aclose(self) -> None:
        """Close the listener. A browser that was redirected may still fetch its page, for the `linger` of `open`.

        That wait goes on in the background of the loop; this call takes half a second of it at most, and nothing of it
        where the login has expired and perhaps nobody comes.
        """
        self._finished.set()
        is_expected = self._redirected or self._outcome is Outcome.EXPIRED
        if not is_expected or self._fetched.is_set():
            await self.stop()
        elif self._lingerer is None:
            _lingering[self] = asyncio.get_running_loop()
            self._lingerer = asyncio.create_task(self._wait_for_browser(), name="mcp-login: last page of a login")
            if self._redirected:
                await asyncio.wait({self._lingerer}, timeout=GRACE)

    async def stop(self) -> None:
        """Close everything now, whoever is still waiting."""
        _lingering.pop(self, None)
        try:
            await stop_accepting(self._sockets)
        finally:
            for server in self._servers:
                server.close()
            for listening in self._sockets:
                listening.close()
        tasks = [*self._connections]
        if self._lingerer is not None and self._lingerer is not asyncio.current_task():
            tasks.append(self._lingerer)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _wait_for_browser(self) -> None:
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._linger):
                    await self._fetched.wait()
        finally:
            # Also where the loop ends, and this with it: sockets are to be closed, not to be found by the collector.
            await self.stop()

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= self._max_connections:
            # Whoever holds connections open must not keep the browser out: the oldest goes, the page's reader last.
            oldest = next((task for task, is_waiting in self._connections.items() if not is_waiting), None)
            self._drop(oldest or next(iter(self._connections)))
        task = asyncio.create_task(self._serve(reader, writer), name="mcp-login: loopback connection")
        self._connections[task] = False
        # Not in the task: one that is cancelled before its first step runs none of its code.
        task.add_done_callback(self._drop)
        task.add_done_callback(lambda _: writer.transport.abort())

    def _drop(self, connection: asyncio.Task[None]) -> None:
        self._connections.pop(connection, None)
        connection.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
        # `drain` then waits until all is with the operating system, which delivers it even if this process ends.
        writer.transport.set_write_buffer_limits(high=0)
        with suppress(OSError, TimeoutError):
            answer = await self._read_and_answer(connection, reader)
            if answer is None:
                return
            async with asyncio.timeout(self._deadline):
                writer.write(encode(connection, answer))
                await writer.drain()
                if answer.is_last:
                    self._fetched.set()
                await close_gently(reader, writer)

    async def _read_and_answer(self, connection: h11.Connection, reader: asyncio.StreamReader) -> Answer | None:
        try:
            async with asyncio.timeout(self._deadline):
                request = await read_request(connection, reader)
        except TimeoutError:
            # Browsers open connections in advance and may never use them: such a one wants no answer.
            return refusal(HTTPStatus.REQUEST_TIMEOUT) if connection.trailing_data[0] else None
        except h11.RemoteProtocolError as error:
            return refusal(HTTPStatus(error.error_status_hint))
        if request is None:
            return None
        return replace(await self._answer(request), is_head=request.method == b"HEAD")

    async def _answer(self, request: h11.Request) -> Answer:
        authority, path, query = target(request)
        if not is_for_us(authority, self._authorities):
            # A name that was made to point here (DNS rebinding), or no name at all.
            return refusal(HTTPStatus.MISDIRECTED_REQUEST if authority else HTTPStatus.BAD_REQUEST)
        is_result = path == self._result_path and self._outcome is not None
        if path != self._path and not is_result:
            return refusal(HTTPStatus.NOT_FOUND)
        if request.method not in BRING_ANSWERS:
            return _other_method(request.method)
        if is_prefetch(request):
            # The person has not opened it yet. A prefetch that fails is forgotten, and the page asked for when they do.
            return refusal(HTTPStatus.SERVICE_UNAVAILABLE)
        if not is_navigation(request):
            # A login doesn't end behind the person's back, in a hidden frame or by a script.
            return refusal(HTTPStatus.FORBIDDEN)
        return await self._result() if is_result else self._authorization_response(query)

    def _authorization_response(self, query: str) -> Answer:
        if self._outcome is None and self._accept is not None:
            try:
                outcome = self._accept(query)
            except Exception as error:  # noqa: BLE001 - it is raised from `receive`
                self._failure = error
                outcome = Outcome.FAILED
            if outcome is not Outcome.IGNORED:
                self._outcome, self._answer_query = outcome, query
                self._decided.set()
        # A browser that reloads brings the same answer. Where the login ended without one, whoever comes is told so.
        if self._outcome is None or not (self._answer_query is None or is_same(query, self._answer_query)):
            return Answer(HTTPStatus.BAD_REQUEST, render(Outcome.IGNORED))
        self._redirected = True
        return led_to(self._result_path)

    async def _result(self) -> Answer:
        task = asyncio.current_task()
        # A refusal is decided, too, and still its page waits for the words that `finish` gives it.
        if not self._finished.is_set() and task in self._connections:
            self._connections[task] = True
            with suppress(TimeoutError):
                async with asyncio.timeout(self._patience):
                    await self._finished.wait()
        return Answer(HTTPStatus.OK, render(self._outcome or Outcome.RECEIVED, self._detail), is_last=True)


def is_for_us(authority: str, authorities: Collection[str]) -> bool:
    """Whether a request for `authority` is for this listener: by its own names and port, and no others that lead here."""
    return authority in authorities


def is_same(query: str, other: str) -> bool:
    """Whether two queries are equal, in constant time: a guess is to learn nothing of how near it was."""
    return hmac.compare_digest(query.encode(), other.encode())


def result_path(path: str) -> str:
    """Where the last page is, for a redirect URI with `path`: nobody finds it who was not led there.

    It says who is logged in where, and once it was fetched the listener closes.
    """
    return f"{path.rstrip('/')}/result/{secrets.token_urlsafe(16)}"


def _other_method(method: bytes) -> Answer:
    if method == b"OPTIONS":
        return Answer(HTTPStatus.NO_CONTENT, headers=(("Allow", "GET, HEAD, OPTIONS"),))
    if method == b"HEAD":
        return Answer(HTTPStatus.OK)
    return refusal(HTTPStatus.METHOD_NOT_ALLOWED, ("Allow", "GET, HEAD, OPTIONS"))
