"""Peers on loopback that say what they are told to: raw servers, a CONNECT proxy, and names that lead to them."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

from tests.loopback_only import redirect_connections

if TYPE_CHECKING:
    import pytest

__all__ = ["Conversation", "Names", "Peer", "connect_proxy", "ok", "open_peer", "reset", "saying"]

Conversation = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def ok(body: bytes = b"{}", *headers: str, status: str = "200 OK") -> bytes:
    """An HTTP/1.1 answer with `body`, its length and more `headers`."""
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


class Peer:
    """A server on `host`:`port`. `heads` are the request heads it was sent, `bodies` what followed each."""

    def __init__(self) -> None:
        self.host = "127.0.0.1"
        self.port = 0
        self.connections = 0
        self.reached = asyncio.Event()
        self.heads: list[str] = []
        self.bodies: list[bytes] = []

    def url(self, path: str = "/", *, scheme: str = "http", host: str | None = None) -> str:
        return f"{scheme}://{host or self.host}:{self.port}{path}"

    async def read_request(self, reader: asyncio.StreamReader) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        length = next((int(line[15:]) for line in head.split("\r\n") if line.lower().startswith("content-length:")), 0)
        self.bodies.append(await reader.readexactly(length))
        self.heads.append(head)


@contextlib.asynccontextmanager
async def open_peer(
    conversation: Callable[[Peer], Conversation], ssl_context: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[Peer]:
    """A server on loopback whose connections each have the given conversation, and are then closed."""
    peer = Peer()
    peer.host = host
    talk = conversation(peer)

    conversations: set[asyncio.Task[None]] = set()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        conversations.add(asyncio.create_task(converse(reader, writer)))

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer.connections += 1
        peer.reached.set()
        # A client that leaves early, or TLS that fails, is what many of these tests are about.
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, ssl.SSLError):
                await talk(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(OSError, ssl.SSLError):
                await writer.wait_closed()

    server = await asyncio.start_server(begin, host, 0, ssl=ssl_context)
    peer.port = server.sockets[0].getsockname()[1]
    try:
        yield peer
    finally:
        server.close()
        for task in conversations:
            task.cancel()
        await asyncio.gather(*conversations, return_exceptions=True)
        await server.wait_closed()


def saying(*answers: bytes) -> Callable[[Peer], Conversation]:
    """Each connection's request is answered by the next of `answers`, the last one for all further ones."""

    def make(peer: Peer) -> Conversation:
        async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await peer.read_request(reader)
            writer.write(answers[min(len(peer.heads), len(answers)) - 1])
            await writer.drain()

        return conversation

    return make


def reset(writer: asyncio.StreamWriter) -> None:
    """Close the connection with a TCP reset."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def connect_proxy(target: Callable[[], int], refusal: bytes | None = None) -> Callable[[Peer], Conversation]:
    """A proxy for CONNECT (RFC 9110 section 9.3.6) that leads to the port `target` of loopback, whatever it is asked for."""

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        with contextlib.suppress(OSError):
            writer.close()

    def make(peer: Peer) -> Conversation:
        async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await peer.read_request(reader)
            if refusal is not None:
                writer.write(refusal)
                return
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", target())
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await asyncio.gather(copy(reader, far_writer), copy(far_reader, writer))

        return conversation

    return make


class Names:
    """DNS and routing at the edge of the machine: names have the addresses given here, and all of them lead to loopback."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.addresses: dict[str, list[str]] = {}
        #: The port of 127.0.0.1 to which connections to an address (and port) go, if not to the one that was asked for.
        self.routes: dict[str | tuple[str, int], int] = {}
        self.look_ups: list[str] = []
        self.connected: list[str] = []
        getaddrinfo = socket.getaddrinfo

        def look_up(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
            host = host.decode("ascii") if isinstance(host, bytes) else host  # as anyio asks
            if host not in self.addresses:
                return getaddrinfo(host, port, *args, **kwargs)
            self.look_ups.append(host)
            return [_address_info(ip, port) for ip in self.addresses[host]]

        def route(sock: socket.socket, address: Any) -> Any:
            if sock.family not in (socket.AF_INET, socket.AF_INET6) or _is_here(address[0]):
                return address
            ip, asked_for = address[:2]
            self.connected.append(ip)
            port = self._port(ipaddress.ip_address(ip), asked_for)
            # A socket of the new protocol reaches a listener of the old one by its mapped address (RFC 4291 section 2.5.5.2).
            return ("127.0.0.1", port) if sock.family == socket.AF_INET else ("::ffff:127.0.0.1", port, 0, 0)

        monkeypatch.setattr(socket, "getaddrinfo", look_up)
        redirect_connections(route, monkeypatch.setattr)

    def _port(self, ip: ipaddress.IPv4Address | ipaddress.IPv6Address, asked_for: int) -> int:
        for place, port in self.routes.items():
            known, only = (place, asked_for) if isinstance(place, str) else place
            # An address has many spellings, and the library chooses its own.
            if ipaddress.ip_address(known) == ip and only == asked_for:
                return port
        return asked_for


def _address_info(ip: str, port: Any) -> Any:
    if ":" in ip:
        return (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (ip, port, 0, 0))
    return (socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port))


def _is_here(ip: str) -> bool:
    return ip.startswith("127.") or ip == "::1"
