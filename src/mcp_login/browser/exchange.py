"""One HTTP/1.1 exchange on loopback: one request, one answer, then the connection is closed (RFC 9112).

Then, too, where more was sent: what follows a request, such as a form's body that looks like another one, is never read as one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

import h11

from .look import headers
from .pages import render_refusal

if TYPE_CHECKING:
    import asyncio

__all__ = [
    "MAX_COOKIES",
    "MAX_HEAD",
    "Answer",
    "WithoutCookies",
    "close_gently",
    "encode",
    "is_navigation",
    "is_prefetch",
    "led_to",
    "read_request",
    "refusal",
    "target",
]

#: The most bytes of a request line and its header fields without cookies. Authorization codes reach a few thousand.
MAX_HEAD = 64 * 1024
#: The most bytes of cookies: browsers send those of every other server on this machine, since cookies know no ports (RFC 6265
#: section 8.5), and keep up to 180 of 4 KiB for a host.
MAX_COOKIES = 1024 * 1024
#: What is read and thrown away after the answer, so that closing does not reset the connection under it.
MAX_DISCARDED = 256 * 1024

#: With every answer, also those that have no page.
HEADERS = (*headers().items(), ("Connection", "close"))

# What a browser calls a request for a page that nobody has asked for yet: the fetch standard's name, and older ones.
_PURPOSES = (b"sec-purpose", b"purpose", b"x-purpose", b"x-moz")
_SPECULATIVE = (b"prefetch", b"preview", b"prerender")


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent back. `body` is a page; `headers` come on top of those of every answer."""

    status: HTTPStatus
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    #: Whether this is the page that a redirected browser came for.
    is_last: bool = False
    #: Whether the body is only measured and not sent (RFC 9110 section 9.3.2).
    is_head: bool = False


def refusal(status: HTTPStatus, *more: tuple[str, str]) -> Answer:
    """The answer to a request that is no authorization response. `more`: header fields beside those of every answer."""
    return Answer(status, render_refusal(status), more)


def led_to(path: str) -> Answer:
    """The answer that leads a browser to `path`, away from the URL that holds the code.

    So that stays in neither the address bar nor the history; and the reference is relative, so that it holds whatever name of
    this machine the browser used.
    """
    return Answer(HTTPStatus.SEE_OTHER, headers=(("Location", path),))


def is_prefetch(request: h11.Request) -> bool:
    """Whether a browser asks in advance for what a person may open, or may not."""
    return any(
        name in _PURPOSES and any(word in value.lower() for word in _SPECULATIVE) for name, value in request.headers
    )


def is_navigation(request: h11.Request) -> bool:
    """Whether `request` may come from a tab whose address it is.

    False for what a page loads without leaving its own address: images, frames, scripts, `fetch`. Browsers say which it is, and
    pages can't change what they say (W3C Fetch Metadata Request Headers); what says nothing may be a browser that doesn't know
    of it.
    """
    said = {name: value for name, value in request.headers if name in (b"sec-fetch-mode", b"sec-fetch-dest")}
    return (
        said.get(b"sec-fetch-mode", b"navigate") == b"navigate"
        and said.get(b"sec-fetch-dest", b"document") == b"document"
    )


async def read_request(connection: h11.Connection, reader: asyncio.StreamReader) -> h11.Request | None:
    """The head of the request that `reader` gives, or None where the peer went without one.

    Its cookies are left out: nobody here reads them, and whoever may set some could keep the answer out with their size.

    Raises `h11.RemoteProtocolError` with the status to answer: 431 beyond `MAX_HEAD` or `MAX_COOKIES`, 400 for what is not
    HTTP.
    """
    received = 0
    head = WithoutCookies()
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Request):
            return event
        if event is not h11.NEED_DATA:
            return None
        data = await reader.read(MAX_HEAD + 1 - received)
        kept = head.rest() if not data else head.feed(data)
        if head.dropped > MAX_COOKIES:
            raise h11.RemoteProtocolError(
                "too many cookies", error_status_hint=HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            )
        received += len(kept)
        if kept:
            connection.receive_data(kept)
        if not data:
            connection.receive_data(b"")  # the end


class WithoutCookies:
    """Takes the Cookie fields (RFC 6265 section 5.4) out of a request's head as it comes, in pieces of any size."""

    _NAME = b"cookie:"

    def __init__(self) -> None:
        #: How many bytes were left out.
        self.dropped: int = 0
        #: The beginning of a line, while it may still become either.
        self._start = b""
        #: Whether the line that goes on, or the one before it, is left out; None: what the line is shows in its beginning.
        self._drops: bool | None = None
        self._dropped_before = False

    def feed(self, data: bytes) -> bytes:
        """What is kept of `data`, and of what was held back before."""
        kept = []
        for piece in re.findall(rb"[^\n]*\n|[^\n]+", data):
            line = self._start + piece
            self._start = b""
            if self._drops is None:
                self._drops = self._judge(line)
            if self._drops is None:
                self._start = line
            elif self._drops:
                self.dropped += len(line)
            else:
                kept.append(line)
            if line.endswith(b"\n"):
                self._dropped_before, self._drops = bool(self._drops), None
        return b"".join(kept)

    def rest(self) -> bytes:
        """What was held back, where no more comes."""
        start, self._start = self._start, b""
        return start

    def _judge(self, start: bytes) -> bool | None:
        """Whether the line that begins with `start` is left out; None: more of it has to be seen."""
        if start[:1] in (b" ", b"\t"):
            return self._dropped_before  # it continues the line before (RFC 9112 section 5.2)
        begins = start[: len(self._NAME)].lower()
        if begins == self._NAME:
            return True
        return None if self._NAME.startswith(begins) else False


def target(request: h11.Request) -> tuple[str, str, str]:
    """The authority, path and query that `request` is for (RFC 9112 sections 3.2 and 3.3)."""
    whole = request.target.decode("ascii")
    authority = next((value.decode("latin-1") for name, value in request.headers if name == b"host"), "")
    if whole[:7].lower() == "http://":
        # The absolute form counts more than the Host field.
        authority, _, rest = whole[7:].partition("/")
        whole = "/" + rest
    path, _, query = whole.partition("?")
    return authority.lower(), path, query


def encode(connection: h11.Connection, answer: Answer) -> bytes:
    """`answer` as it goes on the wire."""
    length = () if answer.status is HTTPStatus.NO_CONTENT else (("Content-Length", str(len(answer.body))),)
    head = h11.Response(
        status_code=answer.status, reason=answer.status.phrase, headers=[*HEADERS, *answer.headers, *length]
    )
    parts = [connection.send(head)]
    if answer.body and not answer.is_head:
        parts.append(connection.send(h11.Data(data=answer.body)))
    parts.append(connection.send(h11.EndOfMessage()))
    return b"".join(part for part in parts if part)


async def close_gently(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Let the peer read the answer: closing with its bytes unread would reset the connection (RFC 9112 section 9.6)."""
    if writer.can_write_eof():
        writer.write_eof()
    left = MAX_DISCARDED
    while left > 0 and (data := await reader.read(min(left, 65536))):
        left -= len(data)
