"""Sockets on loopback that this process has to itself (RFC 8252 sections 7.3 and 8.3)."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from mcp_login.errors import PolicyError, RedirectPortTaken, TransportError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["QUEUE", "bind", "in_url", "loopback_addresses", "stop_accepting"]

_TAKEN = {errno.EADDRINUSE, errno.EACCES, getattr(errno, "WSAEACCES", errno.EACCES)}
#: How many connections wait with the system to be accepted.
QUEUE = 100

# What a machine without that address says. Then nobody else can be reached by it either.
_ABSENT = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT}


def in_url(host: str) -> str:
    """`host` as it stands in a URL."""
    return f"[{host}]" if ":" in host else host


def loopback_addresses(host: str) -> list[str]:
    """The addresses to listen on for `host`, which has to be on loopback. Raises `PolicyError`."""
    if host == "localhost":
        return ["127.0.0.1", "::1"]
    try:
        if ipaddress.ip_address(host).is_loopback:
            return [host]
    except ValueError:
        pass
    raise PolicyError("The redirect URI must be on this machine: give 127.0.0.1, ::1 or localhost as its host.")


def bind(addresses: list[str], port: int) -> list[socket.socket]:
    """Listening sockets on one port of all `addresses` that this machine has.

    Raises `RedirectPortTaken`, and `TransportError` where there is none of them.
    """
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
                if error.errno not in _ABSENT:
                    break
        if sockets and (failure is None or failure.errno in _ABSENT):
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


def _listen(address: str, port: int) -> socket.socket:
    is_six = ":" in address
    listening = socket.socket(socket.AF_INET6 if is_six else socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if sys.platform == "win32":
            # Without it, another program could bind to the same port and get the answer.
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            # The port that was registered is used again, soon after the last login's connections were closed. (It lets nobody
            # share a port that is listened on, as SO_REUSEPORT would.)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if is_six:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.setblocking(False)
        listening.bind((address, port))
        listening.listen(QUEUE)
    except BaseException:
        listening.close()
        raise
    return listening
