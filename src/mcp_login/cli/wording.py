"""The library's messages, which name keywords of Python, in the words of the command line: options."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mcp_login.errors import AuthError, ErrorResponse

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["advice_of", "in_options", "message_of", "offers_another_storage", "scopes_of"]

#: Memory is no choice of a command, which ends at once: the hint names what is.
_OFFER = r"et MCP_LOGIN_STORAGE=file \(not encrypted\)(?: or memory \([\w ]+\))?"
_OTHER_STORAGE = re.compile(rf"(?:, or:|; else) [Ss]{_OFFER}(?=\.|$)|(?<=\.) S{_OFFER}(?:\.|$)")
_OPTIONS = [
    (re.compile(pattern), option)
    for pattern, option in (
        # What the hint says, with the options.
        (r" callback_timeout sets the limit\.", ""),
        (r", (?:then|and) give it as client_id(?:, and client_secret if there is one)?(?=\.|$)", ""),
        (r"\ballow_private_network=True\b", "--allow-private-network"),
        (r"\bforce=True\b", "--force"),
        (r"\bresource=None\b", "--no-resource"),
        (r"\bcallback_host\b=?", "--callback-host"),
        (r"\bcallback_port\b=?", "--callback-port"),
        # Not the parameter of a URL, which has a value.
        (r"\bscopes=(?![^\s.,;)])", "--scope"),
        (r"\bissuer=(?![^\s.,;)])", "--issuer"),
        (r"\bcheck client_id\b", "check --client-id"),
        (r"\bgive a client_id\b", "give a client id (--client-id)"),
    )
]


def in_options(text: str) -> str:
    """`text` of the library, with options in place of the keywords that they are."""
    for keyword, option in _OPTIONS:
        text = keyword.sub(option, text)
    return text


def message_of(error: AuthError) -> str:
    """What happened. What to do about an OAuth error, and where else logins can be kept, is left to the hint."""
    said = str(error)
    if isinstance(error, ErrorResponse):
        # A server's own words are left as they are.
        return f"{said.removesuffix(error.hint or error.advice).rstrip('. ')}."
    said = in_options(_OTHER_STORAGE.sub("", said)).rstrip(".")
    return said if said.endswith("?") else f"{said}."


def advice_of(error: ErrorResponse) -> str:
    """What the library advises, as a sentence."""
    return f"{in_options(error.hint or error.advice).rstrip('.')}."


def offers_another_storage(error: AuthError) -> bool:
    """Whether the library's message names storages to use instead."""
    return _OTHER_STORAGE.search(str(error)) is not None


def scopes_of(granted: Collection[str], unrequested: Collection[str]) -> str:
    """The scopes of a login, and which of them nobody asked for; empty where it has none in particular."""
    told = " ".join(granted)
    return f"{told} (not asked for: {' '.join(unrequested)})" if unrequested else told
