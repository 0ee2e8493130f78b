"""Fixtures: `serve` (embedded servers on loopback until the test ends), `person` (says yes), `taken_port`."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mcp_login.testing import EmbeddedServer, Person

__all__ = ["Serve"]

#: Starts an embedded server with these settings.
Serve = Callable[..., EmbeddedServer]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """`serve(**settings)`: an embedded server on loopback, until the test ends."""
    with contextlib.ExitStack() as stack:

        def start(**settings: Any) -> EmbeddedServer:
            port = settings.pop("port", 0)
            return stack.enter_context(EmbeddedServer(**settings).run(port=port))

        yield start


@pytest.fixture
def person() -> Iterator[Person]:
    """Somebody at a browser who says yes."""
    someone = Person.approves()
    yield someone
    someone.join()


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port of 127.0.0.1 that another program listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        yield sock.getsockname()[1]
