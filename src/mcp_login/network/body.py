"""Response bodies within a size limit, compressed ones too: decompression stops at the limit."""

from __future__ import annotations

import zlib

from mcp_login.errors import InvalidResponse

__all__ = ["ACCEPTED_ENCODING", "MAX_PARTS", "BoundedBody"]

#: What requests ask for. zlib can stop at a number of bytes; the HTTP libraries' own decoders can't.
ACCEPTED_ENCODING = "gzip"

#: In how many parts a body may come. A chunk of one byte costs as much time as one of many thousand.
MAX_PARTS = 10_000


class BoundedBody:
    """Collects a body of at most `limit` bytes, on the wire as well as decompressed.

    `encoding` is the value of Content-Encoding (RFC 9110 section 8.4), `url` whom an `InvalidResponse` names.
    """

    def __init__(self, *, encoding: str | None, limit: int, url: str) -> None:
        self._limit = limit
        self._url = url
        # Not a list of parts: each costs more than it holds, where they are small.
        self._body = bytearray()
        self._parts = 0
        self._received = 0
        codings = [
            word for part in (encoding or "").split(",") if (word := part.strip().lower()) not in ("", "identity")
        ]
        if any(coding not in ("gzip", "x-gzip", "deflate") for coding in codings) or len(codings) > 1:
            raise InvalidResponse("the answer is in an encoding that was not asked for", url=url)
        # 32: gzip and zlib headers are told apart by zlib itself.
        self._inflate = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32) if codings else None

    def announce(self, content_length: str | None) -> None:
        """Refuse an answer that says beforehand that it is too large."""
        if content_length is not None and content_length.isdecimal() and len(content_length) < 20:
            self._refuse_over_limit(int(content_length))

    def feed(self, data: bytes) -> None:
        """Add bytes as they came over the wire. Raises `InvalidResponse` at the limit and for broken compression."""
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise InvalidResponse(f"the answer comes in more than {MAX_PARTS} parts", url=self._url)
        self._received += len(data)
        self._refuse_over_limit(self._received)
        if self._inflate is not None:
            if self._inflate.eof:
                # zlib would collect it, copying all of it for each part that comes.
                return
            try:
                # One byte more than there is room for tells "full" from "too much", and bounds the memory.
                data = self._inflate.decompress(data, self._limit - len(self._body) + 1)
            except zlib.error:
                raise InvalidResponse("the answer says it is compressed, but is not", url=self._url) from None
        self._refuse_over_limit(len(self._body) + len(data))
        self._body += data

    def whole(self) -> bytes:
        """The body, now that the last byte has come."""
        if self._inflate is not None and self._received and not self._inflate.eof:
            raise InvalidResponse("the compressed answer ends too early", url=self._url)
        return bytes(self._body)

    def _refuse_over_limit(self, size: int) -> None:
        if size > self._limit:
            raise InvalidResponse(f"the answer is larger than {self._limit} bytes", url=self._url)
