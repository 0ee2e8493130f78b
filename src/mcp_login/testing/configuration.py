"""How the embedded server behaves. Every quirk that a client has to survive has a name here.

The defaults are those of a strict server without quirks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from types import EllipsisType
from typing import Any, Literal, TypedDict, get_args, get_origin, get_type_hints

__all__ = ["Configuration", "RegisteredClient", "Settings"]

Scopes = tuple[str, ...]
AuthMethod = Literal["none", "client_secret_basic", "client_secret_post"]
Mechanism = Literal["pre_registered", "metadata_document", "dynamic"]
MetadataLocation = Literal["oauth", "oidc", "oidc_appended"]
#: Members that replace those of a metadata document; `...` leaves a member out.
Overrides = Mapping[str, Any | EllipsisType]


@dataclass(frozen=True, kw_only=True)
class RegisteredClient:
    """A client that the authorization server knows (RFC 7591 section 2).

    Pre-registered ones are given in `Configuration.clients`.
    """

    client_id: str
    client_secret: str | None = field(default=None, repr=False)
    redirect_uris: tuple[str, ...] = ()
    client_name: str | None = None
    token_endpoint_auth_method: AuthMethod = "none"  # noqa: S105 (a method, no secret)
    #: More than one only where the registration's answer named none.
    accepted_auth_methods: tuple[AuthMethod, ...] = ()
    grant_types: tuple[str, ...] = ("authorization_code", "refresh_token")
    mechanism: Mechanism = "pre_registered"
    #: Seconds since the epoch; None: the secret doesn't expire.
    client_secret_expires_at: float | None = None


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """What an `EmbeddedServer` does. All lifetimes are in seconds.

    Raises `ValueError` for a word that isn't one of those of its field, and for anything but a tuple where one belongs.
    """

    # Where things are.
    #: The path of the MCP endpoint; "" for a server at the root of its origin.
    mcp_path: str = "/mcp"
    #: The path of the metadata's `resource`; None: that of the MCP endpoint. An ancestor ("" too) widens the resource.
    resource_path: str | None = None
    #: Appended to the authorization server's origin: the issuer. "/tenant", or "/" for an issuer that ends in a slash.
    issuer_path: str = ""
    #: The authorization server has an origin (a port) of its own.
    separate_authorization_server: bool = False
    #: The origins while the server is used in process; on loopback the ports that were bound replace them.
    origin: str = "http://127.0.0.1:8000"
    authorization_server_origin: str = "http://127.0.0.1:9000"
    #: A query that the authorization endpoint's URL already has, and that a client has to keep (RFC 6749 section 3.1).
    authorization_endpoint_query: str = ""

    # Discovery.
    resource_metadata: Literal["path", "root", "custom", "absent"] = "path"
    server_metadata: tuple[MetadataLocation, ...] = ("oauth",)
    #: How a metadata address without a document answers; 200 is the HTML page of a single-page application.
    absent_status: int = 404
    resource_metadata_overrides: Overrides = field(default_factory=dict)
    server_metadata_overrides: Overrides = field(default_factory=dict)
    #: Whether a 401 or 403 has a WWW-Authenticate header, and what its Bearer challenge says.
    challenge: bool = True
    challenge_resource_metadata: bool = True
    challenge_scope: bool = True
    #: Challenges of other schemes before ours, for example "Negotiate" or 'Basic realm="a, b"'.
    other_challenges: tuple[str, ...] = ()
    challenges_in_one_line: bool = False

    # What needs a token, and which.
    #: False: the server asks nobody to log in.
    protected: bool = True
    #: JSON-RPC methods that need no token, for example "initialize".
    anonymous_methods: tuple[str, ...] = ()
    #: Scopes that every request with a token needs.
    required_scopes: Scopes = ("mcp",)
    #: Scopes that a tool needs beyond them.
    tool_scopes: Mapping[str, Scopes] = field(default_factory=lambda: {"secret": ("secret:read",)})
    #: `scopes_supported` of the resource and of the authorization server; None leaves the member out.
    scopes_supported: Scopes | None = ("mcp",)
    server_scopes_supported: Scopes | None = ("mcp", "secret:read")
    #: The only scopes the authorization server grants, whatever was asked for; None: all that were.
    granted_scopes: Scopes | None = None

    # Registration.
    registration: tuple[Mechanism, ...] = ("pre_registered", "dynamic")
    clients: tuple[RegisteredClient, ...] = ()
    #: Gets a client's metadata document for its URL, in a worker thread. None: over https, or http on loopback.
    fetch: Callable[[str], bytes] | None = None
    token_endpoint_auth_methods: tuple[AuthMethod, ...] = ("none", "client_secret_basic", "client_secret_post")
    #: Whether the metadata has `token_endpoint_auth_methods_supported` (RFC 8414 section 2: absent means basic).
    advertise_auth_methods: bool = True
    #: "secret_despite_none": a secret beside the method none, and client_secret_post is expected (Figma).
    #: "secret_without_method": a secret and no method: any of those with a secret is accepted (Supabase).
    registration_answer: Literal["as_asked", "secret_despite_none", "secret_without_method"] = "as_asked"
    registration_status: int = 201
    client_secret_lifetime: float | None = None
    #: What a registration without `application_type` is taken for. OpenID Connect: web, which may have no loopback URI.
    omitted_application_type: Literal["web", "native"] = "web"
    #: Whether unknown scopes in a registration are an error.
    strict_registration_scopes: bool = False
    #: Whether a loopback redirect URI may have another port than the registered one (RFC 8252 section 7.3).
    any_loopback_port: bool = False
    #: The hosts that redirect URIs may have; None: any.
    redirect_hosts: tuple[str, ...] | None = None

    # Authorization.
    #: True: every authorization request is approved at once, with a 302. False: a person sees a page.
    auto_approve: bool = False
    #: "on": sent, advertised. "unadvertised": sent. "withheld": advertised, not sent. "wrong": another issuer is sent.
    iss: Literal["on", "off", "unadvertised", "withheld", "wrong"] = "on"
    advertise_pkce: bool = True
    #: RFC 8707. "refused" answers invalid_target as Microsoft Entra ID does.
    resource_parameter: Literal["required", "optional", "refused"] = "required"
    authorization_code_lifetime: float = 60.0

    # Tokens.
    access_token_lifetime: float = 3600.0
    refresh_token_lifetime: float | None = 30 * 86400.0
    #: "offline_access": only where that scope was asked for, with prompt=consent (OpenID Connect Core section 11).
    refresh_tokens: Literal["always", "offline_access", "never"] = "always"
    #: A refresh replaces the refresh token.
    rotation: bool = True
    #: A refresh token that comes back after its rotation revokes all tokens of its login.
    reuse_detection: bool = True
    #: For so long after its rotation a refresh token is still good.
    rotation_grace: float = 0.0
    #: A refresh revokes the access tokens issued before (Notion).
    refresh_revokes_access_tokens: bool = False
    #: Access tokens have at least so many characters.
    access_token_length: int = 43
    revocation: bool = True

    # How the token endpoint answers.
    #: "form_unless_asked": form-encoded unless the request accepts application/json (GitHub).
    token_answer: Literal["json", "form", "form_unless_asked"] = "json"  # noqa: S105 (a style)
    token_status: int = 200
    token_type: str = "Bearer"  # noqa: S105 (a type, no token)
    expires_in: Literal["number", "string", "omit", "null"] = "number"
    #: "unless_equal" leaves `scope` out where all that was asked for was granted (RFC 6749 section 5.1).
    scope_in_answer: Literal["always", "unless_equal", "never"] = "always"
    scope_separator: str = " "
    #: What stands in for a member that has no value: nothing, or null.
    null_fields: bool = False
    #: "as_200": errors have the status 200 (GitHub). "ok_false": 200 and {"ok": false} (Slack).
    token_errors: Literal["by_status", "as_200", "ok_false"] = "by_status"  # noqa: S105 (a style)
    #: What a refresh token that is dead is answered with, and the status.
    dead_refresh_token_error: str = "invalid_grant"  # noqa: S105 (an error's name)
    dead_refresh_token_description: str = "The refresh token is unknown, expired or revoked."  # noqa: S105 (words)
    invalid_grant_status: int = 400

    # On the wire.
    #: Added to every answer of the MCP endpoint.
    mcp_headers: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, check in _checks().items():
            check(name, getattr(self, name))


class Settings(TypedDict, total=False):
    """The keywords of `EmbeddedServer`: the fields of `Configuration`, for type checkers."""

    mcp_path: str
    resource_path: str | None
    issuer_path: str
    separate_authorization_server: bool
    origin: str
    authorization_server_origin: str
    authorization_endpoint_query: str
    resource_metadata: Literal["path", "root", "custom", "absent"]
    server_metadata: tuple[MetadataLocation, ...]
    absent_status: int
    resource_metadata_overrides: Overrides
    server_metadata_overrides: Overrides
    challenge: bool
    challenge_resource_metadata: bool
    challenge_scope: bool
    other_challenges: tuple[str, ...]
    challenges_in_one_line: bool
    protected: bool
    anonymous_methods: tuple[str, ...]
    required_scopes: Scopes
    tool_scopes: Mapping[str, Scopes]
    scopes_supported: Scopes | None
    server_scopes_supported: Scopes | None
    granted_scopes: Scopes | None
    registration: tuple[Mechanism, ...]
    clients: tuple[RegisteredClient, ...]
    fetch: Callable[[str], bytes] | None
    token_endpoint_auth_methods: tuple[AuthMethod, ...]
    advertise_auth_methods: bool
    registration_answer: Literal["as_asked", "secret_despite_none", "secret_without_method"]
    registration_status: int
    client_secret_lifetime: float | None
    omitted_application_type: Literal["web", "native"]
    strict_registration_scopes: bool
    any_loopback_port: bool
    redirect_hosts: tuple[str, ...] | None
    auto_approve: bool
    iss: Literal["on", "off", "unadvertised", "withheld", "wrong"]
    advertise_pkce: bool
    resource_parameter: Literal["required", "optional", "refused"]
    authorization_code_lifetime: float
    access_token_lifetime: float
    refresh_token_lifetime: float | None
    refresh_tokens: Literal["always", "offline_access", "never"]
    rotation: bool
    reuse_detection: bool
    rotation_grace: float
    refresh_revokes_access_tokens: bool
    access_token_length: int
    revocation: bool
    token_answer: Literal["json", "form", "form_unless_asked"]
    token_status: int
    token_type: str
    expires_in: Literal["number", "string", "omit", "null"]
    scope_in_answer: Literal["always", "unless_equal", "never"]
    scope_separator: str
    null_fields: bool
    token_errors: Literal["by_status", "as_200", "ok_false"]
    dead_refresh_token_error: str
    dead_refresh_token_description: str
    invalid_grant_status: int
    mcp_headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Check:
    """What a field may hold: one of `words`, or a tuple of them (of anything, where there are none)."""

    words: tuple[str, ...]
    is_tuple: bool
    is_optional: bool

    def __call__(self, name: str, value: Any) -> None:
        if value is None and self.is_optional:
            return
        if self.is_tuple and not isinstance(value, tuple):
            raise ValueError(f"{name} is a tuple, not {value!r}")
        if self.words and not all(word in self.words for word in (value if self.is_tuple else (value,))):
            among = ", ".join(map(repr, self.words))
            raise ValueError(f"{name} is {'a tuple of some of' if self.is_tuple else 'one of'} {among}; not {value!r}")


@cache
def _checks() -> dict[str, _Check]:
    """The checks of those fields that have one, read from their annotations once."""
    checks = {}
    for name, hint in get_type_hints(Configuration).items():
        is_optional = type(None) in get_args(hint)
        kind = next((part for part in get_args(hint) if part is not type(None)), hint) if is_optional else hint
        is_tuple = get_origin(kind) is tuple
        words = get_args(kind)[0] if is_tuple else kind
        literals = get_args(words) if get_origin(words) is Literal else ()
        if is_tuple or literals:
            checks[name] = _Check(literals, is_tuple, is_optional)
    return checks
