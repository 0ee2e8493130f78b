"""A TCP proxy before a token endpoint, which breaks a request or an answer at a chosen byte.

    async with FaultProxy(server.endpoint("token")) as proxy:
        proxy.faults["a"] = Fault("reset", "answer", 17)
        ...  # the first request to proxy.url("a") is answered with 17 bytes and a reset, later ones as they should be

Asyncio, on the loop of the test; the library and the server run on their own.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

__all__ = ["KINDS", "Fault", "FaultProxy", "Kind"]

#: drop: silence from that byte on. delay: the rest comes later. reset, truncate: the connection ends. 503, garbage: something
#: else comes from that byte on.
Kind = Literal["drop", "delay", "reset", "truncate", "503", "garbage"]
KINDS: tuple[Kind, ...] = ("drop", "delay", "reset", "truncate", "503", "garbage")

_UNAVAILABLE = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/html\r\nContent-Length: 11\r\nConnection: close\r\n\r\n"
    b"<h1>503</h1"
)
_GARBAGE = b"\x00\xff{]garbage\r\n"


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong, in which direction, after how many bytes."""

    kind: Kind
    side: Literal["request", "answer"]
    position: int
    #: Whether it meets every request until it is taken away.
    always: bool = False


class FaultProxy:
    """Passes requests for `url(name)` on to `target`. A fault that is set for a name meets its next request, or
    all of them."""

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        self._host, self._port, self._path = parts.hostname or "", parts.port or 80, parts.path
        self.faults: dict[str, Fault] = {}
        #: The lengths of the last request and answer, in bytes.
        self.request_length = self.answer_length = 0
        #: How many exchanges the proxy has in hand and has not stopped.
        self.busy = 0
        self._later = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()
        self._server.close()

    def url(self, name: str) -> str:
        """The token endpoint of `name`."""
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/for/{name}"

    def release(self) -> None:
        """Let what was delayed come."""
        self._later.set()
        self._later = asyncio.Event()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.busy += 1
        try:
            request, name = await self._read_request(reader)
            await self._pass_on(name, request, reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client has gone
        finally:
            self.busy -= 1
            writer.close()

    async def _read_request(self, reader: asyncio.StreamReader) -> tuple[bytes, str]:
        head, body = await _message(reader)
        method, path, rest = head.split(b" ", 2)
        whole = b" ".join((method, self._path.encode(), rest)) + body
        self.request_length = len(whole)
        return whole, path.rpartition(b"/")[2].decode()

    async def _pass_on(
        self, name: str, request: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        fault = self.faults.get(name)
        if fault is not None and not fault.always:
            del self.faults[name]
        upstream, server = await asyncio.open_connection(self._host, self._port)
        try:
            if fault is not None and fault.side == "request":
                server.write(request[: fault.position])
                await server.drain()
                if fault.kind == "delay":
                    await self._pause(self._later)
                    server.write(request[fault.position :])
                else:
                    await self._break(fault, b"", reader, writer)
                    return
            else:
                server.write(request)
            answer = b"".join(await _message(upstream))
            self.answer_length = len(answer)
            if fault is None or fault.side == "request":
                writer.write(answer)
                await writer.drain()
            else:
                await self._break(fault, answer, reader, writer)
        finally:
            server.close()

    async def _break(
        self, fault: Fault, answer: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Give the client what comes of `answer`."""
        position = fault.position if fault.side == "answer" else 0
        writer.write(answer[:position])
        await writer.drain()
        if fault.kind == "delay":
            await self._pause(self._later)
            writer.write(answer[position:])
        elif fault.kind == "drop":
            await self._until_gone(reader)
        elif fault.kind == "reset":
            connection = writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        elif fault.kind == "503":
            writer.write(_UNAVAILABLE)
        elif fault.kind == "garbage":
            length = max(0, len(answer) - position)
            writer.write((_GARBAGE * (length // len(_GARBAGE) + 1))[:length] if answer else _GARBAGE)

    async def _pause(self, until: asyncio.Event) -> None:
        self.busy -= 1
        try:
            await until.wait()
        finally:
            self.busy += 1

    async def _until_gone(self, reader: asyncio.StreamReader) -> None:
        self.busy -= 1
        try:
            with contextlib.suppress(OSError):
                await reader.read()
        finally:
            self.busy += 1


async def _message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Head and body of an HTTP message with a Content-Length."""
    head = await reader.readuntil(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return head, await reader.readexactly(int(line.partition(b":")[2]))
    return head, b""
