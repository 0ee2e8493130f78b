"""Targets: what browsers and people bring back, and what people are shown."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import struct
import sys
from contextlib import suppress
from functools import cache

from mcp_login import AuthorizationUrl
from mcp_login.browser.listener import LoopbackListener, Outcome
from mcp_login.browser.pages import render
from mcp_login.cli.announcement import announcement, host_shown, same_site
from mcp_login.cli.failure import failure_of
from mcp_login.cli.screen import table
from mcp_login.errors import TokenErrorResponse, printable
from mcp_login.protocol.authorization import (
    AuthorizationRequest,
    authorization_response_from_pasted_text,
    matches_state,
    validate_authorization_response,
)
from mcp_login.protocol.client import ClientInformation
from mcp_login.protocol.token import build_code_request

from .checks import at_end, is_clean, judged, lines, require_clean_error, text_of

__all__ = ["authorization_response", "display", "listener_head", "pasted_text"]

STATE = "Yr5mVvPj3xw0KqLzT8eGhA"
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
CODE = "SplxlOBeZQQYbYS6WxSbIA"
ISSUER = "https://as.example.com"


@cache
def _request(iss: bool) -> AuthorizationRequest:
    return AuthorizationRequest(
        issuer=ISSUER,
        authorization_endpoint=f"{ISSUER}/authorize",
        client_id="client",
        redirect_uri="http://127.0.0.1:4000/callback",
        state=STATE,
        code_verifier=VERIFIER,
        iss_parameter_supported=iss,
    )


def authorization_response(data: bytes) -> None:
    """The query string of a callback (RFC 6749 section 4.1.2, RFC 9207)."""
    query = text_of(data)
    for iss in (False, True):
        request = _request(iss)
        matched = matches_state(request, query)
        with judged(STATE, VERIFIER):
            response = validate_authorization_response(request, query)
            assert matched
            assert query.count(STATE) >= 1 or "%" in query
            assert response.request is request
            assert response.code
            assert "code=" not in repr(response).replace("code=True", "")
            client = ClientInformation(ISSUER, "client", "dynamic")
            sent = build_code_request(f"{ISSUER}/token", client, response, resource=None)
            assert sent.body is not None
            assert sent.body.count(b"&code=") == 1


def pasted_text(data: bytes) -> None:
    """What a person pasted: a URL, its query or a code."""
    text = text_of(data)
    for iss in (False, True):
        request = _request(iss)
        with judged(STATE, VERIFIER, CODE):
            query = authorization_response_from_pasted_text(request, text)
            assert "#" not in query
            assert not set(query) & set("\r\n\t")
            with judged(STATE, VERIFIER):
                validate_authorization_response(request, query)


class _Listening:
    """A real listener on a loop of its own, which ignores every answer, and what went wrong behind its back."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.troubles: list[str] = []
        self.loop.set_exception_handler(lambda _, what: self.troubles.append(str(what)))
        self.listener = self.loop.run_until_complete(LoopbackListener.open(deadline=5.0))
        self._received = self.loop.create_task(self.listener.receive(self._accept))
        at_end(self._close)

    def _accept(self, query: str) -> Outcome:
        with judged(STATE, VERIFIER):
            validate_authorization_response(_request(False), query)
        return Outcome.IGNORED

    def _close(self) -> None:
        self._received.cancel()
        self.loop.run_until_complete(asyncio.gather(self._received, return_exceptions=True))
        self.loop.run_until_complete(self.listener.stop())
        self.loop.close()

    def ask(self, data: bytes) -> bytes:
        return self.loop.run_until_complete(asyncio.wait_for(self._ask(data), 10))

    async def _ask(self, data: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.listener.port)
        # Closed without the state in which ports are kept for a minute: there are thousands of these.
        writer.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
        )
        try:
            writer.write(data)
            with suppress(OSError):
                writer.write_eof()
            return await reader.read()
        except OSError:
            return b""
        finally:
            writer.transport.abort()


@cache
def _listening() -> _Listening:
    return _Listening()


def listener_head(data: bytes) -> None:
    """What comes over a connection to the loopback listener, whose port is written as 4000 in the input."""
    there = _listening()
    answer = there.ask(data.replace(b":4000", b":%d" % there.listener.port))
    troubles, there.troubles = there.troubles, []
    assert not troubles, troubles
    if not answer:
        # Blank lines before a request are skipped (RFC 9112 section 2.2).
        assert not re.search(rb"\n\r?\n", data.lstrip(b"\r\n")), "a whole head got no answer"
        return
    head, _, page = answer.partition(b"\r\n\r\n")
    assert re.match(rb"HTTP/1\.1 (?:200|204|400|404|405|408|421|431|501|505) ", head), head[:30]
    assert b"\r\nConnection: close" in head
    assert b"\r\nCache-Control: no-store" in head
    status = head[9:12]
    if data.startswith(b"HEAD ") and status in (b"200", b"404", b"421"):
        assert page == b""
    elif status not in (b"200", b"204") and not data.startswith(b"HEAD "):
        assert page.rstrip().endswith(b"</html>")


def display(data: bytes) -> None:
    """Hostile text on a person's terminal and pages: a URL of a page, an issuer, and text."""
    page, issuer, text = lines(data, 3)
    for limit in (1, 2, 300):
        shown = printable(text, limit)
        assert is_clean(shown)
        assert len(shown) <= limit
        assert printable(shown, limit) == shown
    _require_clean_announcement(page, issuer, text)
    error = TokenErrorResponse(text or "x", error_description=issuer, error_uri=page, hint=None, url=page)
    require_clean_error(error)
    assert json.dumps(failure_of(error).document(), allow_nan=False).isascii()
    assert is_clean(table(("A", "B"), [(page, text)]).replace("\n", ""))
    markup = render(Outcome.FAILED, text).decode().partition('class="detail" dir="auto">')[2].partition("</p>")[0]
    assert not set(markup.replace("<wbr>", "")) & set("<>\"'")


def _require_clean_announcement(page: str, issuer: str, text: str) -> None:
    url = AuthorizationUrl(
        page,
        server_url="https://mcp.example.com/mcp",
        issuer=issuer,
        resource=text or None,
        scopes=tuple(text.split(" ")),
        redirect_uri="http://127.0.0.1:1/callback",
        seconds=60.0,
    )
    told = announcement(url, frozenset)
    if told is not None:
        assert is_clean(told.replace("\n", ""))
        assert len(told) < 4000
    assert is_clean(host_shown(text))
    assert same_site(issuer, text) == same_site(text, issuer)
