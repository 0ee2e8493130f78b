"""Windows that open again and again: what a server gets a person to be asked (field notes, "Browser storms")."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from mcp_login import FileStorage, MemoryStorage, OAuth
from tests.flows.strangers import Answer, Asked
from tests.flows.support import age
from tests.hostile.attack import attack, refute
from tests.hostile.switches.windows import LOGIN_BUDGET, REST_AFTER_FAILURE, SHARED_PAST, STEP_UPS_IN_TURN

if TYPE_CHECKING:
    from pathlib import Path

    from tests.hostile.world import World

__all__: list[str] = []


@attack("our own limit", SHARED_PAST)
def test_a_new_object_for_each_connection_is_no_new_person(world: World, tmp_path: Path) -> None:
    resource, server = world.server()
    server.response = {"code": None, "error": "access_denied"}
    for _ in range(4):
        assert world.ask(resource.url, storage=FileStorage(tmp_path / "logins")).error is not None
    refute(len(world.person.urls) > 1, f"{len(world.person.urls)} windows were opened for one refusal")
    assert world.person.urls


@attack("our own limit", REST_AFTER_FAILURE)
def test_a_login_that_was_refused_is_not_asked_for_again_at_once(world: World) -> None:
    resource, server = world.server()
    server.response = {"code": None, "error": "access_denied"}
    storage = MemoryStorage()
    for _ in range(4):
        assert world.ask(resource.url, storage=storage).error is not None
    refute(len(world.person.urls) > 1, f"{len(world.person.urls)} windows were opened for one refusal")
    assert world.person.urls


@attack("our own limit", LOGIN_BUDGET)
def test_tokens_that_are_of_no_use_open_a_few_windows_and_no_more(world: World) -> None:
    resource, server = world.server()
    server.answer = {"refresh_token": None, "expires_in": 60}
    storage = MemoryStorage()
    for _ in range(8):
        if world.ask(resource.url, storage=storage).error is None:
            age(storage, resource.url, 60)
    refute(len(world.person.urls) > 5, f"{len(world.person.urls)} windows were opened")
    assert world.person.urls


@attack('specification, "Step-Up Authorization Flow"', STEP_UPS_IN_TURN)
def test_scopes_that_are_asked_for_at_once_open_no_more_windows_than_in_turn(world: World) -> None:
    resource, _ = world.server()
    auth = OAuth(resource.url, **world.options())
    assert world.ask(resource.url, auth=auth).error is None
    before = len(world.person.urls)
    together = threading.Barrier(8, timeout=5)
    numbers = iter(range(1000))

    def always_another(_: Asked) -> Answer:
        number = next(numbers)
        if number < together.parties:
            together.wait()
        challenge = f'Bearer error="insufficient_scope", scope="scope{number}"'
        return Answer(403, headers={"WWW-Authenticate": challenge})

    resource.on["/mcp"] = always_another
    requests = [threading.Thread(target=world.ask, args=(resource.url,), kwargs={"auth": auth}) for _ in range(8)]
    for request in requests:
        request.start()
    for request in requests:
        request.join()
    opened = len(world.person.urls) - before
    refute(opened > 3, f"{opened} windows were opened")
    assert opened > 0
