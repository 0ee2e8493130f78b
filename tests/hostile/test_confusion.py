"""One thing taken for another: issuers, resources, logins, responses, registrations, tokens.

RFC 9700 sections 4.4 (mix-up), 4.5 (code injection), 4.7 (CSRF); RFC 9207; RFC 9728 section 7.3; RFC 8707; specification,
"Mix-Up Attacks", "Access Token Privilege Restriction".
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
import urllib.request
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote_plus, urlencode, urlsplit

import pytest

import mcp_login.sync
from mcp_login import AuthError, InvalidResponse, IssuerMismatch, MemoryStorage, TokenErrorResponse
from tests.flows.strangers import Answer, Asked
from tests.flows.support import age
from tests.hostile.attack import attack, refute
from tests.hostile.switches.confusion import (
    ANCESTORS,
    AUDIENCE,
    ENDPOINT_QUERY,
    ISSUER_OF_METADATA,
    ISSUER_OF_RESPONSE,
    ONE_OF_EACH,
    OWN_SEEDS,
    RESOURCE_OF_METADATA,
    SCOPE_REPORT,
    STATE,
    TOKEN_TYPE,
)
from tests.hostile.switches.display import CLEANED
from tests.hostile.world import AuthorizationServer

if TYPE_CHECKING:
    from collections.abc import Callable

    from mcp_login import AuthorizationUrl
    from tests.hostile.world import Host, World

__all__: list[str] = []


def login(world: World, url: str, **options: Any) -> Any:
    """A login, and how it ended."""
    return world.attempt(lambda: mcp_login.sync.login(url, **world.options(**options)))


def asked_at(host: Host, path: str) -> list[Asked]:
    """The requests for `path` that reached `host`."""
    return [asked for asked in host.asked if asked.path == path]


# --- which authorization server


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
    outcome = login(world, resource.url)
    refute([code for code in server.given["code"] if resource.host.saw(code)], "a code was given away")
    assert isinstance(outcome.error, IssuerMismatch)


@attack("RFC 9207 section 2.4", ISSUER_OF_RESPONSE)
def test_a_code_without_the_promised_issuer_goes_to_no_token_endpoint(world: World) -> None:
    resource, server = world.server()
    server.response["iss"] = None
    outcome = login(world, resource.url)
    refute([code for code in server.given["code"] if resource.host.saw(code)], "a code was given away")
    assert isinstance(outcome.error, IssuerMismatch)


def two_servers(world: World) -> tuple[Any, AuthorizationServer, AuthorizationServer]:
    """An MCP server of an attacker with their own authorization server, and an honest authorization server."""
    resource, evil = world.server("evil.example.net")
    honest = AuthorizationServer(world.host("login.example.com"))
    honest.host.answer = lambda asked: honest(asked) or Answer(404)
    return resource, evil, honest


@attack("RFC 9700 section 4.4.1", ISSUER_OF_RESPONSE)
def test_metadata_that_names_the_login_page_of_another_server_gets_no_code_of_it(world: World) -> None:
    """The classic mix-up. PKCE doesn't help: the verifier goes the same way as the code."""
    resource, evil, honest = two_servers(world)
    evil.metadata |= {
        "authorization_endpoint": f"{honest.host.origin}/authorize",
        "authorization_response_iss_parameter_supported": None,
    }
    outcome = login(world, resource.url)
    refute(
        [code for code in honest.given["code"] if evil.host.saw(code)], "an attacker was sent an honest server's code"
    )
    assert honest.given["code"]
    assert isinstance(outcome.error, IssuerMismatch)


@attack("RFC 9700 section 4.4.1", ISSUER_OF_RESPONSE)
def test_a_login_page_that_passes_the_person_on_to_another_server_gets_no_code_of_it(world: World) -> None:
    """The same without a word in the metadata: so looking at the hosts of endpoints would be no defence."""
    resource, evil, honest = two_servers(world)
    evil.metadata["authorization_response_iss_parameter_supported"] = None
    evil.on["/authorize"] = lambda asked: Answer(
        302, headers={"Location": f"{honest.host.origin}/authorize?{urlencode(asked.query)}"}
    )
    outcome = login(world, resource.url, on_authorization_url=Traveller())
    refute(
        [code for code in honest.given["code"] if evil.host.saw(code)], "an attacker was sent an honest server's code"
    )
    assert honest.given["code"]
    assert isinstance(outcome.error, IssuerMismatch)


