"""Keeps tests on this machine: a connection to, or a name look-up of, anything but loopback raises `LeavesTheMachine`.

Patches the `socket` module, which asyncio, trio, httpcore and urllib all go through, and asyncio's own way on Windows. A test
that maps names to loopback listeners patches on top of this, with `redirect_connections`.
"""

from __future__ import annotations

import ipaddress
import socket
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LeavesTheMachine", "install", "is_loopback", "redirect_connections"]

_NOWHERE = (".invalid",)


class LeavesTheMachine(RuntimeError):
    """A test was about to talk to another machine. Not an OSError: no code under test may take it for an outage."""


def is_loopback(host: str) -> bool:
    """Whether `host`, a literal address or a name, is this machine by definition (RFC 6761 section 6.3 for names)."""
    name = host.lower().rstrip(".").partition("%")[0]
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _text(host: object) -> str:
    return host.decode("ascii", "replace") if isinstance(host, bytes) else str(host)


def _check(sock: socket.socket, address: Any) -> Any:
    # Unix sockets (D-Bus, Redis) are on this machine; so is anything that isn't the internet protocol.
    if sock.family in (socket.AF_INET, socket.AF_INET6) and not is_loopback(_text(address[0])):
        raise LeavesTheMachine(f"a test was about to connect to {_text(address[0])}")
    return address


def redirect_connections(
    choose: Callable[[socket.socket, Any], Any], patch: Callable[[Any, str, Any], None] = setattr
) -> None:
    """Let every connection of a socket to an address go to the address that `choose` gives for both, or fail as it does.

    `patch` is `setattr`, or pytest's that is undone after the test.
    """
    connect = socket.socket.connect

    def redirected(self: socket.socket, address: Any) -> None:
        connect(self, choose(self, address))

    patch(socket.socket, "connect", redirected)
    if sys.platform == "win32":
        # asyncio's loop there connects sockets by their descriptor.
        from asyncio.windows_events import IocpProactor

        overlapped = IocpProactor.connect

        def redirected_overlapped(self: IocpProactor, conn: socket.socket, address: Any) -> Any:
            return overlapped(self, conn, choose(conn, address))

        patch(IocpProactor, "connect", redirected_overlapped)


def install() -> None:
    """Patch `socket` for the rest of this process. A second call changes nothing."""
    if getattr(socket, "_loopback_only", False):
        return
    socket._loopback_only = True  # type: ignore[attr-defined]  # noqa: SLF001 - our own mark
    redirect_connections(_check)
    connect_ex, sendto = socket.socket.connect_ex, socket.socket.sendto
    getaddrinfo = socket.getaddrinfo

    def checked_connect_ex(self: socket.socket, address: Any) -> int:
        _check(self, address)
        return connect_ex(self, address)

    def checked_sendto(self: socket.socket, data: Any, *rest: Any) -> int:
        _check(self, rest[-1])
        return sendto(self, data, *rest)

    def checked_getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        if host is not None and not _resolves_here(_text(host)):
            raise LeavesTheMachine(f"a test was about to look up {_text(host)}")
        return getaddrinfo(host, *args, **kwargs)

    socket.socket.connect_ex = checked_connect_ex  # type: ignore[method-assign, assignment]
    socket.socket.sendto = checked_sendto  # type: ignore[method-assign, assignment]
    socket.getaddrinfo = checked_getaddrinfo


def _resolves_here(host: str) -> bool:
    name = host.lower().rstrip(".")
    if name.endswith(_NOWHERE):
        # RFC 6761 section 6.4: such names never exist, and no resolver need be asked.
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    if not name or is_loopback(name):
        return True
    try:
        ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    # A literal address is not looked up anywhere; connecting to it is refused above.
    return True
