"""How a client becomes known to an authorization server ("Client Registration" of the specification).

Dynamic registration is RFC 7591; Client ID Metadata Document is draft-ietf-oauth-client-id-metadata-document-00.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from mcp_login.errors import InvalidResponse, IssuerMismatch, PolicyError, RegistrationErrorResponse

from .client import (
    LATEST,
    MAX_CREDENTIAL,
    ClientInformation,
    RegistrationMechanism,
    TokenEndpointAuthMethod,
    validate_client_metadata_url,
)
from .client_authentication import select_token_endpoint_auth_method
from .error_response import error_fields, hint_for, is_unavailable, unavailable
from .message import HttpRequest, HttpResponse
from .metadata import load_json_object
from .uri import is_loopback_url, require_secure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .authorization_server import AuthorizationServerMetadata

__all__ = [
    "ClientMetadata",
    "build_client_metadata_document",
    "build_registration_request",
    "metadata_document_client",
    "parse_registration_response",
    "pre_registered_client",
    "select_registration",
]

# RFC 6749 appendix A.1 and A.2: client ids and secrets are printable ASCII, spaces included.
_PRINTABLE = re.compile(r"[ -~]+")
_ABOUT_REDIRECTS = re.compile(rb"redirect|localhost|loopback|127\.0\.0\.1", re.IGNORECASE)
_SHARED_SECRET_METHODS = ("client_secret_post", "client_secret_basic", "client_secret_jwt")


class ClientMetadata(BaseModel):
    """What a client says of itself when it registers (RFC 7591 section 2).

    Raises `PolicyError` for a redirect URI that is neither https nor on loopback ("Communication Security"), and if
    `additional` brings redirect URIs of its own.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")

    redirect_uris: tuple[str, ...] = ()
    client_name: str | None = None
    client_uri: str | None = None
    logo_uri: str | None = None
    scope: str | None = None
    grant_types: tuple[str, ...] = ("authorization_code", "refresh_token")
    response_types: tuple[str, ...] = ("code",)
    token_endpoint_auth_method: TokenEndpointAuthMethod = "none"  # noqa: S105 - the name of a method
    #: OpenID Connect Registration section 2. If not given: web where a redirect URI is not on loopback, else native.
    application_type: Literal["native", "web"] = "native"
    contacts: tuple[str, ...] = ()
    software_id: str | None = None
    software_version: str | None = None
    #: Merged into the document verbatim, over the fields above.
    additional: dict[str, Any] = Field(default_factory=dict, repr=False)

    @model_validator(mode="before")
    @classmethod
    def _choose_application_type(cls, data: Any) -> Any:
        if not isinstance(data, dict) or data.get("application_type") is not None:
            return data
        uris = data.get("redirect_uris", ())
        is_native = not isinstance(uris, (list, tuple)) or all(
            isinstance(uri, str) and is_loopback_url(uri) for uri in uris
        )
        return {**data, "application_type": "native" if is_native else "web"}

    @field_validator("redirect_uris")
    @classmethod
    def _require_secure_redirects(cls, uris: tuple[str, ...]) -> tuple[str, ...]:
        for uri in uris:
            require_secure(uri, what="redirect URI", allow_loopback=True)
            if "#" in uri:
                raise PolicyError(
                    "A redirect URI has no fragment (RFC 6749 section 3.1.2). Leave out the # and what follows."
                )
        return uris

    @field_validator("additional")
    @classmethod
    def _keep_redirect_uris(cls, additional: dict[str, Any]) -> dict[str, Any]:
        if "redirect_uris" in additional:
            # The listener would wait where the browser is not sent.
            raise PolicyError(
                "additional_client_metadata can't set redirect_uris. Use callback_host= and callback_port=."
            )
        return additional

    def document(self) -> dict[str, Any]:
        """The metadata as a JSON object: what is None or empty is left out, `additional` is merged in."""
        data = self.model_dump(mode="json", exclude={"additional"})
        return {name: value for name, value in data.items() if value not in (None, [])} | self.additional


