"""The response to one login taken for that to another: RFC 9700 sections 4.5 (code injection) and 4.7 (CSRF)."""

from __future__ import annotations

import contextlib
import threading
import urllib.request
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import pytest

import mcp_login.sync
from mcp_login import AuthError, InvalidResponse
from tests.flows.strangers import Answer, Asked
from tests.hostile.attack import attack, refute
from tests.hostile.switches.confusion import (
    ONE_OF_EACH,
    STATE,
)

if TYPE_CHECKING:
    from tests.hostile.parties import AuthorizationServer
    from tests.hostile.world import World

__all__: list[str] = []


def _fetch(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


class Window:
    """A browser window that is moved by hand: `came` when the login has begun; `response` is where the server leads it."""

    def __init__(self) -> None:
        self.url = ""
        self.came = threading.Event()

    def __call__(self, url: str) -> bool:
        self.url = str(url)
        self.came.set()
        return True

    def response(self) -> str:
        """The address that the authorization server sends the browser to."""
        assert self.came.wait(10)

        class Stay(urllib.request.HTTPRedirectHandler):
            def redirect_request(self, *_: Any, **__: Any) -> None:
                return None

        try:
            urllib.request.build_opener(Stay()).open(self.url, timeout=10)
        except urllib.error.HTTPError as error:
            with error:
                return str(error.headers["Location"])
        raise AssertionError("the server leads nowhere")

    @property
    def redirect_uri(self) -> str:
        return dict(parse_qsl(urlsplit(self.url).query))["redirect_uri"]


def silent(*servers: AuthorizationServer) -> None:
    """Let `servers` be ones that never name themselves: nothing but the state tells responses apart."""
    for server in servers:
        server.metadata["authorization_response_iss_parameter_supported"] = None
        server.response["iss"] = None


@attack("RFC 9700 section 4.7", STATE)
def test_the_response_of_one_login_given_to_another_that_waits_is_ignored(world: World) -> None:
    """Two logins at once, and a page that sends each browser to the other's listener."""
    evil, attacker = world.server("evil.example.net")
    resource, honest = world.server()
    silent(attacker, honest)
    windows = Window(), Window()
    outcomes: list[Any] = [None, None]

    def begin(number: int, url: str) -> threading.Thread:
        def work() -> None:
            with contextlib.suppress(AuthError):
                outcomes[number] = mcp_login.sync.login(url, **world.options(on_authorization_url=windows[number]))

        thread = threading.Thread(target=work)
        thread.start()
        return thread

    threads = [begin(0, evil.url), begin(1, resource.url)]
    responses = [window.response() for window in windows]
    _fetch(f"{windows[0].redirect_uri}?{urlsplit(responses[1]).query}")
    _fetch(f"{windows[1].redirect_uri}?{urlsplit(responses[0]).query}")
    for response in responses:
        with contextlib.suppress(OSError):
            _fetch(response)
    for thread in threads:
        thread.join(15)
    refute(evil.host.saw(honest.given["code"][0]), "an attacker's token endpoint was sent an honest server's code")
    # Both logins go on, and end well.
    assert [outcome.issuer for outcome in outcomes] == [attacker.issuer, honest.issuer]


@attack("RFC 9700 section 4.7.1", STATE)
def test_the_response_of_an_earlier_login_is_ignored_in_a_later_one(world: World) -> None:
    resource, server = world.server()
    silent(server)
    seen: list[str] = []
    shared = world.options()

    def show(url: str) -> bool:
        window = Window()
        window(url)
        response = window.response()
        if seen:
            _fetch(f"{window.redirect_uri}?{urlsplit(seen[0]).query}")
        seen.append(response)
        with contextlib.suppress(OSError):
            _fetch(response)
        return True

    shared["on_authorization_url"] = show
    mcp_login.sync.login(resource.url, **shared)
    world.attempt(lambda: mcp_login.sync.login(resource.url, force=True, **shared))
    old = server.given["code"][0]
    sent = [dict(parse_qsl(asked.body.decode())).get("code") for asked in resource.host.asked_for("/token")]
    refute(sent.count(old) > 1, "a code was sent twice")


def test_of_one_login_a_single_code_is_exchanged_a_single_time(world: World) -> None:
    """A browser that loads the page again, or a page that sends a second answer with the right state."""
    resource, server = world.server()
    window = Window()

    def show(url: str) -> bool:
        window(url)
        responses = [window.response(), window.response()]
        for response in (responses[0], responses[0], responses[1]):
            with contextlib.suppress(OSError):
                _fetch(response)
        return True

    outcome = world.log_in(resource.url, on_authorization_url=show)
    assert outcome.error is None
    assert len(server.given["code"]) == 2
    assert len(resource.host.asked_for("/token")) == 1


@pytest.mark.parametrize("name", ["code", "iss", "error"])
@attack("RFC 6749 section 3.1", ONE_OF_EACH)
def test_a_response_with_a_parameter_twice_is_no_response(world: World, name: str) -> None:
    """Something on the way adds a parameter: which of two counts, nobody may choose."""
    resource, server = world.server()
    added = {"code": "injected-code", "iss": server.issuer, "error": ""}[name]

    def authorize(asked: Asked) -> Answer:
        address = server.authorize(asked).headers["Location"]
        base, _, query = address.partition("?")
        extra = f"{name}={added}&" if name != "error" else "error=&error=access_denied&"
        return Answer(302, headers={"Location": f"{base}?{extra}{query}"})

    server.on["/authorize"] = authorize
    outcome = world.log_in(resource.url)
    refute(resource.host.asked_for("/token"), "a code of an ambiguous response was exchanged")
    assert isinstance(outcome.error, InvalidResponse)


@pytest.mark.parametrize("mode", ["form_post", "fragment", "head", "wrong path"])
def test_a_response_in_another_form_than_the_one_asked_for_ends_no_login(world: World, mode: str) -> None:
    """And the right one that follows is taken."""
    resource, _ = world.server()
    window = Window()

    def show(url: str) -> bool:
        window(url)
        forged = f"code=injected-code&{urlsplit(window.response()).query}"
        target = window.redirect_uri
        if mode == "form_post":
            request = urllib.request.Request(target, data=forged.encode())
        elif mode == "head":
            request = urllib.request.Request(f"{target}?{forged}", method="HEAD")
        elif mode == "fragment":
            request = urllib.request.Request(f"{target}#{forged}")
        else:
            request = urllib.request.Request(f"{target}/x?{forged}")
        with contextlib.suppress(urllib.error.HTTPError):
            urllib.request.urlopen(request, timeout=10).close()
        _fetch(window.response())
        return True

    outcome = world.log_in(resource.url, on_authorization_url=show)
    assert outcome.error is None
    assert not resource.host.saw("injected-code")
