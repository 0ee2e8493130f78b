"""Protected resource metadata: where it lies, and whether it is about this server (RFC 9728)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mcp_login.errors import InvalidResponse, PolicyError, printable, without_query

from .document import MetadataDocument, Strings, parse_document
from .uri import is_within, origin

if TYPE_CHECKING:
    from .message import HttpResponse

__all__ = [
    "ProtectedResourceMetadata",
    "parse_protected_resource_metadata",
    "protected_resource_metadata_urls",
]


class ProtectedResourceMetadata(MetadataDocument):
    """The metadata of a protected resource (RFC 9728 section 2). Fields not named here are kept as they came."""

    #: As the document spells it: sent verbatim as the `resource` parameter (RFC 8707), and the boundary of the token.
    resource: str
    #: Issuers. Empty where the document names none: the MCP specification demands one, RFC 9728 doesn't.
    authorization_servers: Strings = ()
    scopes_supported: Strings | None = None
    bearer_methods_supported: Strings | None = None
    resource_name: str | None = None
    resource_documentation: str | None = None
    resource_policy_uri: str | None = None
    resource_tos_uri: str | None = None
    jwks_uri: str | None = None
    tls_client_certificate_bound_access_tokens: bool = False
    authorization_details_types_supported: Strings | None = None
    dpop_signing_alg_values_supported: Strings | None = None
    dpop_bound_access_tokens_required: bool = False


_WELL_KNOWN = "/.well-known/oauth-protected-resource"
_AFTER_ORIGIN = re.compile(r"[A-Za-z]+://[^/?#]*([^?#]*)(\?[^#]*)?(#.*)?")


def protected_resource_metadata_urls(server_url: str, challenge_url: str | None = None) -> tuple[str, ...]:
    """Where the metadata of the server at `server_url` can lie, in the order in which to ask.

    `challenge_url`, the `resource_metadata` of a challenge, counts alone; where it is no http or https URL at all, it
    counts as missing. Else the well-known URI with the server's path (and query) inserted, verbatim and, if that ends
    in a slash, without; then the one at the root. Raises `PolicyError` where `server_url` is no http or https URL.
    Implements RFC 9728 section 3.1 and "Protected Resource Metadata Discovery Requirements" of the MCP specification.
    """
    if challenge_url is not None and _is_url(challenge_url):
        return (challenge_url,)
    root = origin(server_url) + _WELL_KNOWN
    match = _AFTER_ORIGIN.fullmatch(server_url)
    path, query = (match[1], match[2] or "") if match else ("", "")
    # RFC 9728 section 3.1: a slash that follows the host is removed before a query, too.
    path = "" if path == "/" else path
    return tuple(dict.fromkeys((root + path + query, root + path.removesuffix("/") + query, root)))


def parse_protected_resource_metadata(
    response: HttpResponse, *, server_url: str, asked_url: str | None = None
) -> ProtectedResourceMetadata:
    """The metadata in `response`, which was fetched for the server at `server_url` from `asked_url` (None: the response's URL).

    Its `resource` must be `server_url` or a path-segment ancestor of it on the same origin, and without a query or
    with the same one. RFC 9728 section 3.3 asks for identity; ancestors are our own choice, because servers publish
    one document for several endpoints, and the token goes no further than to that resource. They are believed only at
    a well-known URI of the server's origin: whoever has but a path of a host could otherwise get tokens for all of it
    (section 7.3), by a challenge that names a document of their own. Raises `InvalidResponse`.
    """
    metadata = parse_document(ProtectedResourceMetadata, response, what="protected resource metadata")
    if not _covers(metadata.resource, server_url, response.url if asked_url is None else asked_url):
        reason = (
            f"the metadata is about the resource {printable(metadata.resource, 100)!r}, "
            f"not about {printable(without_query(server_url), 100)!r}. Log in with the address that the server itself uses"
        )
        raise InvalidResponse(reason, url=response.url)
    return metadata


def _covers(resource: str, server_url: str, asked_url: str) -> bool:
    _, _, query = resource.partition("?")
    if "#" in resource or (query and query != server_url.partition("?")[2]):
        return False
    is_itself = is_within(resource, server_url)
    return is_within(server_url, resource) and (is_itself or _is_at_home(asked_url, server_url))


def _is_at_home(asked_url: str, server_url: str) -> bool:
    """Whether `asked_url` is one of the well-known URIs of the origin of `server_url`."""
    return is_within(asked_url, origin(server_url) + _WELL_KNOWN)


def _is_url(text: str) -> bool:
    try:
        origin(text)
    except PolicyError:
        return False
    return True
