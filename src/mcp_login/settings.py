"""What a caller may say about a login, and the session that comes of it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from .protocol.client import validate_client_metadata_url
from .session import SERVER_RESOURCE, ServerResource, Session
from .storage.choose import default_storage
from .surroundings import stand_in

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeAlias

    import httpx
    import httpx2

    from .flight import Demand, Renewed
    from .grants.authorization_url import AuthorizationUrl
    from .grants.base import Grant
    from .storage.base import Storage

    #: The MCP endpoint.
    ServerUrl: TypeAlias = str | httpx.URL | httpx2.URL

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


def open_session(server_url: ServerUrl, **options: Unpack[SessionOptions]) -> Session:
    """A session for `server_url`. Touches neither network nor storage.

    Raises `PolicyError` for a URL that is not allowed, `TypeError` and `ValueError` for an option that makes no sense.
    """
    _check(options)
    scopes = options.get("scopes")
    limit = options.get("callback_timeout", 300.0)
    if isinstance(limit, bool) or not isinstance(limit, int | float) or not limit > 0:
        raise ValueError("callback_timeout is a number of seconds above zero.")
    grant = options.get("grant")
    storage = options.get("storage")
    surroundings = stand_in()
    http_client = None if surroundings is None else surroundings.http_client
    return Session(
        _text_of(server_url),
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

    wanted: list[Any] = [scopes] if isinstance(scopes, str) else list(scopes)
    if not all(isinstance(scope, str) for scope in wanted):
        raise TypeError("scopes is a string or a sequence of strings, not one of other things.")
    given = dict.fromkeys(part for scope in wanted for part in scope.split())
    sent = parse_scope(tuple(given))
    if len(sent) < len(given):
        _log.warning(
            "Of the scopes that you gave, %d of %d are not asked for. A scope is ASCII without quotation marks and backslashes "
            "(RFC 6749 section 3.3); of more than %d, or %d characters, the first ones are sent.",
            len(given) - len(sent),
            len(given),
            MAX_SCOPES,
            MAX_CHARACTERS,
        )
    return sent


def _text_of(server_url: object) -> str:
    if isinstance(server_url, str):
        return server_url
    libraries = [library for name in ("httpx", "httpx2") if (library := sys.modules.get(name)) is not None]
    if isinstance(server_url, tuple(library.URL for library in libraries)):
        return str(server_url)
    raise TypeError(f"server_url is a string, or a URL of httpx or httpx2, not {_kind(server_url)}.")


def _kind(value: object) -> str:
    # Not the value: it may be a secret in the wrong place.
    return f"the class {value.__name__}" if isinstance(value, type) else f"a value of type {type(value).__name__}"


_TEXTS = ("client_name", "client_id", "client_secret", "issuer", "client_metadata_url", "callback_host", "account")
_FLAGS = ("interactive", "allow_private_network", "trust_pkce", "tolerate_trailing_slash")
_STORAGE = ("name", "load", "save", "delete", "compare_and_set", "lock")

#: What a value has to be that is not None, for people, and whether it is.
_EXPECTED: dict[str, tuple[str, Callable[[Any], bool]]] = {
    **dict.fromkeys(_TEXTS, ("a string", lambda value: isinstance(value, str))),
    **dict.fromkeys(_FLAGS, ("True or False", lambda value: isinstance(value, bool))),
    "scopes": ("a string or a sequence of strings", lambda value: isinstance(value, Iterable)),
    "callback_port": ("a whole number", lambda value: isinstance(value, int) and not isinstance(value, bool)),
    "storage": ("an object such as FileStorage()", lambda value: _is_object_with(value, _STORAGE)),
    "grant": ("an object such as a grant", lambda value: _is_object_with(value, ("obtain",))),
    "resource": ("a string, or None", lambda value: isinstance(value, str | ServerResource)),
    **dict.fromkeys(("on_authorization_url", "http_client"), ("a function", callable)),
    **dict.fromkeys(
        ("additional_client_metadata", "authorize_params"), ("a mapping", lambda value: isinstance(value, Mapping))
    ),
}


def _is_object_with(value: object, names: tuple[str, ...]) -> bool:
    return not isinstance(value, type) and all(hasattr(value, name) for name in names)


def _check(options: SessionOptions) -> None:
    """Raise for what would be misunderstood, or fail, only when it is used."""
    known = SessionOptions.__optional_keys__
    for name, value in options.items():
        if name not in known:
            raise TypeError(f"There is no option {name!r}.")
        if value is None or name not in _EXPECTED:
            continue
        expected, fits = _EXPECTED[name]
        if not fits(value):
            raise TypeError(f"{name} is {expected}, not {_kind(value)}.")
        if isinstance(value, str) and name in _TEXTS and name != "callback_host" and not value.strip():
            raise ValueError(f"{name} is empty. Leave it out, or give it a value.")
    for name in ("client_secret", "issuer"):
        if options.get(name) is not None and options.get("client_id") is None:
            raise ValueError(f"{name} belongs to a client_id: give both, or none.")
    url = options.get("client_metadata_url")
    if url is not None:
        validate_client_metadata_url(url)


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
