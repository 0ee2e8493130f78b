"""Secrets that could leave: over redirects, logs, errors, reprs, pickles, tracebacks, and other people's clients.

RFC 9700 section 4.12 (307 redirect), section 4.2 (credential leakage by Referer and browser history), RFC 6819 section 4;
CVE-2026-64684.
"""

from __future__ import annotations

import asyncio
import json
import pickle
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import httpx
import httpx2
import pytest

import mcp_login.sync
from mcp_login import AuthError, FileStorage, MemoryStorage, OAuth, PolicyError, TransportError
from mcp_login.portal import portal, wait_sync
from tests.flows.strangers import Answer, Asked
from tests.flows.support import HEADERS, age, message
from tests.hostile.attack import attack, refute
from tests.hostile.exposure import given_by, in_tracebacks, pickled
from tests.hostile.switches.leaks import (
    CALLERS_CREDENTIALS,
    DISCRETION,
    KEY_LOG,
    PORTAL_FRAMES,
    PROXY_PASSWORD,
    QUERIES,
    REDACTION,
    SECRETS_STAY,
    TOKEN_BOUNDARY,
    TRACEBACKS,
    TWINS,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.hostile.world import AuthorizationServer, Host, Outcome, Resource, World

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


# --- over redirects


def lead(server: AuthorizationServer, path: str, host: Host, status: int = 307) -> None:
    """Let `path` of `server` lead to `host`."""
    server.on[path] = lambda _: Answer(status, headers={"Location": f"{host.origin}/taken"})


@pytest.mark.parametrize("status", [301, 307, 308])
@attack("RFC 9700 section 4.12", SECRETS_STAY)
def test_a_code_does_not_follow_a_redirect_of_the_token_endpoint(world: World, status: int) -> None:
    resource, server = world.server()
    thief = world.host("thief.example.net")
    lead(server, "/token", thief, status)
    outcome = world.attempt(lambda: mcp_login.sync.login(resource.url, **world.options()))
    refute(thief.asked, "another origin was sent the code and its verifier")
    assert isinstance(outcome.error, AuthError)
    assert outcome.shows(*given_by(server)) == []


@attack("RFC 9700 section 4.12", SECRETS_STAY)
def test_a_refresh_token_does_not_follow_a_redirect(world: World) -> None:
    resource, server = world.server()
    options = world.options()
    mcp_login.sync.login(resource.url, **options)
    thief = world.host("thief.example.net")
    lead(server, "/token", thief)
    age(options["storage"], resource.url, 7200)
    outcome = world.attempt(lambda: mcp_login.sync.access_token(resource.url, storage=options["storage"]))
    refute(thief.asked, "another origin was sent the refresh token")
    assert isinstance(outcome.error, AuthError)


@attack("RFC 9700 section 4.12", SECRETS_STAY)
def test_tokens_that_are_revoked_do_not_follow_a_redirect(world: World) -> None:
    resource, server = world.server()
    server.metadata["revocation_endpoint"] = f"{server.host.origin}/revoke"
    options = world.options()
    mcp_login.sync.login(resource.url, **options)
    thief = world.host("thief.example.net")
    lead(server, "/revoke", thief)
    result = mcp_login.sync.logout(resource.url, storage=options["storage"])
    refute(thief.asked, "another origin was sent tokens that are still alive")
    assert (result.deleted, result.revoked) == (True, False)


@attack("RFC 7591 section 2.3", SECRETS_STAY)
def test_a_software_statement_does_not_follow_a_redirect(world: World) -> None:
    resource, server = world.server()
    thief = world.host("thief.example.net")
    lead(server, "/register", thief)
    statement = {"software_statement": "eyJhbGciOiJSUzI1NiJ9.c29mdHdhcmU.c2lnbmF0dXJl"}
    outcome = world.attempt(
        lambda: mcp_login.sync.login(resource.url, **world.options(additional_client_metadata=statement))
    )
    refute(thief.asked, "another origin was sent the software statement")
    assert isinstance(outcome.error, AuthError)


#: Where an MCP server may lead a client that follows redirects itself and copies the headers.
PLACES = {
    "another path": "/elsewhere",
    "a longer name": "/mcp-of-mallory",
    "dots in dots": "/mcp/%252e%252e/elsewhere",
    "dots with a parameter": "/mcp/..;/elsewhere",
    "overlong dots": "/mcp/%c0%ae%c0%ae/elsewhere",
    "upper case": "/MCP",
    "another port": "https://mcp.example.com:8443/mcp",
    "a subdomain": "https://evil.mcp.example.com/mcp",
    "an international name": "https://mcp.ex\N{CYRILLIC SMALL LETTER A}mple.com/mcp",
}


@pytest.mark.parametrize("place", PLACES)
@attack("CVE-2026-64684", TOKEN_BOUNDARY)
def test_a_redirect_that_a_client_follows_by_hand_takes_no_token_out_of_the_resource(world: World, place: str) -> None:
    """The MCP SDK follows redirects so: each hop enters the auth flow anew, with the headers of the hop before."""
    resource, server = world.server()
    hosts = [
        resource.host,
        world.host("mcp.example.com", "93.184.216.10", port=8443),
        world.host("evil.mcp.example.com"),
        world.host("mcp.xn--exmple-4nf.com"),
    ]
    resource.on["/mcp"] = lambda asked: Answer(307 if "authorization" in asked.headers else 401)
    auth = OAuth(resource.url, **world.options())

    def follow() -> int:
        with httpx.Client(auth=auth, trust_env=False, verify=ssl.create_default_context(), timeout=10) as client:
            first = client.post(resource.url, json=message(), headers=HEADERS)
            url = httpx.URL(resource.url).join(PLACES[place])
            headers = {**first.request.headers, "host": url.netloc.decode("ascii")}
            return client.post(url, content=first.request.content, headers=headers).status_code

    outcome = world.attempt(follow)
    came = [asked for host in hosts for asked in host.asked if (host, asked.path) != (resource.host, "/mcp")]
    given = server.given["access_token"]
    refute(
        [asked for asked in came if any(token in asked.headers.get("authorization", "") for token in given)],
        "the token went to a place outside its resource",
    )
    assert outcome.error is None


@attack("specification, Token Audience Binding and Validation", TOKEN_BOUNDARY)
def test_a_login_for_less_than_the_one_before_leaves_no_token_on_a_request_outside_it(world: World) -> None:
    """A server that narrows its resource between two logins, while a request to the rest of the old one waits."""
    resource, server = world.server()
    resource.metadata["resource"] = resource.host.origin
    auth = OAuth(resource.url, **world.options())
    assert world.ask(resource.url, auth=auth).value.status_code == 200
    resource.metadata["resource"] = resource.url
    server.on["/token"] = lambda asked: (
        Answer(400, {"error": "invalid_grant"}) if b"refresh_token" in asked.body else server.token(asked)
    )
    resource.on["/admin"] = lambda _: Answer(401)
    with httpx.Client(auth=auth, trust_env=False, verify=ssl.create_default_context(), timeout=10) as client:
        outcome = world.attempt(lambda: client.post(f"{resource.host.origin}/admin", json=message()))
    [_, newest] = server.given["access_token"]
    seen = [asked.headers.get("authorization", "") for asked in resource.host.asked if asked.path == "/admin"]
    refute([one for one in seen if newest in one], "the token went to a place outside its resource")
    assert outcome.value.status_code == 401


@libraries
@pytest.mark.parametrize("status", [401, 403])
@attack("RFC 9728 section 7.3", TOKEN_BOUNDARY)
def test_a_challenge_of_an_origin_that_a_redirect_led_to_does_not_count(
    world: World, library: Any, status: int
) -> None:
    """Any open redirect of an honest server would else let a stranger name the authorization server for it."""
    resource, _ = world.server()
    evil, its_own = world.server("evil.example.net")
    evil.metadata["resource"] = resource.url
    challenge = (
        f'Bearer error="insufficient_scope", scope="x", resource_metadata="{evil.host.origin}'
        '/.well-known/oauth-protected-resource"'
    )
    options = world.options()
    if status == 403:
        mcp_login.sync.login(resource.url, **options)
    before = len(world.person.urls)
    evil.on["/mcp"] = lambda _: Answer(status, headers={"WWW-Authenticate": challenge})
    resource.on["/mcp"] = lambda _: Answer(307, headers={"Location": evil.url})
    outcome = world.ask(resource.url, library=library, follow_redirects=True, auth=OAuth(resource.url, **options))
    refute(len(world.person.urls) > before, "a person was sent to log in where a stranger said")
    refute(its_own.given["code"], "a person was sent to the stranger's own authorization server")
    assert outcome.value.status_code == status
    assert {asked.path for asked in evil.host.asked} == {"/mcp"}
    assert all("authorization" not in asked.headers for asked in evil.host.asked)


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


@attack("RFC 9700 section 4.3.2", QUERIES)
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


@attack("RFC 9700 section 4.3.2", QUERIES)
def test_no_repr_shows_the_key_in_a_url(world: World) -> None:
    resource, _ = world.server()
    url = f"{resource.url}?api_key={SECRET}"
    resource.metadata["resource"] = url
    options = world.options()
    credentials = mcp_login.sync.login(url, **options)
    result = mcp_login.sync.logout(url, storage=options["storage"])
    refute(SECRET in f"{credentials!r} {[credentials]} {result!r} {OAuth(url)!r}", "a repr holds a key")
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


@attack("RFC 9700 section 4.3.2", PROXY_PASSWORD)
def test_an_error_names_a_proxy_without_its_password(world: World, closed_port: int) -> None:
    resource, _ = world.server()
    world.monkeypatch.setenv("HTTPS_PROXY", f"http://user:{SECRET}@127.0.0.1:{closed_port}")
    outcome = world.attempt(lambda: mcp_login.sync.login(resource.url, **world.options()))
    refute(SECRET in f"{outcome.text()} {vars(outcome.error or Exception())!r}", "an error holds a password")
    assert isinstance(outcome.error, TransportError)
    assert f"proxy 127.0.0.1:{closed_port}" in str(outcome.error)


# --- what trackers of errors write down


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


# --- other people's clients, and the environment


def factory(library: Any, **options: Any) -> Callable[[], Any]:
    """Makes clients of a caller's."""
    return lambda: library.AsyncClient(verify=ssl.create_default_context(), trust_env=False, **options)


@libraries
@pytest.mark.parametrize(
    "own", [{"headers": {"Authorization": f"Bearer {SECRET}"}}, {"cookies": {"session": SECRET}}], ids=str
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


@pytest.fixture
def closed_port() -> Any:
    """A port of 127.0.0.1 that refuses connections, and that nobody else gets."""
    import socket

    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]
