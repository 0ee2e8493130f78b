"""Secrets that could leave: by logs, errors, reprs, and other people's clients (RFC 9700 section 4.2, RFC 6819 section 4)."""

from __future__ import annotations

import asyncio
import json
import ssl
from typing import TYPE_CHECKING, Any

import httpx
import httpx2
import pytest

import mcp_login.sync
from mcp_login import AuthError, FileStorage, LoginRequired, MemoryStorage, OAuth, TransportError
from mcp_login.portal import portal, wait_sync
from tests.flows.strangers import Answer, Asked
from tests.flows.support import age
from tests.hostile.attack import attack, refute
from tests.hostile.exposure import given_by, pickled
from tests.hostile.switches.leaks import (
    CALLERS_CREDENTIALS,
    DISCRETION,
    KEY_LOG,
    OWN_CLIENT,
    PROXY_PASSWORD,
    QUERIES_IN_REPRS,
    QUERIES_OF_ERRORS,
    QUERIES_OF_SERVERS,
    REDACTION,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.hostile.parties import AuthorizationServer
    from tests.hostile.world import World

__all__: list[str] = []

libraries = pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])

SECRET = "the-secret-of-a-client"


def confidential(server: AuthorizationServer) -> None:
    """Let `server` give clients that register a secret."""

    def register(asked: Asked) -> Answer:
        said = {"client_id": "client", "client_secret": server.secret("client_secret")}
        return Answer(201, {**json.loads(asked.body), **said, "token_endpoint_auth_method": "client_secret_post"})

    server.on["/register"] = register
    server.metadata["token_endpoint_auth_methods_supported"] = ["client_secret_post"]


# --- logs


def quoting(server: AuthorizationServer, header: str, status: int = 400) -> Callable[[Asked], Answer]:
    """A token endpoint that says what it was sent in a header of its answer."""

    def answer(asked: Asked) -> Answer:
        return Answer(status, {"error": "invalid_request"}, {header: asked.body.decode()})

    return answer


@pytest.mark.parametrize(
    ("client", "header", "status"),
    [(None, "Location", 302), (None, "Set-Cookie", 400), (httpx, "X-Debug", 400), (httpx2, "X-Debug", 400)],
    ids=["ours, Location", "ours, Set-Cookie", "httpx", "httpx2"],
)
@attack("RFC 6819 section 4.6.7", DISCRETION)
def test_no_http_library_logs_what_a_server_quotes_in_a_header(
    world: World, client: Any, header: str, status: int
) -> None:
    """httpcore writes the headers of answers to its log, at DEBUG."""
    resource, server = world.server()
    confidential(server)
    server.on["/token"] = quoting(server, header, status)
    options = world.options(http_client=None if client is None else factory(client))
    outcome = world.attempt(lambda: mcp_login.sync.login(resource.url, **options))
    refute(outcome.shows(*given_by(server)), "the log holds a secret")
    assert isinstance(outcome.error, AuthError)
    assert "receive_response_headers" in outcome.log  # it says what happens, though


@libraries
@attack("RFC 9700 section 4.3.2", DISCRETION)
def test_no_http_library_logs_the_key_in_an_endpoints_query(world: World, library: Any) -> None:
    """httpx writes whole URLs to its log, at INFO."""
    resource, server = world.server()
    server.metadata["token_endpoint"] = f"{server.host.origin}/token?api_key={SECRET}"
    server.on["/token"] = lambda _: Answer(400, {"error": "invalid_request"})
    options = world.options(http_client=factory(library))
    outcome = world.attempt(lambda: mcp_login.sync.login(resource.url, **options))
    refute(SECRET in outcome.log, "the log holds a key")
    assert f"HTTP Request: POST {server.host.origin}/token" in outcome.log


def test_requests_of_others_are_logged_as_ever(world: World) -> None:
    resource, _ = world.server()
    outcome = world.ask(resource.url)
    assert f'HTTP Request: POST {resource.url} "HTTP/1.0 200 OK"' in outcome.log
    assert "return_value=(b'HTTP/1.0', 200" in outcome.log


def test_asyncio_in_its_debug_mode_logs_no_secret(world: World) -> None:
    """It writes down tasks and callbacks that take long, with their results and arguments."""
    resource, server = world.server()
    confidential(server)

    async def watch(debug: bool, limit: float) -> float:
        loop = asyncio.get_running_loop()
        loop.set_debug(debug)
        limit, loop.slow_callback_duration = loop.slow_callback_duration, limit
        return limit

    before = wait_sync(portal().submit(lambda: watch(True, 0.0)))
    options = world.options()
    try:
        outcome = world.ask(resource.url, **options)
        age(options["storage"], resource.url, 7200)
        more = world.ask(resource.url, **options)
    finally:
        wait_sync(portal().submit(lambda: watch(False, before)))
    assert (outcome.value.status_code, more.value.status_code) == (200, 200)
    assert "Executing" in outcome.log
    # It shortens what it quotes.
    pieces = [piece for secret in given_by(server) for piece in (secret[:16], secret[-16:])]
    assert (outcome.shows(*pieces), more.shows(*pieces)) == ([], [])


