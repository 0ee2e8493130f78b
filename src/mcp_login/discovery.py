"""From a resource to its authorization server.

Specification 2026-07-28, "Authorization Server Discovery"; RFC 9728 section 3, RFC 8414 section 3, OpenID Connect Discovery
section 4; the legacy path of 2025-03-26 only where every document is absent.
"""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from .errors import (
    AuthError,
    InvalidResponse,
    IssuerMismatch,
    LoginNotNeeded,
    PolicyError,
    TransportError,
    printable,
    without_query,
)
from .network.policy import AddressSpace
from .protocol.authorization_server import (
    AuthorizationServerMetadata,
    authorization_server_metadata_urls,
    default_authorization_server_metadata,
    parse_authorization_server_metadata,
    require_pkce,
)
from .protocol.challenge import Challenge, bearer_challenge
from .protocol.message import HttpRequest, HttpResponse
from .protocol.metadata import judge_metadata_response, retry_after
from .protocol.resource import (
    ProtectedResourceMetadata,
    parse_protected_resource_metadata,
    protected_resource_metadata_urls,
)
from .protocol.uri import origin

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .network.http import HttpClient

__all__ = ["Discovery", "discover", "find_challenge", "listed_scopes", "named_issuers"]

_log = logging.getLogger("mcp_login")

#: How many of the authorization servers that a resource names are tried: a hostile list would keep us busy.
MAX_ISSUERS = 4

#: Answers of a server that has no MCP endpoint at this URL.
_NOTHING_THERE = (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.GONE)


@dataclass(frozen=True, slots=True)
class Discovery:
    """What the documents say about one resource."""

    server_url: str
    #: The document's `resource`, verbatim; without a document the server's URL.
    resource: str
    server: AuthorizationServerMetadata
    #: Scopes that the resource's document lists; None where it is silent.
    scopes_supported: tuple[str, ...] | None
    #: No endpoint that is used may lie in a more private network than the resource itself.
    floor: AddressSpace


async def discover(
    http: HttpClient,
    server_url: str,
    *,
    challenge_url: str | None = None,
    challenged: bool = True,
    status: int | None = None,
    issuer: str | None = None,
    preferred_issuer: str | None = None,
    tolerate_trailing_slash: bool = False,
    trust_pkce: bool = False,
    allow_http: bool = False,
) -> Discovery:
    """Find the authorization server of `server_url` (canonical).

    `challenge_url` is the `resource_metadata` of a challenge; `challenged` says whether the server asked for a login at all,
    `status` what it answered instead.
    `issuer` is the only one that is acceptable (a pre-registered client is bound to it); `preferred_issuer` is tried first.

    Raises `TransportError` where documents can't be had now, `InvalidResponse` and `IssuerMismatch` where they are broken,
    `PolicyError` where they lead to a place they must not, `LoginNotNeeded`.
    """
    resource = await _named_metadata(http, server_url, challenge_url)
    floor = await http.space_of(server_url)
    if resource is None:
        if not challenged:
            raise _not_needed(without_query(server_url), status)
        server = await _legacy_server(http, server_url, floor, allow_http=allow_http)
        _check_issuer(issuer, (server.issuer,), server_url)
        require_pkce(server, trusted=trust_pkce)
        return Discovery(server_url, server_url, server, None, floor)
    listed = resource.authorization_servers
    if not listed:
        raise InvalidResponse("the resource metadata names no authorization server", url=server_url)
    _check_issuer(issuer, listed, server_url)
    candidates = [issuer] if issuer is not None else _preferred_first(listed, preferred_issuer)
    server = await _first_server(
        http, candidates, floor, tolerate_trailing_slash=tolerate_trailing_slash, allow_http=allow_http
    )
    require_pkce(server, trusted=trust_pkce)
    return Discovery(server_url, resource.resource, server, resource.scopes_supported, floor)


def _not_needed(shown: str, status: int | None) -> LoginNotNeeded:
    if status in _NOTHING_THERE:
        return LoginNotNeeded(
            f"{shown} answered with HTTP status {status} and publishes no resource metadata. Check the URL: is its path "
            "right? Often it is /mcp."
        )
    return LoginNotNeeded(
        f"{shown} asks for no login and publishes no resource metadata. Use it without credentials, or check the URL."
    )


