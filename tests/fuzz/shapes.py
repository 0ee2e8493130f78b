"""Inputs that cost a careless parser more than their size: something repeated, between a beginning and an end."""

from __future__ import annotations

from dataclasses import dataclass

from mcp_login.browser.exchange import MAX_HEAD
from mcp_login.browser.terminal import MAX_LINE
from mcp_login.network.http import MAX_BYTES
from mcp_login.protocol.challenge import MAX_LENGTH
from mcp_login.protocol.uri import MAX_READ_URL

from . import answers, people

__all__ = ["LARGEST", "SHAPES", "Shape"]

#: What is let through to parsers besides, in bytes: a block of header fields (httpcore's h11), and what a stored value or a file
#: of ours comes to.
HEADERS = 100 << 10
STORED = 1 << 20


@dataclass(frozen=True, slots=True)
class Shape:
    """`before`, then `unit` as often as it fits, then `after`."""

    name: str
    unit: str
    before: str = ""
    after: str = ""

    def of(self, size: int) -> bytes:
        """About `size` bytes of it."""
        before, unit, after = (part.encode("utf-8", "surrogatepass") for part in (self.before, self.unit, self.after))
        return before + unit * max(1, (size - len(before) - len(after)) // len(unit)) + after


def _json(before: str, *more: Shape) -> tuple[Shape, ...]:
    """JSON documents that begin with `before`, an object whose last value is still to come."""
    return (
        Shape("an array of objects", '{"":0},', f'{before}"x":[', "0]}"),
        Shape("an array of arrays", "[],", f'{before}"x":[', "0]}"),
        Shape("as many objects as are let through", '{"":0},' + " " * 36, f'{before}"x":[', "0]}"),
        Shape("nested arrays", "[", f'{before}"x":'),
        Shape("nested objects", '{"":', f'{before}"x":'),
        Shape("one name again and again", '"a":0,', before, '"a":0}'),
        Shape("escapes", "\\u0022", f'{before}"x":"', '"}'),
        Shape("backslashes", "\\\\", f'{before}"x":"', '"}'),
        Shape("a number of many digits", "9", f'{before}"x":', "}"),
        Shape("a fraction of many digits", "9", f'{before}"x":0.', "}"),
        Shape("spaces", " ", before.rstrip(","), "}"),
        Shape("words in one scope", "a b ", f'{before}"scope":"', '"}'),
        Shape("a list of scopes", '"ab c",', f'{before}"scopes_supported":[', '"d"]}'),
        Shape("quotes", '"', before),
        *more,
    )


def _some_json(before: str) -> tuple[Shape, ...]:
    """Of these the ones that cost most, for a parser that shares its decoder with another one."""
    return tuple(shape for shape in _json(before) if "objects" in shape.name or "arrays" in shape.name)


def _errors(status: str) -> tuple[Shape, ...]:
    return (
        Shape("a long error", "a ", f'{status}{{"error":"', '"}'),
        Shape("a long description", "invalid, ", f'{status}{{"error":"invalid_request","error_description":"', 'x"}'),
        Shape("many refresh tokens", "refresh token is ", f'{status}{{"error":"invalid_request","message":"', '"}'),
        Shape("the secret again and again", f"{answers.REFRESH_TOKEN} ", f'{status}{{"error":"x","error_uri":"', '"}'),
        Shape("pieces of the secret", answers.REFRESH_TOKEN[:9], f'{status}{{"error":"x","error_description":"', '"}'),
    )


_FORM = (
    Shape("parameters of a form", "a=b&", "0access_token=a&"),
    Shape("ampersands", "&", "0access_token=a"),
    Shape("escapes of a form", "%41", "0access_token="),
    Shape("equal signs", "=", "0error="),
)
_PARAMETERS = (
    Shape("parameters", "a=b&", f"state={people.STATE}&code=x&"),
    Shape("codes", "code=x&", f"state={people.STATE}&"),
    Shape("states", f"state={people.STATE}&"),
    Shape("a long code", "%41", f"state={people.STATE}&code="),
    Shape("a long error", "%0A+", f"state={people.STATE}&error="),
    Shape("a long issuer", "/", f"state={people.STATE}&code=x&iss=https://as.example.com"),
    Shape("ampersands", "&"),
    Shape("broken escapes", "%"),
)
_URLS = (
    Shape("a long host", "a", "https://"),
    Shape("labels", "a.", "https://", "com/"),
    Shape("colons", ":", "https://["),
    Shape("brackets", "[", "https://"),
    Shape("at signs", "@", "https://a"),
    Shape("segments", "/a", "https://mcp.example.com", "\nhttps://mcp.example.com/a"),
    Shape("ways up", "/..", "https://mcp.example.com"),
    Shape("escapes", "%25", "https://mcp.example.com/"),
    Shape("escapes in escapes", "%2525", "https://mcp.example.com/", "2e%2e"),
    Shape("broken escapes", "%", "https://mcp.example.com/"),
    Shape("semicolons", ";", "https://mcp.example.com/.."),
    Shape("question marks", "?", "https://mcp.example.com/"),
    Shape("digits of a port", "9", "https://mcp.example.com:"),
    Shape("letters beyond ASCII", "é", "https://"),
    Shape("marks to put in order", "\u0315\u0300", "https://a"),
    Shape("spaces", " ", "https://"),
)
_RECORD = (
    '{"format":1,"server_url":"https://a","issuer":"https://b","token_endpoint":"https://b/t","access_token":"c",'
    '"resource":"https://a","client":{"issuer":"https://b","client_id":"d","mechanism":"dynamic"},'
)
_ENTRY = (
    '{"server_url":"https://a","account":null,"storage":"file","issuer":"https://b","resource":"https://a","scopes":[],'
    '"updated_at":1},'
)

SHAPES: dict[str, tuple[Shape, ...]] = {
    "challenge": (
        Shape("commas", ","),
        Shape("challenges", "a "),
        Shape("challenges with a realm", 'Bearer realm="a", '),
        Shape("parameters", 'a="b", ', "Bearer "),
        Shape("parameters without commas", "a=b ", "Bearer "),
        Shape("one parameter again and again", "scope=a,", "Bearer "),
        Shape("quotes", '"', "Bearer a="),
        Shape("open strings", 'a="b\\",', "Bearer "),
        Shape("backslashes", "\\", 'Bearer a="'),
        Shape("pairs", "\\x", 'Bearer a="', '"'),
        Shape("equal signs", "=", "Bearer a"),
        Shape("names and spaces", "a ", "Bearer b=c "),
        Shape("spaces", " ", "Bearer a", "="),
        Shape("scopes", "a b ", 'Bearer scope="', '"'),
        Shape("lines", "Bearer scope=a\n"),
        Shape("a name", "a", "Bearer ", " ="),
        Shape("a token68 that is none", "a=", "Bearer ", " x"),
    ),
    "protected-resource-metadata": _json(
        '0{"resource":"https://mcp.example.com",',
        Shape("issuers", '"https://a/b",', '0{"resource":"https://mcp.example.com","authorization_servers":[', '"c"]}'),
        Shape("a long resource", "/a", '0{"resource":"https://mcp.example.com', '"}'),
    ),
    "authorization-server-metadata": _json(
        '0{"issuer":"https://as.example.com",',
        Shape(
            "parameters of an endpoint",
            "a=b&",
            '0{"issuer":"https://as.example.com","authorization_endpoint":"https://as.example.com/?',
            '"}',
        ),
    ),
    "registration": (
        *_some_json('0{"client_id":"a",'),
        *_errors("1"),
        Shape("a long id", "a", '0{"client_id":"', '"}'),
        Shape("digits of a time", "9", '0{"client_id":"a","client_secret":"b","client_secret_expires_at":"', '"}'),
    ),
    "token": (
        *_json('0{"access_token":"a",'),
        *_errors("1"),
        *_FORM,
        Shape("a long token", "a", '0{"access_token":"', '"}'),
        Shape("digits of a time", "9", '0{"access_token":"a","expires_in":"', '"}'),
    ),
    "revocation": (*_some_json('1{"error":"x",'), *_errors("1")),
    "authorization-response": _PARAMETERS,
    "pasted-text": (
        *_PARAMETERS,
        Shape("line ends", "\n"),
        Shape("quotes", '"'),
        Shape("a long code", "a"),
        Shape("escapes of a code", "%2F"),
        Shape("slashes", "/", "https://a"),
    ),
    "retry-after": (
        Shape("digits", "9"),
        Shape("spaces", " ", "1", "1"),
        Shape("letters", "a", "S", ", 06 Nov 1994 08:49:37 GMT"),
        Shape("a date", "9", "120\nSun, 06 Nov ", " 08:49:37 GMT"),
    ),
    "redaction": (
        Shape("the secret again and again", "abcdefghijkl ", "abcdefghijkl\n"),
        Shape("pieces of the secret", "abcdefgh", "abcdefghijkl\n"),
        Shape("a long secret", "a", after="\naaaaaaaaaaaa"),
        Shape("letters that are not shown", "\u200b", "abcdefghijkl\nabcdefgh", "ijkl"),
        Shape("masks", "[…]", "[…]abcdefgh\n"),
    ),
    "body": (
        Shape("bytes one by one", "x", "0\x7f\x00"),
        Shape("after the end", "x", "2\x7f\x00x\x01\x03\x00\x00\x00\x00\x01"),
    ),
    "network-policy": (
        *_URLS,
        Shape("digits of an address", "1", "\n"),
        Shape("dots of an address", "1.", "\n"),
        Shape("colons of an address", "1:", "\n"),
        Shape("hexadecimal digits", "f", "\n0x"),
        Shape("a zone", "%a", "\nfe80::1"),
    ),
    "uri": _URLS,
    "redirect": (*_URLS, Shape("relative ways up", "../"), Shape("slashes", "/")),
    "proxy": (
        Shape("commas", ","),
        Shape("names", ".example.com,"),
        Shape("networks", "10.0.0.0/8,"),
        Shape("brackets", "["),
        Shape("at signs", "@", "\nhttp://"),
        Shape("colons", ":", "\nhttp://"),
    ),
    "browser-url": (*_URLS, Shape("quotes", "'", "https://as.example.com/"), Shape("dollars", "$(", "https://a.b/")),
    "listener-head": (
        Shape("a long query", "a=b&", "GET /callback?", " HTTP/1.1\r\nHost: 127.0.0.1:4000\r\n\r\n"),
        Shape("header fields", "a: b\r\n", "GET /callback HTTP/1.1\r\nHost: 127.0.0.1:4000\r\n", "\r\n"),
        Shape("line ends", "\r\n"),
        Shape("spaces", " ", "GET /callback HTTP/1.1\r\nHost: 127.0.0.1:4000\r\na:", "b\r\n\r\n"),
        Shape("folded lines", "\r\n ", "GET /callback HTTP/1.1\r\nHost: 127.0.0.1:4000\r\na:", "b\r\n\r\n"),
        Shape("no end", "a", "GET /"),
        Shape("commas", ",", "GET / HTTP/1.1\r\nHost: 127.0.0.1:4000\r\nConnection: ", "\r\n\r\n"),
    ),
    "display": (
        Shape("a long name", "a", "https://as.example.com/\nhttps://"),
        Shape("labels", "a.", "https://as.example.com/\nhttps://", "com"),
        Shape("xn--", "xn--a.", "https://as.example.com/\nhttps://", "com"),
        Shape("letters beyond ASCII", "é", "https://as.example.com/\nhttps://"),
        Shape("marks to put in order", "\u0315\u0300", "https://as.example.com/\nhttps://a"),
        Shape("scopes", "a ", "https://as.example.com/\nhttps://b.example\n"),
        Shape("letters that are not shown", "\u202e", "https://as.example.com/\nhttps://b.example\n"),
        Shape("markup", "<", "https://as.example.com/\nhttps://b.example\n"),
        Shape("a long page", "?", "https://as.example.com/", "\nhttps://b.example\n"),
    ),
    "record": _json(_RECORD, Shape("a long token", "a", f'{_RECORD}"refresh_token":"', '"}')),
    "client-information": _some_json(
        '{"format":1,"client":{"issuer":"https://b","client_id":"d","mechanism":"dynamic"},'
    ),
    "envelope": (
        Shape("a payload", "a", "mcp-login 1 1 1 0123456789abcdef\n"),
        Shape("words", " 1", "mcp-login"),
        Shape("digits", "9", "mcp-login 1 "),
        Shape("parts", "\x00mcp-login 1 1 2/2\n", "mcp-login 1 1 32 0\n"),
        Shape("line ends", "\n"),
        Shape("pairs of surrogates", "😀"),
    ),
    "index": (
        *_some_json('{"format":1,'),
        Shape("the same login again and again", _ENTRY, '{"format":1,"entries":[', "0]}"),
        Shape("entries that are none", "{},", '{"format":1,"entries":[', "0]}"),
    ),
    "ended": (Shape("lines", "\n"), Shape("times", "before 1790000000.5\n"), Shape("hashes", f"{'0' * 64}\n")),
    "spent": (Shape("lines", "\n"), Shape("hashes", f"{'0' * 64}\n"), Shape("one line", "0")),
}

#: The largest input of each target, in bytes: what the network layer lets through, and of our own files what they come to.
LARGEST: dict[str, int] = {
    "challenge": MAX_LENGTH,
    "authorization-response": MAX_HEAD,
    "pasted-text": MAX_LINE,
    "retry-after": HEADERS,
    "body": 127 * 8,
    "network-policy": MAX_READ_URL,
    "uri": MAX_READ_URL,
    "browser-url": MAX_READ_URL,
    "display": MAX_READ_URL,
    "redirect": MAX_READ_URL,
    "proxy": MAX_READ_URL,
    "listener-head": MAX_HEAD,
    "redaction": HEADERS,
    "envelope": STORED // 4,
    "index": STORED // 16,
    "ended": STORED // 16,
    "spent": STORED // 16,
}
LARGEST = {name: LARGEST.get(name, MAX_BYTES) for name in SHAPES}
