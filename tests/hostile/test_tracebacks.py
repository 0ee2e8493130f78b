"""What trackers of errors write down of a failure: OWASP Logging Cheat Sheet, "Data to exclude"."""

from __future__ import annotations

import asyncio
import pickle
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import httpx
import httpx2
import pytest

import mcp_login.sync
from mcp_login import AuthError, MemoryStorage, OAuth, PolicyError
from tests.flows.strangers import Answer
from tests.flows.support import HEADERS, message
from tests.hostile.attack import attack, refute
from tests.hostile.exposure import given_by, in_tracebacks
from tests.hostile.switches.leaks import (
    PORTAL_FRAMES,
    TRACEBACKS,
    TWINS,
)

if TYPE_CHECKING:
    from tests.hostile.parties import Resource
    from tests.hostile.world import Outcome, World

__all__: list[str] = []


SECRET = "the-secret-of-a-client"


async def _ask_async(library: Any, url: str, auth: OAuth) -> Any:
    async with library.AsyncClient(auth=auth, trust_env=False, verify=ssl.create_default_context()) as client:
        return await client.post(url, json=message(), headers=HEADERS)


Door = Callable[["World", "Resource", dict[str, Any]], "Outcome"]

FUNCTIONS: dict[str, Door] = {
    "sync.login": lambda world, resource, options: world.attempt(
        lambda: mcp_login.sync.login(resource.url, force=True, **options)
    ),
    "login": lambda world, resource, options: world.attempt(
        lambda: asyncio.run(mcp_login.login(resource.url, force=True, **options))
    ),
    "sync.access_token": lambda world, resource, options: world.attempt(
        lambda: mcp_login.sync.access_token(resource.url, min_valid_for=7000, **options)
    ),
    "access_token": lambda world, resource, options: world.attempt(
        lambda: asyncio.run(mcp_login.access_token(resource.url, min_valid_for=7000, **options))
    ),
}
REQUESTS: dict[str, Door] = {
    "httpx": lambda world, resource, options: world.ask(resource.url, auth=OAuth(resource.url, **options)),
    "httpx2": lambda world, resource, options: world.ask(
        resource.url, library=httpx2, auth=OAuth(resource.url, **options)
    ),
    "asynchronous": lambda world, resource, options: world.attempt(
        lambda: asyncio.run(_ask_async(httpx, resource.url, OAuth(resource.url, **options)))
    ),
}


@pytest.mark.parametrize("door", FUNCTIONS)
@attack("OWASP Logging Cheat Sheet, Data to exclude", TRACEBACKS)
def test_a_tracker_of_errors_finds_no_secret_in_the_frames_of_our_functions(world: World, door: str) -> None:
    tracker_finds_nothing(world, FUNCTIONS[door])


@pytest.mark.parametrize("door", REQUESTS)
@attack("OWASP Logging Cheat Sheet, Data to exclude", TWINS)
def test_a_tracker_of_errors_finds_no_secret_in_the_frames_of_our_auth_class(world: World, door: str) -> None:
    """They run inside the caller's client, and see the outcome of the work, not the work."""
    tracker_finds_nothing(world, REQUESTS[door])


def tracker_finds_nothing(world: World, door: Door) -> None:
    """Sentry, rich, `pytest -l` and `traceback.TracebackException(capture_locals=True)` write down every local variable."""
    resource, server = world.server()
    options = world.options(client_id="app", client_secret=SECRET, issuer=server.issuer)
    server.metadata["token_endpoint_auth_methods_supported"] = ["client_secret_post"]
    assert mcp_login.sync.login(resource.url, **options).client_id == "app"
    server.on["/token"] = lambda _: Answer(400, {"error": "invalid_request"})
    resource.on["/mcp"] = lambda _: Answer(401)
    outcome = door(world, resource, options)
    refute(in_tracebacks(outcome.error, [*given_by(server), SECRET]), "a local variable of ours holds a secret")
    assert isinstance(outcome.error, AuthError)


@attack("OWASP Logging Cheat Sheet, Data to exclude", TRACEBACKS)
def test_a_tracker_of_errors_finds_none_where_a_constructor_refuses(world: World) -> None:
    outcome = world.attempt(lambda: OAuth("http://mcp.example.com", client_id="app", client_secret=SECRET))
    refute(in_tracebacks(outcome.error, [SECRET]), "a local variable of ours holds a secret")
    assert isinstance(outcome.error, PolicyError)


class Mishap(httpx.HTTPError):
    """Raised by what a caller gave us."""


@attack("OWASP Logging Cheat Sheet, Data to exclude", PORTAL_FRAMES, TRACEBACKS)
def test_a_tracker_of_errors_finds_none_where_a_callers_callback_fails(world: World) -> None:
    """What was stored before is read again, and what the callback raises passes that frame."""
    resource, server = world.server()
    options = world.options()
    mcp_login.sync.login(resource.url, **options)

    def fail(url: str) -> None:
        whereabouts = "where it happened"
        raise Mishap(whereabouts)

    outcome = world.attempt(
        lambda: mcp_login.sync.login(resource.url, force=True, **{**options, "on_authorization_url": fail})
    )
    refute(in_tracebacks(outcome.error, given_by(server)), "a local variable of ours holds a secret")
    assert isinstance(outcome.error, Mishap)
    # Whoever wrote the callback still sees its variables.
    last = outcome.error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    assert last is not None
    assert last.tb_frame.f_locals["whereabouts"] == "where it happened"


def test_what_holds_tokens_is_not_pickled_by_mistake(world: World) -> None:
    """A worker's argument, say. Errors are, and hold none."""
    resource, server = world.server()
    auth = OAuth(resource.url, **world.options())
    assert world.ask(resource.url, auth=auth).value.status_code == 200
    with pytest.raises(TypeError) as caught:
        pickle.dumps(auth)
    assert not any(secret in str(caught.value) for secret in given_by(server))
    with pytest.raises(TypeError):
        pickle.dumps(MemoryStorage())
