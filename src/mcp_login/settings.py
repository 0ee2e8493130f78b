"""What a caller may say about a login, and the session that comes of it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from .session import SERVER_RESOURCE, ServerResource, Session
from .storage.choose import default_storage
from .surroundings import stand_in

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import httpx

    from .flight import Demand, Renewed
    from .grants.authorization_url import AuthorizationUrl
    from .grants.base import Grant
    from .storage.base import Storage

__all__ = ["LoginOptions", "SessionOptions", "open_session"]

_log = logging.getLogger("mcp_login")


class LoginOptions(TypedDict, total=False):
    """The keywords that `OAuth`, `login`, `access_token` and `logout` share; `OAuth` documents each."""

    scopes: str | Sequence[str] | None
    client_name: str
    client_id: str | None
    client_secret: str | None
    issuer: str | None
    client_metadata_url: str | None
    additional_client_metadata: Mapping[str, Any] | None
    callback_host: str
    callback_port: int | None
    callback_timeout: float
    storage: Storage | None
    account: str | None
    interactive: bool | None
    on_authorization_url: Callable[[AuthorizationUrl], object] | None
    resource: str | ServerResource | None
    authorize_params: Mapping[str, str] | None
    grant: Grant | None
    http_client: Callable[[], httpx.AsyncClient] | None
    allow_private_network: bool
    trust_pkce: bool
    tolerate_trailing_slash: bool


class SessionOptions(LoginOptions, total=False):
    """With what only the library's own callers say."""

    storage_required: bool


def open_session(server_url: str, **options: Unpack[SessionOptions]) -> Session:
    """A session for `server_url`. Touches neither network nor storage. Raises `PolicyError` for a URL that is not allowed."""
    scopes = options.get("scopes")
    limit = options.get("callback_timeout", 300.0)
    if isinstance(limit, bool) or not isinstance(limit, int | float) or not limit > 0:
        raise ValueError("callback_timeout is a number of seconds above zero")
    grant = options.get("grant")
    storage = options.get("storage")
    surroundings = stand_in()
    http_client = None if surroundings is None else surroundings.http_client
    return Session(
        server_url,
        account=options.get("account"),
        storage=default_storage() if storage is None else storage,
        grant=(lambda: _authorization_code(options)) if grant is None else (lambda: grant),
        renew=_renew,
        client_id=options.get("client_id") if grant is None else grant.client_id,
        client_secret=options.get("client_secret") if grant is None else None,
        issuer=options.get("issuer") if grant is None else grant.issuer,
        scopes=_scopes(scopes),
        resource=options.get("resource", SERVER_RESOURCE),
        interactive=options.get("interactive"),
        machine=grant is not None and not grant.needs_person,
        storage_required=options.get("storage_required", False),
        http_client=options.get("http_client") or http_client,
        allow_private_network=options.get("allow_private_network", False),
        trust_pkce=options.get("trust_pkce", False),
        tolerate_trailing_slash=options.get("tolerate_trailing_slash", False),
    )


async def _renew(session: Session, demand: Demand) -> Renewed:
    from .renewal import Renewal

    return await Renewal(session).fulfil(demand)


def _scopes(scopes: str | Sequence[str] | None) -> tuple[str, ...]:
    """The scopes as they will be sent, so that a later call finds what it wants among those of the login."""
    if not scopes:
        return ()
    from .protocol.scope import MAX_CHARACTERS, MAX_SCOPES, parse_scope

    given = dict.fromkeys(part for scope in ([scopes] if isinstance(scopes, str) else scopes) for part in scope.split())
    sent = parse_scope(tuple(given))
    if len(sent) < len(given):
        _log.warning(
            "%d of the %d scopes that you gave are not asked for. A scope is ASCII without quotation marks and backslashes "
            "(RFC 6749 section 3.3); of more than %d, or %d characters, the first ones are sent.",
            len(given) - len(sent),
            len(given),
            MAX_SCOPES,
            MAX_CHARACTERS,
        )
    return sent


def _authorization_code(options: SessionOptions) -> Grant:
    from .grants.authorization_code import AuthorizationCodeGrant, RedirectOptions
    from .grants.client_registration import ClientOptions
    from .grants.consent import Consent

    return AuthorizationCodeGrant(
        client=ClientOptions(
            client_name=options.get("client_name") or "mcp-login",
            client_id=options.get("client_id"),
            client_secret=options.get("client_secret"),
            issuer=options.get("issuer"),
            client_metadata_url=options.get("client_metadata_url"),
            additional_client_metadata=options.get("additional_client_metadata") or {},
        ),
        redirect=RedirectOptions(
            host=options.get("callback_host") or "127.0.0.1",
            port=options.get("callback_port"),
        ),
        authorize_params=options.get("authorize_params") or {},
        consent=Consent(
            on_authorization_url=options.get("on_authorization_url"),
            timeout=options.get("callback_timeout", 300.0),
            allow_http=options.get("allow_private_network", False),
        ),
    )
