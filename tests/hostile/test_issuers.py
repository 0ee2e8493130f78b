"""One authorization server taken for another: RFC 9207, RFC 9700 section 4.4 (mix-up), specification, "Mix-Up Attacks"."""

from __future__ import annotations

import contextlib
import json
import threading
import urllib.request
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pytest

import mcp_login.sync
from mcp_login import IssuerMismatch
from tests.flows.strangers import Answer, Asked
from tests.flows.support import age
from tests.hostile.attack import attack, refute
from tests.hostile.parties import AuthorizationServer
from tests.hostile.switches.confusion import (
    ISSUER_OF_METADATA,
    ISSUER_OF_RESPONSE,
    OWN_SEEDS,
    STORED_ENDPOINT,
)

if TYPE_CHECKING:
    from mcp_login import AuthorizationUrl
    from tests.hostile.world import World

__all__: list[str] = []


#: What passes for the expected issuer in somebody's eyes, or after somebody's normalisation (RFC 3986 section 6.2).
LOOK_ALIKES = {
    "another": "https://honest.example.net",
    "slash": "https://mcp.example.com/",
    "upper case": "HTTPS://MCP.example.com",
    "port": "https://mcp.example.com:443",
    "user information": "https://honest@mcp.example.com",
    "percent": "https://mcp%2eexample.com",
    "cyrillic": "https://mcp.ex\N{CYRILLIC SMALL LETTER A}mple.com",
    "full width": "https://mcp\N{FULLWIDTH FULL STOP}example.com",
    "nothing": "",
}


@pytest.mark.parametrize("issuer", LOOK_ALIKES)
@attack("RFC 9207 section 2.4", ISSUER_OF_RESPONSE)
def test_a_code_of_another_issuer_goes_to_no_token_endpoint(world: World, issuer: str) -> None:
    """However like the recorded one the other looks, and whether or not the server promised to name itself."""
    resource, server = world.server()
    server.response["iss"] = LOOK_ALIKES[issuer]
    server.metadata["authorization_response_iss_parameter_supported"] = issuer != "another" or None
    outcome = world.log_in(resource.url)
    refute([code for code in server.given["code"] if resource.host.saw(code)], "a code was given away")
    assert isinstance(outcome.error, IssuerMismatch)


@attack("RFC 9207 section 2.4", ISSUER_OF_RESPONSE)
def test_a_code_without_the_promised_issuer_goes_to_no_token_endpoint(world: World) -> None:
    resource, server = world.server()
    server.response["iss"] = None
    outcome = world.log_in(resource.url)
    refute([code for code in server.given["code"] if resource.host.saw(code)], "a code was given away")
    assert isinstance(outcome.error, IssuerMismatch)


@attack("RFC 9700 section 4.4.1", ISSUER_OF_RESPONSE)
def test_metadata_that_names_the_login_page_of_another_server_gets_no_code_of_it(world: World) -> None:
    """The classic mix-up. PKCE doesn't help: the verifier goes the same way as the code."""
    resource, evil, honest = world.two_servers()
    evil.metadata |= {
        "authorization_endpoint": f"{honest.host.origin}/authorize",
        "authorization_response_iss_parameter_supported": None,
    }
    outcome = world.log_in(resource.url)
    refute(
        [code for code in honest.given["code"] if evil.host.saw(code)], "an attacker was sent an honest server's code"
    )
    assert honest.given["code"]
    assert isinstance(outcome.error, IssuerMismatch)


@attack("RFC 9700 section 4.4.1", ISSUER_OF_RESPONSE)
def test_a_login_page_that_passes_the_person_on_to_another_server_gets_no_code_of_it(world: World) -> None:
    """The same without a word in the metadata: so looking at the hosts of endpoints would be no defence."""
    resource, evil, honest = world.two_servers()
    evil.metadata["authorization_response_iss_parameter_supported"] = None
    evil.on["/authorize"] = lambda asked: Answer(
        302, headers={"Location": f"{honest.host.origin}/authorize?{urlencode(asked.query)}"}
    )
    outcome = world.log_in(resource.url, on_authorization_url=Traveller())
    refute(
        [code for code in honest.given["code"] if evil.host.saw(code)], "an attacker was sent an honest server's code"
    )
    assert honest.given["code"]
    assert isinstance(outcome.error, IssuerMismatch)


