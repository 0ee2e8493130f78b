"""Authorization server metadata: where it lies, whose it is, what it promises (RFC 8414, OpenID Connect Discovery)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote

from pydantic import Field

from mcp_login.errors import InvalidResponse, IssuerMismatch, PolicyError

from .document import MetadataDocument, Strings, parse_document
from .metadata import load_json_object
from .uri import is_loopback_url, origin, require_secure

if TYPE_CHECKING:
    from .message import HttpResponse

__all__ = [
    "AuthorizationServerMetadata",
    "authorization_server_metadata_urls",
    "default_authorization_server_metadata",
    "parse_authorization_server_metadata",
    "require_pkce",
]


class AuthorizationServerMetadata(MetadataDocument):
    """The metadata of an authorization server (RFC 8414 section 2), as far as a client needs it. Other fields are kept.

    None means that the server didn't say. RFC 8414 then has defaults for some fields; who reads a field applies them.
    """

    issuer: str
    authorization_endpoint: str | None = None
    token_endpoint: str | None = None
    registration_endpoint: str | None = None
    revocation_endpoint: str | None = None
    #: RFC 8628 section 4.
    device_authorization_endpoint: str | None = None
    #: RFC 9126 section 5.
    pushed_authorization_request_endpoint: str | None = None
    require_pushed_authorization_requests: bool = False
    jwks_uri: str | None = None
    scopes_supported: Strings | None = None
    response_types_supported: Strings | None = None
    response_modes_supported: Strings | None = None
    grant_types_supported: Strings | None = None
    token_endpoint_auth_methods_supported: Strings | None = None
    token_endpoint_auth_signing_alg_values_supported: Strings | None = None
    revocation_endpoint_auth_methods_supported: Strings | None = None
    code_challenge_methods_supported: Strings | None = None
    #: Client ID Metadata Document, section 5.
    client_id_metadata_document_supported: bool = False
    #: RFC 9207 section 3.
    authorization_response_iss_parameter_supported: bool = False
    #: RFC 9449 section 5.1.
    dpop_signing_alg_values_supported: Strings | None = None
    service_documentation: str | None = Field(default=None, repr=False)


#: RFC 8414 section 2: these are URLs that this library sends to. All of them must be served over TLS.
_ENDPOINTS = (
    "authorization_endpoint",
    "token_endpoint",
    "registration_endpoint",
    "revocation_endpoint",
    "device_authorization_endpoint",
    "pushed_authorization_request_endpoint",
)

_OAUTH = "/.well-known/oauth-authorization-server"
_OPENID = "/.well-known/openid-configuration"
_AFTER_ORIGIN = re.compile(r"[A-Za-z]+://[^/?#]*([^?#]*)(.*)")


def authorization_server_metadata_urls(issuer: str) -> tuple[str, ...]:
    """Where the metadata of `issuer` can lie, in the order in which to ask.

    With a path: OAuth inserted, OpenID inserted, OpenID appended; without: OAuth, OpenID. A terminating slash is left
    out of the URLs (RFC 8414 section 3.1, OpenID Connect Discovery section 4.1); it stays part of the issuer for the
    comparison. Raises `PolicyError` where `issuer` can't be one: no http or https URL, user information, a query or a
    fragment (RFC 8414 section 2). Implements "Authorization Server Metadata Discovery" of the MCP specification.
    """
    base = origin(issuer)
    match = _AFTER_ORIGIN.fullmatch(issuer)
    path, rest = (match[1], match[2]) if match else ("", "")
    if rest:
        raise PolicyError(
            f"The issuer at {base!r} has a query or a fragment, which RFC 8414 forbids. Ask the server's operator."
        )
    path = path.removesuffix("/")
    if any(segment in (".", "..") for segment in unquote(path).replace("\\", "/").split("/")):
        raise PolicyError(
            f"The issuer at {base!r} has dot segments in its path: its documents would be fetched from somewhere else. Ask "
            "the server's operator."
        )
    if not path:
        return (base + _OAUTH, base + _OPENID)
    return (base + _OAUTH + path, base + _OPENID + path, base + path + _OPENID)


def parse_authorization_server_metadata(
    response: HttpResponse, *, issuer: str, tolerate_trailing_slash: bool = False, allow_http: bool = False
) -> AuthorizationServerMetadata:
    """The metadata in `response`, which was fetched for `issuer`.

    The document's `issuer` must be `issuer`, code point for code point (RFC 8414 section 3.3);
    `tolerate_trailing_slash` forgives one slash at the end, and the document's spelling is the one that is returned.
    `allow_http` permits endpoints without TLS anywhere; else they are permitted on loopback alone, for an issuer on
    loopback. Raises `IssuerMismatch`, `InvalidResponse` (no JSON object), `PolicyError` (an endpoint that is not
    https).
    """
    what = "authorization server metadata"
    received = load_json_object(response, what=what).get("issuer")
    if not isinstance(received, str):
        reason = f"the {what} has no issuer, so it can't be told whose it is; expected was {issuer!r}"
        raise IssuerMismatch(expected=issuer, received=None, url=response.url, reason=reason)
    if received != issuer and not (tolerate_trailing_slash and received.removesuffix("/") == issuer.removesuffix("/")):
        raise IssuerMismatch(expected=issuer, received=received, url=response.url)
    metadata = parse_document(AuthorizationServerMetadata, response, what=what)
    for name in _ENDPOINTS:
        endpoint = getattr(metadata, name)
        if endpoint is not None:
            require_secure(endpoint, what=name, allow_loopback=is_loopback_url(issuer), allow_http=allow_http)
    return metadata


def require_pkce(metadata: AuthorizationServerMetadata, *, trusted: bool = False) -> None:
    """Raise `InvalidResponse` unless the server says that it supports PKCE with S256.

    `trusted` forgives a document that doesn't mention PKCE (some providers support it without saying so), not one that
    lists other methods alone. Implements "Authorization Code Protection" of the MCP specification, and RFC 7636
    section 4.2.
    """
    methods = metadata.code_challenge_methods_supported
    if methods is None and trusted:
        return
    if methods is None or "S256" not in methods:
        said = "has no code_challenge_methods_supported" if methods is None else "doesn't list S256"
        reason = f"the authorization server's metadata {said}: without PKCE a login is not safe"
        raise InvalidResponse(f"{reason}. Ask its operator to advertise S256", url=metadata.issuer)


def default_authorization_server_metadata(issuer: str, *, allow_http: bool = False) -> AuthorizationServerMetadata:
    """What to assume of a server that has no metadata document at all: MCP specification 2025-03-26, "Fallbacks".

    The endpoints are /authorize, /token and /register at the origin of `issuer`, and S256 is assumed. Only right where
    every candidate was judged "absent". Raises `PolicyError` where `issuer` is not https (or http on loopback, or
    `allow_http`).
    """
    require_secure(issuer, what="issuer", allow_loopback=True, allow_http=allow_http)
    base = origin(issuer)
    return AuthorizationServerMetadata(
        issuer=issuer,
        authorization_endpoint=f"{base}/authorize",
        token_endpoint=f"{base}/token",
        registration_endpoint=f"{base}/register",
        response_types_supported=("code",),
        code_challenge_methods_supported=("S256",),
    )
