"""Token and revocation requests and their answers (RFC 6749 sections 4.1.3, 5 and 6, RFC 8707, RFC 7009).

Standard library only, so that a refresh starts fast. The parser is tolerant about the form of an answer, as servers
are inventive there, and strict about what a token is.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import parse_qsl, urlencode

from mcp_login.errors import InvalidResponse, PolicyError, TokenErrorResponse

from .authorization import AuthorizationResponse
from .client import MAX_CREDENTIAL
from .client_authentication import authenticate, authentication_secrets
from .error_response import ErrorFields, error_fields, hint_for, is_unavailable, unavailable
from .message import HttpRequest, HttpResponse
from .metadata import load_json_object
from .scope import format_scope, parse_scope

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from .client import ClientInformation

__all__ = [
    "MAX_EXPIRES_IN",
    "TokenResponse",
    "build_code_request",
    "build_refresh_request",
    "build_revocation_request",
    "build_token_request",
    "parse_revocation_response",
    "parse_token_response",
]

#: The longest life of an access token, in seconds, that a server is believed to mean (ten years).
MAX_EXPIRES_IN = 315_360_000.0

# What is wrong with the server for now, whatever the status says.
_PASSING = frozenset(
    {"rate_limited", "ratelimited", "server_error", "slow_down", "temporarily_unavailable", "too_many_requests"}
)
# The grant that was sent is dead: RFC 6749, RFC 8628, GitHub (two), Slack (three) and Zoho.
_DEAD_GRANT = frozenset(
    {
        "invalid_grant",
        "expired_token",
        "bad_refresh_token",
        "bad_verification_code",
        "invalid_refresh_token",
        "token_expired",
        "token_revoked",
        "invalid_code",
    }
)
# Errors that some servers answer for a dead refresh token, then recognised by the description alone.
_VAGUE = frozenset({"invalid_request", "invalid_token", "unauthorized_client"})
_DEAD = r"(?:invalid|expired|revoked|unknown|inactive|incorrect|unrecognized)"
_TOKEN = r"refresh[ _-]?token"  # noqa: S105 - words
# Close to the noun and nothing else: "refresh_token is required" and "invalid scope for the refresh token" end nothing.
_DEAD_REFRESH_TOKEN = re.compile(
    rf"\b{_DEAD}(?:(?:, | or | and |/){_DEAD})* {_TOKEN}(?:[.!:;]|$)"
    rf"|\b{_TOKEN}(?: '[^' ]+'| \"[^\" ]+\")?(?: (?:passed|provided|supplied|sent|you provided))?"
    r"(?: (?:is|was|has been|has|already|been|either|not found or)){0,4}"
    rf" (?:{_DEAD}|not valid|no longer valid|not found|not active|does not exist|already used|already been used)\b"
    # Metabase says this of every failure; our refresh requests are well-formed, so the token is what is left.
    r"|^the token request is invalid\.$",
    re.IGNORECASE,
)
_VISIBLE = re.compile(r"[!-~]+")
# To log in anew, which is the advice elsewhere, is not what somebody wants who logged out.
_TOKEN_LIVES_ON = "The token lives on until it expires; end the access in the server's own settings"  # noqa: S105 - advice
_NUMBER = re.compile(r"[+-]?[0-9]{1,30}(?:\.[0-9]{1,30})?(?:[eE][+-]?[0-9]{1,3})?")
_MAX_PARAMETERS = 64
#: The most bytes of an answer that is a form: decoding one takes eighty times its size.
_MAX_FORM = 65_536


@dataclass(frozen=True, slots=True)
class TokenResponse:
    """A successful answer of a token endpoint (RFC 6749 section 5.1). Tokens are not shown by `repr`."""

    access_token: str = field(repr=False)
    #: Always "Bearer": any other type is refused.
    token_type: str = "Bearer"  # noqa: S105 - a type
    #: Seconds from now, at least 0. None: the server didn't say.
    expires_in: float | None = None
    #: None: none was issued; on a refresh, the old one stays valid (section 6).
    refresh_token: str | None = field(default=None, repr=False)
    #: None: the server didn't say; they are those that were asked for (section 5.1).
    scopes: tuple[str, ...] | None = None


def build_code_request(
    token_endpoint: str, client: ClientInformation, response: AuthorizationResponse, *, resource: str | None
) -> HttpRequest:
    """The request that exchanges the code of a validated response for tokens.

    Implements RFC 6749 section 4.1.3 and RFC 7636 section 4.5.

    `resource` is sent verbatim (RFC 8707 section 2.2); None leaves it out, where the caller said so by name.

    Raises `TypeError` for anything but an `AuthorizationResponse`, `PolicyError` if another client got the code.
    """
    if not isinstance(response, AuthorizationResponse):
        raise TypeError("the code exchange takes an AuthorizationResponse: call validate_authorization_response first")
    request = response.request
    if (request.issuer, request.client_id) != (client.issuer, client.client_id):
        raise PolicyError(
            "The code is another client's, or another authorization server's, than this exchange is for. "
            "Start the login again."
        )
    form = {
        "grant_type": "authorization_code",
        "code": response.code,
        "redirect_uri": request.redirect_uri,
        "code_verifier": request.code_verifier,
    }
    if resource is not None:
        form["resource"] = resource
    # The state too: a server that logs the login may quote it.
    return _post(token_endpoint, client, form, secrets=(response.code, request.code_verifier, request.state))


def build_refresh_request(
    token_endpoint: str,
    client: ClientInformation,
    refresh_token: str,
    *,
    resource: str | None,
    scopes: Iterable[str] = (),
) -> HttpRequest:
    """The request that exchanges a refresh token for a new access token (RFC 6749 section 6).

    `token_endpoint` and `client` are those stored with the token. `scopes` may only name granted ones; none leaves the
    parameter out. `resource` as in `build_code_request`.
    """
    return build_token_request(
        token_endpoint,
        client,
        "refresh_token",
        {"refresh_token": refresh_token},
        resource=resource,
        scopes=scopes,
        secrets=(refresh_token,),
    )


def build_token_request(
    token_endpoint: str,
    client: ClientInformation,
    grant_type: str,
    parameters: Mapping[str, str],
    *,
    resource: str | None,
    scopes: Iterable[str] = (),
    secrets: Sequence[str] = (),
) -> HttpRequest:
    """The token request of any other grant (RFC 6749 sections 4.4.2 and 4.5): its `grant_type` and its `parameters`.

    `secrets` are the parameters' values that no error may quote. Raises `ValueError` for the authorization code grant,
    which has `build_code_request`.
    """
    if grant_type == "authorization_code":
        raise ValueError("a code is exchanged by build_code_request only, with a validated response")
    form = {"grant_type": grant_type, **parameters}
    scope = format_scope(scopes)
    if scope is not None:
        form["scope"] = scope
    if resource is not None:
        form["resource"] = resource
    return _post(token_endpoint, client, form, secrets=tuple(secrets))


def build_revocation_request(
    revocation_endpoint: str,
    client: ClientInformation,
    token: str,
    token_type_hint: Literal["access_token", "refresh_token"] | None = None,
    *,
    name_empty_secret: bool = False,
) -> HttpRequest:
    """The request that revokes a token (RFC 7009 section 2.1).

    `name_empty_secret`: a client without a secret says so with an empty `client_secret`, which it may leave out otherwise
    (RFC 6749 section 2.3.1).
    """
    form = {"token": token}
    if token_type_hint is not None:
        form["token_type_hint"] = token_type_hint
    if name_empty_secret and client.client_secret is None:
        form["client_secret"] = ""
    return _post(revocation_endpoint, client, form, secrets=(token,))


def _post(endpoint: str, client: ClientInformation, form: dict[str, str], *, secrets: tuple[str, ...]) -> HttpRequest:
    # Some servers answer form-encoded unless JSON is asked for.
    headers = {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded"}
    authenticate(client, form, headers)
    return HttpRequest(
        method="POST",
        url=endpoint,
        headers=headers,
        body=urlencode(form).encode("ascii"),
        secrets=(*secrets, *authentication_secrets(client)),
    )


def parse_token_response(
    response: HttpResponse, *, secrets: Sequence[str] = (), now: float | None = None
) -> TokenResponse:
    """The tokens in the answer of a token endpoint (RFC 6749 section 5).

    JSON and form-encoded bodies, any 2xx status, an error with status 200, numbers as text and null for "absent" are
    all accepted, because servers send them. `secrets` (`HttpRequest.secrets`) are masked where an error quotes the
    server. `now`, in seconds since the epoch, is for a Retry-After that is a date, in an answer that has none itself.

    Raises `TransportError` if the server says "not now" (408, 429, 5xx, and errors such as `temporarily_unavailable`),
    `TokenErrorResponse` for any other OAuth error, `InvalidResponse` for everything else.
    """
    data = _read(response, secrets, now=now)
    if response.status >= 300:
        raise _invalid(
            response,
            f"it answered HTTP {response.status} without an OAuth error. Nothing stored was changed; try again later",
        )
    if data is None:
        raise _invalid(
            response,
            "it answered neither JSON nor a form. Nothing stored was changed; try again later, or ask the server's operator",
        )
    if data.get("ok") is False:
        raise _invalid(response, "it answered that the request failed, but not why")
    _require_bearer(response, data.get("token_type"))
    access_token = _token(response, data, "access_token")
    if access_token is None:
        raise _invalid(response, "it answered without an access_token")
    return TokenResponse(
        access_token=access_token,
        expires_in=_expires_in(data.get("expires_in")),
        refresh_token=_token(response, data, "refresh_token"),
        # An empty one is absent: RFC 6749 section 3.3 knows no empty scope.
        scopes=parse_scope(data.get("scope")) or None,
    )


def parse_revocation_response(response: HttpResponse, *, secrets: Sequence[str] = ()) -> None:
    """Check that the revocation was accepted (RFC 7009 section 2.2): any 2xx, whatever its body.

    A token that the server doesn't know counts as revoked. Raises `TransportError`, `TokenErrorResponse`
    (`unsupported_token_type`, `invalid_client`) or `InvalidResponse` otherwise.
    """
    if 200 <= response.status < 300:
        return
    _read(response, secrets, what="revocation endpoint", hint=_TOKEN_LIVES_ON)
    raise _invalid(
        response, f"the revocation endpoint answered HTTP {response.status} without an OAuth error", what=None
    )


def _read(
    response: HttpResponse,
    secrets: Sequence[str],
    what: str = "token endpoint",
    hint: str | None = None,
    now: float | None = None,
) -> dict[str, Any] | None:
    """The decoded body, or None if it can't be decoded; raises the error that it or the status stands for."""
    data = _decode(response)
    fields = None if data is None else error_fields(data, secrets)
    if is_unavailable(response) or (fields is not None and fields.error in _PASSING):
        raise unavailable(response, what=what, error=None if fields is None else fields.error, now=now)
    if fields is not None:
        raise TokenErrorResponse(
            fields.error,
            error_description=fields.description,
            error_uri=fields.uri,
            status_code=response.status,
            url=response.url,
            hint=hint or hint_for(fields),
            endpoint=what,
            ends_session=_ends_session(fields),
        )
    return data


