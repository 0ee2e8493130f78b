"""A client of the caller's, httpx's or httpx2's, and processes in which one is called the other."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import httpx
import httpx2
import pytest

from mcp_login.errors import InvalidResponse, PolicyError, TransportError
from mcp_login.network.http import HttpClient
from mcp_login.network.policy import AddressSpace
from mcp_login.protocol.message import HttpRequest
from tests.unit.network.peers import Conversation, Peer, ok, saying

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.network.conftest import Serve

__all__: list[str] = []

pytestmark = pytest.mark.anyio


class Made:
    """Makes clients of one library, and keeps them."""

    def __init__(self, library: Any, **options: Any) -> None:
        self.library = library
        self.options = options
        self.clients: list[Any] = []

    def __call__(self) -> Any:
        self.clients.append(self.library.AsyncClient(**self.options))
        return self.clients[-1]


@pytest.fixture(params=[httpx, httpx2], ids=["httpx", "httpx2"])
def library(request: pytest.FixtureRequest) -> Any:
    return request.param


async def test_a_callers_client_is_used_once_made_and_closed_with_ours(library: Any, serve: Serve) -> None:
    peer = await serve(saying(ok(b"hello", "X-A: 1")))
    factory = Made(library, headers={"X-Own": "yes"}, params={"own": "key"})
    client = HttpClient(factory=factory)
    assert factory.clients == []
    for _ in range(2):
        response = await client.send(
            HttpRequest("POST", peer.url("/token?p=policy"), headers={"X-Ours": "1"}, body=b"a=b")
        )
        assert (response.status, response.body, response.header("x-a")) == (200, b"hello", "1")
    assert peer.bodies == [b"a=b", b"a=b"]
    # What the client sends by itself is for somebody else, and would take the place of the endpoint's own query.
    assert "own" not in peer.heads[0].lower()
    assert "x-ours: 1" in peer.heads[0].lower()
    assert peer.heads[0].startswith("POST /token?p=policy HTTP")
    await client.aclose()
    await client.aclose()
    assert [made.is_closed for made in factory.clients] == [True]


async def test_a_callers_client_follows_no_redirects_and_signs_nothing(library: Any, serve: Serve) -> None:
    peer = await serve(saying(ok(b"", "Location: /elsewhere", status="302 Found")))
    client = HttpClient(factory=Made(library, follow_redirects=True, auth=("user", "password")))
    response = await client.send(HttpRequest("POST", peer.url(), body=b"secret"))
    await client.aclose()
    assert response.status == 302
    assert len(peer.heads) == 1
    assert "authorization" not in peer.heads[0].lower()


async def test_the_limits_hold_for_a_callers_client(library: Any, serve: Serve) -> None:
    def conversation(peer: Peer) -> Conversation:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()

        return talk

    silent, large = await serve(conversation), await serve(saying(ok(b"x" * 1001)))
    client = HttpClient(factory=Made(library, timeout=None), deadline=0.1, max_bytes=1000)
    with pytest.raises(TransportError, match=r"in full within 0\.1 seconds"):
        await client.send(HttpRequest("GET", silent.url()))
    with pytest.raises(InvalidResponse, match="larger than 1000 bytes"):
        await client.send(HttpRequest("GET", large.url()))
    await client.aclose()


async def test_failures_of_a_callers_client_are_named(library: Any, serve: Serve, closed_port: int) -> None:
    broken = await serve(saying(b""))
    client = HttpClient(factory=Made(library))
    with pytest.raises(TransportError, match="closed the connection"):
        await client.send(HttpRequest("GET", broken.url()))
    with pytest.raises(TransportError, match=r"127\.0\.0\.1:\d+ was refused"):
        await client.send(HttpRequest("GET", f"http://127.0.0.1:{closed_port}/"))
    with pytest.raises(TransportError, match=r"mcp\.invalid could not be resolved"):
        await client.send(HttpRequest("GET", "https://mcp.invalid/"))
    await client.aclose()


async def test_a_time_out_of_a_callers_client_is_named(library: Any, serve: Serve) -> None:
    def conversation(peer: Peer) -> Conversation:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()

        return talk

    peer = await serve(conversation)
    client = HttpClient(factory=Made(library, timeout=0.05))
    with pytest.raises(TransportError, match="did not answer in time"):
        await client.send(HttpRequest("GET", peer.url()))
    await client.aclose()


async def test_the_policy_for_urls_holds_for_a_callers_client(library: Any) -> None:
    factory = Made(library)
    client = HttpClient(factory=factory)
    with pytest.raises(PolicyError):
        await client.send(HttpRequest("GET", "https://10.0.0.1/"), floor=AddressSpace.PUBLIC)
    assert factory.clients == []


async def test_a_transport_without_a_network_serves_tests_of_the_caller(library: Any) -> None:
    def respond(request: Any) -> Any:
        return library.Response(200, json={"host": request.url.host})

    client = HttpClient(factory=Made(library, transport=library.MockTransport(respond)), max_bytes=100)
    response = await client.send(HttpRequest("GET", "https://mcp.invalid/"))
    assert response.body.replace(b" ", b"") == b'{"host":"mcp.invalid"}'
    assert await client.space_of("https://mcp.invalid/") is AddressSpace.PUBLIC
    await client.aclose()


ALIASED = """
import sys, asyncio, httpx2
httpx2.alias_httpx()
from mcp_login.network.http import HttpClient
from mcp_login.protocol.message import HttpRequest
from mcp_login.errors import TransportError

