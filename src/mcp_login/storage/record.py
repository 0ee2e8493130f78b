"""What is kept of a login: all that a later process needs to use and renew it.

Standard library only: the warm path loads it.

One record is saved as one value. A refresh after a restart needs no discovery and guesses no endpoint, and a refresh
token goes only to the endpoint stored with it, with the client stored with it.

Reading is strict: stored text may be torn, or written by another program. No error here quotes it, in its message or
in its chain: they are raised outside the `except` blocks, because `from None` only hides the context (a
JSONDecodeError there holds the whole text).
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, get_args

from mcp_login.errors import PolicyError, StorageError, StorageUnreadable
from mcp_login.protocol.client import LATEST, ClientInformation, RegistrationMechanism, TokenEndpointAuthMethod
from mcp_login.protocol.uri import origin, repr_without_queries

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["FORMAT", "Record", "binding_key", "client_key", "dump_client", "parse_client", "record_key"]

#: The version of the stored text. A reader refuses a higher one and leaves it where it is.
FORMAT = 1

#: A stored text longer than this many characters is not one of ours.
_LONGEST = 1 << 20


def record_key(server_url: str, account: str | None) -> str:
    """The key of the record of `account` at the server `server_url` (canonical, so it has no fragment)."""
    return server_url if account is None else f"{server_url}#{account}"


def client_key(issuer: str, client_name: str | None = None) -> str:
    """The key of the client information that seeds new logins at `issuer` of the application `client_name`.

    Each application has its own: the name is what a person reads when they are asked for consent. No URL begins so, hence
    no record's key does.
    """
    return f"client {issuer}" if client_name is None else f"client {issuer} {client_name}"


def binding_key(server_url: str, client_id: str) -> str:
    """The key of the issuer that the pre-registered `client_id` is used at for the server `server_url`."""
    return f"client {client_id} of {server_url}"


@dataclass(frozen=True, slots=True)
class Record:
    """One login: a person's (or program's) access to one resource. Neither secrets nor queries of URLs are shown by `repr`."""

    server_url: str
    issuer: str
    client: ClientInformation
    token_endpoint: str
    access_token: str = field(repr=False)
    #: As the resource metadata spells it: sent verbatim, and the boundary of the token. Without a document, the
    #: server's URL.
    resource: str
    account: str | None = None
    grant: str = "authorization_code"
    refresh_token: str | None = field(default=None, repr=False)
    #: Seconds since the epoch. None: the server didn't say, so only a 401 tells.
    expires_at: float | None = None
    #: Seconds since the epoch.
    obtained_at: float = 0.0
    #: Seconds since the epoch: when the server refused a token that was fresh from this login. None: it didn't, or has since
    #: let one through.
    refused_at: float | None = None
    granted_scopes: tuple[str, ...] = ()
    requested_scopes: tuple[str, ...] = ()
    revocation_endpoint: str | None = None
    #: Whether `resource` is sent on refresh, too (False: the caller left it out by name).
    sends_resource: bool = True
    #: Where the resource was at the login ("public", "private", "link_local", "loopback"): endpoints may not lie in a
    #: more private one, unless the resource does by now (`mcp_login.reach`).
    address_space: str = "public"
    #: Fields that a newer version of this library wrote (those of the client under "client"): kept when this version
    #: saves the record again.
    extra: dict[str, Any] = field(default_factory=dict, repr=False)

    __repr__ = repr_without_queries

    @property
    def key(self) -> str:
        """Where the record is stored."""
        return record_key(self.server_url, self.account)

    @property
    def unrequested_scopes(self) -> tuple[str, ...]:
        """What was granted although it wasn't asked for. Where nothing was, the server chooses (RFC 6749 section 3.3)."""
        if not self.requested_scopes:
            return ()
        return tuple(scope for scope in self.granted_scopes if scope not in self.requested_scopes)

    def expires_within(self, seconds: float, now: float) -> bool:
        """Whether the access token is known to expire within `seconds` from `now` (seconds since the epoch)."""
        return self.expires_at is not None and self.expires_at - now <= seconds

    def dump(self) -> str:
        """The stored text: JSON in ASCII, so that a character is a byte for every backend.

        Raises `StorageError` where `parse` would refuse the text: what can't be read back is not saved.
        """
        newer = self.extra.get("client")
        data = {**self.extra, **{name: getattr(self, name) for name in _FIELDS}}
        data["client"] = _dump_client(self.client, newer if isinstance(newer, dict) else {})
        data["format"] = FORMAT
        text = _dump(data)
        type(self).parse(text)
        return text

    @classmethod
    def parse(cls, text: str) -> Record:
        """The record in `text`. Raises `StorageUnreadable` where it is not one, or one of a newer format."""
        data = _object(text)
        wrong = None
        try:
            return _record(cls, data)
        except _Wrong as error:
            wrong = error.args[0]
        raise StorageUnreadable(f"A stored login is not usable: its {wrong} is missing or malformed. Log in again.")


class _Wrong(Exception):
    """A field is missing or malformed. Holds the field's name and nothing that was stored."""


def _url(value: object) -> bool:
    return isinstance(value, str) and value != "" and value.isprintable() and " " not in value


def _redirect_uri(value: object) -> bool:
    # Its host and port are read, to listen there again.
    try:
        return isinstance(value, str) and origin(value) != ""
    except PolicyError:
        return False


def _token(value: object) -> bool:
    # RFC 6749 appendix A.12 and A.17: VSCHAR. Anything else could not be sent in a header.
    return isinstance(value, str) and value != "" and value.isascii() and value.isprintable()


