"""One exchange with a stranger: bounded in size and time, redirects within the origin, never with a secret."""

from __future__ import annotations

import asyncio
import gzip
import sys
import threading
import time
from importlib import metadata
from typing import TYPE_CHECKING

import pytest

from mcp_login.errors import InvalidResponse, PolicyError, TransportError
from mcp_login.network.http import HttpClient
from mcp_login.network.policy import AddressSpace, NetworkPolicy
from mcp_login.protocol.message import HttpRequest
from tests.unit.network.peers import Conversation, Names, Peer, ok, saying

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from pathlib import Path

    from tests.unit.network.conftest import Serve

__all__: list[str] = []

pytestmark = pytest.mark.anyio

PUBLIC_IP = "93.184.216.34"


def redirect(location: str, status: str = "302 Found") -> bytes:
    return ok(b"", f"Location: {location}", status=status)


async def test_an_answer_comes_back_whole(serve: Serve) -> None:
    peer = await serve(saying(ok(b'{"a": 1}', "X-Many: 1", "x-many: 2", status="201 Created")))
    request = HttpRequest("POST", peer.url("/token?x=1"), headers={"Accept": "application/json"}, body=b"a=b")
    response = await HttpClient().send(request)
    assert (response.status, response.body, response.url) == (201, b'{"a": 1}', request.url)
    assert response.header_values("x-many") == ["1", "2"]
    assert peer.bodies == [b"a=b"]
    head = peer.heads[0].lower()
    assert head.startswith("post /token?x=1 http/1.1\r\n")
    assert f"host: 127.0.0.1:{peer.port}\r\n" in head
    assert f"user-agent: mcp-login/{metadata.version('mcp-login')}\r\n" in head
    assert "accept: application/json\r\n" in head
    assert "accept-encoding: gzip\r\n" in head


async def test_the_url_of_an_answer_is_spelt_as_it_was_asked_for(serve: Serve) -> None:
    peer = await serve(saying(ok()))
    url = peer.url("/a|b", host="LOCALHOST")
    assert (await HttpClient().send(HttpRequest("GET", url), follow_redirects=True)).url == url


async def test_no_cookie_is_kept_from_one_request_to_the_next(serve: Serve) -> None:
    peer = await serve(saying(ok(b"", "Set-Cookie: a=b; Path=/")))
    client = HttpClient()
    for _ in range(2):
        await client.send(HttpRequest("GET", peer.url()))
    assert "cookie" not in peer.heads[1].lower()


async def test_every_exchange_has_a_connection_of_its_own(serve: Serve) -> None:
    """A request on an idle connection that is closed just then fails like a lost answer: fatal to a rotating token."""
    peer = await serve(saying(ok()))
    client = HttpClient()
    for _ in range(3):
        await client.send(HttpRequest("GET", peer.url()))
    assert peer.connections == 3


async def test_a_compressed_answer_is_decompressed(serve: Serve) -> None:
    peer = await serve(saying(ok(gzip.compress(b"hello"), "Content-Encoding: gzip")))
    assert (await HttpClient().send(HttpRequest("GET", peer.url()))).body == b"hello"


@pytest.mark.parametrize(
    "answer",
    [
        ok(b"x" * 1001),
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1001,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"200\r\n" + b"x" * 512 + b"\r\n" + b"200\r\n" + b"x" * 512,
        ok(gzip.compress(bytes(100_000)), "Content-Encoding: gzip"),
    ],
    ids=["announced", "until the end", "in chunks", "decompressed"],
)
async def test_an_answer_over_the_limit_is_refused(answer: bytes, serve: Serve) -> None:
    peer = await serve(saying(answer))
    with pytest.raises(InvalidResponse, match="larger than 1000 bytes"):
        await HttpClient(max_bytes=1000).send(HttpRequest("GET", peer.url()))


# --- the deadline


def dripping(peer: Peer) -> Conversation:
    """A byte now and then, for ever: every single wait is short."""

    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await peer.read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while not writer.is_closing():
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.01)

    return conversation


