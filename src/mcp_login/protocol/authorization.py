"""Authorization requests and responses (RFC 6749 section 4.1, RFC 9207, "Authorization Response Validation").

Standard library only. The order of checks can't be got wrong by a caller: an `AuthorizationResponse` is made by
`validate_authorization_response` alone, and the code exchange takes nothing else.
"""

from __future__ import annotations

import hmac
import re
from base64 import urlsafe_b64encode
from dataclasses import InitVar, dataclass, field
from typing import TYPE_CHECKING, final
from urllib.parse import parse_qsl, quote, unquote_plus, urlencode

from mcp_login.errors import AuthorizationErrorResponse, InvalidResponse, IssuerMismatch, PolicyError

from .error_response import error_fields, hint_for, redact
from .pkce import code_verifier, proof_parameters
from .scope import format_scope
from .uri import require_secure

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from .authorization_server import AuthorizationServerMetadata
    from .client import ClientInformation

__all__ = [
    "AuthorizationRequest",
    "AuthorizationResponse",
    "authorization_response_from_pasted_text",
    "build_authorization_request",
    "matches_state",
    "validate_authorization_response",
]

#: Parameters that a caller can't set, and what to use instead.
_RESERVED = {
    "client_id": "client_id=",
    "code_challenge": None,
    "code_challenge_method": None,
    "redirect_uri": "callback_host= and callback_port=",
    # They would replace the other parameters (RFC 9101), or bring the answer where the listener can't read it.
    "request": None,
    "request_uri": None,
    "resource": "resource=",
    "response_mode": None,
    "response_type": None,
    "scope": "scopes=",
    "state": None,
}
#: What an endpoint's own query can't say, either: it would ask for more than the person is told of (RFC 9396, OpenID Connect Core
#: section 5.5), as another person or client (sections 3.1.2.1 and 7.2.1), or bind the code to a key that isn't ours (RFC 9449
#: section 10). Nor any name with "scope" in it: `user_scope`, `optional_scope`, `include_granted_scopes`. `audience` stays:
#: servers that don't know resource indicators are told by it what a token is for.
_UNTOLD = ("authorization_details", "claims", "dpop_jkt", "id_token_hint", "registration")
#: A percent sign that begins no escape: some servers have escapes of their own (%u0073).
_STRAY_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
# An honest response has four parameters and a few of the server's own.
_MAX_PARAMETERS = 64
# Of a bare code: by RFC 6749 section 10.10 it can't be guessed, and people answer "y" or "hello" to anything that asks.
_SHORTEST_CODE = 8
# RFC 6749 section 10.10: guessing must be as hard as 2**128 tries.
_MIN_STATE_BYTES = 16
# Known only in this module: what makes a validated response.
_VALIDATED = object()


@dataclass(frozen=True, slots=True)
class AuthorizationRequest:
    """One login as it is sent to the browser, and the record that its response is judged by.

    The validated issuer is kept beside the verifier and the state (specification, "Authorization Response Validation").
    Raises `PolicyError` if the redirect URI is neither https nor on loopback ("Communication Security"), or if
    `extra_params` sets a parameter of the protocol.
    """

    issuer: str
    authorization_endpoint: str
    client_id: str
    redirect_uri: str
    state: str = field(repr=False)
    code_verifier: str = field(repr=False)
    scopes: tuple[str, ...] = ()
    #: Sent verbatim (RFC 8707); None only where the caller left it out by name.
    resource: str | None = None
    iss_parameter_supported: bool = False
    #: More parameters for this server (`prompt`, `audience`, `login_hint`). An empty value leaves a parameter out.
    extra_params: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        require_secure(self.redirect_uri, what="redirect URI", allow_loopback=True)
        for name in self.extra_params:
            if name in _RESERVED:
                instead = _RESERVED[name]
                advice = "Leave it out" if instead is None else f"Use {instead} instead"
                raise PolicyError(f"authorize_params can't set {name!r}: this library sets it. {advice}.")

    @property
    def url(self) -> str:
        """The URL for the browser. The endpoint's own query stays (RFC 6749 section 3.1), but for what is ours to say.

        The endpoint may be another server's than the one whose metadata names it, so nobody knows who will read its query.
        """
        ours = self._parameters()
        base, _, query = self.authorization_endpoint.partition("#")[0].partition("?")
        taken = {_meaning(name) for name in (*ours, *_RESERVED, *_UNTOLD)}
        retained = [part for part in query.split("&") if part and _may_stay(part, taken)]
        # quote, not quote_plus: %20 is read as a space by every server, "+" by most.
        return f"{base}?{'&'.join([*retained, urlencode(ours, quote_via=quote)])}"

    def _parameters(self) -> dict[str, str]:
        parameters = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": self.redirect_uri,
            "state": self.state,
            **proof_parameters(self.code_verifier),
        }
        scope = format_scope(self.scopes)
        if scope is not None:
            parameters["scope"] = scope
        if self.resource is not None:
            parameters["resource"] = self.resource
        if "offline_access" in self.scopes and "prompt" not in self.extra_params:
            # OpenID Connect Core section 11: without consent the server ignores offline_access.
            parameters["prompt"] = "consent"
        parameters.update({name: value for name, value in self.extra_params.items() if value})
        return parameters