async def named_issuers(http: HttpClient, server_url: str, challenge_url: str | None) -> tuple[str, ...]:
    """The authorization servers that the resource metadata names; none where there is no such document.

    Raises as `discover` does.
    """
    resource = await _named_metadata(http, server_url, challenge_url)
    return () if resource is None else resource.authorization_servers


async def listed_scopes(http: HttpClient, server_url: str, challenge_url: str | None) -> tuple[str, ...]:
    """The `scopes_supported` of the resource metadata (RFC 9728 section 2); none where it is silent, or there is none.

    Raises as `discover` does.
    """
    resource = await _named_metadata(http, server_url, challenge_url)
    return () if resource is None else resource.scopes_supported or ()


async def _named_metadata(
    http: HttpClient, server_url: str, challenge_url: str | None
) -> ProtectedResourceMetadata | None:
    leads_elsewhere = challenge_url is not None and not _same_origin(challenge_url, server_url)
    if leads_elsewhere and http.would_learn_space(server_url):
        # Where the server itself lives has to be known first, from a connection: what its name says now may be a lie.
        await find_challenge(http, server_url)
    return await _resource_metadata(http, server_url, challenge_url)


async def find_challenge(http: HttpClient, server_url: str) -> tuple[int, Challenge | None]:
    """Ask the server for something without a token: the status of its answer (401: it wants a login), and its challenge.

    A `ping` is the one request that a client may send before anything else (MCP, basic/lifecycle), so that nothing is begun.
    """
    request = HttpRequest(
        "POST",
        server_url,
        {"accept": "application/json, text/event-stream", "content-type": "application/json"},
        b'{"jsonrpc":"2.0","id":0,"method":"ping"}',
    )
    response = await http.send(request)
    target = _redirect_target(response, server_url)
    if target is not None:
        # A slash too many or too few, mostly. There is no secret in the request.
        response = await http.send(dataclasses.replace(request, url=target))
    if response.status in (408, 429) or response.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise _unavailable(response)
    if response.status != HTTPStatus.UNAUTHORIZED:
        return response.status, None
    return response.status, bearer_challenge(response.header_values("www-authenticate"))


def _preferred_first(listed: Iterable[str], preferred: str | None) -> list[str]:
    # RFC 9728 section 7.6 leaves the choice to the client: the one that was used before, then the resource's own order.
    return sorted(dict.fromkeys(listed), key=lambda item: item != preferred)[:MAX_ISSUERS]


def _check_issuer(issuer: str | None, listed: tuple[str, ...], server_url: str) -> None:
    """Specification, "Authorization Server Binding": credentials are not used at another issuer than their own."""
    if issuer is not None and issuer not in listed:
        raise IssuerMismatch(
            expected=issuer,
            received=listed[0],
            url=server_url,
            reason=(
                f"the client credentials are for the issuer {issuer!r}, but this server names {listed[0]!r}. Give issuer= "
                "exactly as the server names it; if it has moved there, ask its operator for a client at the new one"
            ),
        )


async def _get(http: HttpClient, url: str, floor: AddressSpace) -> HttpResponse:
    request = HttpRequest("GET", url, {"accept": "application/json", "mcp-protocol-version": "2025-11-25"})
    return await http.send(request, floor=floor, follow_redirects=True)


def _same_origin(url: str, other: str) -> bool:
    try:
        return origin(url) == origin(other)
    except PolicyError:
        return False


def _redirect_target(response: HttpResponse, url: str) -> str | None:
    location = response.header("location")
    if response.status not in (307, 308) or location is None:
        return None
    try:
        target = urljoin(url, location)
    except ValueError:  # brackets that hold no address
        return None
    return target if _same_origin(target, url) else None


def _unavailable(response: HttpResponse) -> TransportError:
    url = printable(without_query(response.url))
    return TransportError(
        f"{url} answered with HTTP status {response.status}. Try again later.",
        url=url,
        retry_after=retry_after(response),
    )


