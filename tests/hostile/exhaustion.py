"""Answers that are meant to cost: slow ones, large ones, and documents that are small on the wire only.

Here is what the attackers say. `test_exhaustion.py` lets them, with limits made small; `costs.py` with the real ones.
"""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from tests.flows.strangers import Answer, Asked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from tests.hostile.raw import Wire
    from tests.hostile.world import World

__all__ = ["BODIES", "DOCUMENTS", "HEADS", "MARKS", "SLOW", "Slow", "bomb", "bomb_in_bomb", "flooding", "refusing"]

_OK = b"HTTP/1.1 200 OK\r\n"
_CHUNKED = _OK + b"Transfer-Encoding: chunked\r\n\r\n"
#: The start of a TLS record of 16 KiB (RFC 8446 section 5.1).
_RECORD = b"\x16\x03\x03\x40\x00"


@dataclass(frozen=True)
class Slow:
    """Says `first`, then `part` now and then; nothing if that is empty. `early`: before TLS."""

    first: bytes = b""
    part: bytes = b""
    early: bool = False

    def lasting(self, seconds: float) -> Callable[[Wire], None]:
        """What it says on a connection, for so long."""

        def talk(wire: Wire) -> None:
            if not self.early:
                wire.ask()
            wire.say(self.first)
            if self.part:
                wire.drip(self.part, seconds)
            else:
                wire.wait(seconds)
            if self.early:
                wire.sock.close()  # or a handshake would follow

        return talk


def _gzip_of_nothing() -> tuple[bytes, bytes]:
    """The start of a gzip stream, and a part of it that gives no byte, however often it comes."""
    stream = zlib.compressobj(wbits=31)
    first = stream.compress(b"") + stream.flush(zlib.Z_FULL_FLUSH)
    return first, stream.flush(zlib.Z_FULL_FLUSH) or b"\x00\x00\x00\xff\xff"


_GZIP_HEAD, _GZIP_NOTHING = _gzip_of_nothing()

SLOW: Mapping[str, Slow] = {
    "a handshake that never begins": Slow(early=True),
    "a handshake in drips": Slow(_RECORD, b"\x00", early=True),
    "silence after the request": Slow(),
    "a head in drips": Slow(_OK + b"X: ", b"a"),
    "interim answers in drips": Slow(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
    "a body in drips": Slow(_OK + b"Content-Length: 1000000\r\n\r\n", b" "),
    "chunks in drips": Slow(_CHUNKED, b"1\r\n \r\n"),
    "trailers in drips": Slow(_CHUNKED + b"2\r\n{}\r\n0\r\n", b"X: y\r\n"),
    "compressed nothing in drips": Slow(_OK + b"Content-Encoding: gzip\r\n\r\n" + _GZIP_HEAD, _GZIP_NOTHING),
}


def flooding(first: bytes, part: bytes, total: int) -> Callable[[Wire], None]:
    """Says `first` to a request, then `part` as fast as it is taken, `total` bytes."""

    def talk(wire: Wire) -> None:
        wire.ask()
        wire.say(first)
        wire.flood(part, total)

    return talk


_BLOCK = b"A" * 65536

#: Bodies without an end: how each begins, and goes on.
BODIES: Mapping[str, tuple[bytes, bytes]] = {
    "a body without an end": (_OK + b"\r\n", _BLOCK),
    "a body as long as it says": (_OK + b"Content-Length: 99999999999\r\n\r\n", _BLOCK),
    "chunks without an end": (_CHUNKED, b"10000\r\n" + _BLOCK + b"\r\n"),
    "one chunk without an end": (_CHUNKED + b"ffffffffff\r\n", _BLOCK),
    "compressed nothing without an end": (
        _OK + b"Content-Encoding: gzip\r\n\r\n" + _GZIP_HEAD,
        _GZIP_NOTHING * 10_000,
    ),
    "what follows a compressed answer": (_OK + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b"{}"), _BLOCK),
}

