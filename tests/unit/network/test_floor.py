"""How private a server is: what it may lead to, and how that is found out.

RFC 9728 section 7.7 (server-side request forgery). A name's answer can be changed at will by whoever owns it; a certificate
for the name can't be shown by a machine that isn't theirs.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import httpx
import pytest
import trustme

from mcp_login.errors import PolicyError, TransportError
from mcp_login.network.http import HttpClient
from mcp_login.network.policy import AddressSpace
from mcp_login.protocol.message import HttpRequest
from tests.unit.network.peers import Names, Peer, ok, saying

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.network.conftest import Serve

__all__: list[str] = []

pytestmark = pytest.mark.anyio

PUBLIC = "93.184.216.34"


@pytest.fixture
async def peer(serve: Serve, tls: ssl.SSLContext, trusted: Path) -> Peer:
    """A TLS server whose names are *.example.com."""
    return await serve(saying(ok()), tls)


@pytest.fixture
def foreign_tls() -> ssl.SSLContext:
    """A certificate for *.example.com by an authority that nobody trusts."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("*.example.com").configure_cert(context)
    return context


@pytest.mark.parametrize("ip", ["10.0.0.1", "127.0.0.1"])
async def test_the_least_private_address_that_answered_counts_in_whatever_order(
    peer: Peer, names: Names, ip: str
) -> None:
    client = HttpClient()
    url = peer.url("/mcp", scheme="https", host="mcp.example.com")
    for address in (ip, PUBLIC):
        names.addresses["mcp.example.com"] = [address]
        await client.send(HttpRequest("GET", url))
    assert await client.space_of(url) is AddressSpace.PUBLIC


@pytest.mark.parametrize("ip", ["10.0.0.1", "127.0.0.1"])
async def test_a_name_that_answered_from_a_public_address_is_not_followed_deeper(
    peer: Peer, names: Names, ip: str
) -> None:
    """DNS rebinding between two requests; once the client is another, nothing is known of the name."""
    client = HttpClient()
    url = peer.url("/mcp", scheme="https", host="mcp.example.com")
    names.addresses["mcp.example.com"] = [PUBLIC]
    await client.send(HttpRequest("GET", url))
    names.addresses["mcp.example.com"] = [ip]
    with pytest.raises(PolicyError, match=f"public server led to it, but {ip}"):
        await client.send(HttpRequest("GET", url))
    names.addresses["mcp.example.com"] = [ip, PUBLIC]
    assert (await client.send(HttpRequest("GET", url))).status == 200
    names.addresses["mcp.example.com"] = [ip]
    assert (await HttpClient().send(HttpRequest("GET", url))).status == 200


async def test_a_machine_without_the_names_certificate_proves_nothing(
    peer: Peer, names: Names, serve: Serve, foreign_tls: ssl.SSLContext
) -> None:
    """The name is made to point to this machine, where some other service has the port."""
    service = await serve(saying(ok()), foreign_tls)
    names.addresses["mcp.example.com"] = [PUBLIC]
    names.routes[PUBLIC] = service.port
    client = HttpClient()
    url = peer.url(scheme="https", host="mcp.example.com")
    with pytest.raises(TransportError, match="not trusted"):
        await client.send(HttpRequest("GET", url))
    assert names.connected == [PUBLIC]
    assert service.heads == []
    # It isn't remembered, though it was public: what counts is who answered.
    names.addresses["mcp.example.com"] = ["10.0.0.1"]
    names.routes["10.0.0.1"] = peer.port
    await client.send(HttpRequest("GET", url))
    assert await client.space_of(url) is AddressSpace.PRIVATE


async def test_each_origin_has_a_space_of_its_own(peer: Peer, names: Names) -> None:
    client = HttpClient()
    for host, address in (("a.example.com", PUBLIC), ("b.example.com", "10.0.0.1")):
        names.addresses[host] = [address]
        await client.send(HttpRequest("GET", peer.url(scheme="https", host=host)))
    assert await client.space_of(peer.url(scheme="https", host="a.example.com")) is AddressSpace.PUBLIC
    assert await client.space_of(peer.url(scheme="https", host="b.example.com")) is AddressSpace.PRIVATE


async def test_an_origin_is_asked_for_its_space_once(peer: Peer, names: Names, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the first connection of ours tells anything new: behind a proxy or a caller's client none does."""
    url = peer.url(scheme="https", host="mcp.example.com")
    names.addresses["mcp.example.com"] = [PUBLIC]
    client = HttpClient()
    assert client.would_learn_space(url)
    await client.send(HttpRequest("GET", url))
    assert not client.would_learn_space(f"{url}/elsewhere")
    assert client.would_learn_space("https://mcp.example.com:8443/")
    assert not HttpClient(factory=httpx.AsyncClient).would_learn_space(url)
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.corp:3128")
    assert not HttpClient().would_learn_space(url)


@pytest.mark.parametrize(
    ("url", "floor"),
    [
        ("https://127.0.0.1/", AddressSpace.PUBLIC),
        ("https://127.0.0.1/", AddressSpace.PRIVATE),
        ("https://10.0.0.1/", AddressSpace.PUBLIC),
        ("https://localhost/", AddressSpace.PRIVATE),
        ("https://me.localhost./", AddressSpace.PRIVATE),
        ("https://2130706433/", AddressSpace.PRIVATE),
        ("https://0177.0.0.1/", AddressSpace.PRIVATE),
        ("https://[::ffff:127.0.0.1]/", AddressSpace.PRIVATE),
        ("https://[64:ff9b::a00:1]/", AddressSpace.PUBLIC),
        ("http://mcp.example.com/", AddressSpace.LOOPBACK),
        ("https://user@mcp.example.com/", AddressSpace.LOOPBACK),
        ("javascript:alert(1)", AddressSpace.LOOPBACK),
        ("file:///etc/passwd", AddressSpace.LOOPBACK),
    ],
)
async def test_a_browser_is_not_sent_where_a_request_would_not_go(url: str, floor: AddressSpace) -> None:
    with pytest.raises(PolicyError):
        await HttpClient().check_place(url, floor=floor)


@pytest.mark.parametrize(
    ("url", "floor"),
    [
        ("https://as.invalid/authorize?a=b", AddressSpace.PUBLIC),
        ("https://10.0.0.1/authorize", AddressSpace.PRIVATE),
        ("http://127.0.0.1:8000/authorize", AddressSpace.LOOPBACK),
        ("https://as.invalid/authorize", AddressSpace.LOOPBACK),
    ],
)
async def test_a_browser_is_sent_as_deep_as_the_server_itself_is(url: str, floor: AddressSpace) -> None:
    await HttpClient().check_place(url, floor=floor)


async def test_behind_a_callers_client_what_a_name_says_here_does_not_count() -> None:
    """Whoever connects looks the name up for itself. Here it is not even looked up: that would leave the machine."""
    client = HttpClient(factory=httpx.AsyncClient)
    assert await client.space_of("https://mcp.example.com/mcp") is AddressSpace.PUBLIC
    assert await client.space_of("https://10.0.0.1/mcp") is AddressSpace.PRIVATE
    assert await client.space_of("http://127.0.0.1:8000/mcp") is AddressSpace.LOOPBACK
