"""Names that change their mind: DNS rebinding, and names with many addresses (security best practices, SSRF)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import mcp_login.sync
from mcp_login import MemoryStorage, PolicyError, TransportError
from tests.flows.strangers import Answer, Asked
from tests.hostile.attack import attack, refute
from tests.hostile.parties import AuthorizationServer, Resource
from tests.hostile.switches.network import (
    ADDRESS_OF_CONNECTION,
    ADDRESS_SPACES,
    ADDRESSES_OF_A_NAME,
    CERTIFICATES,
    LEAST_PRIVATE_SO_FAR,
    ONE_LOOK_UP,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.hostile.world import World

__all__: list[str] = []

SSRF = "RFC 9728 section 7.7"
PRACTICES = "security best practices, Server-Side Request Forgery"


class Turning(list[str]):
    """The addresses of a name that are others at each look-up; the last ones stay."""

    def __init__(self, *answers: str) -> None:
        super().__init__(answers)
        self._left = list(answers)

    def __iter__(self) -> Iterator[str]:
        return iter([self._left.pop(0) if len(self._left) > 1 else self._left[0]])


@attack(PRACTICES, ONE_LOOK_UP)
def test_a_name_that_turns_between_check_and_connection_leads_nowhere_else(world: World) -> None:
    """DNS rebinding, security best practices: "resolving to a safe IP initially, then to" a private one."""
    resource, server = world.server()
    host = world.host("turning.example.com", "93.184.216.99", "192.168.1.1")
    world.names.addresses["turning.example.com"] = Turning("93.184.216.99", "192.168.1.1")
    server.metadata["registration_endpoint"] = f"{host.origin}/register"
    world.log_in(resource.url)
    refute("192.168.1.1" in world.names.connected, "a host inside was connected to")
    assert "93.184.216.99" in world.names.connected


@attack(PRACTICES, LEAST_PRIVATE_SO_FAR)
def test_a_name_that_turns_between_two_requests_leads_nowhere_else(world: World) -> None:
    """The person named this server, wherever it is; it is not two places at once."""
    resource, _ = world.server()
    router = world.host("router.example.com", "192.168.1.1")

    def turn(_: Asked) -> Answer:
        world.names.addresses["mcp.example.com"] = ["192.168.1.1"]
        return Answer(404)

    resource.on["/.well-known/oauth-protected-resource/mcp"] = turn
    outcome = world.ask(resource.url)
    refute(router.connections, "a host inside was connected to")
    assert isinstance(outcome.error, PolicyError)


@attack(PRACTICES, ADDRESS_SPACES)
def test_a_server_whose_name_turns_to_this_machine_opens_nothing_on_it(world: World) -> None:
    """Where a server lives is judged by a connection with a valid certificate, not by what its name says by then."""
    service = world.service()
    resource, _ = world.server(port=service.port)
    turns = iter([False, True])

    def answer(_: Asked) -> Answer:
        if next(turns, True):
            world.names.addresses["mcp.example.com"] = ["127.0.0.1"]
        return Answer(401, headers={"WWW-Authenticate": f'Bearer resource_metadata="{service.origin}/admin"'})

    resource.on["/mcp"] = answer
    outcome = world.ask(resource.url)
    refute(service.asked, "a service on loopback was asked")
    assert isinstance(outcome.error, PolicyError)


@pytest.mark.parametrize("status", [200, 400, 401, 503])
@attack(PRACTICES, CERTIFICATES)
def test_a_server_whose_name_turns_inside_without_its_certificate_gets_no_refresh_token(
    world: World, status: int
) -> None:
    """A login made outside is refreshed inside (a VPN, split DNS) where the server itself is there, and nobody in its place."""
    resource, server = world.server()
    storage = MemoryStorage()
    assert world.log_in(resource.url, storage=storage).error is None
    outside = world.names.addresses["mcp.example.com"]
    other = world.host("wiki.corp.example.com", "10.0.0.5")
    other.answer = lambda _: Answer(status, {"error": "invalid_request"})
    world.names.addresses["mcp.example.com"] = ["10.0.0.5"]
    outcome = world.attempt(lambda: mcp_login.sync.access_token(resource.url, storage=storage, min_valid_for=5000))
    refute(any(map(other.saw, server.given["refresh_token"])), "a host inside was sent the refresh token")
    assert isinstance(outcome.error, PolicyError)
    assert other.asked == []
    # It is there as before once the person is outside again.
    world.names.addresses["mcp.example.com"] = outside
    assert mcp_login.sync.access_token(resource.url, storage=storage, min_valid_for=5000)


@attack(PRACTICES, ADDRESS_OF_CONNECTION)
def test_an_endpoint_whose_name_turns_inside_gets_no_refresh_token(world: World) -> None:
    """With a certificate of its own, whoever runs it: the server that led to it is as far away as ever."""
    server = AuthorizationServer(world.host("login.example.com"))
    resource = Resource(world.host("mcp.example.com"), server)
    storage = MemoryStorage()
    assert world.log_in(resource.url, storage=storage).error is None
    inside = world.host("login.example.com", "10.0.0.5")
    outcome = world.attempt(lambda: mcp_login.sync.access_token(resource.url, storage=storage, min_valid_for=5000))
    refute(inside.connections, "a host inside was connected to")
    assert isinstance(outcome.error, PolicyError)


@pytest.mark.parametrize("inside", ["10.0.0.5", "fd00::5"])
@attack(SSRF, ADDRESS_OF_CONNECTION)
def test_of_a_name_with_two_addresses_the_one_inside_is_no_way_out(world: World, closed_port: int, inside: str) -> None:
    """The public one refuses, or is slow, so that the other is tried."""
    resource, server = world.server()
    host = world.host("two.example.com", inside)
    world.names.addresses["two.example.com"] = ["93.184.216.98", inside]
    world.names.routes["93.184.216.98", 443] = closed_port
    server.metadata["registration_endpoint"] = f"{host.origin}/register"
    world.log_in(resource.url)
    refute(inside in world.names.connected, "a host inside was connected to")


@attack("CWE-406", ADDRESSES_OF_A_NAME)
def test_a_name_with_many_addresses_sweeps_no_network(world: World, closed_port: int) -> None:
    """Each costs a connection to somebody who may have nothing to do with it."""
    resource, server = world.server()
    world.names.addresses["sweep.example.com"] = addresses = [f"93.184.217.{n}" for n in range(40)]
    world.names.routes.update({(address, 443): closed_port for address in addresses})
    server.metadata["registration_endpoint"] = "https://sweep.example.com/register"
    outcome = world.log_in(resource.url)
    tried = [ip for ip in world.names.connected if ip in addresses]
    refute(len(tried) > 16, "more than a few addresses were connected to")
    assert len(tried) == 16
    assert isinstance(outcome.error, TransportError)
