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

from mcp_login.errors import RegistrationErrorResponse, RegistrationRequired, StorageError, printable
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
from mcp_login.storage.record import client_key, dump_client, parse_client

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mcp_login.network.http import HttpClient
    from mcp_login.network.policy import AddressSpace
    from mcp_login.protocol.authorization_server import AuthorizationServerMetadata
    from mcp_login.protocol.client import ClientInformation, RegistrationMechanism
    from mcp_login.storage.base import Storage

__all__ = ["ClientOptions", "forget_client", "mechanism_for", "register", "stored_client"]

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
    additional_client_metadata: Mapping[str, Any] = field(default_factory=dict)


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
    """Forget a dynamic registration that the server no longer knows. Records obtained with it stay as they are."""
    key = client_key(client.issuer, client.client_name)
    text = await storage.load(key)
    if text is None:
        return
    try:
        same = parse_client(text).client_id == client.client_id
    except StorageError:
        same = True
    if same:
        await storage.compare_and_set(key, text, None)


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

    async def attempt(scope: str | None) -> ClientInformation:
        request = build_registration_request(
            endpoint,
            ClientMetadata(
                redirect_uris=(redirect_uri,),
                client_name=options.client_name,
                scope=scope,
                token_endpoint_auth_method=preferred_registration_method(
                    metadata.token_endpoint_auth_methods_supported
                ),
                additional=dict(options.additional_client_metadata),
            ),
        )
        response = await http.send(request, floor=floor)
        client = parse_registration_response(
            response, issuer=metadata.issuer, metadata=metadata, redirect_uri=redirect_uri
        )
        return dataclasses.replace(client, client_name=options.client_name)

    scope = format_scope(scopes)
    try:
        return await attempt(scope)
    except RegistrationErrorResponse as error:
        # Some servers grant a client only the scopes it registered, others refuse registrations that name any: try both.
        if scope is None or "redirect" in error.error:
            raise
        _log.info("registration with scopes was refused (%s); once more without", error.error)
        return await attempt(None)


async def _keep(storage: Storage, client: ClientInformation) -> None:
    try:
        await storage.save(client_key(client.issuer, client.client_name), dump_client(client))
    except StorageError as error:
        _log.warning(
            "the registration at %s could not be stored, the next login registers again: %s", client.issuer, error
        )
