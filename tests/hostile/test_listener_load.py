"""Who would wear the loopback listener out (RFC 8252 section 8; our own limits)."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

from mcp_login import AuthorizationUrl, LoginTimeout
from tests.flows.strangers import Asked
from tests.hostile.attack import attack, refute
from tests.hostile.cost import limited
from tests.hostile.open_login import NAVIGATION, OpenLogin
from tests.hostile.switches.listener import (
    ACCEPTED_AT_ONCE,
    CONNECTION_LIMIT,
    COOKIE_LIMIT,
    DISCARD_LIMIT,
    HEAD_LIMIT,
    ROOM_FOR_COOKIES,
)

if TYPE_CHECKING:
    from tests.hostile.parties import AuthorizationServer, Resource
    from tests.hostile.world import World

__all__: list[str] = []


@attack("RFC 8252 section 8; our own limit", CONNECTION_LIMIT)
def test_hundreds_of_idle_connections_are_neither_kept_nor_in_the_way(login: OpenLogin) -> None:
    with contextlib.ExitStack() as stack:
        idle = [stack.enter_context(socket.create_connection(("127.0.0.1", login.port))) for _ in range(200)]
        # Some of them drip.
        for number, peer in enumerate(idle):
            with contextlib.suppress(OSError):
                peer.sendall(f"GET {login.denied()}"[: number % 60].encode())
        assert login.get("/").status == 404  # who is answered came after all of them
        # The oldest ones gave way.
        kept = next((peer for peer in idle[: 200 - 64] if not _is_closed(peer)), None)
        page = login.browse(login.approved(), *NAVIGATION)
        refute(kept, "more than 64 connections are kept")
        assert "You’re logged in" in page.page
        assert login.ended().error is None


@attack("RFC 8252 section 8; our own limit", ACCEPTED_AT_ONCE)
def test_a_flood_of_connections_does_not_push_the_answer_out(
    world: World, parties: tuple[Resource, AuthorizationServer]
) -> None:
    """They come after the browser's, while the library's loop is busy: all are there when it looks again."""
    resource, server = parties
    with contextlib.ExitStack() as stack:

        async def flood(url: AuthorizationUrl) -> bool:
            """On the library's own loop, which accepts nobody until this returns."""
            asked = Asked("GET", "/authorize", dict(parse_qsl(urlsplit(url).query)), {}, b"")
            answer = urlsplit(server.authorize(asked).headers["Location"])
            head = [f"GET {answer.path}?{answer.query} HTTP/1.1", f"Host: {answer.netloc}", *NAVIGATION, "", ""]
            place = ("127.0.0.1", answer.port or 80)
            stack.enter_context(socket.create_connection(place)).sendall("\r\n".join(head).encode())
            for _ in range(95):
                peer = stack.enter_context(socket.socket())
                # Those that find no room wait with the operating system.
                peer.setblocking(False)
                peer.connect_ex(place)
            return True

        limit = 10.0 if world.defended else 1.0
        outcome = world.log_in(resource.url, on_authorization_url=flood, callback_timeout=limit)
    refute(isinstance(outcome.error, LoginTimeout), "a flood keeps the answer out")
    assert outcome.error is None


def _is_closed(peer: socket.socket) -> bool:
    """Whether the other side closes it, by and by."""
    peer.settimeout(2)
    try:
        return peer.recv(1) == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True


def _taken(login: OpenLogin, beginning: str, part: bytes) -> int:
    """How many bytes of `part`, again and again, the listener takes; what is on its way counts, too: some MiB."""
    taken = 0
    with socket.create_connection(("127.0.0.1", login.port), timeout=5) as peer:
        peer.sendall(beginning.encode())
        with contextlib.suppress(OSError):
            while taken < 64 << 20:
                peer.sendall(part)
                taken += len(part)
    return taken


@attack("RFC 6585 section 5; our own limit", HEAD_LIMIT)
def test_a_head_without_an_end_is_not_kept(login: OpenLogin) -> None:
    with limited(memory=16 << 20):
        taken = _taken(login, f"GET /callback HTTP/1.1\r\nHost: {login.authority}\r\nX: ", b"x" * 65536)
    refute(taken > 32 << 20, f"{taken >> 20} MiB were taken of one line")
    login.ends_well()


@attack("RFC 9112 section 9.6; our own limit", DISCARD_LIMIT)
def test_a_body_without_an_end_is_not_listened_to(login: OpenLogin) -> None:
    head = f"POST /callback HTTP/1.1\r\nHost: {login.authority}\r\nTransfer-Encoding: chunked\r\n\r\n"
    taken = _taken(login, head, b"10000\r\n" + b"x" * 65536 + b"\r\n")
    refute(taken > 32 << 20, f"{taken >> 20} MiB were taken of a body that nobody wants")
    login.ends_well()


@attack("RFC 6585 section 5; our own limit", COOKIE_LIMIT)
def test_cookies_without_an_end_are_not_listened_to(login: OpenLogin) -> None:
    taken = _taken(login, f"GET /callback HTTP/1.1\r\nHost: {login.authority}\r\nCookie: ", b"x" * 65536)
    refute(taken > 32 << 20, f"{taken >> 20} MiB were taken of cookies that nobody wants")
    login.ends_well()


@attack("RFC 6265 section 8.5", ROOM_FOR_COOKIES)
def test_the_cookies_of_a_neighbour_do_not_keep_the_answer_out(login: OpenLogin) -> None:
    """Cookies know no ports: what any server on 127.0.0.1 has set comes along, and a hostile one sets all that browsers keep."""
    cookies = "; ".join(f"neighbour{number}={'x' * 4080}" for number in range(180))
    said = login.browse(login.approved(), f"Cookie: {cookies}", *NAVIGATION)
    refute(said.status == 431, "another server's cookies make every login fail")
    assert login.ended().error is None


def test_a_flood_of_wrong_answers_leaves_nothing_behind(login: OpenLogin) -> None:
    """Neither in memory nor in the log, and nothing that tells how near a guess was."""
    said: set[bytes] = set()
    state = login.asked["state"]
    with limited(memory=8 << 20):
        for number in range(300):
            said.add(login.get(f"/callback?state={state[: number % len(state)]}&code={'x' * 10_000}").raw)
    assert len(said) == 1
    login.ends_well()
    # Of the connections, not more than the asyncio module's own words.
    assert "x" * 100 not in login.ended().log
    assert len(login.ended().log) < 100_000
