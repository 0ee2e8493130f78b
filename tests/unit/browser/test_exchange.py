"""One HTTP/1.1 exchange: whatever bytes come, there is a request, an answerable refusal or nothing.

RFC 9112 section 2.2: a server that receives what is not a valid request SHOULD respond with a 400 and close the
connection.
"""

from __future__ import annotations

import asyncio
import itertools
from http import HTTPStatus

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_login.browser.exchange import (
    MAX_COOKIES,
    MAX_HEAD,
    Answer,
    WithoutCookies,
    encode,
    read_request,
    refusal,
    target,
)

pieces = st.sampled_from(
    [
        b"GET ",
        b"CONNECT ",
        b"/callback?",
        b"http://x",
        b"*",
        b" HTTP/1.1",
        b" HTTP/1.0",
        b"\r\n",
        b"\n",
        b"Host: x",
        b": ",
    ]
)
requests = st.one_of(st.binary(max_size=300), st.lists(st.one_of(pieces, st.binary(max_size=8))).map(b"".join))


async def answer(data: bytes) -> tuple[h11.Request | None, bytes]:
    """The request in `data`, and what would be sent back."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    try:
        request = await read_request(connection, reader)
    except h11.RemoteProtocolError as error:
        return None, encode(connection, refusal(HTTPStatus(error.error_status_hint)))
    return request, b"" if request is None else encode(connection, Answer(HTTPStatus.OK, b"page"))


@given(requests)
def test_any_bytes_are_a_request_or_refused_or_nothing(data: bytes) -> None:
    request, sent = asyncio.run(answer(data))
    assert sent.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 4", b"HTTP/1.1 5")) or not sent
    if request is not None:
        authority, path, _ = target(request)
        assert authority == authority.lower()
        assert "?" not in path


def test_a_head_of_the_largest_size_is_read_and_one_beyond_is_not() -> None:
    frame = b"GET /?%s HTTP/1.1\r\nHost: x\r\n\r\n"
    fits = frame % (b"x" * (MAX_HEAD - len(frame) + 2))
    assert len(fits) == MAX_HEAD
    assert asyncio.run(answer(fits))[0] is not None
    request, sent = asyncio.run(answer(fits.replace(b"?", b"?xx")))
    assert request is None
    assert sent.startswith(b"HTTP/1.1 431 ")


def test_as_many_cookies_as_a_browser_keeps_are_left_out_and_not_many_more() -> None:
    head = b"GET / HTTP/1.1\r\nHost: x\r\ncOOkie: %s\r\nAccept: y\r\n\r\n"
    request, _ = asyncio.run(answer(head % (b"c" * (MAX_COOKIES - 20))))
    assert request is not None
    assert [name for name, _ in request.headers] == [b"host", b"accept"]
    request, sent = asyncio.run(answer(head % (b"c" * (MAX_COOKIES + 20))))
    assert request is None
    assert sent.startswith(b"HTTP/1.1 431 ")


@given(
    st.lists(
        st.sampled_from(
            [b"Cookie: a", b"cookie:", b"Cookies: b", b"Cook", b" folded", b"\tc", b"x", b"\r\n", b"\n", b""]
        ),
        max_size=12,
    ),
    st.lists(st.integers(0, 80), max_size=6),
)
def test_cookies_are_left_out_wherever_the_network_cuts(parts: list[bytes], cuts: list[int]) -> None:
    whole = b"".join(parts)
    lines: list[bytes] = []
    dropped = False
    for line in whole.split(b"\n"):
        dropped = dropped if line[:1] in (b" ", b"\t") else line.lower().startswith(b"cookie:")
        lines += [] if dropped else [line + b"\n"]
    ends_well = not dropped
    places = sorted({0, len(whole), *(cut for cut in cuts if cut < len(whole))})
    head = WithoutCookies()
    kept = b"".join(head.feed(whole[one:two]) for one, two in itertools.pairwise(places)) + head.rest()
    assert kept == (b"".join(lines)[:-1] if ends_well else b"".join(lines))
    assert head.dropped == len(whole) - len(kept)


@pytest.mark.parametrize(
    ("given_target", "host", "expected"),
    [
        ("/callback?a=b?c", "127.0.0.1:1", ("127.0.0.1:1", "/callback", "a=b?c")),
        ("/callback", "LOCALHOST:1", ("localhost:1", "/callback", "")),
        ("http://Localhost:1/callback?a", "other", ("localhost:1", "/callback", "a")),
        ("*", "localhost:1", ("localhost:1", "*", "")),
    ],
)
def test_a_target_has_an_authority_a_path_and_a_query(
    given_target: str, host: str, expected: tuple[str, str, str]
) -> None:
    assert target(h11.Request(method="GET", target=given_target, headers=[("Host", host)])) == expected
