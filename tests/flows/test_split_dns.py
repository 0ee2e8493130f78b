"""A laptop that goes into the office and leaves it: the same names are reached at other addresses (RFC 9728 section 7.7)."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, NamedTuple

import pytest
import trustme

import mcp_login.sync
from mcp_login import MemoryStorage, PolicyError, reach
from tests.flows.strangers import Answer
from tests.flows.support import age, store, stored
from tests.hostile.world import World, apart

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from tests.flows.strangers import Asked
    from tests.hostile.parties import AuthorizationServer, Resource

__all__: list[str] = []

INSIDE = {"mcp.example.com": "10.0.0.5", "login.example.com": "10.0.0.6"}


class Office(NamedTuple):
    """A server and its authorization server, logged in at from outside."""

    world: World
    resource: Resource
    server: AuthorizationServer
    storage: MemoryStorage

    def enter(self, *names: str) -> None:
        """`names`, or all of them, lead inside from now on."""
        for name in names or INSIDE:
            address = INSIDE[name]
            outside = self.world.names.addresses[name][0]
            self.world.names.routes[address, 443] = self.world.names.routes[outside, 443]
            self.world.names.addresses[name] = [address]

    def refreshes(self) -> int:
        return sum(b"grant_type=refresh_token" in asked.body for asked in self.server.host.asked_for("/token"))

    def address_space(self) -> str:
        record = stored(self.storage, self.resource.url)
        assert record is not None
        return record.address_space


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def office(authority: trustme.CA) -> Iterator[Office]:
    from tests.hostile.parties import AuthorizationServer, Resource

    with apart(authority) as world:
        server = AuthorizationServer(world.host("login.example.com"))
        server.metadata["revocation_endpoint"] = f"{server.issuer}/revoke"
        resource = Resource(world.host("mcp.example.com"), server)
        storage = MemoryStorage()
        assert world.log_in(resource.url, storage=storage).error is None
        yield Office(world, resource, server, storage)


def test_a_refresh_follows_a_server_that_is_inside_by_now(office: Office) -> None:
    age(office.storage, office.resource.url, 7200)
    office.enter()
    outcome = office.world.ask(office.resource.url, storage=office.storage, interactive=False)
    assert outcome.error is None
    assert outcome.value.status_code == 200
    assert office.refreshes() == 1
    assert office.address_space() == "public"


def test_who_leaves_the_office_again_is_led_nowhere_inside(office: Office) -> None:
    """Having been inside once is no leave to be led there ever after."""
    age(office.storage, office.resource.url, 7200)
    outside = list(office.world.names.addresses["mcp.example.com"])
    office.enter()
    mcp_login.sync.access_token(office.resource.url, storage=office.storage)
    office.world.names.addresses["mcp.example.com"] = outside
    age(office.storage, office.resource.url, 7200)
    with pytest.raises(PolicyError):
        mcp_login.sync.access_token(office.resource.url, storage=office.storage)
    assert office.refreshes() == 1


def test_a_refresh_that_is_sent_again_asks_once_where_the_server_is(office: Office) -> None:
    age(office.storage, office.resource.url, 7200)
    office.enter()
    busy = iter([True])

    def answer(asked: Asked) -> Answer:
        return Answer(503) if next(busy, False) else office.server.token(asked)

    office.server.on["/token"] = answer
    before = len(office.resource.host.asked)
    assert mcp_login.sync.access_token(office.resource.url, storage=office.storage)
    assert office.refreshes() == 2
    assert len(office.resource.host.asked) == before + 1


def test_an_endpoint_that_turns_inside_while_its_server_stays_outside_gets_nothing(office: Office) -> None:
    age(office.storage, office.resource.url, 7200)
    office.enter("login.example.com")
    outcome = office.world.ask(office.resource.url, storage=office.storage, interactive=False)
    assert isinstance(outcome.error, PolicyError)
    assert office.refreshes() == 0
    assert INSIDE["login.example.com"] not in office.world.names.connected
    assert stored(office.storage, office.resource.url) is not None


def test_a_name_alone_does_not_show_that_a_server_is_inside(office: Office) -> None:
    """Somebody's machine answers there, without a certificate for that name."""
    age(office.storage, office.resource.url, 7200)
    other = office.world.host("printer.example.com", INSIDE["mcp.example.com"])
    office.enter("login.example.com")
    office.world.names.addresses["mcp.example.com"] = [INSIDE["mcp.example.com"]]
    with pytest.raises(PolicyError):
        mcp_login.sync.access_token(office.resource.url, storage=office.storage)
    assert other.connections == 1
    assert other.asked == []
    assert office.refreshes() == 0
    assert office.address_space() == "public"


def test_what_a_client_of_the_callers_raises_does_not_stand_in_the_way_of_a_logout(office: Office) -> None:
    def make() -> httpx.AsyncClient:
        raise RuntimeError("no client today")

    result = mcp_login.sync.logout(office.resource.url, storage=office.storage, http_client=make)
    assert result.deleted
    assert result.revoked is False
    assert "RuntimeError" in str(result.error)
    assert stored(office.storage, office.resource.url) is None


def test_a_logout_inside_revokes(office: Office) -> None:
    office.enter()
    result = mcp_login.sync.logout(office.resource.url, storage=office.storage)
    assert result.revoked is True
    assert len(office.server.host.asked_for("/revoke")) == 2


def test_whoever_asks_for_a_login_gets_one_where_the_refresh_is_refused(office: Office) -> None:
    """The token endpoint that was stored has gone inside, and the documents name another one by now."""
    inside = office.world.host("tokens.example.com", "10.0.0.7")
    old = age(office.storage, office.resource.url, 7200)
    store(office.storage, dataclasses.replace(old, token_endpoint=f"{inside.origin}/token"))
    assert office.world.log_in(office.resource.url, storage=office.storage).error is None
    assert inside.connections == 0
    record = stored(office.storage, office.resource.url)
    assert record is not None
    assert record.token_endpoint == f"{office.server.issuer}/token"
    assert record.refresh_token != old.refresh_token


@pytest.mark.parametrize("status", [200, 418, 429, 503])
def test_what_the_server_says_when_it_is_asked_where_it_lives_is_no_matter(office: Office, status: int) -> None:
    """It is up, and that is all that counts."""
    age(office.storage, office.resource.url, 7200)
    office.resource.on["/mcp"] = lambda _: Answer(status, b"<teapot>")
    office.enter()
    assert mcp_login.sync.access_token(office.resource.url, storage=office.storage)
    assert office.refreshes() == 1


def test_a_server_that_is_out_of_reach_lets_nothing_inside_be_reached(office: Office, closed_port: int) -> None:
    age(office.storage, office.resource.url, 7200)
    office.enter()
    office.world.names.routes[INSIDE["mcp.example.com"], 443] = closed_port
    with pytest.raises(PolicyError):
        mcp_login.sync.access_token(office.resource.url, storage=office.storage)
    assert office.refreshes() == 0


def test_a_server_that_says_nothing_about_where_it_lives_is_given_up(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others wait for this refresh."""

    def silent(_: Asked) -> Answer:
        office.resource.host.stranger.over.wait(30)
        return Answer(401)

    monkeypatch.setattr(reach, "WHEREABOUTS_LIMIT", 0.2)
    age(office.storage, office.resource.url, 7200)
    office.resource.on["/mcp"] = silent
    office.enter()
    with pytest.raises(PolicyError):
        mcp_login.sync.access_token(office.resource.url, storage=office.storage)
    assert office.refreshes() == 0
