"""Inputs that are nearly right, for each target: what the documents' grammars make, with what hostile peers put in its places."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from mcp_login.storage.envelope import seal, seal_parts

from . import answers, people, stored
from .pieces import JSON, TEXT, WORD, as_bytes, documents, pairs, urls

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

__all__ = ["INPUTS"]


def _answers(document: SearchStrategy[str], form: SearchStrategy[str] | None = None) -> SearchStrategy[bytes]:
    bodies = document if form is None else document | form
    return st.builds(lambda choice, text: as_bytes(choice + text), st.sampled_from([*"00000012345678@ABH"]), bodies)


_SCOPES = st.lists(WORD | TEXT, max_size=5)
_SCOPE = _SCOPES.map(" ".join) | _SCOPES.map(",".join) | _SCOPES
_SECONDS = (
    st.integers(-1, 10**6) | st.integers(0, 9999).map(str) | st.sampled_from([1e300, "1e400", "nan", True, 10**400])
)
_STRANGE = TEXT | st.sampled_from([answers.REFRESH_TOKEN, answers.CLIENT_SECRET, f"x{answers.REFRESH_TOKEN[:12]}y"])
_ERROR: dict[str, SearchStrategy[Any]] = {
    "error": st.sampled_from(["invalid_grant", "invalid_request", "temporarily_unavailable", "server_error"])
    | _STRANGE,
    "error_description": st.lists(_STRANGE, max_size=4).map(" ".join),
    "error_uri": urls() | _STRANGE,
    "message": _STRANGE,
}


@st.composite
def challenges(draw: st.DrawFn) -> str:
    """Values of WWW-Authenticate: quotes, commas, pairs, with and without what belongs between them."""
    names = st.sampled_from(["realm", "scope", "error", "resource_metadata", "error_description", "RESOURCE_METADATA"])
    found = []
    for _ in range(draw(st.integers(0, 4))):
        words = [draw(st.sampled_from(["Bearer", "bearer", "DPoP", "Basic", "Negotiate", "", "B(a)d", '"']))]
        for _ in range(draw(st.integers(0, 4))):
            value = draw(TEXT | urls() | WORD)
            written = draw(
                st.sampled_from(
                    [
                        f'"{value}"',
                        '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"',
                        value,
                        f'"{value}',
                        f'"{value}\\',
                    ]
                )
            )
            words.append(f"{draw(names | WORD)}{draw(st.sampled_from(['=', ' = ', '', '==']))}{written}")
            words.append(draw(st.sampled_from([",", ", ", " ", "", ",,"])))
        if draw(st.booleans()):
            words.insert(1, draw(st.sampled_from(["abc==", "abc", "=", "YWJj, "])))
        found.append(" ".join(words))
    return draw(st.sampled_from([", ", "\n", ",", " "])).join(found)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Compressed bodies: whole, cut, twice, followed by something, and what is none."""
    data = draw(st.binary(max_size=300) | st.integers(0, 5000).map(bytes))
    wire = draw(st.sampled_from([gzip.compress(data, mtime=0), zlib.compress(data), data]))
    wire = draw(st.sampled_from([wire, wire[:-1], wire * 2, wire + b"x" * 20, wire[:10] + b"\xff" + wire[11:]]))
    return draw(st.binary(min_size=3, max_size=3)) + wire


