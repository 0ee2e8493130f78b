"""Redirects, certificates and proxies: who gets what is meant for a server, and who else is asked for it."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
import httpx2
import pytest
import trustme

import mcp_login.sync
from mcp_login import InvalidResponse, MemoryStorage, PolicyError, TransportError
from tests.flows.strangers import Answer, Asked
from tests.hostile.attack import attack, refute
from tests.hostile.exposure import given_by
from tests.hostile.raw import Wire, after_request, open_raw, tunnel
from tests.hostile.switches.network import (
    ADDRESS_OF_CONNECTION,
    ADDRESS_SPACES,
    CALLERS_REDIRECTS,
    CERTIFICATES,
    NUMBER_OF_REDIRECTS,
    REDIRECTS_OF_SECRETS,
    REDIRECTS_WITHIN_THE_ORIGIN,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.hostile.parties import Host
    from tests.hostile.world import World

__all__: list[str] = []

SSRF = "RFC 9728 section 7.7"
PRACTICES = "security best practices, Server-Side Request Forgery"


# --- redirects


def redirect(status: int, location: str) -> Callable[[Asked], Answer]:
    return lambda _: Answer(status, headers={"Location": location})


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@attack("CVE-2026-64684; RFC 9700 section 4.12", REDIRECTS_OF_SECRETS)
def test_a_code_follows_no_redirect(world: World, status: int) -> None:
    resource, server = world.server()
    thief = world.host("thief.example.com")
    server.on["/token"] = redirect(status, f"{thief.origin}/collect")
    outcome = world.log_in(resource.url)
    refute(thief.connections, "the code went to somebody else")
    assert isinstance(outcome.error, InvalidResponse)
    assert outcome.shows(*given_by(server)) == []


@attack("CVE-2026-64684", REDIRECTS_OF_SECRETS)
def test_a_refresh_token_follows_no_redirect(world: World) -> None:
    resource, server = world.server()
    thief = world.host("thief.example.com")
    storage = MemoryStorage()
    assert world.log_in(resource.url, storage=storage).error is None
    server.on["/token"] = redirect(307, f"{thief.origin}/collect")
    outcome = world.attempt(lambda: mcp_login.sync.access_token(resource.url, storage=storage, min_valid_for=5000))
    refute(any(map(thief.saw, server.given["refresh_token"])), "the refresh token went to somebody else")
    assert isinstance(outcome.error, InvalidResponse)


@attack("CVE-2026-64684", REDIRECTS_OF_SECRETS)
def test_a_revoked_token_follows_no_redirect(world: World) -> None:
    resource, server = world.server()
    thief = world.host("thief.example.com")
    storage = MemoryStorage()
    server.metadata["revocation_endpoint"] = f"{server.host.origin}/revoke"
    assert world.log_in(resource.url, storage=storage).error is None
    server.on["/revoke"] = redirect(308, f"{thief.origin}/collect")
    outcome = world.attempt(lambda: mcp_login.sync.logout(resource.url, storage=storage))
    refute(any(map(thief.saw, server.given["access_token"])), "a token went to somebody else")
    assert (outcome.value.deleted, outcome.value.revoked) == (True, False)


@attack("CVE-2026-64684", REDIRECTS_OF_SECRETS)
def test_a_software_statement_follows_no_redirect(world: World) -> None:
    resource, server = world.server()
    thief = world.host("thief.example.com")
    server.on["/register"] = redirect(307, f"{thief.origin}/collect")
    outcome = world.log_in(resource.url, additional_client_metadata={"software_statement": "eyJ.c29mdHdhcmU.c2ln"})
    refute(thief.saw("eyJ.c29mdHdhcmU.c2ln"), "the software statement went to somebody else")
    assert isinstance(outcome.error, InvalidResponse)


@pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])
@attack("CVE-2026-64684", CALLERS_REDIRECTS)
def test_a_code_follows_no_redirect_of_the_callers_client_either(world: World, library: Any) -> None:
    resource, server = world.server()
    thief = world.host("thief.example.com")
    server.on["/token"] = redirect(307, f"{thief.origin}/collect")
    context = ssl.create_default_context()

    def client() -> Any:
        return library.AsyncClient(follow_redirects=True, verify=context, trust_env=False)

    outcome = world.log_in(resource.url, http_client=client)
    refute(any(map(thief.saw, server.given["code"])), "the code went to somebody else")
    assert isinstance(outcome.error, InvalidResponse)


@pytest.mark.parametrize(
    ("name", "address", "port", "tls"),
    [
        ("elsewhere.example.net", "93.184.216.200", 443, True),
        ("mcp.example.com", "93.184.216.10", 8443, True),
        ("mcp.example.com", "93.184.216.10", 80, False),
    ],
    ids=["another host", "another port", "without TLS"],
)
@attack(PRACTICES, REDIRECTS_WITHIN_THE_ORIGIN)
def test_metadata_is_not_fetched_from_another_origin_by_redirect(
    world: World, name: str, address: str, port: int, tls: bool
) -> None:
    no_redirect_leads_to(world, name, address, port, tls)


@pytest.mark.parametrize(
    ("name", "address", "port", "tls"),
    [("intranet.example.com", "10.0.0.5", 443, True), ("169.254.169.254", "169.254.169.254", 80, False)],
    ids=["inside", "a cloud's metadata"],
)
@attack(PRACTICES, REDIRECTS_WITHIN_THE_ORIGIN, ADDRESS_OF_CONNECTION)
def test_metadata_is_not_fetched_from_inside_by_redirect(
    world: World, name: str, address: str, port: int, tls: bool
) -> None:
    no_redirect_leads_to(world, name, address, port, tls)


def no_redirect_leads_to(world: World, name: str, address: str, port: int, tls: bool) -> None:
    """ "Redirect chains: Normal-looking URLs that redirect to internal resources"."""
    resource, _ = world.server()
    target = world.host(name, address, port=port, tls=tls)
    resource.on["/.well-known/oauth-protected-resource/mcp"] = redirect(302, f"{target.origin}/latest/meta-data")
    world.log_in(resource.url)
    refute(target.connections, "a redirect out of the origin was followed")


@attack("RFC 9110 section 15.4", NUMBER_OF_REDIRECTS)
def test_redirects_without_end_are_not_followed_without_end(world: World) -> None:
    resource, _ = world.server()
    resource.on["/.well-known/oauth-protected-resource/mcp"] = redirect(
        302, "/.well-known/oauth-protected-resource/mcp"
    )
    world.log_in(resource.url)
    asked = resource.host.paths().count("/.well-known/oauth-protected-resource/mcp")
    refute(asked > 4, "a document was asked for more than four times")
    assert asked == 4


@pytest.mark.parametrize(
    "location", ["//[", "https://[::1", "http://[x]/", "//mcp.example.com:port/", "\t", "%0d%0aX:"]
)
def test_a_redirect_to_nowhere_is_no_redirect(world: World, location: str) -> None:
    resource, _ = world.server()
    resource.on["/mcp"] = redirect(307, location)
    resource.on["/.well-known/oauth-protected-resource/mcp"] = redirect(302, location)
    assert world.log_in(resource.url).error is None  # the root has the document


# --- certificates


def strangers_certificate(_: World) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("login.example.com").configure_cert(context)
    return context


def other_name(world: World) -> ssl.SSLContext:
    return world.tls("login.example.com.evil.example")


def expired(world: World) -> ssl.SSLContext:
    return world.tls("login.example.com", not_after=datetime.now(UTC) - timedelta(days=1))


def old_tls(world: World) -> ssl.SSLContext:
    context = world.tls("login.example.com")
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    return context


@pytest.mark.parametrize("certificate", [strangers_certificate, other_name, expired, old_tls])
@attack("RFC 6749 section 10.9", CERTIFICATES)
def test_a_server_that_is_not_who_it_should_be_gets_nothing(
    world: World, certificate: Callable[[World], ssl.SSLContext]
) -> None:
    resource, server = world.server()
    impostor = world.host("login.example.com", tls=certificate(world))
    server.metadata["registration_endpoint"] = f"{impostor.origin}/register"
    outcome = world.log_in(resource.url)
    refute(impostor.asked, "an impostor heard what is for the server")
    assert isinstance(outcome.error, TransportError)


# --- proxies


@pytest.fixture
def proxy(world: World) -> Iterator[Host]:
    """An HTTP proxy that the environment names for https. It finds every host of the world by its name."""
    with open_raw(tunnel(lambda target: _port(world, target))) as raw:
        from tests.hostile.parties import Host

        yield Host(raw.origin, raw)


def _port(world: World, target: str) -> int | None:
    host, _, port = target.rpartition(":")
    address = world.names.addresses.get(host, [host.strip("[]")])[0]
    return world.names.routes.get((address, int(port)))


@attack(SSRF, ADDRESS_SPACES)
def test_a_proxy_is_not_asked_for_what_is_inside(world: World, proxy: Host) -> None:
    """It stands inside, and resolves and connects as it likes: what a URL shows by itself is judged before."""
    world.monkeypatch.setenv("HTTPS_PROXY", proxy.origin)
    resource, server = world.server()
    server.metadata["registration_endpoint"] = "https://10.0.0.5/users/delete"
    outcome = world.log_in(resource.url)
    refute("10.0.0.5:443" in proxy.paths(), "a proxy was asked for a host inside")
    assert isinstance(outcome.error, PolicyError)
    assert "mcp.example.com:443" in proxy.paths()


@attack("RFC 9110 section 9.3.6", CERTIFICATES)
def test_a_proxy_that_answers_itself_gets_nothing(world: World) -> None:
    resource, _ = world.server()
    context = strangers_certificate(world)

    def impersonate(wire: Wire) -> None:
        wire.ask()
        wire.say(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with context.wrap_socket(wire.sock, server_side=True) as secured:
            inner = Wire(raw, secured)
            inner.ask()
            inner.say(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")

    with open_raw(impersonate) as raw:
        world.monkeypatch.setenv("HTTPS_PROXY", raw.origin)
        outcome = world.log_in(resource.url)
        refute([asked for asked in raw.asked if asked.method != "CONNECT"], "a proxy read what is said to the server")
        assert isinstance(outcome.error, TransportError)


@attack("specification, Communication Security", ADDRESS_SPACES)
def test_a_proxy_carries_nothing_in_clear_to_a_public_address(world: World) -> None:
    """Not where `allow_private_network` lets plain http be spoken inside, either."""
    resource, server = world.server()
    with open_raw(after_request(lambda wire: wire.wait(1))) as raw:
        world.monkeypatch.setenv("HTTP_PROXY", raw.origin)
        server.metadata["token_endpoint"] = "http://93.184.216.50/token"
        world.monkeypatch.setattr("mcp_login.network.http.DEADLINE", 0.5)
        outcome = world.log_in(resource.url, allow_private_network=True)
        refute(any(code in str(asked.body) for asked in raw.asked for code in server.given["code"]), "a code in clear")
        assert isinstance(outcome.error, PolicyError)
