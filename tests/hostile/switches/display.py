"""The defences of what a person reads, and how each is switched off."""

from __future__ import annotations

import json
import re
from typing import Any

from tests.hostile.attack import Switch

__all__ = [
    "ASCII_JSON",
    "CLEANED",
    "ESCAPED_MARKUP",
    "KNOWN_BY_PAGE_TOO",
    "NETWORK_NAMES",
    "PUBLIC_SUFFIXES",
    "SHORTENED",
    "TOLD",
    "VISIBLE_TOKENS",
]


def _whole(text: str, _limit: int = 0) -> str:
    return "".join(c for c in text if c.isprintable())


def _last_two_labels(host: str, other: str) -> bool:
    return host.split(".")[-2:] == other.split(".")[-2:]


#: Dropping what controls a terminal or the direction of text.
CLEANED = Switch("cleaned text", (("mcp_login.errors._fit", str),))

#: Shortening what strangers say: in the last page, in the command's words, and in what both of them quote.
SHORTENED = Switch(
    "short text",
    tuple(
        (f"mcp_login.{module}.printable", _whole)
        # The last: what is loaded for the sake of the others takes it from there.
        for module in ("browser.pages", "cli.failure", "protocol.error_response", "errors")
    ),
)

#: Escaping what means something in HTML.
ESCAPED_MARKUP = Switch("escaped markup", (("mcp_login.browser.pages.html.escape", lambda text, **_: text),))

#: JSON in ASCII.
ASCII_JSON = Switch(
    "JSON in ASCII",
    (("mcp_login.cli.output.json", type("Json", (), {"dumps": staticmethod(lambda data, **_: str_of(data))})),),
)


def str_of(data: Any) -> str:
    """`data` as some programs print it: in any characters, and strings as they are."""
    return re.sub(r"\\u([0-9a-f]{4})", lambda found: chr(int(found[1], 16)), json.dumps(data))


#: Telling who asks for what.
TOLD = Switch("the announcement", (("mcp_login.cli.login.announcement", lambda *_: None),))

#: Knowing which domains anybody can have.
PUBLIC_SUFFIXES = Switch("the list of public suffixes", (("mcp_login.cli.announcement.same_site", _last_two_labels),))

#: That a known issuer says nothing of a page elsewhere.
KNOWN_BY_PAGE_TOO = Switch(
    "known issuers at known pages", (("mcp_login.cli.announcement.is_own_page", lambda *_: True),)
)

#: Showing names as the network knows them.
NETWORK_NAMES = Switch(
    "names as the network knows them",
    (("mcp_login.cli.announcement.host_shown", lambda host: host.encode().decode("idna")),),
)

#: Taking no token from a server that isn't of visible ASCII.
VISIBLE_TOKENS = Switch("visible tokens", (("mcp_login.protocol.token._VISIBLE", re.compile(r"[\s\S]+")),))