def test_a_server_that_never_names_itself_leaves_room_for_a_mix_up(world: World) -> None:
    """The limit that SECURITY.md states: where an honest server sends no `iss`, nothing in its response tells it apart."""
    resource, evil, honest = two_servers(world)
    evil.metadata |= {
        "authorization_endpoint": f"{honest.host.origin}/authorize",
        "authorization_response_iss_parameter_supported": None,
    }
    honest.response["iss"] = None
    told: list[AuthorizationUrl] = []

    def show(url: AuthorizationUrl) -> bool:
        told.append(url)
        return world.person(url)

    login(world, resource.url, on_authorization_url=show)
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
    mcp_login.sync.login(resource.url, force=True, **shared)
    refute(len(asked_at(resource.host, "/register")) > 1, "a login elsewhere cost the registration")
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
    mcp_login.sync.login(resource.url, force=True, **shared)
    refute(len(asked_at(resource.host, "/register")) > 1, "another server's word ended the registration")


@pytest.mark.parametrize("how", ["the metadata moved", "the resource names another server", "both are down but evil"])
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
    assert len(asked_at(resource.host, "/token")) >= 2
    assert not any(thief.saw(token) for token in server.given["refresh_token"])


# --- which resource


#: Of others, in the eyes of some parser the server's own.
RESOURCES = {
    "another server": "https://honest.example.com/mcp",
    "longer segment": "https://mcp.example.com/mcp2",
    "a path below": "https://mcp.example.com/mcp/admin",
    "encoded dots": "https://mcp.example.com/mcp/%2e%2e/admin",
    "port": "https://mcp.example.com:8443/mcp",
    "user information": "https://mcp.example.com@honest.example.com/mcp",
    "backslash": "https://honest.example.com\\@mcp.example.com/mcp",
    "query": "https://mcp.example.com/mcp?tenant=honest",
    "fragment": "https://mcp.example.com/mcp#honest",
    "international": "https://mcp.ex\N{CYRILLIC SMALL LETTER A}mple.com/mcp",
    "trailing dot": "https://mcp.example.com./mcp",
}


@pytest.mark.parametrize("claimed", RESOURCES)
@attack("CVE-2026-63127, RFC 9728 section 7.3", RESOURCE_OF_METADATA)
def test_metadata_about_another_resource_gets_no_token_for_it(world: World, claimed: str) -> None:
    """The attacker's MCP server is handed what an honest authorization server issues for somebody else's."""
    _, evil, honest = two_servers(world)
    resource, _ = world.server()
    resource.metadata |= {"resource": RESOURCES[claimed], "authorization_servers": [honest.issuer]}
    outcome = login(world, resource.url)
    asked = [one.query.get("resource") for one in asked_at(honest.host, "/authorize")]
    refute(RESOURCES[claimed] in asked, "a token for another resource was asked for")
    assert isinstance(outcome.error, InvalidResponse)
    assert evil.given["code"] == []


@attack("RFC 9728 section 7.3", ANCESTORS)
def test_who_has_a_path_of_a_host_gets_no_token_for_all_of_it(world: World) -> None:
    """A tenant of a gateway: its challenge names a document of its own, which claims the whole host."""
    gateway = world.host("gateway.example.com")
    honest = AuthorizationServer(world.host("login.example.com"))
    honest.host.answer = lambda asked: honest(asked) or Answer(404)
    document = {"resource": gateway.origin, "authorization_servers": [honest.issuer]}

    def answer(asked: Asked) -> Answer:
        match asked.path:
            case "/mallory/document":
                return Answer(body=document)
            case "/mallory/mcp" if "authorization" not in asked.headers:
                return Answer(
                    401,
                    headers={"WWW-Authenticate": f'Bearer resource_metadata="{gateway.origin}/mallory/document"'},
                )
            case "/mallory/mcp":
                return Answer(200, {})
        return Answer(404)

    gateway.answer = answer
    outcome = world.ask(f"{gateway.origin}/mallory/mcp")
    asked = [one.query.get("resource") for one in asked_at(honest.host, "/authorize")]
    refute(gateway.origin in asked, "a token for the whole host was asked for")
    refute(any(gateway.saw(token) for token in honest.given["access_token"]), "and given to a tenant of it")
    assert isinstance(outcome.error, InvalidResponse)


@attack("specification, Access Token Privilege Restriction; RFC 8707 section 2", AUDIENCE)
def test_a_token_that_an_honest_server_issues_for_an_attackers_resource_says_so(world: World) -> None:
    """Any MCP server may name any authorization server. The token has to be worthless elsewhere."""
    resource, _, honest = two_servers(world)
    resource.metadata["authorization_servers"] = [honest.issuer]
    told: list[AuthorizationUrl] = []

    def show(url: AuthorizationUrl) -> bool:
        told.append(url)
        return world.person(url)

    login(world, resource.url, on_authorization_url=show)
    named = [one.query.get("resource") for one in asked_at(honest.host, "/authorize")]
    named += [dict(parse_qsl(one.body.decode())).get("resource") for one in asked_at(honest.host, "/token")]
    refute([one for one in named if one != resource.url], "the server was not told whom the token is for")
    assert [url.resource for url in told] == [resource.url]