def dripping_head(peer: Peer) -> Conversation:
    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await peer.read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nX: ")
        while not writer.is_closing():
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.01)

    return conversation


def silent(peer: Peer) -> Conversation:
    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    return conversation


@pytest.mark.parametrize("conversation", [dripping, dripping_head, silent])
async def test_the_deadline_is_for_the_whole_exchange(
    conversation: Callable[[Peer], Conversation], serve: Serve
) -> None:
    peer = await serve(conversation)
    before = time.monotonic()
    with pytest.raises(TransportError, match=rf"127\.0\.0\.1:{peer.port} did not answer in full within 0\.1 seconds"):
        await HttpClient(deadline=0.1).send(HttpRequest("GET", peer.url()))
    assert time.monotonic() - before < 1


async def test_the_deadline_is_for_redirects_too(serve: Serve) -> None:
    def slowly(peer: Peer) -> Conversation:
        async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await peer.read_request(reader)
            await asyncio.sleep(0.06)
            writer.write(redirect("/next"))

        return conversation

    peer = await serve(slowly)
    with pytest.raises(TransportError, match="in full within"):
        await HttpClient(deadline=0.1).send(HttpRequest("GET", peer.url()), follow_redirects=True)


async def test_the_deadline_is_for_tls_too(serve: Serve) -> None:
    peer = await serve(silent)
    with pytest.raises(TransportError, match="in full within"):
        await HttpClient(deadline=0.1).send(HttpRequest("GET", peer.url(scheme="https")))


async def test_a_resolver_that_hangs_is_given_up_and_keeps_nobody_from_leaving(monkeypatch: pytest.MonkeyPatch) -> None:
    released, threads = threading.Event(), []

    def hang(*args: object, **kwargs: object) -> list[object]:
        threads.append(threading.current_thread())
        released.wait(20)
        return []

    monkeypatch.setattr("socket.getaddrinfo", hang)
    try:
        with pytest.raises(TransportError, match=r"mcp\.example\.com did not answer in full"):
            await HttpClient(deadline=0.05).send(HttpRequest("GET", "https://mcp.example.com/"))
        with pytest.raises(TransportError, match=r"mcp\.example\.com did not answer in full"):
            await HttpClient(deadline=0.05).space_of("https://mcp.example.com/")
        assert [thread.daemon for thread in threads] == [True, True]
    finally:
        released.set()
        for thread in threads:
            thread.join()


async def test_a_cancelled_request_is_cancelled_and_not_an_error_of_ours(serve: Serve) -> None:
    peer = await serve(silent)
    task = asyncio.create_task(HttpClient().send(HttpRequest("GET", peer.url())))
    await peer.reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


# --- redirects


async def test_a_get_follows_redirects_within_its_origin(serve: Serve) -> None:
    peer = await serve(saying(redirect("/b"), redirect("c?x=1#fragment", "308 Permanent Redirect"), ok(b"here")))
    request = HttpRequest("GET", peer.url("/a/"), headers={"Accept": "application/json"})
    response = await HttpClient().send(request, follow_redirects=True)
    assert (response.status, response.body, response.url) == (200, b"here", peer.url("/c?x=1"))
    assert [head.split(" ")[1] for head in peer.heads] == ["/a/", "/b", "/c?x=1"]
    assert "application/json" in peer.heads[2]


async def test_redirects_are_not_followed_unless_asked_for(serve: Serve) -> None:
    peer = await serve(saying(redirect("/b")))
    response = await HttpClient().send(HttpRequest("GET", peer.url()))
    assert (response.status, response.header("location")) == (302, "/b")
    assert len(peer.heads) == 1


async def test_the_fourth_redirect_is_returned_as_it_is(serve: Serve) -> None:
    peer = await serve(saying(redirect("/again")))
    response = await HttpClient().send(HttpRequest("GET", peer.url()), follow_redirects=True)
    assert response.status == 302
    assert len(peer.heads) == 4


