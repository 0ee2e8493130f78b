"""Fixtures: `serve` (peers on loopback), `names` (DNS), `ca` and `tls` (a certificate authority and a server's context)."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import TYPE_CHECKING

import pytest
import trustme

from tests.unit.network.peers import Conversation, Names, Peer, open_peer

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Serve"]

Serve = Callable[..., Awaitable[Peer]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """`await serve(saying(...), ssl_context=None)`: a peer on loopback until the test ends."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(
            conversation: Callable[[Peer], Conversation],
            ssl_context: ssl.SSLContext | None = None,
            host: str = "127.0.0.1",
        ) -> Peer:
            return await stack.enter_async_context(open_peer(conversation, ssl_context, host))

        yield start


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port of 127.0.0.1 whose connections are never completed: its queue is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    """Names with the addresses that the test gives them."""
    return Names(monkeypatch)


@pytest.fixture(scope="session")
def ca() -> trustme.CA:
    """A certificate authority that nobody trusts."""
    return trustme.CA()


@pytest.fixture
def ca_file(ca: trustme.CA, tmp_path: Path) -> Path:
    """The certificate of `ca` in a file."""
    path = tmp_path / "ca.pem"
    ca.cert_pem.write_to_path(str(path))
    return path


@pytest.fixture
def trusted(ca_file: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`ca` is trusted, by SSL_CERT_FILE."""
    monkeypatch.setenv("SSL_CERT_FILE", str(ca_file))
    return ca_file


@pytest.fixture(scope="session")
def tls(ca: trustme.CA) -> ssl.SSLContext:
    """A server's context with a certificate for *.example.com, example.com and loopback."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("*.example.com", "example.com", "localhost", "127.0.0.1").configure_cert(context)
    return context