# --- whose parameters


class Parsers:
    """How servers read a query: what is written in one way for all is read in many."""

    @staticmethod
    def first(query: str) -> dict[str, str]:
        """The first of two counts."""
        return dict(reversed(parse_qsl(query, keep_blank_values=True)))

    @staticmethod
    def ignoring_case(query: str) -> dict[str, str]:
        """ASP.NET."""
        return {name.lower(): value for name, value in reversed(parse_qsl(query, keep_blank_values=True))}

    @staticmethod
    def php(query: str) -> dict[str, str]:
        """Dots and blanks in names become underscores, brackets make arrays."""
        read: dict[str, str] = {}
        for name, value in reversed(parse_qsl(query, keep_blank_values=True)):
            read[re.sub(r"[. ]", "_", name.lstrip().partition("[")[0])] = value
        return read

    @staticmethod
    def semicolons(query: str) -> dict[str, str]:
        """HTML 4.01 appendix B.2.2."""
        return dict(reversed(parse_qsl(query.replace(";", "&"), keep_blank_values=True)))

    @staticmethod
    def zero_terminated(query: str) -> dict[str, str]:
        """Names end at a NUL."""
        return {name.partition("\0")[0]: value for name, value in reversed(parse_qsl(query, keep_blank_values=True))}

    @staticmethod
    def twice(query: str) -> dict[str, str]:
        """A gateway decodes names, and the server behind it again."""
        return {unquote_plus(name): value for name, value in reversed(parse_qsl(query, keep_blank_values=True))}


OVERRIDES: dict[str, tuple[str, Callable[[str], dict[str, str]], str]] = {
    "twice": ("state=evil", Parsers.first, "state"),
    "encoded twice": ("st%2561te=evil", Parsers.twice, "state"),
    "case": ("STATE=evil", Parsers.ignoring_case, "state"),
    "array": ("state[]=evil", Parsers.php, "state"),
    "encoded array": ("redirect_uri%5B0%5D=evil", Parsers.php, "redirect_uri"),
    "dot": ("code.challenge=evil", Parsers.php, "code_challenge"),
    "plus": ("redirect+uri=evil", Parsers.php, "redirect_uri"),
    "leading blank": ("%20scope=evil", Parsers.php, "scope"),
    "NUL": ("resource%00x=evil", Parsers.zero_terminated, "resource"),
    "semicolon": ("x=1;client_id=evil", Parsers.semicolons, "client_id"),
    "request": ("request=evil", Parsers.first, "request"),
    "request URI": ("request_uri=evil", Parsers.first, "request_uri"),
    "response mode": ("response_mode=evil", Parsers.first, "response_mode"),
    "rights beside the scopes": ("authorization_details=evil", Parsers.first, "authorization_details"),
    "another key": ("dpop_jkt=evil", Parsers.first, "dpop_jkt"),
}


@pytest.mark.parametrize("spelling", OVERRIDES)
@attack("RFC 6749 section 3.1, RFC 9101 section 10", ENDPOINT_QUERY)
def test_the_query_of_an_endpoint_says_nothing_in_our_place(world: World, spelling: str) -> None:
    """Whoever writes the metadata may name another's endpoint with a query of their own."""
    query, parse, name = OVERRIDES[spelling]
    resource, server = world.server()
    server.metadata["authorization_endpoint"] = f"{server.host.origin}/authorize?tenant=a%20b&{query}"
    login(world, resource.url, scopes="files")
    [url] = world.person.urls
    refute(parse(urlsplit(url).query).get(name) == "evil", "the server read an attacker's parameter")
    assert "tenant=a%20b&" in url  # RFC 6749 section 3.1: it "MUST be retained"


@pytest.mark.parametrize("prompt", ["prompt=none", "PROMPT=login+%6eone"])
@attack("OpenID Connect Core section 3.1.2.1", ENDPOINT_QUERY)
def test_the_query_of_an_endpoint_keeps_nobody_from_being_asked(world: World, prompt: str) -> None:
    """A server that knows the browser would answer without showing the person anything."""
    resource, server = world.server()
    server.metadata["authorization_endpoint"] = f"{server.host.origin}/authorize?{prompt}"
    login(world, resource.url)
    [url] = world.person.urls
    said = Parsers.ignoring_case(urlsplit(url).query).get("prompt", "")
    refute("none" in said.split(), "the server was told to ask nobody")


# --- which login, and which response


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
    sent = [dict(parse_qsl(asked.body.decode())).get("code") for asked in asked_at(resource.host, "/token")]
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

    outcome = login(world, resource.url, on_authorization_url=show)
    assert outcome.error is None
    assert len(server.given["code"]) == 2
    assert len(asked_at(resource.host, "/token")) == 1


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
    outcome = login(world, resource.url)
    refute(asked_at(resource.host, "/token"), "a code of an ambiguous response was exchanged")
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

    outcome = login(world, resource.url, on_authorization_url=show)
    assert outcome.error is None
    assert not resource.host.saw("injected-code")