class _Unknown:
    """Why it couldn't be told whether documents exist: a server that is down is not one that has none."""

    def __init__(self) -> None:
        self.error: TransportError | None = None

    def add_response(self, response: HttpResponse) -> None:
        self.error = self.error or _unavailable(response)

    def add_error(self, error: TransportError) -> None:
        self.error = self.error or error

    def raise_if_any(self) -> None:
        if self.error is not None:
            raise self.error


async def _document(http: HttpClient, url: str, floor: AddressSpace, unknown: _Unknown) -> HttpResponse | None:
    """The answer at `url` if it is a document; None where it is absent, or unknown, which is noted."""
    try:
        response = await _get(http, url, floor)
    except TransportError as error:
        unknown.add_error(error)
        return None
    verdict = judge_metadata_response(response)
    if verdict == "document":
        return response
    if verdict == "unknown":
        unknown.add_response(response)
    return None


async def _resource_metadata(
    http: HttpClient, server_url: str, challenge_url: str | None
) -> ProtectedResourceMetadata | None:
    """RFC 9728 section 3; "Protected Resource Metadata Discovery Requirements": the challenge's URL, else the well-known ones.

    Also where the challenge's is refused: servers behind a proxy name themselves as they see themselves, http://localhost say.
    """
    unknown = _Unknown()
    refusal: PolicyError | None = None
    urls = dict.fromkeys(
        (*protected_resource_metadata_urls(server_url, challenge_url), *protected_resource_metadata_urls(server_url))
    )
    for url in urls:
        # The person named the server, so its own origin may lie anywhere; what it leads to may not.
        floor = AddressSpace.LOOPBACK if _same_origin(url, server_url) else await http.space_of(server_url)
        try:
            response = await _document(http, url, floor, unknown)
        except PolicyError as error:
            if url != challenge_url:
                raise
            _log.warning(
                "The challenge of %s names no place to look for its metadata: %s", without_query(server_url), error
            )
            refusal = error
            continue
        if response is not None:
            return parse_protected_resource_metadata(response, server_url=server_url, asked_url=url)
    unknown.raise_if_any()
    if refusal is not None:
        raise refusal
    return None


async def _server_metadata(
    http: HttpClient,
    issuer: str,
    floor: AddressSpace,
    unknown: _Unknown,
    *,
    tolerate_trailing_slash: bool,
    allow_http: bool,
) -> AuthorizationServerMetadata | None:
    for url in authorization_server_metadata_urls(issuer):
        response = await _document(http, url, floor, unknown)
        if response is not None:
            return parse_authorization_server_metadata(
                response, issuer=issuer, tolerate_trailing_slash=tolerate_trailing_slash, allow_http=allow_http
            )
    return None


async def _first_server(
    http: HttpClient, issuers: list[str], floor: AddressSpace, *, tolerate_trailing_slash: bool, allow_http: bool
) -> AuthorizationServerMetadata:
    """The first issuer whose metadata can be had. The first problem is the one that is reported."""
    problem: AuthError | None = None
    for issuer in issuers:
        unknown = _Unknown()
        try:
            found = await _server_metadata(
                http,
                issuer,
                floor,
                unknown,
                tolerate_trailing_slash=tolerate_trailing_slash,
                allow_http=allow_http,
            )
            if found is not None:
                return found
            unknown.raise_if_any()
            raise InvalidResponse(
                "the authorization server publishes no metadata at any well-known place. Ask its operator to publish it",
                url=issuer,
            )
        except AuthError as error:
            _log.info("authorization server %s can't be used: %s", printable(issuer), type(error).__name__)
            problem = problem or error
    assert problem is not None  # noqa: S101 - there is at least one issuer
    raise problem


async def _legacy_server(
    http: HttpClient, server_url: str, floor: AddressSpace, *, allow_http: bool
) -> AuthorizationServerMetadata:
    """Specification 2025-03-26: the server's origin is the issuer; default endpoints where no document exists at all."""
    # Nobody named this issuer, it is derived: an origin is the same with and without its slash.
    issuer = origin(server_url)
    unknown = _Unknown()
    found = await _server_metadata(http, issuer, floor, unknown, tolerate_trailing_slash=True, allow_http=allow_http)
    if found is not None:
        return found
    unknown.raise_if_any()
    return default_authorization_server_metadata(issuer, allow_http=allow_http)
