"""Servers that lead elsewhere: RFC 9728 section 7.7, security best practices, "Server-Side Request Forgery (SSRF)"."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

import pytest

import mcp_login.sync
from mcp_login import MemoryStorage, PolicyError
from tests.flows.strangers import Answer
from tests.hostile.attack import attack, refute
from tests.hostile.parties import AuthorizationServer, Resource
from tests.hostile.switches.network import (
    ADDRESS_OF_CONNECTION,
    ADDRESS_SPACES,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.hostile.world import World

__all__: list[str] = []

SSRF = "RFC 9728 section 7.7"
PRACTICES = "security best practices, Server-Side Request Forgery"


def test_a_world_without_lies_gives_a_login(world: World) -> None:
    """What is refused elsewhere is refused for its one lie."""
    resource, _ = world.server()
    assert world.ask(resource.url).value.status_code == 200
    assert len(world.person.urls) == 1


# --- addresses


#: Addresses that only somebody inside can reach.
INSIDE = [
    "10.0.0.5",
    "192.168.1.1",
    "100.64.0.1",  # shared with the provider's other customers (RFC 6598)
    "169.254.169.254",  # metadata of nearly every cloud
    "168.63.129.16",  # Azure's
    "192.0.0.192",  # Oracle's
    "100.100.100.200",  # Alibaba's
    "224.0.0.1",
    "0.0.0.0",
    "fd00:ec2::254",  # AWS's
    "fe80::1",
    "ff02::1",
    "::ffff:10.0.0.5",
    "64:ff9b::a00:5",
    "2002:a00:5::1",
    "2001::f5ff:fffa",  # Teredo
    "2606:2800:220:1:0:5efe:a00:5",  # ISATAP
]


@pytest.mark.parametrize("address", INSIDE)
@attack(SSRF, ADDRESS_OF_CONNECTION)
def test_a_name_that_leads_inside_is_not_connected_to(world: World, address: str) -> None:
    """The attacker's own name, with a certificate and an address in the person's network."""
    resource, server = world.server()
    inside = world.host("intranet.example.com", address)
    server.metadata["registration_endpoint"] = f"{inside.origin}/users/delete"
    outcome = world.log_in(resource.url)
    refute(inside.connections, "a host inside was connected to")
    assert isinstance(outcome.error, PolicyError)


def challenge(resource: Resource, _: AuthorizationServer, place: str) -> None:
    resource.challenge = f'Bearer resource_metadata="{place}/.well-known/x"'


def issuer(resource: Resource, _: AuthorizationServer, place: str) -> None:
    resource.metadata["authorization_servers"] = [place]


def endpoint(name: str, _: Resource, server: AuthorizationServer, place: str) -> None:
    server.metadata[name] = f"{place}/admin"


HOPS = [challenge, issuer, partial(endpoint, "registration_endpoint"), partial(endpoint, "token_endpoint")]
hops = pytest.mark.parametrize("hop", HOPS, ids=["challenge", "issuer", "registration endpoint", "token endpoint"])


@hops
@attack(SSRF, ADDRESS_OF_CONNECTION)
def test_no_hop_of_a_login_leads_inside(
    world: World, hop: Callable[[Resource, AuthorizationServer, str], None]
) -> None:
    resource, server = world.server()
    inside = world.host("intranet.example.com", "10.0.0.5")
    hop(resource, server, inside.origin)
    outcome = world.ask(resource.url)
    refute(inside.connections, "a host inside was connected to")
    if hop is challenge:
        # What its own origin says at the well-known place is as good.
        assert outcome.value.status_code == 200
        assert "names no place to look for its metadata" in outcome.log
    else:
        assert isinstance(outcome.error, PolicyError)


#: Spellings of 127.0.0.1 that something on the way to a connection understands, whatever the URL's parser says.
HERE = [
    "127.0.0.1",
    "127.255.255.254",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0x7f.0.0.1",
    "017700000001",
    "127.0.0.1.",
    "0",
    "localhost",
    "LOCALHOST.",
    "mcp.example.com.localhost",
]


@pytest.mark.parametrize("spelled", HERE)
@attack(SSRF, ADDRESS_SPACES)
def test_no_spelling_of_this_machine_is_overlooked(world: World, spelled: str) -> None:
    """Judged before any resolver is asked, since a proxy's resolver never asks us."""
    resource, _ = world.server()
    service = world.service()
    world.names.addresses[spelled.lower()] = ["127.0.0.1"]
    resource.metadata["authorization_servers"] = [f"https://{spelled}:{service.port}"]
    outcome = world.ask(resource.url)
    refute(service.connections, "a service on loopback was connected to")
    refute(spelled.lower() in world.names.look_ups, "a resolver was asked")
    assert isinstance(outcome.error, PolicyError)