def build_authorization_request(
    metadata: AuthorizationServerMetadata,
    client: ClientInformation,
    *,
    redirect_uri: str,
    state_bytes: bytes,
    verifier_bytes: bytes,
    scopes: Iterable[str] = (),
    resource: str | None,
    extra_params: Mapping[str, str] | None = None,
) -> AuthorizationRequest:
    """The authorization request of `client` at the server of the validated `metadata`.

    Implements RFC 6749 section 4.1.1, RFC 7636 section 4.3 and RFC 8707 section 2.1.

    `state_bytes` (at least 16) and `verifier_bytes` (at least 32) are fresh random bytes; `resource` is the resource
    identifier, verbatim, or None to leave it out. Whether the server supports PKCE is checked by `require_pkce` before.

    Raises `IssuerMismatch` if the client belongs to another issuer ("Authorization Server Binding"), `InvalidResponse`
    if the metadata names no authorization endpoint, `PolicyError` as `AuthorizationRequest` does and for a URL that is too
    long for a browser, `ValueError` for too few bytes.
    """
    if len(state_bytes) < _MIN_STATE_BYTES:
        raise ValueError(f"state_bytes: at least {_MIN_STATE_BYTES} random bytes are needed (RFC 6749 section 10.10)")
    if client.issuer != metadata.issuer:
        raise IssuerMismatch(
            expected=client.issuer,
            received=metadata.issuer,
            url=metadata.issuer,
            reason="this client is registered with another server. Register with this one, or correct issuer=",
        )
    if metadata.authorization_endpoint is None:
        raise InvalidResponse(
            "the metadata names no authorization_endpoint, so nobody can log in with a browser. Use another grant",
            url=metadata.issuer,
        )
    request = AuthorizationRequest(
        issuer=metadata.issuer,
        authorization_endpoint=metadata.authorization_endpoint,
        client_id=client.client_id,
        redirect_uri=redirect_uri,
        state=urlsafe_b64encode(state_bytes).rstrip(b"=").decode("ascii"),
        code_verifier=code_verifier(verifier_bytes),
        scopes=tuple(scopes),
        resource=resource,
        iss_parameter_supported=metadata.authorization_response_iss_parameter_supported,
        extra_params=dict(extra_params or {}),
    )
    # Whole, as it is opened: its length, above all. Whether the endpoint may do without TLS was judged with its metadata.
    require_secure(request.url, what="authorization URL", allow_loopback=True, allow_http=True)
    return request


@final
@dataclass(frozen=True, slots=True)
class AuthorizationResponse:
    """A validated authorization response: its state and issuer are those of `request`.

    Only `validate_authorization_response` makes one; anybody else gets a `TypeError`.
    """

    request: AuthorizationRequest
    code: str = field(repr=False)
    seal: InitVar[object]

    def __post_init__(self, seal: object) -> None:
        if seal is not _VALIDATED:
            raise TypeError("An AuthorizationResponse is made by validate_authorization_response only")


