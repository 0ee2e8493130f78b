"""Scopes: read, written and chosen (RFC 6749 section 3.3, "Scope Selection Strategy" of the MCP specification)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["OFFLINE_ACCESS", "format_scope", "parse_scope", "select_scopes"]

#: OpenID Connect Core section 11: the scope that asks for a refresh token.
OFFLINE_ACCESS = "offline_access"

# RFC 6749 section 3.3: scope-token = 1*( %x21 / %x23-5B / %x5D-7E )
_SCOPE_TOKEN = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")
#: More than any honest server has; a hostile one's would fill URLs, forms and stored records.
MAX_SCOPES = 200
MAX_CHARACTERS = 8192
#: How many characters of an address may go to scopes that only lists name: more than browsers and servers take as a whole
#: (`uri.MAX_SENT_URL`) would be the end of the login, for want of scopes that nobody asked for.
MAX_IMPLIED = 4096
# A space by the document, a comma by the habit of some providers. A list's elements may hold commas.
_IN_STRING = re.compile(r"[^ \t\r\n,]+")
_IN_ELEMENT = re.compile(r"[^ \t\r\n]+")


def parse_scope(value: object) -> tuple[str, ...]:
    """The scopes in `value`, in order, each once. Implements RFC 6749 section 3.3.

    `value` is a string with spaces or commas between scopes, or a list, tuple or set of strings; anything else has no
    scopes. What can't be a scope (quotes, backslashes, control characters, anything beyond ASCII) is left out,
    and so is what follows after 200 scopes or 8,192 characters.
    """
    if isinstance(value, str):
        found = (match[0] for match in _IN_STRING.finditer(value))
    elif isinstance(value, list | tuple | set | frozenset):
        items = sorted(str(item) for item in value) if isinstance(value, set | frozenset) else value
        found = (match[0] for item in items if isinstance(item, str) for match in _IN_ELEMENT.finditer(item))
    else:
        return ()
    scopes: dict[str, None] = {}
    left = MAX_CHARACTERS
    for scope in found:
        if scope in scopes or not _SCOPE_TOKEN.fullmatch(scope):
            continue
        left -= len(scope) + 1
        if left < 0 or len(scopes) == MAX_SCOPES:
            break
        scopes[scope] = None
    return tuple(scopes)


def format_scope(scopes: Iterable[str]) -> str | None:
    """The value of the `scope` parameter for `scopes`, or None where there are none: the parameter is then left out."""
    return " ".join(parse_scope(tuple(scopes))) or None


def select_scopes(
    *,
    requested: Iterable[str],
    challenged: Iterable[str],
    previous: Iterable[str],
    supported_by_resource: Iterable[str] | None,
    supported_by_server: Iterable[str] | None,
) -> tuple[str, ...]:
    """The scopes to ask for, each once; none means that the parameter is left out.

    `requested` by the caller, `challenged` by the resource in this very response, `previous` ones asked for before:
    always the union. `supported_by_resource` (its metadata) counts only where caller and challenge are silent; nothing
    is concluded from a challenged scope missing there. `offline_access` is added where the authorization server lists
    it (`supported_by_server`) and there is another scope to ask for; where it doesn't, only the caller or the
    challenge can ask. Implements "Scope Selection Strategy", "Step-Up Authorization Flow" and "Refresh Tokens" of the
    MCP specification.
    """
    explicit = [*requested, *challenged]
    implied = list(previous)
    if not explicit:
        implied += supported_by_resource or ()
    offline = OFFLINE_ACCESS in (supported_by_server or ())
    listed = []
    left = MAX_IMPLIED
    for scope in parse_scope([scope for scope in implied if offline or scope != OFFLINE_ACCESS]):
        left -= len(quote(scope, safe="")) + len("%20")
        if left >= 0:
            listed.append(scope)
    chosen = parse_scope([*explicit, *listed])
    # Alone it would replace the server's default scopes, which a missing parameter asks for (RFC 6749 section 3.3).
    if offline and chosen and OFFLINE_ACCESS not in chosen:
        chosen += (OFFLINE_ACCESS,)
    return chosen
