"""What OAuth error answers have in common: their fields without our secrets, hints, and outages.

RFC 6749 sections 4.1.2.1 and 5.2, RFC 7591 section 3.2.2.
Standard library only: a refresh must start fast.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus, urlsplit

from mcp_login.errors import TransportError, printable

from .metadata import retry_after

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .message import HttpResponse

__all__ = ["ErrorFields", "error_fields", "hint_for", "is_unavailable", "redact", "unavailable"]

_MASK = "[…]"
# Longer than any description that is shown, so that a secret is never cut in two before it is looked for.
_LIMIT = 4000
_SHORT = 8
# Without "." and "=": the parts of a JWT count one by one, and `token=...` is not one word.
_WORD = re.compile(r"[A-Za-z0-9_~+/-]{8,}")

_HINTS = {
    "access_denied": "Start the login again and allow the access",
    "invalid_client": "The server does not know this client or its secret: log in anew (force=True), or check client_id",
    "invalid_grant": "Log in again",
    "invalid_scope": "Choose other scopes with scopes=",
    "invalid_target": "The server does not know this resource: give the one its operator names (resource=)",
    "server_error": "Try again later",
    "temporarily_unavailable": "Try again later",
    "unauthorized_client": "The server does not allow this client this kind of login: ask its operator for a client_id",
}
# AADSTS9010010: resource and scopes don't match. AADSTS901002: `resource` is not supported.
# OAuth errors that say that the request was turned away. `server_error` doesn't: who knows how far it got.
_TURNED_AWAY = frozenset({"rate_limited", "ratelimited", "slow_down", "temporarily_unavailable", "too_many_requests"})
_ENTRA = re.compile(r"AADSTS(?:9010010|901002)(?!\d)")


@dataclass(frozen=True, slots=True)
class ErrorFields:
    """The fields of an OAuth error, cleaned for display and free of the caller's secrets.

    `raw_description` is what the server wrote; it is for recognising dialects only and never shown.
    """

    error: str
    description: str | None
    uri: str | None
    raw_description: str = field(repr=False)


def error_fields(data: Mapping[str, object], secrets: Iterable[str] = ()) -> ErrorFields | None:
    """The OAuth error in a decoded answer, or None if there is none (`error` absent, null, empty or not a string)."""
    error = data.get("error")
    if not isinstance(error, str) or not error:
        return None
    known = tuple(secrets)
    # `message`: older servers of the PHP league write that instead of error_description.
    description = _text(data.get("error_description")) or _text(data.get("message"))
    uri = _text(data.get("error_uri"))
    return ErrorFields(
        error=redact(error, known) or _MASK,
        description=None if description is None else redact(description, known),
        uri=None if uri is None else redact(uri, known),
        raw_description="" if description is None else description[:_LIMIT],
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def redact(text: str, secrets: Iterable[str]) -> str:
    """`text` fit for display, with every secret masked.

    Found are secrets as they are, percent-encoded, JSON-escaped, and pieces of them of 8 characters or more.
    """
    # Cleaned first: a character that is not displayed must not hide a secret from the search.
    clean = printable(text, _LIMIT)
    spellings = sorted({spelling for secret in secrets for spelling in _spellings(secret)}, key=len, reverse=True)
    for spelling in spellings:
        if len(spelling) < _SHORT:
            # As a word only: within other words a short one says nothing, and masking it would eat the text.
            clean = re.sub(rf"(?<!\w){re.escape(spelling)}(?!\w)", _MASK, clean)
        else:
            clean = clean.replace(spelling, _MASK)
    clean = _WORD.sub(lambda word: _MASK if any(word[0] in spelling for spelling in spellings) else word[0], clean)
    # Only by malice can a secret be left (put together by the masking itself): then nothing is shown.
    return "" if any(len(spelling) >= _SHORT and spelling in clean for spelling in spellings) else clean


def _spellings(secret: str) -> set[str]:
    # errors="replace": a secret from outside may hold lone surrogates.
    encoded = {quote(secret, safe="", errors="replace"), quote_plus(secret, errors="replace")}
    return {secret, printable(secret, len(secret)), json.dumps(secret)[1:-1], *encoded} - {""}


def hint_for(fields: ErrorFields) -> str | None:
    """What a person can do about an OAuth error, or None."""
    if _ENTRA.search(fields.raw_description):
        return "Microsoft Entra ID does not accept `resource` together with these scopes: pass resource=None to omit it"
    return _HINTS.get(fields.error)


def is_unavailable(response: HttpResponse) -> bool:
    """Whether the status says that the server is down or wants us to wait: 408, 429 and 5xx."""
    return response.status in (408, 429) or response.status >= 500


def unavailable(
    response: HttpResponse, *, what: str, error: str | None = None, now: float | None = None
) -> TransportError:
    """The `TransportError` for an answer that says "not now".

    `what` names the endpoint, `error` is the OAuth error code in the answer, if any; `now` as for `retry_after`.

    408, 429 and errors such as `temporarily_unavailable` say that nothing was done. Any other 5xx leaves it open: a gateway
    answers 502 or 503 for a server that fell silent after it had acted, too.
    """
    said = f"HTTP {response.status}" + (f" ({printable(error, 100)})" if error else "")
    wait = retry_after(response, now)
    when = "try again later" if wait is None else f"try again in {wait:.0f} seconds"
    host = printable(urlsplit(response.url).netloc.rpartition("@")[2], 100)
    return TransportError(
        f"The {what} of {host} answered {said}. Nothing stored was changed; {when}.",
        url=response.url,
        retry_after=wait,
        may_have_acted=error not in _TURNED_AWAY and response.status not in (408, 429),
    )