@attack(SSRF, ADDRESS_SPACES)
def test_a_challenge_leads_to_no_service_of_this_machine(world: World) -> None:
    resource, _ = world.server()
    service = world.service()
    resource.challenge = f'Bearer resource_metadata="{service.origin}/admin?delete=everything"'
    outcome = world.ask(resource.url)
    refute(service.connections, "a service on loopback was connected to")
    assert outcome.value.status_code == 200


#: Why a URL is refused that parsers could read in two ways.
NO_URL = "is not a URL that starts with https://"
NO_HOST = "has no host, or one that can't be read"
CHARACTERS = "has a space, a backslash, a control character or one beyond ASCII"
USER = "has user information"
LOOPBACK = "is a loopback address"

AMBIGUOUS = {
    "https://mcp.example.com@127.0.0.1:{port}": USER,
    "https://mcp.example.com\\@127.0.0.1:{port}": CHARACTERS,
    "https://127.0.0.1:{port}#@mcp.example.com": f"{LOOPBACK}|has a query or a fragment",
    "https://127.0.0.1%2f:{port}": NO_HOST,
    "https://127。0。0。1:{port}": CHARACTERS,
    "https://１２７.0.0.1:{port}": CHARACTERS,
    "https://ⓛocalhost:{port}": CHARACTERS,
    "https://[::ffff:127.0.0.1%25lo]:{port}": NO_HOST,
    "https://127.0.0.1:{port}/x\r\nX-Evil: yes": CHARACTERS,
    "https://127.0.0.1:{port}/x HTTP/1.1\nX-Evil: yes\n\n": CHARACTERS,
    "https:127.0.0.1:{port}": NO_URL,
    "https:////127.0.0.1:{port}": NO_HOST,
    "//127.0.0.1:{port}": NO_URL,
    "gopher://127.0.0.1:{port}": NO_URL,
    "https://0177.0.0.1:{port}": LOOPBACK,
    "file:///etc/passwd": NO_URL,
}
#: Those of them that httpx would follow to this machine. It refuses the others, too.
FOLLOWED = [place for place in AMBIGUOUS if "@" in place or "。" in place]


@pytest.mark.parametrize("place", AMBIGUOUS)
@pytest.mark.parametrize("hop", HOPS[1:3], ids=["issuer", "endpoint"])
def test_what_parsers_could_read_in_two_ways_is_refused(
    world: World, hop: Callable[[Resource, AuthorizationServer, str], None], place: str
) -> None:
    """By the reader of the document or by the policy, whichever sees it first."""
    resource, server = world.server()
    service = world.service()
    hop(resource, server, place.format(port=service.port))
    outcome = world.ask(resource.url)
    assert isinstance(outcome.error, PolicyError)
    assert re.search(AMBIGUOUS[place], str(outcome.error))
    assert service.connections == 0


@pytest.mark.parametrize("place", FOLLOWED)
@attack(SSRF, ADDRESS_SPACES)
def test_what_parsers_could_read_in_two_ways_reaches_nobody(world: World, place: str) -> None:
    resource, server = world.server()
    service = world.service()
    server.metadata["registration_endpoint"] = f"{place.format(port=service.port)}/admin"
    outcome = world.log_in(resource.url)
    refute(service.connections, "a service on loopback was connected to")
    assert isinstance(outcome.error, PolicyError)


# --- from where to where


@attack(SSRF, ADDRESS_SPACES)
def test_a_server_of_the_intranet_leads_to_no_service_of_this_machine(world: World) -> None:
    resource, _ = world.server("mcp.corp.example.com", "10.0.0.7")
    service = world.service()
    resource.challenge = f'Bearer resource_metadata="{service.origin}/admin"'
    outcome = world.ask(resource.url)
    refute(service.connections, "a service on loopback was connected to")
    assert outcome.value.status_code == 200


@pytest.mark.parametrize("address", ["169.254.169.254", "fd00:ec2::254", "fe80::1"])
@attack(PRACTICES, ADDRESS_OF_CONNECTION)
def test_a_server_of_the_intranet_leads_to_no_metadata_of_a_cloud(world: World, address: str) -> None:
    """A cloud's own network is private; the credentials that it hands to each machine are more private than that."""
    resource, server = world.server("mcp.corp.example.com", "10.0.0.7")
    metadata = world.host("metadata.example.com", address)
    server.metadata["registration_endpoint"] = f"{metadata.origin}/latest/meta-data/iam"
    outcome = world.log_in(resource.url)
    refute(metadata.connections, "the metadata service was connected to")
    assert isinstance(outcome.error, PolicyError)


