"""Becoming known to an authorization server, in one of the specification's ways ("Client Registration").

Pre-registered, then Client ID Metadata Document, then dynamic (RFC 7591), else the person is asked, else an error that says
what to do. What a dynamic registration gave is kept for each issuer, so that ten servers behind one register once.
"""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mcp_login.errors import (
    IssuerMismatch,
    RegistrationErrorResponse,
    RegistrationRequired,
    StorageError,
    StorageUnreadable,
    printable,
    without_query,
)
from mcp_login.protocol.client import ClientInformation
from mcp_login.protocol.client_authentication import preferred_registration_method
from mcp_login.protocol.registration import (
    ClientMetadata,
    build_registration_request,
    metadata_document_client,
    parse_registration_response,
    pre_registered_client,
    select_registration,
)
from mcp_login.protocol.scope import format_scope
from mcp_login.storage.record import binding_key, client_key, dump_client, parse_client

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mcp_login.network.http import HttpClient
    from mcp_login.network.policy import AddressSpace
    from mcp_login.protocol.authorization_server import AuthorizationServerMetadata
    from mcp_login.protocol.client import RegistrationMechanism, TokenEndpointAuthMethod
    from mcp_login.storage.base import Storage

__all__ = [
    "ClientOptions",
    "bind",
    "check_binding",
    "forget_client",
    "mechanism_for",
    "register",
    "stored_client",
]

_log = logging.getLogger("mcp_login")


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """Who the client is, as far as the caller says."""

    client_name: str = "mcp-login"
    client_id: str | None = None
    client_secret: str | None = field(default=None, repr=False)
    #: The issuer that `client_id` belongs to; None: the first one it is used at.
    issuer: str | None = None
    client_metadata_url: str | None = None
    #: May hold a signed statement (RFC 7591 section 2.3).
    additional_client_metadata: Mapping[str, Any] = field(default_factory=dict, repr=False)


def mechanism_for(options: ClientOptions, metadata: AuthorizationServerMetadata) -> RegistrationMechanism | None:
    """The way to register that the specification prefers of those the caller and the server offer; None: there is none."""
    return select_registration(
        metadata,
        has_pre_registered=options.client_id is not None,
        client_metadata_url=options.client_metadata_url,
    )


async def stored_client(storage: Storage, issuer: str, client_name: str, now: float) -> ClientInformation | None:
    """What an earlier dynamic registration of `client_name` at `issuer` gave, if it is still good."""
    try:
        text = await storage.load(client_key(issuer, client_name))
        client = None if text is None else parse_client(text)
    except StorageError as error:
        # A seed is worth no failed login: registering anew mends it.
        _log.warning("the stored registration at %s can't be used: %s", issuer, error)
        return None
    if client is None or client.issuer != issuer or client.mechanism != "dynamic":
        return None
    expiry = client.client_secret_expires_at
    if expiry is not None and expiry <= now:
        return None
    return client


async def forget_client(storage: Storage, client: ClientInformation) -> None:
    """Forget a dynamic registration that the server no longer knows. Records obtained with it stay as they are.

    Raises nothing: what brought the caller here is the error to be told.
    """
    key = client_key(client.issuer, client.client_name)
    try:
        text = await storage.load(key)
        if text is not None and parse_client(text).client_id == client.client_id:
            await storage.compare_and_set(key, text, None)
    except StorageError as error:
        # One that can't be read isn't used either (`stored_client`).
        _log.warning("the registration at %s could not be forgotten: %s", printable(client.issuer), error)


async def check_binding(options: ClientOptions, storage: Storage, server_url: str, issuer: str) -> None:
    """Specification, "Authorization Server Binding": the caller's client isn't taken to another issuer than before.

    What it was bound to outlives the login. Raises `IssuerMismatch`, and `StorageUnreadable` where it can't be read: another
    registration is replaced, but this would be the way around the rule. An `issuer` that the caller names is judged in discovery.
    """
    if options.client_id is None or options.issuer is not None:
        return
    try:
        text = await storage.load(binding_key(server_url, options.client_id))
        bound = issuer if text is None else parse_client(text).issuer
    except StorageUnreadable as error:
        raise StorageUnreadable(
            "What is stored of the issuer that client_id belongs to can't be read, and nothing else tells whether it is "
            f"{printable(issuer)}, which the server names now. Ask the server's operator, then log in once with the right one as "
            "issuer= (--issuer) beside client_id: it is stored anew.",
            is_newer=error.is_newer,
        ) from None
    if bound != issuer:
        raise IssuerMismatch(
            expected=bound,
            received=issuer,
            url=server_url,
            reason=(
                f"client_id was used with the issuer {bound!r}, but the server now names {issuer!r}. Ask the server's operator; "
                "if the change is meant, give issuer= together with the client_id for it"
            ),
        )
    if text is None and options.client_secret is not None:
        _log.warning(
            "client_secret is about to be sent to %s, which %s names. Give issuer= to be sure that it is the right one.",
            printable(issuer),
            printable(without_query(server_url)),
        )