def _ends_session(fields: ErrorFields) -> bool:
    if fields.error in _DEAD_GRANT:
        return True
    return fields.error in _VAGUE and _DEAD_REFRESH_TOKEN.search(fields.raw_description) is not None


def _decode(response: HttpResponse) -> dict[str, Any] | None:
    """The object or form in the body. The Content-Type is not asked: servers get it wrong in both directions."""
    try:
        return load_json_object(response, what="token response")
    except InvalidResponse:
        return _decode_form(response.body)


def _decode_form(body: bytes) -> dict[str, Any] | None:
    if len(body) > _MAX_FORM:
        return None
    try:
        data = dict(parse_qsl(body.decode("ascii").strip(), max_num_fields=_MAX_PARAMETERS))
    except ValueError:
        return None
    return data if "access_token" in data or "error" in data else None


def _require_bearer(response: HttpResponse, token_type: object) -> None:
    # RFC 6749 section 5.1 requires the field. Where it is missing, trying the token as Bearer does no harm.
    if token_type is None or (isinstance(token_type, str) and token_type.lower() == "bearer"):
        return
    raise _invalid(
        response, "it issued a token of another type than Bearer, which this client can't use (RFC 6749 section 7.1)"
    )


def _token(response: HttpResponse, data: Mapping[str, object], name: str) -> str | None:
    value = data.get(name)
    if value is None or value == "":
        return None
    # It becomes part of a header or a form: a line end in it would forge another header.
    if not isinstance(value, str) or not _VISIBLE.fullmatch(value):
        raise _invalid(response, f"its {name} is not a string of visible ASCII characters")
    if len(value) > MAX_CREDENTIAL:
        raise _invalid(response, f"its {name} is longer than {MAX_CREDENTIAL} characters")
    return value


def _expires_in(value: object) -> float | None:
    if isinstance(value, str):
        value = float(value) if _NUMBER.fullmatch(value.strip()) else None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return None
    # No token is born dead: zero and less say as little as nothing does, so that only a 401 tells.
    if value <= 0:
        return None
    # Compared before it becomes a float: an integer may be too large for one.
    return float(min(value, MAX_EXPIRES_IN))


def _invalid(response: HttpResponse, reason: str, what: str | None = "token endpoint") -> InvalidResponse:
    return InvalidResponse(reason if what is None else f"the {what} broke RFC 6749: {reason}", url=response.url)
