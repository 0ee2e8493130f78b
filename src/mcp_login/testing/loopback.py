"""The embedded server on loopback ports: uvicorn's HTTP protocol in a thread with a loop of its own.

So a caller whose own loop is blocked, or that has none, is answered all the same.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from typing import TYPE_CHECKING, Any, cast

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from mcp_login.browser.loopback import stop_accepting

if TYPE_CHECKING:
    from collections.abc import MutableMapping, Sequence

    from .application import Application

__all__ = ["LoopbackServer", "listening_socket"]

#: SO_LINGER with no time: closing sends a reset.
_RESET_ON_CLOSE = struct.pack("hh" if hasattr(socket, "SO_EXCLUSIVEADDRUSE") else "ii", 1, 0)


def listening_socket(host: str, port: int) -> socket.socket:
    """A listening socket; `port` 0 lets the system choose. Raises `OSError` where the port is taken."""
    # With the protocol named: asyncio switches Nagle's algorithm off only where it knows that it is TCP.
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if not hasattr(socket, "SO_EXCLUSIVEADDRUSE"):
            # On Windows it would let two servers have one port; elsewhere a port is free again at once.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


class LoopbackServer:
    """`application` on `sockets`, from `start` to `stop`."""

    def __init__(self, application: Application, sockets: Sequence[socket.socket]) -> None:
        self._application = application
        self._sockets = list(sockets)
        self._transports: dict[Any, asyncio.Transport] = {}
        self._started = threading.Event()
        self._stopping = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop_waiting: asyncio.Event | None = None
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="mcp-login embedded server", daemon=True)

    def start(self, timeout: float = 10.0) -> None:
        """Serve; returns when requests are answered. `timeout` in seconds.

        Raises `TimeoutError`, or what kept the thread from serving.
        """
        self._application.drop = self._drop
        self._application.closing = self._stopping.is_set
        self._thread.start()
        if not self._started.wait(timeout):
            raise TimeoutError(f"the embedded server did not start in {timeout} s")
        if self._failure is not None:
            raise self._failure

    def stop(self, timeout: float = 10.0) -> None:
        """Close all connections and end the thread. `timeout` in seconds."""
        self._stopping.set()
        if self._loop is not None and self._stop_waiting is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop_waiting.set)
        self._thread.join(timeout)
        self._application.drop = lambda _scope, _at_once: False
        self._application.closing = lambda: False

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as error:  # noqa: BLE001 (`start` raises it again)
            self._failure = error
        finally:
            self._started.set()
            for listener in self._sockets:
                listener.close()

    async def _serve(self) -> None:
        # uvicorn's own `Server` polls ten times a second, and its end takes as long: too slow for one server a test.
        config = uvicorn.Config(
            cast("Any", self._application),
            ws="none",
            lifespan="off",
            log_config=None,
            log_level=None,
            access_log=False,
            server_header=False,
        )
        config.load()
        state = ServerState()
        protocol = self._protocol()
        loop = asyncio.get_running_loop()
        self._loop, self._stop_waiting = loop, asyncio.Event()
        servers = [
            await loop.create_server(lambda: protocol(config, state, {}), sock=listener) for listener in self._sockets
        ]
        self._started.set()
        await self._stop_waiting.wait()
        # Before anything that waits: a request that is held up would be answered.
        self._abort()
        await stop_accepting(self._sockets)
        for server in servers:
            server.close()
        self._abort()  # what came meanwhile
        if state.tasks:
            await asyncio.wait(state.tasks, timeout=1)
        # Aborted transports close their sockets in the loop's next rounds.
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    def _abort(self) -> None:
        for transport in list(self._transports.values()):
            transport.abort()

    def _protocol(self) -> type[H11Protocol]:
        transports = self._transports

        class Protocol(H11Protocol):
            """Remembers connections by their two addresses, so that a fault can reset one."""

            def connection_made(self, transport: Any) -> None:
                transports[_addresses(transport)] = transport
                super().connection_made(transport)

            def connection_lost(self, exc: Exception | None) -> None:
                transports.pop(_addresses(self.transport), None)
                super().connection_lost(exc)

        return Protocol

    def _drop(self, scope: MutableMapping[str, Any], at_once: bool) -> bool:
        transport = self._transports.get((*scope["client"][:2], *scope["server"][:2]))
        if transport is None:
            # The client was faster.
            return True
        if at_once:
            connection = transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            transport.abort()
        else:
            transport.close()
        return True


def _addresses(transport: asyncio.Transport) -> tuple[Any, ...]:
    peer, own = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
    return (*(peer or ())[:2], *(own or ())[:2])