def _may_stay(part: str, taken: Collection[str]) -> bool:
    """Whether `part` of an endpoint's query says nothing that is ours to say, and doesn't keep the person from being asked."""
    for piece in part.split(";"):  # some servers read it as "&"
        name, _, value = piece.partition("=")
        meaning = _meaning(name)
        if "scope" in meaning or _STRAY_PERCENT.search(name):
            return False
        # OpenID Connect Core section 3.1.2.1: `none` answers without showing anybody anything.
        if meaning in taken or (meaning == "prompt" and "none" in _decoded(value).casefold()):
            return False
    return True


def _meaning(name: str) -> str:
    """The name that some server may read in `name`: its letters and digits, up to a bracket or NUL.

    PHP makes "_" of "." and " " and an array of "state[]", ASP.NET ignores case, and so on.
    """
    return re.sub("[^a-z0-9]", "", re.split(r"[\[\x00]", _decoded(name), maxsplit=1)[0].casefold())


def _decoded(text: str) -> str:
    """`text` as a server reads it that decodes more than once."""
    for _ in range(3):
        text = unquote_plus(text)
    return text


def matches_state(request: AuthorizationRequest, query: str) -> bool:
    """Whether the query string of a redirect carries the state of `request`, just once. Constant time; never raises."""
    parameters = _parameters(query)
    return parameters is not None and _has_state(request, parameters)


def validate_authorization_response(request: AuthorizationRequest, query: str) -> AuthorizationResponse:
    """The validated response in the query string of a redirect, without its "?".

    Implements RFC 6749 section 4.1.2, RFC 9207 section 2.4 and "Authorization Response Validation".

    In this order: the state, repeated parameters, `iss` by the specification's table, then an error, then the code. So
    nothing of a response that is not from the expected issuer is acted on or shown.

    Raises `InvalidResponse` for a missing, other or repeated `state`, a repeated `code`, `iss` or `error`, or no code;
    `IssuerMismatch` for an `iss` that is not, code point for code point, the recorded issuer, or that is absent
    although the server promises it; `AuthorizationErrorResponse` for an error of the expected server.
    """
    parameters = _parameters(query)
    if parameters is None or not _has_state(request, parameters):
        raise _invalid(request, "the state is missing or not the one of this login. Start the login again")
    _require_single(request, parameters)
    _validate_issuer(request, parameters)
    _raise_error(request, parameters)
    code = _first(parameters, "code")
    if not code:
        raise _invalid(request, "the authorization response has neither a code nor an error. Start the login again")
    if not code.isprintable():
        # RFC 6749 appendix A.11 allows less, but servers that forget to encode a "+" send a space.
        raise _invalid(request, "the code holds characters that no code has. Start the login again")
    return AuthorizationResponse(request, code, _VALIDATED)


def authorization_response_from_pasted_text(request: AuthorizationRequest, text: str) -> str:
    """The query string in what a person pasted, for `validate_authorization_response`.

    Accepted are the whole URL that the browser ended on, its query alone, and, where the server doesn't promise `iss`,
    the bare code: the person took it from this login's own page, so the state is filled in. A word that is too short to be
    a code (below 8 characters) is none: sent as one, it would end the login.

    Raises `InvalidResponse` if it is none of these; the message doesn't quote the text.
    """
    # A terminal may wrap a long line; quotes and angle brackets come from mails and chats.
    pasted = re.sub(r"[\r\n\t]", "", text).strip().strip("\"'<>`").strip()
    if "://" in pasted.partition("?")[0]:
        if _page(pasted) == _page(request.authorization_endpoint):
            raise _unusable(
                request, "this is the address of the login page. Paste the address the browser shows after the login"
            )
        query = pasted.partition("#")[0].partition("?")[2]
    else:
        query = pasted.removeprefix("?").partition("#")[0]
    parameters = _parameters(query) or {}
    if "code" in parameters or "error" in parameters:
        return query
    if "://" in pasted or not re.fullmatch(rf"[!-~]{{{_SHORTEST_CODE},}}", pasted):
        raise _unusable(request, "there is no code in it. Paste the whole address the browser shows after the login")
    if request.iss_parameter_supported:
        # The bare code lacks the `iss` that this server promises: no way round the table.
        raise _unusable(
            request, "this server needs the whole address the browser shows after the login, not just the code"
        )
    # A code cut out of an address is percent-encoded already.
    code = quote(pasted, safe="%" if re.search(r"%[0-9A-Fa-f]{2}", pasted) else "")
    return f"code={code}&{urlencode({'state': request.state})}"


