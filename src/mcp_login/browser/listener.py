"""The loopback listener: it waits for one authorization response (RFC 8252 sections 7.3 and 8.3).

Any program and any web page on this machine can send requests here. So only the caller's `accept`, which knows the
`state`, decides what ends the login; everything else is answered and ignored, and nobody can keep the real answer out
by being slow.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import re
import socket
import sys
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING

import h11

from mcp_login.errors import PolicyError, RedirectPortTaken, TransportError

from .exchange import MAX_HEAD, Answer, close_gently, encode, read_request, refusal, target
from .pages import Outcome, render

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["LoopbackListener", "Outcome", "stop_accepting"]

#: Seconds that `aclose` itself waits for a browser that was redirected and has not fetched its page yet.
GRACE = 0.5

# A path that needs no escaping in a URL or a header (RFC 3986 section 3.3), and no percent-encoding that could be spelt
# in two ways: redirect URIs are compared character for character.
_PATH = re.compile(r"/[A-Za-z0-9._~!$&'()*+,;=:@/-]*")

_TAKEN = {errno.EADDRINUSE, errno.EACCES, getattr(errno, "WSAEACCES", errno.EACCES)}

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
        self._result_path = path.rstrip("/") + "/result"
        names = {host} | {_in_url(listening.getsockname()[0]) for listening in sockets}
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
        addresses = _loopback_addresses(bare)
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
            _bind(addresses, port),
            host=_in_url(bare),
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
                server = await asyncio.start_server(
                    self._connected, sock=listening, limit=MAX_HEAD, start_serving=False
                )
                self._servers.append(server)
                await server.start_serving()
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
        return None if request is None else await self._answer(request)

    async def _answer(self, request: h11.Request) -> Answer:
        authority, path, query = target(request)
        if authority not in self._authorities:
            # A name that was made to point here (DNS rebinding), or no name at all.
            return refusal(HTTPStatus.MISDIRECTED_REQUEST if authority else HTTPStatus.BAD_REQUEST)
        is_result = path == self._result_path and self._outcome is not None
        if path != self._path and not is_result:
            return refusal(HTTPStatus.NOT_FOUND)
        if request.method == b"OPTIONS":
            return Answer(HTTPStatus.NO_CONTENT, headers=(("Allow", "GET, HEAD, OPTIONS"),))
        if request.method == b"HEAD":
            return Answer(HTTPStatus.OK)
        if request.method != b"GET":
            return refusal(HTTPStatus.METHOD_NOT_ALLOWED, ("Allow", "GET, HEAD, OPTIONS"))
        return await self._result() if is_result else self._authorization_response(query)

    def _authorization_response(self, query: str) -> Answer:
        if self._outcome is None and self._accept is not None:
            try:
                outcome = self._accept(query)
            except Exception as error:  # noqa: BLE001 - it is raised from `receive`
                self._failure = error
                outcome = Outcome.FAILED
            if outcome is not Outcome.IGNORED:
                self._outcome = outcome
                self._decided.set()
        if self._outcome is None:
            return Answer(HTTPStatus.BAD_REQUEST, render(Outcome.IGNORED))
        # Away from the URL that holds the code, so that it stays in neither the address bar nor the history; and a
        # relative reference, so that it holds whatever name of this machine the browser used.
        self._redirected = True
        return Answer(HTTPStatus.SEE_OTHER, headers=(("Location", self._result_path),))

    async def _result(self) -> Answer:
        task = asyncio.current_task()
        # A refusal is decided, too, and still its page waits for the words that `finish` gives it.
        if not self._finished.is_set() and task in self._connections:
            self._connections[task] = True
            with suppress(TimeoutError):
                async with asyncio.timeout(self._patience):
                    await self._finished.wait()
        return Answer(HTTPStatus.OK, render(self._outcome or Outcome.RECEIVED, self._detail), is_last=True)


async def stop_accepting(sockets: Iterable[socket.socket]) -> None:
    """Have the running loop accept nothing more from `sockets`; what it has accepted reached its server when this returns.

    A server that is closed between the two loses the connection: asyncio's `Server._attach` then fails, and nobody closes the
    socket (python/cpython#109564, in 3.11 and 3.12).
    """
    loop = asyncio.get_running_loop()
    for listening in sockets:
        with suppress(NotImplementedError, ValueError):  # Windows' own loop accepts in one step; or it is closed
            loop.remove_reader(listening)
    # The step of the task that accepted it, then the call of its protocol.
    for _ in range(2):
        await asyncio.sleep(0)


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _loopback_addresses(host: str) -> list[str]:
    if host == "localhost":
        return ["127.0.0.1", "::1"]
    try:
        if ipaddress.ip_address(host).is_loopback:
            return [host]
    except ValueError:
        pass
    raise PolicyError("The redirect URI must be on this machine: give 127.0.0.1, ::1 or localhost as its host.")


def _bind(addresses: list[str], port: int) -> list[socket.socket]:
    # With port 0, the free port of the first address may be taken on the second: then `localhost` would lead to a
    # stranger there.
    for _ in range(20 if port == 0 else 1):
        sockets: list[socket.socket] = []
        wanted = port
        failure: OSError | None = None
        for address in addresses:
            try:
                sockets.append(_listen(address, wanted))
                wanted = sockets[0].getsockname()[1]
            except OSError as error:
                failure = error
                if error.errno in _TAKEN:
                    break
        if sockets and (failure is None or failure.errno not in _TAKEN):
            return sockets
        for listening in sockets:
            listening.close()
    if failure is not None and failure.errno in _TAKEN:
        raise RedirectPortTaken(
            f"Port {wanted} of this machine can't be listened on: another program uses it, or it is reserved. "
            "Close that program, or choose another callback port.",
            port=wanted,
        ) from None
    raise TransportError(
        f"This machine can't listen on {' or '.join(addresses)}. Choose another callback host."
    ) from None


def _listen(address: str, port: int) -> socket.socket:
    is_six = ":" in address
    listening = socket.socket(socket.AF_INET6 if is_six else socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if sys.platform == "win32":
            # Without it, another program could bind to the same port and get the answer.
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            # The port that was registered is used again, soon after the last login's connections were closed.
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if is_six:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.setblocking(False)
        listening.bind((address, port))
        listening.listen(100)
    except BaseException:
        listening.close()
        raise
    return listening
