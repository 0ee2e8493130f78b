"""How many, and how long: requests, and what is kept or given to a browser (RFC 9728 section 7.6, CWE-770)."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pytest

from mcp_login import (
    AuthorizationErrorResponse,
    FileStorage,
    InvalidResponse,
    MemoryStorage,
    PolicyError,
    TransportError,
)
from tests.flows.strangers import Answer, Asked
from tests.hostile.attack import attack, refute
from tests.hostile.switches.network import (
    LENGTH_OF_CREDENTIALS,
    LENGTH_OF_URLS,
    NUMBER_OF_ISSUERS,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.hostile.parties import Resource
    from tests.hostile.world import World

__all__: list[str] = []

SSRF = "RFC 9728 section 7.7"
PRACTICES = "security best practices, Server-Side Request Forgery"


@attack("RFC 9728 section 7.6", NUMBER_OF_ISSUERS)
def test_of_many_authorization_servers_a_few_are_tried(world: World) -> None:
    resource, _ = world.server()
    many = world.host("many.example.com")
    resource.metadata["authorization_servers"] = [f"{many.origin}/{n}" for n in range(12)]
    outcome = world.log_in(resource.url)
    refute(len(many.asked) > 12, "more than four issuers were asked for their metadata")
    assert len(many.asked) == 12  # at three places each
    assert isinstance(outcome.error, InvalidResponse)


@attack(SSRF, NUMBER_OF_ISSUERS)
def test_a_login_sends_no_more_requests_than_the_documents_say(world: World) -> None:
    """The sum of all that a resource can make us ask for, before a person is asked: see "Named limits and time-outs"."""
    resource, _ = world.server(path="/mcp/")
    challenged, many = world.host("documents.example.com"), world.host("many.example.com")
    resource.challenge = f'Bearer resource_metadata="{challenged.origin}/document"'
    resource.metadata["authorization_servers"] = [f"{many.origin}/{n}" for n in range(6)]

    def again(asked: Asked) -> Answer:
        """To itself once more: it counts by itself how often."""
        status = 307 if asked.method == "POST" else 302
        return Answer(status, headers={"Location": f"{asked.path}?n={_times(asked) + 1}"})

    def answer(asked: Asked) -> Answer:
        """The last answers that are taken keep the login going: the challenge, and the document at the root."""
        is_last = _times(asked) == (1 if asked.method == "POST" else 3)
        says = asked.method == "POST" or asked.path == "/.well-known/oauth-protected-resource"
        return (resource(asked) if is_last and says else None) or again(asked)

    resource.host.answer = answer
    challenged.answer = many.answer = again
    outcome = world.log_in(resource.url)
    requests = [asked for host in (resource.host, challenged, many) for asked in host.asked]
    refute(len(requests) > 66, "more requests than the documents say")
    sums = [sum(asked.method == "POST" for asked in resource.host.asked), len(challenged.asked), len(many.asked)]
    assert (len(requests), sums) == (66, [2, 4, 48])
    assert isinstance(outcome.error, TransportError)


def _times(asked: Asked) -> int:
    return int(asked.query.get("n", 0))


@pytest.mark.parametrize("refuses", ["/authorize", "/token"])
def test_the_windows_of_one_login_are_few_and_share_one_registration(world: World, refuses: str) -> None:
    """Each is a reason to try once more: a registration that is forgotten, fields it refuses, scopes that only lists name."""
    resource, server = world.server()
    resource.metadata["scopes_supported"] = ["listed"]
    server.metadata["token_endpoint_auth_methods_supported"] = None
    storage = MemoryStorage()
    assert world.log_in(resource.url, storage=storage).error is None
    registrations, windows, codes = 0, 0, len(server.host.asked_for("/token"))

    def register(asked: Asked) -> Answer:
        nonlocal registrations
        registrations += 1
        return Answer(400, {"error": "invalid_client_metadata"}) if registrations % 4 else server.register(asked)

    def authorize(asked: Asked) -> Answer:
        nonlocal windows
        windows += 1
        if refuses == "/token" and windows < 2:
            return server.authorize(asked)
        said = {"error": "invalid_scope", "state": asked.query["state"], "iss": server.issuer}
        return Answer(302, headers={"Location": f"{asked.query['redirect_uri']}?{urlencode(said)}"})

    server.on["/register"], server.on["/authorize"] = register, authorize
    server.on["/token"] = lambda _: Answer(400, {"error": "invalid_client"})
    outcome = world.log_in(resource.url, storage=storage, scopes="asked")
    assert isinstance(outcome.error, AuthorizationErrorResponse)
    assert (registrations, windows) == (4, 3)
    assert len(server.host.asked_for("/token")) - codes == (1 if refuses == "/token" else 0)


@pytest.mark.parametrize("what", ["access_token", "refresh_token", "client_secret"])
@attack("CWE-770", LENGTH_OF_CREDENTIALS)
def test_the_credentials_that_are_kept_have_a_limit(world: World, tmp_path: Path, what: str) -> None:
    resource, server = world.server()
    if what == "client_secret":
        server.metadata["token_endpoint_auth_methods_supported"] = ["client_secret_post"]
        server.on["/register"] = lambda _: Answer(201, {"client_id": "c", "client_secret": "s" * 900_000})
    else:
        server.answer[what] = "t" * 900_000
    little_is_kept(world, resource, tmp_path)


@attack("CWE-770", LENGTH_OF_URLS)
def test_the_endpoint_that_is_kept_has_a_limit(world: World, tmp_path: Path) -> None:
    resource, server = world.server()
    server.metadata["revocation_endpoint"] = f"{server.host.origin}/{'r' * 900_000}"
    little_is_kept(world, resource, tmp_path)


def little_is_kept(world: World, resource: Resource, tmp_path: Path) -> None:
    """A keychain is for small secrets."""
    outcome = world.log_in(resource.url, storage=FileStorage(tmp_path / "kept"))
    kept = sum(file.stat().st_size for file in (tmp_path / "kept").rglob("*") if file.is_file())
    refute(kept > 300_000, "it is kept")
    assert isinstance(outcome.error, (InvalidResponse, PolicyError))


@pytest.mark.parametrize("long", ["endpoint", "client_id", "scopes"])
@attack("RFC 9110 section 4.1", LENGTH_OF_URLS)
def test_a_browser_is_given_no_url_that_it_cannot_take(world: World, long: str) -> None:
    """Its command line has an end; what is cut off might be the state."""
    resource, server = world.server()
    if long == "endpoint":
        server.metadata["authorization_endpoint"] = f"{server.host.origin}/authorize?{'a' * 30_000}"
    elif long == "client_id":
        server.on["/register"] = lambda _: Answer(201, {"client_id": "c" * 30_000})
    else:
        scopes = " ".join(f"scope{n}/{'&' * 40}" for n in range(140))
        resource.challenge = f'Bearer scope="{scopes}"'
    outcome = world.ask(resource.url)
    refute(any(len(url) > 8000 for url in world.person.urls), "a browser was given more than 8,000 characters")
    assert isinstance(outcome.error, PolicyError)
    assert "8,000" in str(outcome.error)