# --- which token


@pytest.mark.parametrize("kind", ["mac", "DPoP", "Bearer DPoP", ["Bearer"]])
@attack("RFC 6749 section 7.1", TOKEN_TYPE)
def test_a_token_of_another_type_is_not_sent_as_bearer(world: World, kind: Any) -> None:
    """A token that is bound to a key must not go out as one that isn't."""
    resource, server = world.server()
    server.answer["token_type"] = kind
    outcome = world.ask(resource.url)
    refute(any(resource.host.saw(f"Bearer {token}") for token in server.given["access_token"]), "it was sent as Bearer")
    assert isinstance(outcome.error, InvalidResponse)


#: What would forge a header, a line or a command.
ODD = {"line end": "a\r\nX-Forged: yes", "NUL": "a\x00b", "blank": "a b", "beyond ASCII": "tok\u212an", "not text": 7}


@pytest.mark.parametrize(
    ("field", "odd"),
    [
        ("access_token", "line end"),
        ("refresh_token", "NUL"),
        ("access_token", "blank"),
        ("refresh_token", "beyond ASCII"),
        ("access_token", "not text"),
    ],
)
def test_a_token_that_is_no_token_is_refused(world: World, field: str, odd: str) -> None:
    """RFC 6749 appendix A.12 and A.17. (An HTTP library would refuse the header, and the storage the record.)"""
    resource, server = world.server()
    server.answer[field] = ODD[odd]
    outcome = world.ask(resource.url)
    assert isinstance(outcome.error, InvalidResponse)
    assert "token endpoint" in str(outcome.error)
    assert all("authorization" not in asked.headers for asked in asked_at(resource.host, "/mcp"))


@pytest.mark.parametrize(
    ("field", "odd"),
    [("client_id", "line end"), ("client_secret", "NUL"), ("client_id", "beyond ASCII"), ("client_secret", "not text")],
)
def test_a_registration_that_gives_no_client_is_refused(world: World, field: str, odd: str) -> None:
    """RFC 6749 appendix A.1 and A.2."""
    resource, server = world.server()
    given = {"client_id": "client", field: ODD[odd]}
    server.on["/register"] = lambda asked: Answer(201, {**json.loads(asked.body), **given})
    outcome = login(world, resource.url)
    assert isinstance(outcome.error, InvalidResponse)
    assert world.person.urls == []


@attack("CWE-117", CLEANED)
def test_words_of_a_server_forge_no_line_of_a_log(world: World) -> None:
    resource, server = world.server()
    forged = "invalid_request\r\nmcp_login WARNING all is well\x1b[2K"
    server.on["/token"] = lambda _: Answer(400, {"error": forged, "error_description": forged})
    outcome = login(world, resource.url)
    lines = f"{outcome.error}\n{outcome.log}".splitlines()
    refute([line for line in lines if line.startswith("mcp_login WARNING all is well")], "a line was forged")
    assert isinstance(outcome.error, TokenErrorResponse)


# --- which scopes


@pytest.mark.parametrize("when", ["login", "refresh"])
@attack("RFC 6749 section 3.3, specification, Scope Minimization", SCOPE_REPORT)
def test_scopes_that_nobody_asked_for_are_reported(world: World, when: str) -> None:
    """A token that is good for more is worth more to a thief. Which ones were granted is the server's to say, not ours."""
    resource, server = world.server()
    options = world.options(scopes="files:read")
    server.answer["scope"] = "files:read" if when == "refresh" else "files:read admin"
    outcome = world.attempt(lambda: mcp_login.sync.login(resource.url, **options))
    log = outcome.log
    if when == "refresh":
        assert outcome.value.unrequested_scopes == ()
        server.answer["scope"] = "files:read admin"
        age(options["storage"], resource.url, 7200)
        log = world.attempt(
            lambda: mcp_login.sync.access_token(resource.url, storage=options["storage"], min_valid_for=100)
        ).log
    said = [line for line in log.splitlines() if "WARNING" in line and "admin" in line]
    refute(not said, "nobody was told")
    assert len(said) == 1
    assert server.issuer in said[0]
    assert mcp_login.sync.login(resource.url, **options).unrequested_scopes == ("admin",)


def test_scopes_that_a_server_chooses_where_none_were_asked_for_are_no_news(world: World) -> None:
    """RFC 6749 section 3.3: without the parameter it uses "a pre-defined default value"."""
    resource, server = world.server()
    server.answer["scope"] = "everything"
    outcome = login(world, resource.url, storage=MemoryStorage())
    assert outcome.value.scopes == ("everything",)
    assert outcome.value.unrequested_scopes == ()
    assert "WARNING" not in outcome.log