@pytest.mark.parametrize(
    "request_",
    [
        HttpRequest("POST", "", body=b"code=secret"),
        HttpRequest("POST", ""),
        HttpRequest("GET", "", body=b"x"),
        HttpRequest("GET", "", secrets=("secret",)),
        HttpRequest("GET", "", headers={"authorization": "Bearer secret"}),
        HttpRequest("GET", "", headers={"Cookie": "secret"}),
    ],
    ids=["post", "empty post", "body", "secrets", "authorization", "cookie"],
)
@pytest.mark.parametrize("status", ["302 Found", "307 Temporary Redirect"])
async def test_a_redirect_is_never_followed_with_a_body_or_a_secret(
    request_: HttpRequest, status: str, serve: Serve
) -> None:
    peer = await serve(saying(redirect("/elsewhere", status)))
    request = HttpRequest(
        request_.method, peer.url(), headers=request_.headers, body=request_.body, secrets=request_.secrets
    )
    response = await HttpClient().send(request, follow_redirects=True)
    assert response.status == int(status[:3])
    assert len(peer.heads) == 1


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.2:{port}/",
        "http://localhost:{port}/",
        "http://127.0.0.1:1/",
        "https://127.0.0.1:{port}/",
        "//evil.example/",
        "http://user:pw@127.0.0.1:{port}/",
        "file:///etc/passwd",
        "http://[",
        "",
    ],
)
async def test_a_redirect_out_of_the_origin_is_returned_as_it_is(location: str, serve: Serve) -> None:
    answers: list[bytes] = []

    def conversation(peer: Peer) -> Conversation:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await peer.read_request(reader)
            writer.write(answers[0])

        return answer

    peer = await serve(conversation)
    answers.append(redirect(location.format(port=peer.port)))
    response = await HttpClient().send(HttpRequest("GET", peer.url()), follow_redirects=True)
    assert response.status == 302
    assert peer.connections == 1


# --- addresses


@pytest.fixture
async def public(serve: Serve, names: Names, tls: ssl.SSLContext, trusted: Path) -> Peer:
    """A TLS server whose names are *.example.com, for tests that give these names addresses."""
    return await serve(saying(ok(b"hello")), tls)


@pytest.mark.parametrize("ip", ["10.0.0.1", "169.254.169.254", "127.0.0.1", "0.0.0.0"])
async def test_a_name_that_resolves_into_a_private_network_is_refused_before_a_connection(
    ip: str, public: Peer, names: Names
) -> None:
    names.addresses["auth.example.com"] = [ip]
    url = public.url(scheme="https", host="auth.example.com")
    with pytest.raises(PolicyError, match=rf"https://auth\.example\.com:{public.port} is refused.*{ip}"):
        await HttpClient().send(HttpRequest("GET", url), floor=AddressSpace.PUBLIC)
    assert public.connections == 0
    allowed = HttpClient(NetworkPolicy(allow_private_network=True))
    assert (await allowed.send(HttpRequest("GET", url), floor=AddressSpace.PUBLIC)).body == b"hello"


async def test_the_address_that_was_checked_is_the_one_that_is_connected_to(public: Peer, names: Names) -> None:
    """DNS rebinding: there is no second look-up for the name to change its mind in."""
    names.addresses["auth.example.com"] = [PUBLIC_IP]
    url = public.url(scheme="https", host="auth.example.com")
    response = await HttpClient().send(HttpRequest("GET", url), floor=AddressSpace.PUBLIC)
    assert response.body == b"hello"
    assert names.look_ups == ["auth.example.com"]
    assert names.connected == [PUBLIC_IP]


async def test_of_several_addresses_only_those_that_are_allowed_are_tried(public: Peer, names: Names) -> None:
    names.addresses["auth.example.com"] = ["10.0.0.1", PUBLIC_IP, "127.0.0.1"]
    url = public.url(scheme="https", host="auth.example.com")
    assert (await HttpClient().send(HttpRequest("GET", url), floor=AddressSpace.PUBLIC)).status == 200
    assert names.connected == [PUBLIC_IP]