async def main(url):
    answer = await HttpClient().send(HttpRequest("GET", url))
    try:
        await HttpClient().send(HttpRequest("GET", sys.argv[2]))
    except TransportError as error:
        print(answer.body.decode(), sys.modules["httpx"].__name__, sys.modules["httpcore"].__name__, error)

asyncio.run(main(sys.argv[1]))
"""


async def test_it_works_where_httpx_is_an_alias_of_httpx2(
    serve: Serve, tls: Any, trusted: Path, tmp_path: Path, closed_port: int
) -> None:
    peer = await serve(saying(ok(b"hello")), tls)
    command = [sys.executable, "-W", "error", "-c", ALIASED, peer.url(scheme="https", host="localhost")]
    command.append(f"http://127.0.0.1:{closed_port}/")
    done = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, check=False, timeout=20, cwd=tmp_path
    )
    assert done.stderr == ""
    assert done.stdout.startswith(f"hello httpx2 httpcore2 The connection to 127.0.0.1:{closed_port} was refused.")


@pytest.mark.parametrize("library", [httpx, httpx2])
@pytest.mark.parametrize("location", [":g://]::4", "//[", "https://a:b/"])
async def test_a_location_that_cannot_be_read_is_no_error_of_a_library(
    library: Any, location: str, serve: Serve
) -> None:
    """The HTTP libraries read it although they are not to follow it, and of some let urllib's ValueError out."""
    peer = await serve(saying(ok(b"", f"Location: {location}", status="302 Found")))
    client = HttpClient(factory=Made(library))
    said = "the answer"
    try:
        assert (await client.send(HttpRequest("GET", peer.url()), follow_redirects=True)).status == 302
    except TransportError as error:
        said = str(error)
    assert said == "the answer" or "did not answer in HTTP" in said
    await client.aclose()


@pytest.mark.parametrize("library", [httpx, httpx2])
@pytest.mark.parametrize("where", ["transport", "hook"])
async def test_a_defect_of_the_callers_client_is_not_blamed_on_the_server(
    library: Any, where: str, serve: Serve
) -> None:
    peer = await serve(saying(ok()))

    async def fail(_: Any) -> Any:
        json.loads("{")

    class Failing(library.AsyncBaseTransport):  # type: ignore[misc]
        async def handle_async_request(self, request: Any) -> Any:
            await fail(request)

    def make() -> Any:
        if where == "transport":
            return library.AsyncClient(transport=Failing())
        return library.AsyncClient(trust_env=False, event_hooks={"response": [fail]})

    client = HttpClient(factory=make)
    with pytest.raises(json.JSONDecodeError):
        await client.send(HttpRequest("GET", peer.url()))
    await client.aclose()