async def bind(options: ClientOptions, storage: Storage, server_url: str, issuer: str) -> None:
    """Remember that the caller's client belongs to `issuer`. It holds no secret."""
    if options.client_id is None:
        return
    key = binding_key(server_url, options.client_id)
    text = dump_client(ClientInformation(issuer, options.client_id, "pre_registered"))
    try:
        await storage.save(key, text)
    except StorageError as error:
        _log.warning("the issuer of client_id could not be stored: %s", error)


async def register(
    options: ClientOptions,
    metadata: AuthorizationServerMetadata,
    *,
    redirect_uri: str,
    scopes: tuple[str, ...],
    http: HttpClient,
    floor: AddressSpace,
    storage: Storage,
) -> ClientInformation:
    """Become known at the issuer of `metadata`. Raises `RegistrationRequired`, `RegistrationErrorResponse`, `TransportError`."""
    issuer = metadata.issuer
    mechanism = mechanism_for(options, metadata)
    if mechanism == "pre_registered" and options.client_id is not None:
        return pre_registered_client(
            metadata,
            issuer=issuer,
            client_id=options.client_id,
            client_secret=options.client_secret,
            redirect_uri=redirect_uri,
        )
    if mechanism == "metadata_document" and options.client_metadata_url is not None:
        return metadata_document_client(issuer, options.client_metadata_url, redirect_uri)
    if mechanism == "dynamic":
        client = await _register_dynamically(
            options, metadata, redirect_uri=redirect_uri, scopes=scopes, http=http, floor=floor
        )
        await _keep(storage, client)
        return client
    redirect = urlsplit(redirect_uri)
    raise RegistrationRequired(
        f"The authorization server {printable(issuer)} offers no way to register. Ask its operator for a client id with the "
        f"redirect URI {redirect.scheme}://{redirect.hostname}{redirect.path} (any port, or one fixed with callback_port), then "
        "give it as client_id, and client_secret if there is one.",
        issuer=issuer,
    )


async def _register_dynamically(
    options: ClientOptions,
    metadata: AuthorizationServerMetadata,
    *,
    redirect_uri: str,
    scopes: tuple[str, ...],
    http: HttpClient,
    floor: AddressSpace,
) -> ClientInformation:
    endpoint = metadata.registration_endpoint
    assert endpoint is not None  # noqa: S101 - select_registration saw it

    async def attempt(scope: str | None, method: TokenEndpointAuthMethod) -> ClientInformation:
        request = build_registration_request(
            endpoint,
            ClientMetadata(
                redirect_uris=(redirect_uri,),
                client_name=options.client_name,
                scope=scope,
                token_endpoint_auth_method=method,
                additional=dict(options.additional_client_metadata),
            ),
        )
        response = await http.send(request, floor=floor)
        client = parse_registration_response(
            response,
            issuer=metadata.issuer,
            metadata=metadata,
            redirect_uri=redirect_uri,
            secrets=request.secrets,
        )
        return dataclasses.replace(client, client_name=options.client_name)

    refusal: RegistrationErrorResponse | None = None
    for scope, method in _variants(metadata, format_scope(scopes)):
        try:
            return await attempt(scope, method)
        except RegistrationErrorResponse as error:
            _log.info("a registration was refused: %s", error.error)
            refusal = refusal or error
            if "redirect" in error.error:
                break
    assert refusal is not None  # noqa: S101 - there is at least one variant
    raise refusal


def _variants(
    metadata: AuthorizationServerMetadata, scope: str | None
) -> list[tuple[str | None, TokenEndpointAuthMethod]]:
    """What to try, best first.

    Some servers grant a client only the scopes it registered, others refuse registrations that name any. Metadata that lists no
    methods means client_secret_basic (RFC 8414 section 2), though most such servers take public clients.
    """
    listed = metadata.token_endpoint_auth_methods_supported
    methods: list[TokenEndpointAuthMethod] = [preferred_registration_method(listed)]
    if not listed:
        methods.append("client_secret_basic")
    scopes = [scope] if scope is None else [scope, None]
    return [(wanted, method) for wanted in scopes for method in methods]


async def _keep(storage: Storage, client: ClientInformation) -> None:
    try:
        await storage.save(client_key(client.issuer, client.client_name), dump_client(client))
    except StorageError as error:
        _log.warning(
            "the registration at %s could not be stored, the next login registers again: %s", client.issuer, error
        )
