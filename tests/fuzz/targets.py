"""Every parser of bytes from outside, as a function that takes any bytes.

A target drives public functions of the library and raises nothing: the library's own errors are judged
(`checks.require_clean_error`), what was parsed keeps its own contract, and everything else escapes and is a finding. The
engine (`python -m tests.fuzz`), the property tests and the tests of cost share these targets.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mcp_login.browser.exchange import MAX_HEAD

from . import addresses, answers, people, stored

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CORPUS", "TARGETS", "Target", "corpus_of"]

CORPUS = Path(__file__).with_name("corpus")

_JSON = ('{"', '":"', '",', '":[', "null", "true", "1e400", "-0", "\\ud800", "\\u0000", "\\u202e", "NaN", "[[[[", "{}")
_URLS = (
    "https://",
    "http://",
    "[::1]",
    "127.0.0.1",
    "%2e%2e",
    "..;",
    "xn--",
    "@",
    ":443",
    "\\",
    "localhost",
    "/..",
    "#",
)
_ERRORS = ('"error":"', '"error_description":"', '"error_uri":"', "invalid_grant", answers.REFRESH_TOKEN)


@dataclass(frozen=True, slots=True)
class Target:
    """`run` takes any bytes. `words` are what an engine may put into them, `longest` is how many bytes it makes."""

    name: str
    run: Callable[[bytes], None]
    words: tuple[str, ...] = ()
    longest: int = 2048


TARGETS = {
    target.name: target
    for target in (
        Target(
            "challenge",
            answers.challenge,
            ("Bearer ", "DPoP ", 'resource_metadata="', 'scope="', 'error="', "realm=", '\\"', '", ', "Basic ", "=="),
        ),
        Target(
            "protected-resource-metadata",
            answers.protected_resource_metadata,
            (*_JSON, '"resource"', '"authorization_servers"', '"scopes_supported"', "https://mcp.example.com", *_URLS),
        ),
        Target(
            "authorization-server-metadata",
            answers.authorization_server_metadata,
            (*_JSON, '"issuer"', '"authorization_endpoint"', '"token_endpoint"', "S256", answers.ISSUER, *_URLS),
        ),
        Target(
            "registration",
            answers.registration,
            (*_JSON, *_ERRORS, '"client_id"', '"client_secret"', '"client_secret_expires_at"', "redirect"),
        ),
        Target(
            "token",
            answers.token,
            (*_JSON, *_ERRORS, '"access_token"', '"token_type"', '"expires_in"', "access_token=", "&error=", "Bearer"),
        ),
        Target("revocation", answers.revocation, (*_JSON, *_ERRORS, "error=", "unsupported_token_type")),
        Target(
            "authorization-response",
            people.authorization_response,
            ("code=", "&state=", people.STATE, "&iss=", "https%3A%2F%2Fas.example.com", "&error=", "%00", "%ED%A0%80"),
        ),
        Target(
            "pasted-text",
            people.pasted_text,
            ("http://127.0.0.1:4000/callback?", "code=", "&state=", people.STATE, people.CODE, "#", "%2B", "\x1b[200~"),
        ),
        Target(
            "retry-after", answers.retry, ("Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94", "Feb", "99999", "0")
        ),
        Target("redaction", answers.redaction, (answers.REFRESH_TOKEN, "%2B", "\\u0022", "[…]", "\u200b", "+")),
        Target("body", answers.body, ("\x1f\u008b", "\x00\x00\x00\xff\xff"), 1024),
        Target(
            "network-policy", addresses.network_policy, (*_URLS, "0x7f", "::ffff:", "2002:", "64:ff9b::", "169.254.")
        ),
        Target("uri", addresses.uri, (*_URLS, "/mcp", "%25", "%c0%ae", ";", "?", "\n")),
        Target("redirect", addresses.redirect, (*_URLS, "//", "../", "mcp.example.com:8443", "?"), 512),
        Target("proxy", addresses.proxy, (*_URLS, "socks5://", "*", ".example.com", "10.0.0.0/8", "user:password@")),
        Target("browser-url", addresses.browser_url, (*_URLS, "%", '"', "$(", "`", "|")),
        Target(
            "listener-head",
            people.listener_head,
            ("GET ", "HEAD ", " HTTP/1.1\r\n", "Host: ", "\r\n\r\n", "http://", "?", "Transfer-Encoding: chunked"),
            MAX_HEAD + 4096,
        ),
        Target(
            "display", people.display, (*_URLS, "\x1b[2J", "\u202e", "\u200b", "\u2028", "\U000e0041", "<b>", "xn--")
        ),
        Target(
            "record",
            stored.record,
            (*_JSON, '"format":1', '"client"', '"access_token"', '"expires_at"', '"issuer"', stored.SECRET),
        ),
        Target("client-information", stored.client_information, (*_JSON, '"format":1', '"client_id"', stored.SECRET)),
        Target("envelope", stored.envelope, ("mcp-login 1 1 1 ", "mcp-login 1 1 2/2\n", "\x00", "\n", stored.SECRET)),
        Target("index", stored.index, (*_JSON, '"format":1', '"entries"', '"server_url"', '"updated_at"', '"digest"')),
        Target("ended", stored.ended, ("\n", "before ", "1790000000.5", "-0.0", "0" * 64, "\u2028")),
        Target("spent", stored.spent, ("\n", "\r", "\u2028", "\x0b", "0" * 64)),
    )
}


def corpus_of(name: str) -> list[Path]:
    """The files that are kept of the target `name`: documents, what coverage found, and every crash there ever was."""
    return sorted(path for path in (CORPUS / name).iterdir() if path.is_file())