def test_a_server_that_never_names_itself_leaves_room_for_a_mix_up(world: World) -> None:
    """The limit that SECURITY.md states: where an honest server sends no `iss`, nothing in its response tells it apart."""
    resource, evil, honest = world.two_servers()
    evil.metadata |= {
        "authorization_endpoint": f"{honest.host.origin}/authorize",
        "authorization_response_iss_parameter_supported": None,
    }
    honest.response["iss"] = None
    told: list[AuthorizationUrl] = []

    def show(url: AuthorizationUrl) -> bool:
        told.append(url)
        return world.person(url)

    world.log_in(resource.url, on_authorization_url=show)
    assert any(evil.host.saw(code) for code in honest.given["code"])
    # What a person can see before they approve: who asks, and whose page it is.
    [url] = told
    assert (url.issuer, url.resource) == (evil.issuer, resource.url)
    assert url.startswith(honest.host.origin)


class Traveller:
    """A person whose browser follows every redirect."""

    def __call__(self, url: str) -> bool:
        threading.Thread(target=self._browse, args=(str(url),), daemon=True).start()
        return True

    @staticmethod
    def _browse(url: str) -> None:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(url, timeout=10).read()


@attack("RFC 8414 section 3.3", ISSUER_OF_METADATA)
def test_metadata_in_the_name_of_another_issuer_does_not_get_the_secret_that_is_kept_for_it(world: World) -> None:
    """A registration is kept by issuer, and used again for the next resource of the same one."""
    shared = world.options()
    resource, honest = world.server()
    honest.metadata["token_endpoint_auth_methods_supported"] = ["client_secret_post"]

    def register(asked: Asked) -> Answer:
        said = {"client_id": "honest-client", "client_secret": honest.secret("client_secret")}
        return Answer(201, {**json.loads(asked.body), **said})

    honest.on["/register"] = register
    mcp_login.sync.login(resource.url, **shared)
    evil, impostor = world.server("evil.example.net")
    impostor.metadata |= {"issuer": honest.issuer, "token_endpoint_auth_methods_supported": ["client_secret_post"]}
    impostor.response["iss"] = honest.issuer
    outcome = world.attempt(lambda: mcp_login.sync.login(evil.url, **shared))
    refute(evil.host.saw(honest.given["client_secret"][0]), "an attacker was sent another server's client secret")
    assert isinstance(outcome.error, IssuerMismatch)


@attack("specification, Authorization Server Binding", OWN_SEEDS)
def test_a_login_elsewhere_does_not_replace_what_a_server_registered(world: World) -> None:
    shared = world.options()
    resource, honest = world.server()
    evil, other = world.server("evil.example.net")
    mcp_login.sync.login(resource.url, **shared)
    mcp_login.sync.login(evil.url, **shared)
    mcp_login.sync.login(resource.url, account="second", **shared)
    refute(len(resource.host.asked_for("/register")) > 1, "a login elsewhere cost the registration")
    assert len(honest.given["code"]) == 2
    assert len(other.given["code"]) == 1


@attack("specification, Authorization Server Binding", OWN_SEEDS)
def test_a_server_that_disowns_its_client_ends_no_registration_of_another(world: World) -> None:
    """Both gave the same client id, which is no secret."""
    shared = world.options()
    resource, honest = world.server()
    evil, other = world.server("evil.example.net")
    for server in (honest, other):
        server.on["/register"] = lambda asked: Answer(201, {**json.loads(asked.body), "client_id": "client"})
    mcp_login.sync.login(evil.url, **shared)
    mcp_login.sync.login(resource.url, **shared)
    other.on["/token"] = lambda _: Answer(401, {"error": "invalid_client"})
    age(shared["storage"], evil.url, 7200)
    world.attempt(lambda: mcp_login.sync.access_token(evil.url, storage=shared["storage"]))
    mcp_login.sync.login(resource.url, account="second", **shared)
    refute(len(resource.host.asked_for("/register")) > 1, "another server's word ended the registration")


@pytest.mark.parametrize("how", ["the metadata moved", "the resource names another server", "both are down but evil"])
@attack("RFC 6749 section 10.4", STORED_ENDPOINT)
def test_a_refresh_token_goes_only_where_it_came_from(world: World, how: str) -> None:
    """What is stored with it says where: no document is read again, so nothing that one says now can lead it away."""
    resource, server = world.server()
    options = world.options()
    mcp_login.sync.login(resource.url, **options)
    thief = world.host("thief.example.net")
    other = AuthorizationServer(thief)
    thief.answer = lambda asked: other(asked) or Answer(404)
    if how == "the metadata moved":
        server.metadata["token_endpoint"] = f"{thief.origin}/token"
    else:
        resource.metadata["authorization_servers"] = [other.issuer]
    if how == "both are down but evil":
        server.on["/token"] = lambda _: Answer(503)
    age(options["storage"], resource.url, 7200)
    world.attempt(lambda: mcp_login.sync.access_token(resource.url, storage=options["storage"]))
    refute(any(map(thief.saw, server.given["refresh_token"])), "the refresh token went to somebody else")
    assert len(resource.host.asked_for("/token")) >= 2
