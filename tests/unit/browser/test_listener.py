"""The loopback listener, over real sockets.

RFC 8252 section 7.3: the client opens a port on the loopback interface; section 8.3: listen on the loopback interface
only, and only while a login is under way. MCP specification, "Open Redirection": clients SHOULD discard any results
that do not include or have a mismatch with the original state. RFC 9112 section 3.2: a server MUST respond with a 400
to any request that lacks a Host field or has more than one.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import re
import socket
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from mcp_login.browser.listener import LoopbackListener, Outcome
from mcp_login.errors import InvalidResponse, PolicyError, RedirectPortTaken

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

pytestmark = pytest.mark.anyio

GOOD = "code=a&state=right"


def accept_right(query: str) -> Outcome:
    return Outcome.RECEIVED if query.endswith("state=right") else Outcome.IGNORED


class Login:
    """A listener that waits for an answer, and what it was asked."""

    def __init__(self, listener: LoopbackListener, accept: Callable[[str], Outcome]) -> None:
        self.listener = listener
        self.queries: list[str] = []
        self._accept = accept
        self.received = asyncio.create_task(listener.receive(self._record))

    def _record(self, query: str) -> Outcome:
        self.queries.append(query)
        return self._accept(query)

    @property
    def host(self) -> str:
        return self.listener.redirect_uri.split("/")[2]

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.listener.port)

    async def send(self, data: bytes) -> bytes:
        """What the listener answers to `data` until it closes the connection."""
        reader, writer = await self.connect()
        try:
            writer.write(data)
            return await asyncio.wait_for(reader.read(), 10)
        finally:
            writer.close()

    async def request(self, target: str, method: str = "GET", host: str | None = None, more: str = "") -> bytes:
        head = f"{method} {target} HTTP/1.1\r\nHost: {self.host if host is None else host}\r\n{more}\r\n"
        return await self.send(head.encode("latin-1"))

    async def browse(self, target: str) -> bytes:
        """What a browser ends up with: redirects are followed."""
        answer = await self.request(target)
        while (location := header(answer, "Location")) is not None:
            answer = await self.request(location)
        return answer


@asynccontextmanager
async def login(
    accept: Callable[[str], Outcome] = accept_right,
    *,
    host: str = "127.0.0.1",
    path: str = "/callback",
    deadline: float = 10.0,
    patience: float = 10.0,
    linger: float = 2.0,
    max_connections: int = 64,
) -> AsyncIterator[Login]:
    listener = await LoopbackListener.open(
        host,
        path=path,
        deadline=deadline,
        patience=patience,
        linger=linger,
        max_connections=max_connections,
    )
    waiting = Login(listener, accept)
    try:
        yield waiting
    finally:
        waiting.received.cancel()
        with contextlib.suppress(asyncio.CancelledError, InvalidResponse):
            await waiting.received
        await listener.stop()


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def header(answer: bytes, name: str) -> str | None:
    head = answer.partition(b"\r\n\r\n")[0].decode("latin-1")
    found = re.search(rf"^{name}: *(.*?)\r?$", head, re.IGNORECASE | re.MULTILINE)
    return found[1] if found else None


def title(answer: bytes) -> str:
    found = re.search(r"<title>(.*?)</title>", answer.decode())
    return found[1] if found else ""


async def is_open(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionRefusedError:
        return False
    writer.close()
    return True


# What ends the wait


async def test_the_right_answer_ends_the_wait() -> None:
    async with login() as waiting:
        answer = await waiting.request("/callback?" + GOOD)
        await asyncio.wait_for(waiting.received, 5)
        assert waiting.queries == [GOOD]
        assert status(answer) == 303


async def test_the_query_reaches_the_caller_as_it_was_sent() -> None:
    async with login() as waiting:
        await waiting.request("/callback?code=a%2Fb+c&code=d&iss=https%3A%2F%2Fas&&state=right")
        assert waiting.queries == ["code=a%2Fb+c&code=d&iss=https%3A%2F%2Fas&&state=right"]


async def test_a_wrong_state_is_answered_and_the_wait_goes_on() -> None:
    async with login() as waiting:
        answer = await waiting.request("/callback?error=access_denied&state=wrong")
        assert status(answer) == 400
        assert title(answer) == "This answer was not expected"
        assert b"access_denied" not in answer
        assert not waiting.received.done()
        await waiting.request("/callback?" + GOOD)
        await asyncio.wait_for(waiting.received, 5)


async def test_the_redirect_uri_without_a_query_is_answered_and_ignored() -> None:
    async with login() as waiting:
        assert status(await waiting.request("/callback")) == 400
        assert not waiting.received.done()


async def test_an_answer_sent_before_the_wait_began_is_not_lost() -> None:
    listener = await LoopbackListener.open()
    with socket.create_connection(("127.0.0.1", listener.port)) as early:
        early.sendall(f"GET /callback?{GOOD} HTTP/1.1\r\nHost: 127.0.0.1:{listener.port}\r\n\r\n".encode())
        await asyncio.wait_for(listener.receive(accept_right), 5)
    await listener.stop()


async def test_a_second_answer_changes_nothing() -> None:
    async with login() as waiting:
        await waiting.request("/callback?" + GOOD)
        again = await waiting.request("/callback?code=b&state=right")
        wrong = await waiting.request("/callback?code=b&state=wrong")
        assert waiting.queries == [GOOD]
        assert status(again) == status(wrong) == 400


async def test_a_browser_that_reloads_sees_how_the_login_ended() -> None:
    async with login() as waiting:
        await waiting.request("/callback?" + GOOD)
        waiting.listener.finish(Outcome.DONE)
        assert title(await waiting.browse("/callback?" + GOOD)) == "You’re logged in"
        assert waiting.queries == [GOOD]


async def test_what_the_caller_raises_ends_the_wait_and_is_raised() -> None:
    def refuse(query: str) -> Outcome:
        raise InvalidResponse("two codes", url="https://as.example.com")

    async with login(refuse) as waiting:
        browsing = asyncio.create_task(waiting.browse("/callback?" + GOOD))
        with pytest.raises(InvalidResponse, match="two codes"):
            await asyncio.wait_for(waiting.received, 5)
        waiting.listener.finish(Outcome.FAILED)
        answer = await browsing
        assert title(answer) == "The login didn’t work"
        assert b"two codes" not in answer


async def test_a_cancelled_wait_can_be_taken_up_again() -> None:
    async with login() as waiting:
        await waiting.request("/callback?state=wrong")
        waiting.received.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await waiting.received
        again = asyncio.create_task(waiting.listener.receive(accept_right))
        await asyncio.sleep(0)
        await waiting.request("/callback?" + GOOD)
        await asyncio.wait_for(again, 5)


async def test_after_a_cancelled_wait_answers_are_ignored() -> None:
    """The login was finished in another way, for example by pasting the answer."""
    async with login() as waiting:
        await waiting.request("/callback?state=wrong")
        waiting.received.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await waiting.received
        assert status(await waiting.request("/callback?" + GOOD)) == 400
        waiting.listener.finish(Outcome.DONE)
        assert title(await waiting.browse("/callback?" + GOOD)) == "You’re logged in"
        assert waiting.queries == ["state=wrong"]


# What the browser sees


async def test_the_browser_is_led_away_from_the_url_with_the_code() -> None:
    async with login() as waiting:
        answer = await waiting.request("/callback?" + GOOD)
        location = header(answer, "Location")
        assert location is not None
        assert "?" not in location
        assert b"right" not in answer


async def test_the_last_page_waits_until_the_login_is_finished() -> None:
    async with login() as waiting:
        browsing = asyncio.create_task(waiting.browse("/callback?" + GOOD))
        await asyncio.wait_for(waiting.received, 5)
        assert not browsing.done()
        waiting.listener.finish(Outcome.DONE, "https://mcp.example.com/<mcp>")
        page = await browsing
        assert status(page) == 200
        assert title(page) == "You’re logged in"
        assert b"&lt;mcp&gt;" in page


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        (Outcome.DENIED, "Login declined"),
        (Outcome.FAILED, "The login didn’t work"),
        (Outcome.EXPIRED, "This login has expired"),
    ],
)
async def test_the_last_page_says_how_the_login_ended(outcome: Outcome, words: str) -> None:
    async with login() as waiting:
        browsing = asyncio.create_task(waiting.browse("/callback?" + GOOD))
        await waiting.received
        waiting.listener.finish(outcome)
        assert title(await browsing) == words


async def test_the_last_page_does_not_wait_for_ever() -> None:
    async with login(patience=0.01) as waiting:
        assert title(await waiting.browse("/callback?" + GOOD)) == "Almost there"


async def test_a_refusal_is_shown_with_what_was_said() -> None:
    async with login(lambda _: Outcome.DENIED) as waiting:
        browsing = asyncio.create_task(waiting.browse("/callback?error=access_denied&state=right"))
        await asyncio.wait_for(waiting.received, 5)
        waiting.listener.finish(Outcome.DENIED, "as.example.com: the person said no")
        page = await browsing
        assert title(page) == "Login declined"
        assert b"as.example.com: the person said no" in page


async def test_a_refusal_of_which_nothing_more_is_said_is_shown_after_a_while() -> None:
    async with login(lambda _: Outcome.DENIED, patience=0.01) as waiting:
        assert title(await waiting.browse("/callback?error=access_denied&state=right")) == "Login declined"
        await asyncio.wait_for(waiting.received, 5)


async def test_the_last_page_is_not_there_before_the_login_is_decided() -> None:
    async with login() as waiting:
        assert status(await waiting.request("/callback/result")) == 404


# Requests that are no answer


@pytest.mark.parametrize(
    "target", ["/", "/callback/?" + GOOD, "/CALLBACK?" + GOOD, "//callback?" + GOOD, "/x/../callback?" + GOOD]
)
async def test_no_other_path_is_the_redirect_uri(target: str) -> None:
    async with login() as waiting:
        assert status(await waiting.request(target)) == 404
        assert waiting.queries == []


@pytest.mark.parametrize(("method", "expected"), [("HEAD", 200), ("OPTIONS", 204), ("POST", 405), ("PUT", 405)])
async def test_other_methods_are_answered_and_ignored(method: str, expected: int) -> None:
    async with login() as waiting:
        answer = await waiting.request("/callback?" + GOOD, method)
        assert status(answer) == expected
        assert waiting.queries == []
        if method == "HEAD":
            assert answer.endswith(b"\r\n\r\n")
        await waiting.request("/callback?" + GOOD)
        await asyncio.wait_for(waiting.received, 5)


@pytest.mark.parametrize(("target", "host", "expected"), [("/other", None, 404), ("/callback", "evil.example", 421)])
async def test_a_head_request_that_is_refused_gets_the_head_of_the_refusal(
    target: str, host: str | None, expected: int
) -> None:
    """RFC 9110 section 9.3.2: as a GET would be answered, without the content."""
    async with login() as waiting:
        answer = await waiting.request(target, "HEAD", host=host)
        assert status(answer) == expected
        assert int(header(answer, "Content-Length") or 0) > 0
        assert answer.endswith(b"\r\n\r\n")


async def test_a_post_with_a_body_gets_its_answer_whole() -> None:
    """RFC 9112 section 9.6: closing with data unread may reset the connection before the answer was read."""
    async with login() as waiting:
        body = "x" * 100_000
        answer = await waiting.request("/callback?" + GOOD, "POST", more=f"Content-Length: {len(body)}\r\n\r\n{body}")
        assert status(answer) == 405
        assert answer.rstrip().endswith(b"</html>")


async def test_a_head_request_for_the_last_page_does_not_wait() -> None:
    async with login() as waiting:
        answer = await waiting.request("/callback?" + GOOD)
        assert status(await waiting.request(header(answer, "Location") or "", "HEAD")) == 200


async def test_an_answer_in_http_1_0_is_read() -> None:
    async with login() as waiting:
        answer = await waiting.send(f"GET /callback?{GOOD} HTTP/1.0\r\nHost: {waiting.host}\r\n\r\n".encode())
        assert status(answer) == 303


@pytest.mark.parametrize("hosts", ["", "Host: {host}\r\nHost: {host}\r\n", "Host:\r\n"])
async def test_a_request_without_one_host_is_refused(hosts: str) -> None:
    async with login() as waiting:
        lines = hosts.format(host=waiting.host)
        answer = await waiting.send(f"GET /callback?{GOOD} HTTP/1.1\r\n{lines}\r\n".encode())
        assert status(answer) == 400
        assert waiting.queries == []


async def test_the_absolute_form_of_a_target_is_understood() -> None:
    """RFC 9112 section 3.2.2: a server MUST accept the absolute-form in requests."""
    async with login() as waiting:
        await waiting.request(f"http://{waiting.host}/callback?{GOOD}", host="ignored.example")
        assert waiting.queries == [GOOD]
        assert status(await waiting.request(f"http://evil.example/callback?{GOOD}")) == 421


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /callback?\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /callback?\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /callback HTTP/1.1\r\nBroken\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
async def test_what_is_not_http_is_answered_and_ignored(data: bytes) -> None:
    async with login() as waiting:
        assert status(await waiting.send(data)) == 400
        assert waiting.queries == []
        assert not waiting.received.done()


async def test_a_code_of_several_thousand_characters_fits() -> None:
    async with login() as waiting:
        query = f"code={'c' * 12_000}&state=right"
        assert status(await waiting.request("/callback?" + query)) == 303
        assert waiting.queries == [query]


@pytest.mark.parametrize("more", ["", "X: " + "y" * 100_000 + "\r\n"])
async def test_a_request_that_is_too_large_is_refused(more: str) -> None:
    async with login() as waiting:
        target = "/callback?" + ("" if more else "x" * 100_000 + "&") + GOOD
        assert status(await waiting.request(target, more=more)) == 431
        assert waiting.queries == []


# Peers that are slow or many


async def test_a_peer_that_sends_nothing_does_not_block_the_answer() -> None:
    async with login() as waiting:
        idle = [await waiting.connect() for _ in range(8)]
        idle[0][1].write(b"GET /callback?code=")
        assert status(await waiting.request("/callback?" + GOOD)) == 303
        await asyncio.wait_for(waiting.received, 5)
        for _, writer in idle:
            writer.close()


async def test_a_peer_that_stops_in_the_middle_is_told_and_closed() -> None:
    async with login(deadline=0.05) as waiting:
        assert status(await waiting.send(b"GET /callback?" + GOOD.encode() + b" HTTP/1.1\r\nHo")) == 408
        assert waiting.queries == []


async def test_a_connection_that_was_opened_in_advance_is_closed_without_a_word() -> None:
    async with login(deadline=0.05) as waiting:
        assert await waiting.send(b"") == b""


async def test_a_peer_that_leaves_in_the_middle_disturbs_nobody() -> None:
    async with login() as waiting:
        _, writer = await waiting.connect()
        writer.write(b"GET /callback?" + GOOD.encode())
        await writer.drain()
        writer.transport.abort()
        assert status(await waiting.request("/callback?" + GOOD)) == 303
        assert waiting.queries == [GOOD]


async def test_a_request_in_single_bytes_is_read() -> None:
    async with login() as waiting:
        reader, writer = await waiting.connect()
        for byte in f"GET /callback?{GOOD} HTTP/1.1\r\nHost: {waiting.host}\r\n\r\n".encode():
            writer.write(bytes([byte]))
            await writer.drain()
        assert status(await reader.read()) == 303
        writer.close()


async def test_any_number_of_idle_peers_leaves_room_for_the_answer() -> None:
    async with login(max_connections=4) as waiting:
        idle = [await waiting.connect() for _ in range(12)]
        assert status(await waiting.request("/callback?" + GOOD)) == 303
        # The oldest were dropped, so that there are never more than the limit.
        assert await asyncio.wait_for(idle[0][0].read(), 5) == b""
        for _, writer in idle:
            writer.close()


async def test_peers_that_ask_and_then_stay_leave_room_for_the_answer() -> None:
    async with login(max_connections=4) as waiting:
        staying = [await waiting.connect() for _ in range(12)]
        for reader, writer in staying[-4:]:
            writer.write(f"GET / HTTP/1.1\r\nHost: {waiting.host}\r\n\r\n".encode())
            assert status(await reader.read()) == 404
        assert status(await waiting.request("/callback?" + GOOD)) == 303
        for _, writer in staying:
            writer.close()


async def test_idle_peers_do_not_push_out_a_browser_that_waits_for_its_page() -> None:
    async with login(max_connections=4) as waiting:
        browsing = asyncio.create_task(waiting.browse("/callback?" + GOOD))
        await waiting.received
        # Its request for the last page is read by the time another one's is answered.
        await waiting.request("/", "HEAD")
        idle = [await waiting.connect() for _ in range(12)]
        waiting.listener.finish(Outcome.DONE)
        assert title(await browsing) == "You’re logged in"
        for _, writer in idle:
            writer.close()


# Opening and closing


async def test_the_redirect_uri_is_spelt_from_host_port_and_path() -> None:
    async with login(path="/oauth/callback") as waiting:
        assert waiting.listener.redirect_uri == f"http://127.0.0.1:{waiting.listener.port}/oauth/callback"
    async with login(path="/") as waiting:
        assert waiting.listener.redirect_uri == f"http://127.0.0.1:{waiting.listener.port}/"
        waiting.listener.finish(Outcome.DONE)
        assert title(await waiting.browse("/?" + GOOD)) == "You’re logged in"


async def test_localhost_is_spelt_localhost_and_reached_by_both_addresses() -> None:
    async with login(host="localhost") as waiting:
        port = waiting.listener.port
        assert waiting.listener.redirect_uri == f"http://localhost:{port}/callback"
        assert status(await waiting.request("/callback?x", host=f"localhost:{port}")) == 400
        assert status(await waiting.request("/callback?x", host=f"127.0.0.1:{port}")) == 400
        assert waiting.queries == ["x", "x"]


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no ::1")


@needs_ipv6
@pytest.mark.parametrize("host", ["::1", "[::1]", "localhost"])
async def test_the_ipv6_loopback_is_listened_on(host: str) -> None:
    async with login(host=host) as waiting:
        reader, writer = await asyncio.open_connection("::1", waiting.listener.port)
        writer.write(f"GET /callback?{GOOD} HTTP/1.1\r\nHost: {waiting.host}\r\n\r\n".encode())
        assert status(await reader.read()) == 303
        writer.close()


@needs_ipv6
async def test_a_port_that_is_taken_on_one_of_the_two_addresses_of_localhost_is_not_used() -> None:
    """Else `localhost` would lead the browser, and the code with it, to whoever has the other."""
    with socket.socket(socket.AF_INET6) as stranger:
        stranger.bind(("::1", 0))
        stranger.listen()
        port = stranger.getsockname()[1]
        with pytest.raises(RedirectPortTaken):
            await LoopbackListener.open("localhost", port)
        assert not await is_open(port)


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "192.0.2.1", "example.com", "", "127.0.0.1:80", "localhost.example.com"]
)
async def test_nothing_but_loopback_is_listened_on(host: str) -> None:
    with pytest.raises(PolicyError, match="on this machine"):
        await LoopbackListener.open(host)


@pytest.mark.parametrize("path", ["", "callback", "/a?b", "/a#b", "/a b", "/a\r\nb", "//a", "/%2e", "/ü"])
async def test_a_path_that_can_be_spelt_in_two_ways_is_refused(path: str) -> None:
    with pytest.raises(PolicyError, match="path"):
        await LoopbackListener.open(path=path)


@pytest.mark.parametrize("port", [-1, 65536])
async def test_a_port_that_does_not_exist_is_refused(port: int) -> None:
    with pytest.raises(PolicyError, match="port"):
        await LoopbackListener.open(port=port)


async def test_a_port_in_use_is_said_with_its_number() -> None:
    first = await LoopbackListener.open()
    with pytest.raises(RedirectPortTaken, match=str(first.port)) as caught:
        await LoopbackListener.open(port=first.port)
    assert caught.value.port == first.port
    await first.aclose()


async def test_a_listener_that_nobody_was_redirected_by_closes_at_once() -> None:
    listener = await LoopbackListener.open(linger=60)
    await listener.aclose()
    assert not await is_open(listener.port)


async def test_the_port_can_be_used_again_right_after_a_login() -> None:
    async with login() as waiting:
        browsing = asyncio.create_task(waiting.browse("/callback?" + GOOD))
        await waiting.received
        waiting.listener.finish(Outcome.DONE)
        await waiting.listener.aclose()
        again = await LoopbackListener.open(port=waiting.listener.port)
        await again.aclose()
        assert title(await browsing) == "You’re logged in"


async def test_closing_waits_for_the_browser_that_is_on_its_way() -> None:
    async with login() as waiting:
        answer = await waiting.request("/callback?" + GOOD)
        waiting.listener.finish(Outcome.DONE)
        closing = asyncio.create_task(waiting.listener.aclose())
        await asyncio.sleep(0)
        assert title(await waiting.request(header(answer, "Location") or "")) == "You’re logged in"
        await asyncio.wait_for(closing, 5)
        assert not await is_open(waiting.listener.port)


async def test_a_browser_that_never_comes_for_its_page_is_waited_for_a_while_only() -> None:
    async with login(linger=0.05) as waiting:
        await waiting.request("/callback?" + GOOD)
        await asyncio.wait_for(waiting.listener.aclose(), 5)
        assert not await is_open(waiting.listener.port)


async def test_closing_without_a_result_shows_a_waiting_browser_something() -> None:
    async with login() as waiting:
        browsing = asyncio.create_task(waiting.browse("/callback?" + GOOD))
        await waiting.received
        await waiting.listener.aclose()
        assert title(await browsing) == "Almost there"


async def test_a_browser_that_comes_after_the_time_limit_is_told_so() -> None:
    async with login() as waiting:
        await waiting.request("/callback?state=wrong")
        waiting.received.cancel()
        waiting.listener.finish(Outcome.EXPIRED)
        await waiting.listener.aclose()
        assert title(await waiting.browse("/callback?" + GOOD)) == "This login has expired"
        assert waiting.queries == ["state=wrong"]


async def test_after_the_time_limit_the_port_is_given_back_though_nobody_comes() -> None:
    async with login(linger=0.05) as waiting:
        reader, writer = await waiting.connect()
        await waiting.request("/callback?state=wrong")
        waiting.received.cancel()
        waiting.listener.finish(Outcome.EXPIRED)
        await waiting.listener.aclose()
        # Its end is that of this connection, too.
        assert await asyncio.wait_for(reader.read(), 5) == b""
        assert not await is_open(waiting.listener.port)
        writer.close()


async def test_closing_after_the_time_limit_waits_for_nobody() -> None:
    async with login(linger=60) as waiting:
        await waiting.request("/callback?state=wrong")
        waiting.received.cancel()
        waiting.listener.finish(Outcome.EXPIRED)
        closing = asyncio.create_task(waiting.listener.aclose())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert closing.done()


async def test_a_loop_that_ends_closes_what_still_waits_for_a_browser() -> None:
    async with login(linger=60) as waiting:
        await waiting.request("/callback?" + GOOD)
        waiting.listener.finish(Outcome.DONE)
        await waiting.listener.aclose()
        [lingering] = [task for task in asyncio.all_tasks() if "last page" in task.get_name()]
        lingering.cancel()
        await asyncio.wait({lingering})
        assert not await is_open(waiting.listener.port)


async def test_a_new_login_gets_the_port_of_one_that_waits_for_its_browser() -> None:
    async with login(linger=60) as waiting:
        await waiting.request("/callback?" + GOOD)
        closing = asyncio.create_task(waiting.listener.aclose())
        await asyncio.sleep(0)
        again = await LoopbackListener.open(port=waiting.listener.port)
        await asyncio.wait_for(closing, 5)
        await again.aclose()


async def test_closing_drops_idle_connections() -> None:
    async with login() as waiting:
        reader, writer = await waiting.connect()
        await waiting.request("/callback")
        await waiting.listener.aclose()
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()


async def test_closing_twice_is_closing_once() -> None:
    listener = await LoopbackListener.open()
    await listener.aclose()
    await listener.aclose()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows' loop accepts a connection in one step")
async def test_a_connection_that_is_accepted_in_the_moment_of_the_end_is_closed() -> None:
    """python/cpython#109564: the server closed in between, its socket was left to the collector, which complains."""
    loop = asyncio.get_running_loop()
    listener = await LoopbackListener.open()
    waiting = asyncio.create_task(listener.receive(lambda query: Outcome.IGNORED))
    ending: list[asyncio.Task[None]] = []

    def end_first(loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> asyncio.Task[Any]:
        if not ending and "_accept_connection" in getattr(work, "__qualname__", ""):
            ending.append(asyncio.Task(listener.stop(), loop=loop))
        return asyncio.Task(work, loop=loop, **options)

    loop.set_task_factory(end_first)
    try:
        with socket.socket() as client:
            client.setblocking(False)
            await asyncio.sleep(0)
            await loop.sock_connect(client, ("127.0.0.1", listener.port))
            with contextlib.suppress(ConnectionResetError):
                async with asyncio.timeout(10):
                    assert await loop.sock_recv(client, 1) == b""
    finally:
        loop.set_task_factory(None)
    assert ending
    await ending[0]
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    gc.collect()


async def test_a_flood_of_connections_behind_the_browsers_does_not_push_it_out() -> None:
    """As many as the system has queued are accepted in one step: more than are kept would drop it before it was read."""
    listener = await LoopbackListener.open()
    flood: list[socket.socket] = []
    try:
        with socket.create_connection(("127.0.0.1", listener.port), timeout=10) as browser:
            browser.sendall(f"GET /callback?{GOOD} HTTP/1.1\r\nHost: 127.0.0.1:{listener.port}\r\n\r\n".encode())
            flood += [socket.create_connection(("127.0.0.1", listener.port), timeout=10) for _ in range(95)]
            async with asyncio.timeout(10):
                await listener.receive(accept_right)
            answered = await asyncio.to_thread(browser.recv, 1024)
        assert answered.startswith(b"HTTP/1.1 303 ")
    finally:
        for one in flood:
            one.close()
        await listener.stop()