async def test_the_next_address_is_tried_when_one_refuses(public: Peer, names: Names, closed_port: int) -> None:
    names.addresses["auth.example.com"] = ["93.184.216.1", PUBLIC_IP]
    names.routes["93.184.216.1"] = closed_port
    url = public.url(scheme="https", host="auth.example.com")
    assert (await HttpClient().send(HttpRequest("GET", url))).status == 200
    assert names.connected == ["93.184.216.1", PUBLIC_IP]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux leaves connections over a listener's queue waiting")
async def test_the_next_address_is_tried_beside_one_that_is_silent(
    public: Peer, names: Names, silent_port: int
) -> None:
    """RFC 8305 section 5: a new attempt is started every 250 ms while none has succeeded."""
    names.addresses["auth.example.com"] = ["93.184.216.1", PUBLIC_IP]
    names.routes["93.184.216.1"] = silent_port
    url = public.url(scheme="https", host="auth.example.com")
    assert (await HttpClient(deadline=5).send(HttpRequest("GET", url))).status == 200


async def test_plain_http_is_not_spoken_to_a_localhost_name_that_leads_away(names: Names) -> None:
    names.addresses["mcp.localhost"] = [PUBLIC_IP]
    with pytest.raises(PolicyError, match="plain http"):
        await HttpClient().send(HttpRequest("GET", "http://mcp.localhost:8000/"))
    assert names.connected == []


@pytest.mark.parametrize(
    "url",
    [
        "http://mcp.example.com/",
        "https://user:hunter2@mcp.example.com/",
        "https://[",
        "https://user:hunter2@[",
        "https://１２７.０.０.１/",
        "x:y",
    ],
)
async def test_a_url_against_the_policy_is_refused_without_a_look_up(url: str, names: Names) -> None:
    names.addresses["mcp.example.com"] = [PUBLIC_IP]
    with pytest.raises(PolicyError) as refusal:
        await HttpClient().send(HttpRequest("GET", url))
    assert "hunter2" not in str(refusal.value)
    assert names.look_ups == []


# --- the space of a server


async def test_the_space_of_a_server_is_that_of_the_address_first_reached(public: Peer, names: Names) -> None:
    names.addresses["mcp.example.com"] = [PUBLIC_IP]
    client = HttpClient()
    url = public.url("/mcp", scheme="https", host="mcp.example.com")
    await client.send(HttpRequest("GET", url))
    names.addresses["mcp.example.com"] = ["10.0.0.1"]
    assert await client.space_of(url) is AddressSpace.PUBLIC
    with pytest.raises(PolicyError, match="public server led to it"):
        await client.send(HttpRequest("GET", url))
    assert await client.space_of(url) is AddressSpace.PUBLIC
    assert await client.space_of("https://mcp.example.com/") is AddressSpace.PRIVATE


@pytest.mark.parametrize(
    ("addresses", "space"),
    [
        ([PUBLIC_IP], AddressSpace.PUBLIC),
        (["10.0.0.1", PUBLIC_IP, "127.0.0.1"], AddressSpace.PUBLIC),
        (["127.0.0.1", "10.0.0.1"], AddressSpace.PRIVATE),
        (["127.0.0.1"], AddressSpace.LOOPBACK),
    ],
)
async def test_the_space_of_a_server_not_yet_reached_is_the_least_private(
    addresses: list[str], space: AddressSpace, names: Names
) -> None:
    names.addresses["mcp.example.com"] = addresses
    assert await HttpClient().space_of("https://mcp.example.com/mcp") is space


async def test_the_space_of_a_name_that_nobody_knows_is_an_error() -> None:
    with pytest.raises(TransportError, match=r"mcp\.invalid could not be resolved"):
        await HttpClient().space_of("https://mcp.invalid/mcp")