#: What no limit of bodies counts: interim answers, and the marks between chunks.
MARKS: Mapping[str, tuple[bytes, bytes]] = {
    "interim answers without an end": (b"", b"HTTP/1.1 103 Early Hints\r\nLink: " + b"a" * 50_000 + b"\r\n\r\n"),
    "chunks of one byte with large extensions": (_CHUNKED, b"1;" + b"x" * 50_000 + b"\r\nA\r\n"),
}

#: Lines, or blocks of them, without an end.
HEADS: Mapping[str, tuple[bytes, bytes]] = {
    "a header without an end": (_OK + b"X: ", _BLOCK),
    "headers without number": (_OK, b"WWW-Authenticate: Bearer\r\n" * 2000),
    "a chunk's extension without an end": (_CHUNKED + b"1;", _BLOCK),
    "trailers without an end": (_CHUNKED + b"0\r\n", b"X: yyyyyyyyyyyyyyyyyyyyyyy\r\n" * 2000),
    "a status line without an end": (b"HTTP/1.1 200 ", _BLOCK),
}


def _zeros(size: int) -> bytes:
    packer = zlib.compressobj(1, wbits=31)
    return b"".join([*(packer.compress(bytes(1 << 20)) for _ in range(size >> 20)), packer.flush()])


@cache
def bomb_in_bomb(size: int) -> bytes:
    """`size` zeros, packed twice."""
    return gzip.compress(_zeros(size), mtime=0)


def refusing(world: World, body: Callable[[], bytes | Iterable[bytes]], encoding: str = "identity") -> str:
    """The URL of an MCP server that says `body`, which is in this `encoding`, to who has no token."""
    resource, server = world.server()
    rest = resource.host.answer

    def answer(asked: Asked) -> Answer:
        if asked.path == "/mcp" and not any(token in str(asked.headers) for token in server.given["access_token"]):
            return Answer(401, body(), {"WWW-Authenticate": "Bearer", "Content-Encoding": encoding})
        return rest(asked)

    resource.host.answer = answer
    return resource.url


def bomb(size: int) -> bytes:
    """A gzip answer of `size` zeros that is hardly any on the wire."""
    body = _zeros(size)
    return _OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def _filled(unit: bytes, last: bytes = b"0]}", first: bytes = b'{"resource":"","x":[', size: int = 1_048_000) -> bytes:
    return first + unit * ((size - len(first) - len(last)) // len(unit)) + last


#: Documents of nearly a mebibyte, which is the most that is read.
DOCUMENTS: Mapping[str, Callable[[], bytes]] = {
    "lists in lists": lambda: _filled(b"[[[[[[[[]]]]]]]],"),
    "empty objects": lambda: _filled(b"{},"),
    "members without number": lambda: (
        b"{" + b",".join(b'"%x":%d' % (n, n % 10) for n in range(90_000)) + b',"resource":""}'
    ),
    "as many members as may be": lambda: (
        b"{" + b",".join(b'"%014x":%d' % (n, n % 10) for n in range(49_990)) + b',"resource":""}'
    ),
    "as many lists as may be": lambda: b'{"resource":"","x":[' + b"[]," * 24_990 + b"0]}",
    "the same member again": lambda: _filled(b'"a":[1],', b'"a":1}', b'{"resource":"",'),
    "short strings": lambda: _filled(b'"ab",', b'""]}', b'{"resource":"","scopes_supported":['),
    "a list of authorization servers": lambda: _filled(
        b'"https://a",', b'""]}', b'{"resource":"","authorization_servers":['
    ),
    "one string": lambda: _filled(b"a ", b'"}', b'{"resource":"","scope":"'),
    "escapes": lambda: _filled(b"\\ud800", b'"}', b'{"resource":"","x":"'),
    "numbers": lambda: _filled(b"1e9,"),
    "one number": lambda: _filled(b"9", b"}", b'{"resource":"","x":'),
    "one fraction": lambda: _filled(b"9", b"}", b'{"resource":"","x":0.'),
    "one exponent": lambda: _filled(b"9", b"}", b'{"resource":"","x":1e'),
    "a depth of 100,000": lambda: b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "half a million brackets": lambda: b"[" * 500_000 + b"]" * 500_000,
}
