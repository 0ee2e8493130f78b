"""What hostile peers put in the places that a grammar has: text, URLs, JSON, parameters. `grammars` puts them together."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from hypothesis import strategies as st

from . import answers, people

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

__all__ = ["JSON", "TEXT", "WORD", "as_bytes", "documents", "pairs", "urls"]


def as_bytes(text: str) -> bytes:
    """`text`, lone surrogates and all."""
    return text.encode("utf-8", "surrogatepass")


#: Text as a peer may send it: lone surrogates, controls, directions, what looks like syntax.
TEXT = st.text(max_size=30) | st.sampled_from(
    [
        "\ud800",
        "\x00",
        "\x1b[2J",
        "\u202eevil",
        "\u2028",
        "a\r\nSet-Cookie: b",
        "\U000e0041",
        "{}",
        "%",
        "null",
        " ",
        "",
    ]
)
WORD = st.text("abcxyz019-._~", min_size=1, max_size=12)


@st.composite
def urls(draw: st.DrawFn) -> str:
    """URLs with tricky authorities and paths."""
    hosts = [
        "mcp.example.com",
        "as.example.com",
        "MCP.EXAMPLE.COM.",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[:::]",
        "[1.2.3.4]",
        "[::1",
        "127.1",
        "0x7f.0.0.1",
        "2130706433",
        "localhost",
        "a.localhost",
        "bücher.example",
        "xn--bcher-kva.example",
        "１２７.0.0.1",
        "a\u2100b",
        "%31.2.3.4",
        "",
        "..",
        "a_b",
        "169.254.169.254",
    ]
    segments = [
        "mcp",
        "..",
        ".",
        "%2e%2e",
        "%252e%252e",
        "..;x",
        "%c0%ae%c0%ae",
        "a%20b",
        "%7euser",
        "~user",
        "\\",
        "",
        "%",
        "é",
    ]
    scheme = draw(st.sampled_from(["https", "https", "https", "http", "HTTPS", "javascript", "file", ""]))
    user = draw(st.sampled_from(["", "", "", "user@", "user:password@", "mcp.example.com@", "@"]))
    port = draw(st.sampled_from(["", "", "", ":443", ":0443", ":8443", ":", ":0", ":99999", ":x", ":1:2"]))
    path = draw(st.lists(st.sampled_from(segments), max_size=4))
    rest = draw(st.sampled_from(["", "", "?a=b", "?", "#f", "?a#b", "?https://evil.example/@", "\n", " "]))
    slashes = draw(st.sampled_from(["://", "://", "://", ":", ":/", "//", ":///", ":\\\\"]))
    return f"{scheme}{slashes}{user}{draw(st.sampled_from(hosts))}{port}{''.join('/' + one for one in path)}{rest}"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**400) | st.floats() | TEXT | urls(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
_NESTED = st.integers(1, 30).map(lambda depth: json.loads('{"a":' * depth + "[]" + "}" * depth))


@st.composite
def documents(draw: st.DrawFn, /, **fields: SearchStrategy[Any]) -> str:
    """A JSON object with some of `fields`, each of its kind or of another; now and then broken in some way."""
    data: dict[str, Any] = {}
    for name, right in fields.items():
        if draw(st.integers(0, 9)):
            data[name] = draw(right if draw(st.integers(0, 4)) else JSON | _NESTED)
    if draw(st.booleans()):
        data |= draw(st.dictionaries(TEXT, JSON, max_size=2))
    text = json.dumps(data, ensure_ascii=draw(st.booleans()))
    match draw(st.integers(0, 11)):
        case 0:
            return text[: draw(st.integers(0, len(text)))]
        case 1:  # a name twice
            return text[:-1] + ("," if data else "") + json.dumps(draw(st.sampled_from([*fields]))) + ":null}"
        case 2:
            return "\ufeff \n" + text
        case 3:
            return text + draw(TEXT)
    return text


@st.composite
def pairs(draw: st.DrawFn, *known: str) -> str:
    """A query or a form: names and values encoded or not, some of them again and again."""
    found = []
    for _ in range(draw(st.integers(0, 8))):
        name = draw(st.sampled_from([*known, *known, "x", ""]) | TEXT)
        value = draw(
            st.sampled_from(
                [
                    people.STATE,
                    people.ISSUER,
                    people.ISSUER + "/",
                    people.CODE,
                    answers.REFRESH_TOKEN,
                    "bearer",
                    "3600",
                    "",
                ]
            )
            | TEXT
        )
        encode = draw(st.sampled_from([quote, str]))
        separator = draw(st.sampled_from(["=", "=", "=", "", "=="]))
        found.append(f"{quote(name, errors='replace')}{separator}{_encoded(encode, value)}")
    return draw(st.sampled_from(["&", "&", "&", "&&", ";"])).join(found)


def _encoded(encode: Any, value: str) -> str:
    return quote(value, safe="", errors="replace") if encode is quote else value
