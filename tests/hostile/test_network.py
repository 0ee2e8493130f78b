"""Servers that lead elsewhere: RFC 9728 section 7.7, security best practices, "Server-Side Request Forgery (SSRF)"."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import mcp_login.sync
from mcp_login import PolicyError
from tests.hostile.attack import attack, refute
from tests.hostile.switches.network import ADDRESS_OF_CONNECTION, ADDRESS_SPACES

if TYPE_CHECKING:
    from tests.hostile.world import World

__all__: list[str] = []


def test_a_world_without_lies_gives_a_login(world: World) -> None:
    """What is refused elsewhere is refused for its one lie."""
    resource, _ = world.server()
    assert world.ask(resource.url).value.status_code == 200
    assert len(world.person.urls) == 1


#: Addresses that only somebody inside can reach, in every spelling that something on the way understands.
INSIDE = [
    "10.0.0.5",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "169.254.169.254",
    "168.63.129.16",
    "192.0.0.192",
    "198.18.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "0.0.0.0",
    "fd00::5",
    "fe80::1",
    "fec0::1",
    "::ffff:10.0.0.5",
    "64:ff9b::a00:5",
    "2002:a00:5::1",
    "::10.0.0.5",
    "ff02::1",
]


@pytest.mark.parametrize("address", INSIDE)
@attack("RFC 9728 section 7.7", ADDRESS_OF_CONNECTION)
def test_a_name_that_leads_inside_is_not_connected_to(world: World, address: str) -> None:
    """The attacker's own name, with a certificate and an address in the person's network."""
    resource, server = world.server()
    inside = world.host("intranet.example.com", address)
    server.metadata["registration_endpoint"] = f"{inside.origin}/users/delete"
    outcome = world.attempt(lambda: mcp_login.sync.login(resource.url, **world.options()))
    refute(inside.connections, "a host inside was connected to")
    assert isinstance(outcome.error, PolicyError)


@attack("RFC 9728 section 7.7", ADDRESS_SPACES)
def test_a_challenge_leads_to_no_service_of_this_machine(world: World) -> None:
    resource, _ = world.server()
    service = world.service()
    resource.challenge = f'Bearer resource_metadata="{service.origin}/admin?delete=everything"'
    outcome = world.ask(resource.url)
    refute(service.connections, "a service on loopback was connected to")
    assert isinstance(outcome.error, PolicyError)