def select_registration(
    metadata: AuthorizationServerMetadata, *, has_pre_registered: bool, client_metadata_url: str | None
) -> RegistrationMechanism | None:
    """The way to become known to this server, by the specification's priority; None: a person has to give a client id.

    `has_pre_registered` says whether there is a client id for this issuer, `client_metadata_url` is where this client
    hosts its metadata document, if it does.
    """
    if has_pre_registered:
        return "pre_registered"
    if client_metadata_url is not None and metadata.client_id_metadata_document_supported:
        return "metadata_document"
    return None if metadata.registration_endpoint is None else "dynamic"


def build_client_metadata_document(url: str, client_metadata: ClientMetadata) -> dict[str, Any]:
    """The document to host at `url`, so that `url` is this client's id (specification, "Client ID Metadata Documents").

    Raises `PolicyError` if `url` can't be a client id, if a required field is missing, or if the document would hold or
    promise a shared secret, for which it is too public (Client ID Metadata Document, section 4.1).
    """
    validate_client_metadata_url(url)
    document = {**client_metadata.document(), "client_id": url}
    missing = [name for name in ("client_name", "redirect_uris") if not document.get(name)]
    if missing:
        raise PolicyError(
            f"A client metadata document needs {' and '.join(missing)}. Give the client metadata these fields."
        )
    if (
        "client_secret" in document
        or "client_secret_expires_at" in document
        or document.get("token_endpoint_auth_method") in _SHARED_SECRET_METHODS
    ):
        raise PolicyError(
            "A client metadata document is public, so it can't go with a client secret. Use the method none."
        )
    return document


def build_registration_request(endpoint: str, client_metadata: ClientMetadata) -> HttpRequest:
    """The dynamic registration request (RFC 7591 section 3.1)."""
    document = client_metadata.document()
    statement = document.get("software_statement")
    return HttpRequest(
        method="POST",
        url=endpoint,
        headers={"Accept": "application/json", "Content-Type": "application/json"},
        body=json.dumps(document, allow_nan=False).encode("ascii"),
        # The one field of a registration that proves something (section 2.3).
        secrets=(statement,) if isinstance(statement, str) else (),
    )


def parse_registration_response(
    response: HttpResponse,
    *,
    issuer: str,
    metadata: AuthorizationServerMetadata,
    redirect_uri: str,
    secrets: Sequence[str] = (),
) -> ClientInformation:
    """The client that the server registered (RFC 7591 section 3.2.1), bound to `issuer` and `redirect_uri`.

    A secret that was issued is used, whatever method the server registered. `secrets` are masked where an error quotes
    the server.

    Raises `TransportError` if the server says "not now", `RegistrationErrorResponse` if it refuses this client (section
    3.2.2), `InvalidResponse` for anything else.
    """
    if is_unavailable(response):
        raise unavailable(response, what="registration endpoint")
    _raise_error(response, redirect_uri, secrets)
    data = load_json_object(response, what="registration response")
    client_id = _credential(response, data, "client_id")
    if client_id is None:
        raise InvalidResponse("the registration response has no client_id", url=response.url)
    client_secret = _credential(response, data, "client_secret")
    registered = data.get("token_endpoint_auth_method")
    return ClientInformation(
        issuer=issuer,
        client_id=client_id,
        mechanism="dynamic",
        client_secret=client_secret,
        client_secret_expires_at=None if client_secret is None else _expires_at(data.get("client_secret_expires_at")),
        token_endpoint_auth_method=select_token_endpoint_auth_method(
            supported=metadata.token_endpoint_auth_methods_supported,
            registered=registered if isinstance(registered, str) else None,
            has_secret=client_secret is not None,
        ),
        redirect_uri=redirect_uri,
    )


