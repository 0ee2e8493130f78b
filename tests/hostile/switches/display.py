"""The defences of what a person reads, and how each is switched off."""

from __future__ import annotations

import json
import re
from typing import Any

from tests.hostile.attack import Switch

__all__ = [
    "ADDRESSES_STAND_ALONE",
    "ASCII_JSON",
    "CLEANED",
    "ESCAPED_MARKUP",
    "HANGING_LINES",
    "KNOWN_BY_PAGE_TOO",
    "NETWORK_NAMES",
    "PUBLIC_SUFFIXES",
    "SHORTENED",
    "TOLD",
    "VISIBLE_TOKENS",
]


def _whole(text: str, _limit: int = 0) -> str:
    return "".join(c for c in text if c.isprintable())


class _LastTwoLabels:
    """Some people's idea of what is a site."""

    @staticmethod
    def privatesuffix(host: str) -> str:
        return ".".join(host.split(".")[-2:])


#: Dropping what controls a terminal or the direction of text.
CLEANED = Switch("cleaned text", (("mcp_login.errors._fit", str),))

#: Shortening what strangers say: in the last page, in the command's words, and in what both of them quote.
SHORTENED = Switch(
    "short text",
    tuple(
        (f"mcp_login.{module}.printable", _whole)
        # The last: what is loaded for the sake of the others takes it from there.
        for module in ("browser.pages", "cli.screen", "protocol.error_response", "errors")
    ),
)

#: Escaping what means something in HTML.
ESCAPED_MARKUP = Switch("escaped markup", (("mcp_login.browser.pages.html.escape", lambda text, **_: text),))


class _AnyCharacters:
    """The module `json`, with one of its options."""

    @staticmethod
    def dumps(data: Any, **options: Any) -> str:
        return json.dumps(data, **{**options, "ensure_ascii": False})


#: JSON in ASCII.
ASCII_JSON = Switch("JSON in ASCII", (("mcp_login.cli.output.json", _AnyCharacters),))


#: What doesn't fit into a line goes on below its beginning.
HANGING_LINES = Switch("hanging lines", (("mcp_login.cli.screen._hung", lambda text, **_: text),))

#: Telling who asks for what.
TOLD = Switch("the announcement", (("mcp_login.cli.login.announcement", lambda *_: None),))

#: Knowing which domains anybody can have, and that an address has none.
PUBLIC_SUFFIXES = Switch("the list of public suffixes", (("mcp_login.cli.announcement._suffixes", _LastTwoLabels),))
ADDRESSES_STAND_ALONE = Switch(
    "addresses have no domain", (("mcp_login.cli.announcement._stands_alone", lambda _: False),)
)

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