# --- errors


QUOTES: dict[str, Callable[[str], dict[str, Any]]] = {
    "description": lambda sent: {"error": "invalid_request", "error_description": f"unknown: {sent}"},
    "error": lambda sent: {"error": sent},
    "link": lambda sent: {"error": "invalid_request", "error_uri": f"https://help.example.com/?about={sent}"},
    "old name": lambda sent: {"error": "invalid_request", "message": sent},
    "behind zero-width characters": lambda sent: {
        "error": "invalid_request",
        "error_description": "\u200b".join(sent),
    },
    "half of it": lambda sent: {"error": "invalid_request", "error_description": sent[: len(sent) // 2]},
}


@pytest.mark.parametrize(
    ("field", "quote"),
    [
        ("code", "description"),
        ("code_verifier", "error"),
        ("client_secret", "link"),
        ("code", "old name"),
        ("client_secret", "behind zero-width characters"),
        ("code_verifier", "half of it"),
    ],
)
@attack("RFC 6749 section 5.2", REDACTION)
def test_a_server_that_quotes_a_secret_puts_it_into_no_error(world: World, quote: str, field: str) -> None:
    """Errors are shown, logged, reported, and passed on to other processes."""
    resource, server = world.server()
    confidential(server)
    sent: list[str] = []

    def answer(asked: Asked) -> Answer:
        form = dict(httpx.QueryParams(asked.body.decode()))
        sent.append(form[field])
        return Answer(400, QUOTES[quote](form[field]))

    server.on["/token"] = answer
    outcome = world.attempt(lambda: mcp_login.sync.login(resource.url, **world.options()))
    assert outcome.error is not None
    world.person.join()
    pages = "".join(page.text for page in world.person.pages)
    seen = f"{outcome.text()} {vars(outcome.error)!r} {pickled(outcome.error)} {pages}".replace("\u200b", "")
    seen = seen.replace("\\u200b", "")
    [secret] = sent
    pieces = [secret] if quote != "half of it" else [secret[: len(secret) // 2]]
    refute([piece for piece in pieces if piece in seen], "an error holds a secret")
    assert isinstance(outcome.error, AuthError)


@attack("RFC 9700 section 4.3.2", QUERIES_OF_ERRORS)
def test_no_error_shows_the_key_in_a_url(world: World) -> None:
    """Many a server takes an API key there, and names endpoints with it, too."""
    resource, server = world.server()
    url = f"{resource.url}?api_key={SECRET}"
    server.metadata["token_endpoint"] = f"{server.host.origin}/token?api_key={SECRET}"
    seen = ""
    answers = [Answer(400, {"error": "invalid_request"}), Answer(503), Answer(200, b"no JSON"), Answer(302)]
    server.on["/token"] = lambda _: answers.pop()
    while answers:
        outcome = world.attempt(lambda: mcp_login.sync.login(url, **world.options()))
        assert isinstance(outcome.error, AuthError)
        seen += f"{outcome.text()} {vars(outcome.error)!r}"
    refute(SECRET in seen, "an error holds a key")


@attack("RFC 9700 section 4.3.2", QUERIES_OF_SERVERS)
def test_what_is_said_of_a_server_shows_no_key_in_its_url(world: World) -> None:
    url = f"https://mcp.example.com/mcp?api_key={SECRET}"
    outcome = world.attempt(lambda: mcp_login.sync.access_token(url, storage=MemoryStorage()))
    refute(SECRET in f"{outcome.text()} {OAuth(url)!r}", "a message or a repr holds a key")
    assert isinstance(outcome.error, LoginRequired)


@attack("RFC 9700 section 4.3.2", QUERIES_IN_REPRS)
def test_no_repr_shows_the_key_in_a_url(world: World) -> None:
    resource, _ = world.server()
    url = f"{resource.url}?api_key={SECRET}"
    resource.metadata["resource"] = url
    options = world.options()
    credentials = mcp_login.sync.login(url, **options)
    result = mcp_login.sync.logout(url, storage=options["storage"])
    refute(SECRET in f"{credentials!r} {[credentials]} {result!r}", "a repr holds a key")
    assert credentials.server_url == url
    assert resource.url in repr(credentials)


def test_the_list_of_logins_holds_no_key_of_a_url(world: World, home: Path) -> None:
    """A server without a document is its own resource, query and all."""
    resource, _ = world.server()
    resource.metadata["resource"] = None
    url = f"{resource.url}?api_key={SECRET}"
    resource.on["/.well-known/oauth-protected-resource/mcp"] = lambda _: Answer(404)
    resource.on["/.well-known/oauth-protected-resource"] = lambda _: Answer(404)
    credentials = mcp_login.sync.login(url, **world.options(storage=FileStorage()))
    assert credentials.resource == url
    [index] = (home / "mcp-login").glob("**/index.json")
    assert resource.url in index.read_text()
    assert SECRET not in index.read_text()


@pytest.mark.parametrize("password", [SECRET, *(f"{SECRET}{mark}2" for mark in "/?#"), f"12/{SECRET}"])
@attack("RFC 9700 section 4.3.2", PROXY_PASSWORD)
def test_an_error_names_a_proxy_without_its_password(world: World, closed_port: int, password: str) -> None:
    """Parsers take a password with a raw `/`, `?` or `#` for the end of the address, and what is before it for the host."""
    resource, _ = world.server()
    world.monkeypatch.setenv("HTTPS_PROXY", f"http://user:{password}@127.0.0.1:{closed_port}")
    outcome = world.attempt(lambda: mcp_login.sync.login(resource.url, **world.options()))
    refute(SECRET in f"{outcome.text()} {vars(outcome.error or Exception())!r}", "an error holds a password")
    assert isinstance(outcome.error, TransportError)
    assert f"proxy 127.0.0.1:{closed_port}" in str(outcome.error)


# --- other people's clients, and the environment


@libraries
@attack("RFC 9700 section 4.3.2", OWN_CLIENT)
def test_the_history_of_a_response_holds_no_secret(world: World, library: Any) -> None:
    """Programs log and pickle it, and a client's event hooks see what is in it."""
    resource, server = world.server()
    confidential(server)
    outcome = world.ask(resource.url, library=library)
    seen = [
        f"{one.url} {one.headers} {one.text} {one.request.url} {one.request.headers} {one.request.content!r}"
        for one in outcome.value.history
    ]
    refute(any(secret in one for secret in given_by(server) for one in seen), "a response takes secrets along")
    assert [one.status_code for one in outcome.value.history] == [401]
    assert outcome.value.status_code == 200


def factory(library: Any, **options: Any) -> Callable[[], Any]:
    """Makes clients of a caller's."""
    return lambda: library.AsyncClient(verify=ssl.create_default_context(), trust_env=False, **options)


@libraries
@pytest.mark.parametrize(
    "own",
    [
        {"headers": {"Authorization": f"Bearer {SECRET}"}},
        {"headers": {"X-Api-Key": SECRET}},
        {"cookies": {"session": SECRET}},
        {"params": {"key": SECRET}},
    ],
    ids=str,
)
@attack("RFC 9700 section 4.9", CALLERS_CREDENTIALS)
def test_a_callers_client_brings_its_own_credentials_to_no_stranger(
    world: World, library: Any, own: dict[str, Any]
) -> None:
    """Whoever gives the client that talks to the MCP server gives its headers along: the metadata chooses who gets them."""
    resource, _ = world.server()
    evil, server = world.server("evil.example.net")
    resource.metadata["authorization_servers"] = [server.issuer]
    options = world.options(http_client=factory(library, **own))
    outcome = world.attempt(lambda: mcp_login.sync.login(resource.url, **options))
    refute(evil.host.saw(SECRET), "a stranger was sent the credentials of the caller's client")
    assert outcome.value.issuer == server.issuer


@attack("RFC 9850 section 4", KEY_LOG)
def test_the_keys_of_our_connections_are_not_written_where_the_environment_says(world: World, tmp_path: Path) -> None:
    """Whoever can set a variable would else read codes and refresh tokens off the network."""
    resource, _ = world.server()
    options = world.options()
    mcp_login.sync.login(resource.url, **options)
    world.person.join()  # the browser's keys are its own affair
    age(options["storage"], resource.url, 7200)
    keys = tmp_path / "keys"
    world.monkeypatch.setenv("SSLKEYLOGFILE", str(keys))
    outcome = world.attempt(lambda: mcp_login.sync.access_token(resource.url, storage=options["storage"]))
    refute(keys.exists() and keys.read_text().strip(), "the keys of our connections were written to a file")
    assert outcome.error is None