def pre_registered_client(
    metadata: AuthorizationServerMetadata,
    *,
    issuer: str | None,
    client_id: str,
    client_secret: str | None,
    redirect_uri: str | None,
    token_endpoint_auth_method: TokenEndpointAuthMethod | None = None,
) -> ClientInformation:
    """The client that the caller registered elsewhere (specification, "Pre-registration").

    `issuer` is the authorization server that the caller registered with, None if the caller didn't say. A method that
    the caller names is used as it is.

    Raises `IssuerMismatch` if the server of `metadata` is another one ("Authorization Server Binding"), `PolicyError`
    for an id or secret that can't be sent, or a method that needs a secret where there is none.
    """
    if issuer is not None and issuer != metadata.issuer:
        raise IssuerMismatch(
            expected=issuer,
            received=metadata.issuer,
            url=metadata.issuer,
            reason="this server now uses another authorization server than the client_id was registered with. "
            "Register with the new one and give its client_id and issuer",
        )
    if not _PRINTABLE.fullmatch(client_id) or (client_secret is not None and not _PRINTABLE.fullmatch(client_secret)):
        raise PolicyError(
            "client_id or client_secret is empty or has other than printable ASCII characters. Copy it again."
        )
    if token_endpoint_auth_method in _SHARED_SECRET_METHODS and client_secret is None:
        raise PolicyError(f"{token_endpoint_auth_method} needs a client_secret. Give one, or use the method none.")
    return ClientInformation(
        issuer=metadata.issuer,
        client_id=client_id,
        mechanism="pre_registered",
        client_secret=client_secret,
        token_endpoint_auth_method=token_endpoint_auth_method
        or select_token_endpoint_auth_method(
            supported=metadata.token_endpoint_auth_methods_supported,
            # Whoever registers a client by hand is seldom asked for its method: RFC 7591 section 2 has a default for it, which
            # RFC 6749 section 2.3.1 asks every server to support.
            registered="client_secret_basic",
            has_secret=client_secret is not None,
        ),
        redirect_uri=redirect_uri,
    )


def metadata_document_client(issuer: str, url: str, redirect_uri: str) -> ClientInformation:
    """The client whose id is the URL of its metadata document. It has no secret, and may be made anew for any issuer.

    Raises `PolicyError` as `validate_client_metadata_url` does.
    """
    validate_client_metadata_url(url)
    return ClientInformation(issuer=issuer, client_id=url, mechanism="metadata_document", redirect_uri=redirect_uri)


def _raise_error(response: HttpResponse, redirect_uri: str, secrets: Sequence[str]) -> None:
    try:
        fields = error_fields(load_json_object(response, what="registration response"), secrets)
    except InvalidResponse:
        fields = None
    succeeded = response.status in (200, 201)
    if fields is None and succeeded:
        return
    hint = None
    if (fields is not None and fields.error == "invalid_redirect_uri") or (
        not succeeded and _ABOUT_REDIRECTS.search(response.body)
    ):
        # Specification, "Application Type and Redirect URI Constraints": the failure has to mean something to a person.
        hint = (
            f"The redirect URI {redirect_uri} was refused: try localhost or 127.0.0.1 (callback_host=), a fixed port "
            "(callback_port=), or a client_id from the server's operator"
        )
    if fields is not None:
        raise RegistrationErrorResponse(
            fields.error,
            error_description=fields.description,
            error_uri=fields.uri,
            status_code=response.status,
            url=response.url,
            hint=hint or hint_for(fields),
        )
    advice = hint or "It may restrict who registers: give a client_id registered with its operator"
    raise InvalidResponse(
        f"the registration endpoint answered HTTP {response.status} without an OAuth error. {advice}", url=response.url
    )


def _credential(response: HttpResponse, data: dict[str, Any], name: str) -> str | None:
    value = data.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str) or not _PRINTABLE.fullmatch(value):
        raise InvalidResponse(
            f"the {name} in the registration response is not a string of printable ASCII", url=response.url
        )
    if len(value) > MAX_CREDENTIAL:
        raise InvalidResponse(
            f"the {name} in the registration response is longer than {MAX_CREDENTIAL} characters", url=response.url
        )
    return value


def _expires_at(value: object) -> float | None:
    """Seconds since the epoch; 0 means never (RFC 7591 section 3.2.1).

    So do times that no calendar knows: in other units, nanoseconds above all. The server says `invalid_client` if it meant less.
    """
    try:
        seconds = float(value) if isinstance(value, (int, float, str)) else 0.0
    except (ValueError, OverflowError):
        return None
    return seconds if 0 < seconds < LATEST else None
