"""Servers that give a refresh token once more that they took back: what was noted of it before is no longer true."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trustme

import mcp_login.sync
from mcp_login import KeychainStorage, LoginRequired
from tests.flows.strangers import Answer
from tests.flows.support import age
from tests.hostile.world import World, apart
from tests.unit.storage.keyrings import MemoryKeyring

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.flows.strangers import Asked
    from tests.hostile.parties import AuthorizationServer

__all__: list[str] = []

TOKEN = "the-one-refresh-token-of-this-person"


@pytest.fixture
def world() -> Iterator[World]:
    with apart(trustme.CA()) as world:
        yield world


def refreshes(server: AuthorizationServer) -> int:
    return sum(b"grant_type=refresh_token" in asked.body for asked in server.host.asked_for("/token"))


def test_a_login_that_gives_the_same_refresh_token_again_can_be_refreshed(world: World) -> None:
    resource, server = world.server()
    server.answer["refresh_token"] = TOKEN
    server.given["refresh_token"].append(TOKEN)
    storage = KeychainStorage(backend=MemoryKeyring())
    assert world.log_in(resource.url, storage=storage).error is None

    def refused(_: Asked) -> Answer:
        return Answer(400, {"error": "invalid_grant"})

    server.on["/token"] = refused
    age(storage, resource.url, 7200)
    with pytest.raises(LoginRequired):
        mcp_login.sync.access_token(resource.url, storage=storage)
    del server.on["/token"]

    assert world.log_in(resource.url, storage=storage).error is None
    age(storage, resource.url, 7200)
    before = refreshes(server)
    assert mcp_login.sync.access_token(resource.url, storage=storage)
    assert refreshes(server) == before + 1


def test_a_refresh_that_gives_back_an_earlier_token_can_be_followed_by_another(world: World) -> None:
    resource, server = world.server()
    storage = KeychainStorage(backend=MemoryKeyring())
    server.given["refresh_token"] += (pair := ["token-of-even-days", "token-of-odd-days"])
    for turn in range(4):
        server.answer["refresh_token"] = pair[turn % 2]
        if turn == 0:
            assert world.log_in(resource.url, storage=storage).error is None
        else:
            age(storage, resource.url, 7200)
            assert mcp_login.sync.access_token(resource.url, storage=storage)
    assert refreshes(server) == 3
