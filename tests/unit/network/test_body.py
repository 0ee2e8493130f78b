"""Bodies within a size limit.

RFC 9110 section 8.4 (Content-Encoding) and section 17.5: a recipient has to limit how much it is willing to take.
"""

from __future__ import annotations

import gzip
import tracemalloc
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_login.errors import InvalidResponse
from mcp_login.network.body import MAX_PARTS, BoundedBody

__all__: list[str] = []

URL = "https://mcp.example.com/"


def read(parts: list[bytes], encoding: str | None = None, limit: int = 1000) -> bytes:
    body = BoundedBody(encoding=encoding, limit=limit, url=URL)
    for part in parts:
        body.feed(part)
    return body.whole()


@settings(max_examples=40)
@given(
    st.binary(max_size=200),
    st.integers(1, 50),
    st.sampled_from(["gzip", "x-gzip", "GZIP", "deflate", "identity", None]),
)
def test_a_body_is_the_same_however_it_is_cut(data: bytes, size: int, encoding: str | None) -> None:
    if encoding == "deflate":
        wire = zlib.compress(data)
    elif encoding in ("identity", None):
        wire = data
    else:
        wire = gzip.compress(data)
    assert read([wire[at : at + size] for at in range(0, len(wire), size)], encoding) == data


@settings(max_examples=40)
@given(
    st.lists(st.binary(max_size=100), max_size=20), st.sampled_from([None, "gzip", "deflate", "br", "gzip, gzip", ","])
)
def test_any_bytes_are_a_body_or_an_invalid_response(parts: list[bytes], encoding: str | None) -> None:
    try:
        body = read(parts, encoding, limit=300)
    except InvalidResponse:
        return
    assert len(body) <= 300


def test_a_body_of_exactly_the_limit_is_read() -> None:
    assert read([b"x" * 1000]) == b"x" * 1000
    assert read([gzip.compress(b"x" * 1000)], "gzip") == b"x" * 1000


@pytest.mark.parametrize(
    ("wire", "encoding"), [(b"x" * 1001, None), (gzip.compress(b"x" * 1001), "gzip")], ids=["plain", "gzip"]
)
def test_a_body_of_one_byte_more_is_refused(wire: bytes, encoding: str | None) -> None:
    with pytest.raises(InvalidResponse, match="larger than 1000 bytes"):
        read([wire], encoding)


def test_a_length_over_the_limit_is_refused_before_a_byte_is_read() -> None:
    body = BoundedBody(encoding=None, limit=1000, url=URL)
    for harmless in (None, "1000", "-1", "many", "²", "9" * 30):
        body.announce(harmless)
    with pytest.raises(InvalidResponse, match="larger than 1000 bytes"):
        body.announce("1001")


def peak_of(parts: list[bytes], encoding: str | None) -> int:
    """The most memory, in bytes, that reading `parts` takes."""
    body = BoundedBody(encoding=encoding, limit=1 << 20, url=URL)
    tracemalloc.start()
    try:
        for part in parts:
            body.feed(part)
        body.whole()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_body_that_comes_in_small_pieces_takes_no_more_memory_than_in_one() -> None:
    """A chunk of ten bytes is an object of fifty."""
    assert peak_of([b"x" * 10] * 9_000, None) < 300_000


def test_what_follows_a_compressed_body_is_counted_and_not_collected() -> None:
    """zlib would copy all of it with each piece: a megabyte in pieces of a byte is a minute's work."""
    whole = gzip.compress(b"hello")
    assert read([whole, b"x" * 500, b"y"], "gzip") == b"hello"
    assert peak_of([whole, *[b"x" * 10] * 9_000], "gzip") < 60_000
    with pytest.raises(InvalidResponse, match="larger than 1000 bytes"):
        read([whole, *[b"x" * 100] * 10], "gzip")


def test_decompression_stops_at_the_limit() -> None:
    bomb = gzip.compress(bytes(64 << 20), compresslevel=1)
    body = BoundedBody(encoding="gzip", limit=1 << 20, url=URL)
    tracemalloc.start()
    try:
        with pytest.raises(InvalidResponse, match="larger than"):
            body.feed(bomb)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("encoding", ["br", "zstd", "compress", "gzip, gzip", "unknown"])
def test_an_encoding_that_was_not_asked_for_is_refused(encoding: str) -> None:
    with pytest.raises(InvalidResponse, match="not asked for"):
        read([b"x"], encoding)


def test_broken_and_truncated_compression_is_refused() -> None:
    with pytest.raises(InvalidResponse, match="is not"):
        read([b"plain text"], "gzip")
    with pytest.raises(InvalidResponse, match="too early"):
        read([gzip.compress(b"x" * 500)[:-4]], "gzip")


def test_what_follows_the_end_of_a_compressed_answer_is_counted_and_dropped() -> None:
    """RFC 1952 section 2.2 allows further members; no server sends them, and zlib copies all that it has for each part."""
    member = gzip.compress(b"{}")
    assert read([member, b"", *[b"A"] * 100], "gzip") == b"{}"
    with pytest.raises(InvalidResponse, match="larger than"):
        read([member, *[b"A"] * 1001], "gzip")
    body = BoundedBody(encoding="gzip", limit=1 << 20, url=URL)
    body.feed(member)
    tracemalloc.start()
    try:
        for _ in range(1000):
            body.feed(b"A" * 1000)
        assert tracemalloc.get_traced_memory()[1] < 64 << 10
    finally:
        tracemalloc.stop()
    assert body.whole() == b"{}"


def test_a_body_of_many_parts_takes_no_more_memory_than_one_part() -> None:
    parts = [bytes((n & 255, n >> 8 & 255)) for n in range(MAX_PARTS)]
    body = BoundedBody(encoding=None, limit=1 << 20, url=URL)
    tracemalloc.start()
    try:
        for part in parts:
            body.feed(part)
        assert tracemalloc.get_traced_memory()[1] < 64 << 10
    finally:
        tracemalloc.stop()
    assert body.whole() == b"".join(parts)
    with pytest.raises(InvalidResponse, match="more than 10000 parts"):
        body.feed(b"")


def test_an_answer_without_a_body_may_say_that_it_is_compressed() -> None:
    """RFC 9110 section 15.4.5: a 304 carries the headers of the 200 it stands for, and no body."""
    assert read([], "gzip") == b""