def test_a_server_of_the_intranet_may_lead_to_another_one_there(world: World) -> None:
    issuer = AuthorizationServer(world.host("login.corp.example.com", "10.0.0.8"))
    resource = Resource(world.host("mcp.corp.example.com", "10.0.0.7"), issuer)
    assert world.ask(resource.url).value.status_code == 200


def test_what_is_opened_by_name_leads_inside(world: World) -> None:
    """`allow_private_network`: the documented opening for intranets and tests."""
    resource, server = world.server()
    inside = world.host("login.corp.example.com", "10.0.0.8")
    inside.answer = lambda asked: server(asked) or Answer(404)
    server.metadata["token_endpoint"] = f"{inside.origin}/token"
    assert isinstance(world.log_in(resource.url).error, PolicyError)
    assert world.log_in(resource.url, allow_private_network=True).error is None


@attack("specification, Communication Security", ADDRESS_OF_CONNECTION)
def test_what_is_opened_by_name_opens_no_plain_http_to_the_world(world: World) -> None:
    resource, server = world.server()
    clear = world.host("login.example.net", port=80, tls=False)
    clear.answer = lambda asked: server(asked) or Answer(404)
    server.metadata["token_endpoint"] = f"{clear.origin}/token"
    outcome = world.log_in(resource.url, allow_private_network=True)
    refute(any(map(clear.saw, server.given["code"])), "a code went over the network in clear")
    assert isinstance(outcome.error, PolicyError)


@pytest.mark.parametrize("name", ["token_endpoint", "registration_endpoint"])
@attack("specification, Communication Security", ADDRESS_SPACES)
def test_an_endpoint_without_tls_gets_nothing(world: World, name: str) -> None:
    resource, server = world.server()
    clear = world.host("login.example.net", port=80, tls=False)
    clear.answer = lambda asked: server(asked) or Answer(404)
    server.metadata[name] = f"{clear.origin}/{name.partition('_')[0].replace('registration', 'register')}"
    outcome = world.log_in(resource.url)
    refute(clear.connections, "an endpoint was spoken to in clear")
    assert isinstance(outcome.error, PolicyError)


@attack(SSRF, ADDRESS_OF_CONNECTION)
def test_a_logout_goes_no_deeper_than_the_login_did(world: World) -> None:
    resource, server = world.server()
    inside = world.host("logout.example.com")
    server.metadata["revocation_endpoint"] = f"{inside.origin}/revoke"
    storage = MemoryStorage()
    assert world.log_in(resource.url, storage=storage).error is None
    world.names.addresses["logout.example.com"] = ["10.0.0.5"]
    world.names.routes["10.0.0.5", 443] = inside.port
    outcome = world.attempt(lambda: mcp_login.sync.logout(resource.url, storage=storage))
    refute(inside.connections, "a host inside was sent the tokens")
    assert isinstance(outcome.value.error, PolicyError)
    assert outcome.value.deleted


def test_nothing_is_fetched_that_a_login_doesnt_need(world: World) -> None:
    """`jwks_uri` and the links for people are a server's way to make others send requests."""
    resource, server = world.server()
    elsewhere = world.host("elsewhere.example.com")
    links = ("jwks_uri", "signed_metadata", "service_documentation", "op_policy_uri", "op_tos_uri", "userinfo_endpoint")
    server.metadata.update({name: f"{elsewhere.origin}/{name}" for name in (*links, "introspection_endpoint")})
    resource.metadata.update(
        {name: f"{elsewhere.origin}/{name}" for name in ("jwks_uri", "resource_documentation", "resource_tos_uri")}
    )
    server.answer = {"id_token": "a.b.c", "issued_token_type": f"{elsewhere.origin}/x"}
    assert world.log_in(resource.url).error is None
    assert elsewhere.connections == 0


# --- the person's browser


@pytest.mark.parametrize(
    "place",
    [
        "https://192.168.1.1",
        "https://169.254.169.254",
        "https://localhost",
        "https://2130706433",
        "https://[::ffff:10.0.0.1]",
        "https://router.example.com",
    ],
)
@attack(SSRF, ADDRESS_SPACES)
def test_a_browser_is_sent_to_nothing_inside(world: World, place: str) -> None:
    """It is as good as a request of ours: a GET to a router changes its settings."""
    resource, server = world.server()
    world.names.addresses["router.example.com"] = ["192.168.1.1"]
    world.names.addresses["2130706433"] = ["127.0.0.1"]
    server.metadata["authorization_endpoint"] = f"{place}/reboot?now=1"
    opened: list[str] = []

    def open_it(url: str) -> bool:
        opened.append(url)
        return True

    outcome = world.log_in(resource.url, on_authorization_url=open_it, callback_timeout=0.1)
    refute(opened, "the person's browser was sent inside")
    assert isinstance(outcome.error, PolicyError)