@st.composite
def heads(draw: st.DrawFn) -> bytes:
    """Requests to the listener."""
    method = draw(st.sampled_from(["GET", "GET", "HEAD", "OPTIONS", "POST", "CONNECT", "get", "G\x00T", ""]))
    target = draw(
        st.sampled_from(["/callback", "/", "*", "/callback/result", "http://127.0.0.1:4000/callback", "a:1", ""])
    )
    version = draw(st.sampled_from(["HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "HTTP/9", ""]))
    fields = draw(
        st.lists(
            st.sampled_from(
                [
                    "Host: 127.0.0.1:4000",
                    "Host: localhost:4000",
                    "Host: evil.example",
                    "Content-Length: 5",
                    "Content-Length: -1",
                    "Transfer-Encoding: chunked",
                    "Connection: close, upgrade",
                    "Upgrade: websocket",
                    "Expect: 100-continue",
                    "Sec-Purpose: prefetch",
                    "Origin: null",
                    " folded",
                    "no colon",
                    "A: \x00",
                ]
            ),
            max_size=5,
        )
    )
    line_end = draw(st.sampled_from(["\r\n", "\r\n", "\r\n", "\n"]))
    query = draw(pairs("code", "state", "error"))
    lines = [f"{method} {target}?{query} {version}", *fields, "", draw(TEXT)]
    return as_bytes(line_end.join(lines[: draw(st.integers(1, len(lines)))]))


def _loaded(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


_CLIENT: dict[str, SearchStrategy[Any]] = {
    "issuer": st.just("https://as.example.com"),
    "client_id": WORD,
    "mechanism": st.sampled_from(["dynamic", "pre_registered", "metadata_document"]),
    "client_secret": st.none() | st.just(stored.SECRET) | TEXT,
    "client_secret_expires_at": st.none() | _SECONDS,
    "token_endpoint_auth_method": st.sampled_from(["none", "client_secret_basic", "client_secret_post", "x"]),
    "redirect_uri": st.none() | st.just("http://127.0.0.1:1/callback") | urls(),
}
_RECORD: dict[str, SearchStrategy[Any]] = {
    "format": st.sampled_from([1, 1, 1, 1, 2, 0, True]),
    "server_url": st.just("https://mcp.example.com") | urls(),
    "issuer": st.just("https://as.example.com"),
    "token_endpoint": st.just("https://as.example.com/token") | urls(),
    "access_token": st.just(stored.SECRET) | TEXT,
    "resource": st.just("https://mcp.example.com") | urls(),
    "refresh_token": st.none() | st.just(stored.SECRET),
    "expires_at": st.none() | st.floats(0, 1e12),
    "obtained_at": st.floats(-1e9, 1e10),
    "granted_scopes": _SCOPES,
    "client": documents(**_CLIENT).map(_loaded),
}
_ENTRY = st.fixed_dictionaries(
    {
        "server_url": urls() | TEXT,
        "account": st.none() | TEXT,
        "storage": st.sampled_from(["keychain", "file", "memory"]) | TEXT,
        "issuer": urls() | TEXT,
        "resource": urls(),
        "scopes": _SCOPES,
        "updated_at": st.floats() | st.integers(),
    },
    optional={"digest": st.just("0123456789abcdef") | TEXT},
)


@st.composite
def envelopes(draw: st.DrawFn) -> bytes:
    """Stored texts: sealed, in parts, and then changed."""
    key = "https://mcp.example.com"
    payload = draw(st.text(st.characters(codec="utf-8"), max_size=200))
    texts = draw(
        st.sampled_from(
            [
                [seal(payload, key=key, generation=1)],
                [seal(payload, key="https://other.example", generation=1)],
                seal_parts(payload, key=key, generation=3, limit=100),
            ]
        )
    )
    whole = "\x00".join(texts)
    cut = draw(st.integers(0, len(whole)))
    return as_bytes(draw(st.sampled_from([whole, whole[:cut], whole[cut:], whole[:cut] + draw(TEXT) + whole[cut:]])))


def _lines(*parts: SearchStrategy[str]) -> SearchStrategy[bytes]:
    return st.tuples(*parts).map(
        lambda texts: as_bytes("\n".join(text.replace("\n", " ") for text in texts[:-1] + texts[-1:]))
    )


_DATES = st.sampled_from(
    [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
        "Mon, 01 Jan 0001 00:00:00 GMT",
        "Fri, 31 Dec 9999 23:59:60 GMT",
        "Wed, 31 Dec 1969 23:59:59 GMT",
        "Sunday, 29-Feb-01 00:00:00 GMT",
    ]
)
_URL_LISTS = st.lists(urls() | TEXT, max_size=3)

INPUTS: dict[str, SearchStrategy[bytes]] = {
    "challenge": challenges().map(as_bytes),
    "protected-resource-metadata": _answers(
        documents(
            resource=st.sampled_from(
                ["https://mcp.example.com/mcp", "https://mcp.example.com", "https://mcp.example.com/"]
            )
            | urls(),
            authorization_servers=_URL_LISTS,
            scopes_supported=_SCOPES,
            resource_name=TEXT,
        )
    ),
    "authorization-server-metadata": _answers(
        documents(
            issuer=st.sampled_from([answers.ISSUER, "https://as.example.com", "http://127.0.0.1:9000"]),
            authorization_endpoint=urls()
            | pairs("state", "scope", "resource").map("https://as.example.com/a?{}".format),
            token_endpoint=urls(),
            scopes_supported=_SCOPES,
            code_challenge_methods_supported=st.lists(st.sampled_from(["S256", "plain"]) | TEXT, max_size=2),
        )
    ),
    "registration": _answers(
        documents(
            client_id=TEXT | WORD,
            client_secret=TEXT,
            client_secret_expires_at=_SECONDS,
            token_endpoint_auth_method=TEXT,
        )
        | documents(**_ERROR)
    ),
    "token": _answers(
        documents(
            access_token=WORD | TEXT,
            token_type=st.just("Bearer"),
            expires_in=_SECONDS,
            refresh_token=WORD | TEXT,
            scope=_SCOPE,
        )
        | documents(**_ERROR),
        pairs("access_token", "error", "token_type", "expires_in", "scope"),
    ),
    "revocation": _answers(documents(**_ERROR), pairs("error", "error_description")),
    "authorization-response": pairs("code", "state", "iss", "error", "error_description").map(as_bytes),
    "pasted-text": st.builds(
        lambda before, query, after: as_bytes(before + query + after),
        st.sampled_from(
            ["", "?", "http://127.0.0.1:4000/callback?", " <https://as.example.com/authorize?", '"', "\x1b[200~"]
        ),
        pairs("code", "state", "iss", "error") | st.just(people.CODE) | TEXT,
        st.sampled_from(["", "\n", "#x", "> ", "\x1b[201~"]),
    ),
    "retry-after": _lines(_DATES | st.integers(-1, 10**30).map(str) | TEXT, _DATES | TEXT, TEXT),
    "redaction": _lines(TEXT | WORD, st.lists(_STRANGE | WORD, max_size=6).map("".join)),
    "body": bodies(),
    "network-policy": _lines(
        urls(), st.ip_addresses().map(str) | st.sampled_from(["127.1", "0x7f.1", "017700000001", "1.2.3.4.5"]) | TEXT
    ),
    "uri": _lines(urls(), urls()),
    "redirect": st.lists(urls() | TEXT, min_size=1, max_size=5).map(lambda places: as_bytes("\n".join(places))),
    "proxy": _lines(_URL_LISTS.map(",".join), urls() | TEXT, urls()),
    "browser-url": st.builds(
        lambda url, more: as_bytes(url + more), urls(), TEXT | st.sampled_from(["'", "$(x)", "%PATH%", "`"])
    ),
    "listener-head": heads(),
    "display": _lines(urls(), urls() | TEXT, TEXT),
    "record": documents(**_RECORD).map(as_bytes),
    "client-information": documents(format=st.just(1), client=documents(**_CLIENT).map(_loaded)).map(as_bytes),
    "envelope": envelopes(),
    "index": documents(format=st.just(1), entries=st.lists(_ENTRY | JSON, max_size=3)).map(as_bytes),
    "ended": st.lists(
        st.floats(-1e12, 1e12).map("before {!r}".format) | st.text("0123456789abcdef", min_size=64, max_size=64) | TEXT,
        max_size=5,
    ).map(lambda found: as_bytes("\n".join(found))),
    "spent": st.lists(st.text("0123456789abcdef", min_size=64, max_size=64) | TEXT, max_size=5).map(
        lambda found: as_bytes("\n".join(found))
    ),
}
