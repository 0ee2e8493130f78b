"""Servers that say bytes, not answers: what no HTTP library would send, part by part, and proxies.

Nothing that it sends is ever whole in memory: client and servers share this process.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from tests.flows.strangers import Asked, Stranger

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator

__all__ = ["Raw", "Wire", "after_request", "open_raw", "tunnel"]


class Wire:
    """One connection as its server sees it."""

    def __init__(self, raw: Raw, sock: socket.socket) -> None:
        self._raw = raw
        self.sock = sock

    @property
    def over(self) -> threading.Event:
        """Set when the test has ended."""
        return self._raw.over

    def ask(self) -> Asked | None:
        """The next request, or None if there is none."""
        head = b""
        while b"\r\n\r\n" not in head:
            data = self.sock.recv(65536)
            if not data:
                return None
            head += data
        text, _, body = head.partition(b"\r\n\r\n")
        first, *lines = text.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ", 2)
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        while len(body) < int(headers.get("content-length", 0)):
            body += self.sock.recv(65536)
        path, _, query = target.partition("?")
        asked = Asked(method, path, dict(parse_qsl(query)), headers, body)
        self._raw.asked.append(asked)
        return asked

    def say(self, *parts: bytes) -> None:
        """Send."""
        for part in parts:
            self.sock.sendall(part)
            self._raw.sent += len(part)

    def flood(self, part: bytes, total: int) -> None:
        """Send `part` again and again, `total` bytes, as fast as they are taken."""
        for _ in range(total // len(part)):
            if self.over.is_set():
                return
            self.say(part)

    def drip(self, part: bytes, seconds: float, pause: float = 0.02) -> None:
        """Send `part` now and then, for so long. Each keeps a time limit for one read from striking."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.over.wait(pause):
                return
            self.say(part)
        self._raw.outlasted += 1

    def wait(self, seconds: float) -> None:
        """Say nothing, until the other side leaves or the time is over."""
        self.sock.settimeout(seconds)
        try:
            while self.sock.recv(65536):
                pass
        except TimeoutError:
            self._raw.outlasted += 1
        except OSError:
            pass


class Raw(Stranger):
    """`talk` is what is said on each connection, `early` before TLS.

    `outlasted` counts those on which the other side was still there when this one had waited or dripped as long as it would.
    """

    def __init__(self, host: str, port: int, talk: Callable[[Wire], None]) -> None:
        super().__init__(host, port)
        self.talk = talk
        self.early: Callable[[Wire], None] | None = None
        self.outlasted = 0
        self.threads: list[threading.Thread] = []

    def settle(self) -> None:
        """Wait until nobody is connected any more."""
        for thread in self.threads:
            thread.join()


@contextlib.contextmanager
def open_raw(
    talk: Callable[[Wire], None],
    *,
    tls: ssl.SSLContext | None = None,
    host: str = "127.0.0.1",
    early: Callable[[Wire], None] | None = None,
) -> Iterator[Raw]:
    """A raw server on loopback until the block ends."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server((host, 0)))
        # A small buffer: what was taken is what was sent, but for so much.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
        raw = Raw(host, listener.getsockname()[1], talk)
        raw.early = early
        sockets: list[socket.socket] = []

        def accept() -> None:
            while True:
                try:
                    sock, _ = listener.accept()
                except OSError:
                    return
                if raw.over.is_set():
                    sock.close()
                    return
                sockets.append(sock)
                raw.threads.append(threading.Thread(target=converse, args=(sock,)))
                raw.threads[-1].start()

        def converse(sock: socket.socket) -> None:
            raw.connections += 1
            sock.settimeout(10)
            # Clients that have enough, or don't trust the certificate, are what these tests are about.
            with contextlib.suppress(OSError, ValueError), sock:
                if raw.early is not None:
                    raw.early(Wire(raw, sock))
                secured = sock if tls is None else tls.wrap_socket(sock, server_side=True)
                sockets.append(secured)
                with secured:
                    raw.talk(Wire(raw, secured))

        acceptor = threading.Thread(target=accept)
        acceptor.start()
        try:
            yield raw
        finally:
            raw.over.set()
            # Closing a listener wakes nobody who waits in accept().
            with contextlib.suppress(OSError), socket.create_connection(listener.getsockname()[:2], timeout=5):
                pass
            acceptor.join()
            for sock in sockets:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
            raw.settle()


def after_request(say: Callable[[Wire], None]) -> Callable[[Wire], None]:
    """A talk that hears one request, and then is `say`."""

    def talk(wire: Wire) -> None:
        if wire.ask() is not None:
            say(wire)

    return talk


def tunnel(port_of: Callable[[str], int | None]) -> Callable[[Wire], None]:
    """A proxy for CONNECT (RFC 9110 section 9.3.6): `port_of` a host and port is that of loopback that it leads to."""

    def talk(wire: Wire) -> None:
        asked = wire.ask()
        port = None if asked is None else port_of(asked.path)
        if port is None:
            wire.say(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
            return
        with socket.create_connection(("127.0.0.1", port), timeout=10) as far:
            wire.say(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=_copy, args=(far, wire.sock))
            back.start()
            _copy(wire.sock, far)
            back.join()

    return talk


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)