def _page(url: str) -> str:
    return url.partition("#")[0].partition("?")[0].rstrip("/").casefold()


def _parameters(query: str) -> dict[str, list[str]] | None:
    """The decoded parameters of a query string, or None where there are too many of them to be honest."""
    parameters: dict[str, list[str]] = {}
    try:
        for name, value in parse_qsl(query, keep_blank_values=True, max_num_fields=_MAX_PARAMETERS):
            parameters.setdefault(name, []).append(value)
    except ValueError:
        return None
    return parameters


def _first(parameters: Mapping[str, list[str]], name: str) -> str | None:
    return next(iter(parameters.get(name, ())), None)


def _has_state(request: AuthorizationRequest, parameters: Mapping[str, list[str]]) -> bool:
    states = parameters.get("state", [])
    # surrogatepass: a query from outside may hold lone surrogates, and a comparison must not raise.
    return len(states) == 1 and hmac.compare_digest(
        states[0].encode("utf-8", "surrogatepass"), request.state.encode("utf-8", "surrogatepass")
    )


def _require_single(request: AuthorizationRequest, parameters: Mapping[str, list[str]]) -> None:
    """RFC 6749 section 3.1: each may appear once. Choosing one of two would let an attacker add the other."""
    for name in ("code", "iss", "error"):
        if len(parameters.get(name, ())) > 1:
            raise _invalid(request, f"the authorization response repeats {name!r}. Start the login again")


def _validate_issuer(request: AuthorizationRequest, parameters: Mapping[str, list[str]]) -> None:
    """The table of the specification. Simple string comparison, nothing is normalised (RFC 3986 section 6.2.1)."""
    received = _first(parameters, "iss")
    if received == request.issuer or (received is None and not request.iss_parameter_supported):
        return
    # Nothing of the response is quoted: it may be an attacker's. As an attribute it is kept, without what is secret in it.
    if received is None:
        reason = "the authorization response names no issuer, although this server promises to. Start the login again"
    elif received.rstrip("/") == request.issuer.rstrip("/"):
        reason = "the response names the recorded issuer but for a trailing slash. Ask its operator to correct it"
    else:
        reason = (
            "the authorization response comes from another issuer than this login was sent to. Start the login again"
        )
    shown = None if received is None else redact(received, _secrets(request, parameters))
    raise IssuerMismatch(expected=request.issuer, received=shown, url=request.issuer, reason=reason)


def _secrets(request: AuthorizationRequest, parameters: Mapping[str, list[str]]) -> tuple[str, ...]:
    """What a server may quote of the request, or of a code that it takes back."""
    return (request.state, request.code_verifier, *parameters.get("code", ()))


def _raise_error(request: AuthorizationRequest, parameters: Mapping[str, list[str]]) -> None:
    data = {name: values[0] for name, values in parameters.items() if len(values) == 1}
    fields = error_fields(data, _secrets(request, parameters))
    if fields is not None:
        raise AuthorizationErrorResponse(
            fields.error,
            error_description=fields.description,
            error_uri=fields.uri,
            url=request.issuer,
            hint=hint_for(fields),
        )


def _invalid(request: AuthorizationRequest, reason: str) -> InvalidResponse:
    return InvalidResponse(reason, url=request.issuer)


def _unusable(request: AuthorizationRequest, reason: str) -> InvalidResponse:
    words = f"what was pasted can't be used: {reason}"
    return InvalidResponse(words, url=request.redirect_uri, message=f"{words[0].upper()}{words[1:]}.")