def _text(value: object) -> bool:
    # A lone surrogate would make a later encoding fail, with an error that quotes the text.
    return isinstance(value, str) and value != "" and not any("\ud800" <= character <= "\udfff" for character in value)


def _account(value: object) -> bool:
    return value == "" or _text(value)


def _seconds(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -LATEST < value < LATEST


def _scopes(value: object) -> bool:
    return isinstance(value, (list, tuple)) and all(_url(item) for item in value)


def _flag(value: object) -> bool:
    return isinstance(value, bool)


def _one_of(*allowed: str) -> Callable[[object], bool]:
    return lambda value: isinstance(value, str) and value in allowed


def _optional(check: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: value is None or check(value)


_FIELDS: dict[str, Callable[[object], bool]] = {
    "server_url": _url,
    "issuer": _url,
    "token_endpoint": _url,
    "access_token": _token,
    "resource": _url,
    "account": _optional(_account),
    "grant": _url,
    "refresh_token": _optional(_token),
    "expires_at": _optional(_seconds),
    "obtained_at": _seconds,
    "refused_at": _optional(_seconds),
    "granted_scopes": _scopes,
    "requested_scopes": _scopes,
    "revocation_endpoint": _optional(_url),
    "sends_resource": _flag,
    "address_space": _one_of("public", "private", "link_local", "loopback"),
}

_CLIENT_FIELDS: dict[str, Callable[[object], bool]] = {
    "issuer": _url,
    "client_id": _text,
    "mechanism": _one_of(*get_args(RegistrationMechanism)),
    "client_secret": _optional(_text),
    "client_secret_expires_at": _optional(_seconds),
    "token_endpoint_auth_method": _one_of(*get_args(TokenEndpointAuthMethod)),
    "redirect_uri": _optional(_redirect_uri),
    "client_name": _optional(_text),
}

_REQUIRED = frozenset(("server_url", "issuer", "token_endpoint", "access_token", "resource", "client_id", "mechanism"))


def _checked(data: Mapping[str, Any], checks: Mapping[str, Callable[[object], bool]], of: str = "") -> dict[str, Any]:
    """The fields of `checks` that are in `data`; those that are missing keep the default of the class."""
    for name, check in checks.items():
        if name in data:
            if not check(data[name]):
                raise _Wrong(f"{of}{name}")
        elif name in _REQUIRED:
            raise _Wrong(f"{of}{name}")
    return {name: data[name] for name in checks if name in data}


def _record(cls: type[Record], data: dict[str, Any]) -> Record:
    known = _checked(data, _FIELDS)
    for name in ("granted_scopes", "requested_scopes"):
        known[name] = tuple(known.get(name, ()))
    client, newer = _client(data.get("client"))
    # Specification, "Authorization Server Binding": a client is known to one issuer and never offered to another.
    if client.issuer != known["issuer"]:
        raise _Wrong("client's issuer")
    extra = {name: value for name, value in data.items() if name not in _FIELDS and name not in ("client", "format")}
    if newer:
        extra["client"] = newer
    return cls(client=client, extra=extra, **known)


def _client(data: object) -> tuple[ClientInformation, dict[str, Any]]:
    if not isinstance(data, dict):
        raise _Wrong("client")
    client = ClientInformation(**_checked(data, _CLIENT_FIELDS, "client's "))
    return client, {name: value for name, value in data.items() if name not in _CLIENT_FIELDS}


def _dump_client(client: ClientInformation, newer: Mapping[str, Any]) -> dict[str, Any]:
    return {**newer, **{f.name: getattr(client, f.name) for f in fields(client)}}


def _dump(data: Mapping[str, Any]) -> str:
    text = None
    with contextlib.suppress(TypeError, ValueError, RecursionError):
        text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    if text is None:
        raise StorageError("A login can't be stored: one of its fields is not JSON.")
    return text


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError
    return value


def _no_constant(_: str) -> float:
    # NaN and the infinities are no JSON, and would make every comparison of times false.
    raise ValueError


def _object(text: str) -> dict[str, Any]:
    data: object = None
    with contextlib.suppress(ValueError, RecursionError):
        if len(text) <= _LONGEST:
            data = json.loads(text, parse_float=_finite, parse_constant=_no_constant)
    if not isinstance(data, dict):
        raise StorageUnreadable(
            "A stored login is not readable: it is torn, or another program wrote it. Log in again."
        )
    written = data.get("format")
    if not isinstance(written, int) or isinstance(written, bool) or written < 1:
        raise StorageUnreadable("A stored login is not one of this library's: another program wrote it. Log in again.")
    if written > FORMAT:
        raise StorageUnreadable(
            "A stored login was written by a newer version of mcp-login. Upgrade, or log in again.", is_newer=True
        )
    return data


def dump_client(client: ClientInformation) -> str:
    """The stored text of the client information that seeds new logins at its issuer.

    Raises `StorageError` as `Record.dump`.
    """
    text = _dump({"format": FORMAT, "client": _dump_client(client, {})})
    parse_client(text)
    return text


def parse_client(text: str) -> ClientInformation:
    """The client information in `text`; raises `StorageUnreadable` as `Record.parse` does."""
    data = _object(text)
    wrong = None
    try:
        return _client(data.get("client"))[0]
    except _Wrong as error:
        wrong = error.args[0]
    raise StorageUnreadable(
        f"A stored client registration is not usable: its {wrong} is missing or malformed. Register again."
    )
