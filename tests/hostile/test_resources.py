"""One resource taken for another, and another's parameters for ours: RFC 9728 section 7.3, RFC 8707, RFC 9101 section 10."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote_plus, urlsplit

import pytest

from mcp_login import InvalidResponse
from tests.flows.strangers import Answer, Asked
from tests.hostile.attack import attack, refute
from tests.hostile.parties import AuthorizationServer
from tests.hostile.switches.confusion import (
    ANCESTORS,
    AUDIENCE,
    ENDPOINT_QUERY,
    RESOURCE_OF_METADATA,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from mcp_login import AuthorizationUrl
    from tests.hostile.world import World

__all__: list[str] = []


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
    _, evil, honest = world.two_servers()
    resource, _ = world.server()
    resource.metadata |= {"resource": RESOURCES[claimed], "authorization_servers": [honest.issuer]}
    outcome = world.log_in(resource.url)
    asked = [one.query.get("resource") for one in honest.host.asked_for("/authorize")]
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
    asked = [one.query.get("resource") for one in honest.host.asked_for("/authorize")]
    refute(gateway.origin in asked, "a token for the whole host was asked for")
    refute(any(gateway.saw(token) for token in honest.given["access_token"]), "and given to a tenant of it")
    assert isinstance(outcome.error, InvalidResponse)


@attack("specification, Access Token Privilege Restriction; RFC 8707 section 2", AUDIENCE)
def test_a_token_that_an_honest_server_issues_for_an_attackers_resource_says_so(world: World) -> None:
    """Any MCP server may name any authorization server. The token has to be worthless elsewhere."""
    resource, _, honest = world.two_servers()
    resource.metadata["authorization_servers"] = [honest.issuer]
    told: list[AuthorizationUrl] = []

    def show(url: AuthorizationUrl) -> bool:
        told.append(url)
        return world.person(url)

    world.log_in(resource.url, on_authorization_url=show)
    named = [one.query.get("resource") for one in honest.host.asked_for("/authorize")]
    named += [dict(parse_qsl(one.body.decode())).get("resource") for one in honest.host.asked_for("/token")]
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
    def classic_asp(query: str) -> dict[str, str]:
        """Escapes of UTF-16."""
        plain = re.sub("%u([0-9a-fA-F]{4})", lambda escape: chr(int(escape[1], 16)), query)
        return dict(reversed(parse_qsl(plain, keep_blank_values=True)))

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
    "scopes by another name": ("user_scope=evil", Parsers.first, "user_scope"),
    "scopes of before": ("include_granted_scopes=evil", Parsers.first, "include_granted_scopes"),
    "another person": ("id_token_hint=evil", Parsers.first, "id_token_hint"),
    "escapes of its own": ("%u0073cope=evil", Parsers.classic_asp, "scope"),
    "another key": ("dpop_jkt=evil", Parsers.first, "dpop_jkt"),
}


@pytest.mark.parametrize("spelling", OVERRIDES)
@attack("RFC 6749 section 3.1, RFC 9101 section 10", ENDPOINT_QUERY)
def test_the_query_of_an_endpoint_says_nothing_in_our_place(world: World, spelling: str) -> None:
    """Whoever writes the metadata may name another's endpoint with a query of their own."""
    query, parse, name = OVERRIDES[spelling]
    resource, server = world.server()
    server.metadata["authorization_endpoint"] = f"{server.host.origin}/authorize?tenant=a%20b&{query}"
    world.log_in(resource.url, scopes="files")
    [url] = world.person.urls
    refute(parse(urlsplit(url).query).get(name) == "evil", "the server read an attacker's parameter")
    assert "tenant=a%20b&" in url  # RFC 6749 section 3.1: it "MUST be retained"


@pytest.mark.parametrize("prompt", ["prompt=none", "PROMPT=login+%6eone", "prompt=%256eone"])
@attack("OpenID Connect Core section 3.1.2.1", ENDPOINT_QUERY)
def test_the_query_of_an_endpoint_keeps_nobody_from_being_asked(world: World, prompt: str) -> None:
    """A server that knows the browser would answer without showing the person anything."""
    resource, server = world.server()
    server.metadata["authorization_endpoint"] = f"{server.host.origin}/authorize?{prompt}"
    world.log_in(resource.url)
    [url] = world.person.urls
    said = Parsers.ignoring_case(urlsplit(url).query).get("prompt", "")
    # Some servers decode twice.
    refute("none" in unquote_plus(said).split(), "the server was told to ask nobody")
