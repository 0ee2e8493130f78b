"""A login that was made before the test begins: the server's grant, and the record that this library would keep of it."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from mcp_login.credentials import Credentials
from mcp_login.portal import portal, wait_sync
from mcp_login.protocol.client import ClientInformation
from mcp_login.protocol.scope import select_scopes
from mcp_login.protocol.uri import canonical_resource
from mcp_login.storage.record import Record, binding_key, client_key, dump_client
from mcp_login.surroundings import stand_in

from .tokens import Grant

if TYPE_CHECKING:
    from collections.abc import Callable

    from mcp_login.storage.base import Storage

    from .clients import Clients
    from .configuration import AuthMethod, RegisteredClient
    from .site import Site
    from .tokens import Issued, Tokens

__all__ = ["leave_login"]

#: How long the storage may take, in seconds.
_LIMIT = 30.0


def leave_login(
    storage: Storage | None,
    *,
    resource_site: Site,
    site: Site,
    clients: Clients,
    tokens: Tokens,
    clock: Callable[[], float],
    account: str | None,
    scopes: tuple[str, ...],
    client_id: str | None,
    client_name: str,
) -> Credentials:
    """Save a login at `resource_site`, whose tokens the authorization server of `site` issues. See `EmbeddedServer.sign_in`."""
    kept = _storage(storage)
    client = _client(site, clients, client_id, client_name)
    requested = _requested(resource_site, site, scopes)
    allowed = site.configuration.granted_scopes
    granted = tuple(scope for scope in requested if allowed is None or scope in allowed)
    record = _record(resource_site, site, client, account=account, requested=requested, granted=granted)
    issued = tokens.issue(
        Grant(
            issuer=site.issuer,
            client_id=client.client_id,
            redirect_uri=client.redirect_uri or "",
            scopes=granted,
            requested_scopes=requested,
            resource=resource_site.resource,
            code_challenge="",
            refreshable=_refreshable(site, clients, client, granted),
        )
    )
    record = _with_tokens(record, site, issued, clock())
    _save(kept, record)
    return Credentials.of(record)


def _storage(storage: Storage | None) -> Storage:
    if storage is not None:
        return storage
    surroundings = stand_in()
    if surroundings is None:
        raise ValueError(
            "sign_in would write into your own keychain: give it a storage, or call it inside mcp_login.testing.isolated()"
        )
    default: Storage = surroundings.storage
    return default


def _client(site: Site, clients: Clients, client_id: str | None, client_name: str) -> ClientInformation:
    settings = site.configuration
    redirect_uri = _redirect_uri()
    if client_id is None and "dynamic" not in settings.registration:
        client_id = settings.clients[0].client_id if settings.clients else None
        if client_id is None:
            raise ValueError("the server registers no client dynamically: give it clients=, and sign_in the client_id=")
    dynamic = client_id is None
    if client_id is None:
        methods = settings.token_endpoint_auth_methods
        asked: AuthMethod = "none" if "none" in methods else methods[0]
        metadata = {
            "redirect_uris": [redirect_uri],
            "client_name": client_name,
            "application_type": "native",
            "grant_types": ["authorization_code", "refresh_token"],
            "token_endpoint_auth_method": asked,
        }
        client_id = str(clients.register(metadata)["client_id"])
    known = clients.registered(client_id)
    if known is None:
        raise ValueError(f"the server has no client {client_id!r}: name it in clients=")
    return ClientInformation(
        issuer=site.issuer,
        client_id=known.client_id,
        mechanism="dynamic" if dynamic else "pre_registered",
        client_secret=known.client_secret,
        client_secret_expires_at=known.client_secret_expires_at,
        token_endpoint_auth_method=_method(known),
        redirect_uri=redirect_uri,
        client_name=client_name if dynamic else None,
    )


def _method(client: RegisteredClient) -> AuthMethod:
    if client.client_secret is None:
        return "none"
    accepted = client.accepted_auth_methods or (client.token_endpoint_auth_method,)
    return next((method for method in accepted if method != "none"), "client_secret_basic")


def _redirect_uri() -> str:
    """One with a port that is free now, as a listener would have had."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{listener.getsockname()[1]}/callback"


def _requested(resource_site: Site, site: Site, scopes: tuple[str, ...]) -> tuple[str, ...]:
    """What a login would have asked for, with `scopes` from the caller."""
    settings = resource_site.configuration
    named = settings.required_scopes if settings.challenge and settings.challenge_scope else ()
    return select_scopes(
        requested=scopes,
        challenged=named,
        previous=(),
        supported_by_resource=None if settings.resource_metadata == "absent" else settings.scopes_supported,
        supported_by_server=site.configuration.server_scopes_supported,
    )


def _refreshable(site: Site, clients: Clients, client: ClientInformation, granted: tuple[str, ...]) -> bool:
    rule = site.configuration.refresh_tokens
    known = clients.registered(client.client_id)
    if rule == "never" or known is None or "refresh_token" not in known.grant_types:
        return False
    return rule == "always" or "offline_access" in granted


def _record(
    resource_site: Site,
    site: Site,
    client: ClientInformation,
    *,
    account: str | None,
    requested: tuple[str, ...],
    granted: tuple[str, ...],
) -> Record:
    url = canonical_resource(resource_site.url)
    return Record(
        server_url=url,
        account=account,
        issuer=site.issuer,
        client=client,
        token_endpoint=site.server_endpoint("token"),
        revocation_endpoint=site.server_endpoint("revoke") if site.configuration.revocation else None,
        access_token="",
        resource=url if resource_site.configuration.resource_metadata == "absent" else resource_site.resource,
        granted_scopes=granted,
        requested_scopes=requested,
        sends_resource=site.configuration.resource_parameter != "refused",
        address_space="loopback",
    )


def _with_tokens(record: Record, site: Site, issued: Issued, now: float) -> Record:
    from dataclasses import replace

    told = site.configuration.expires_in in ("number", "string")
    return replace(
        record,
        access_token=issued.access_token,
        refresh_token=issued.refresh_token,
        expires_at=now + int(issued.expires_in) if told else None,
        obtained_at=now,
    )


def _save(storage: Storage, record: Record) -> None:
    client = record.client

    async def save() -> None:
        if client.mechanism == "dynamic":
            await storage.save(client_key(client.issuer, client.client_name), dump_client(client))
        else:
            bound = ClientInformation(client.issuer, client.client_id, "pre_registered")
            await storage.save(binding_key(record.server_url, client.client_id), dump_client(bound))
        await storage.save(record.key, record.dump())

    # On the library's own loop, as ever: the caller may have one that is running, or none.
    wait_sync(portal().submit(save), _LIMIT)
