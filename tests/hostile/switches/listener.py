"""The defences of the loopback listener and its pages, and how each is switched off."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from mcp_login.browser.exchange import Answer
from mcp_login.browser.listener import LoopbackListener
from mcp_login.browser.pages import Outcome, render
from tests.hostile.attack import Switch, nothing

__all__ = [
    "ACCEPTED_AT_ONCE",
    "ANSWER_ONLY_BY_GET",
    "ANSWER_ONLY_BY_NAVIGATION",
    "BOTH_LOOPBACKS",
    "CONNECTION_LIMIT",
    "DISCARD_LIMIT",
    "HEADERS",
    "HEAD_LIMIT",
    "HOST",
    "LED_AWAY",
    "LOOPBACK_ONLY",
    "NO_PREFETCH",
    "PKCE",
    "ROOM_FOR_COOKIES",
    "SAME_ANSWER",
    "SECRET_ADDRESS",
    "TARGET_COUNTS",
]


def _always(*_: Any) -> bool:
    return True


def _never(*_: Any) -> bool:
    return False


class _Unlimited(LoopbackListener):
    @classmethod
    async def open(cls, *arguments: Any, **more: Any) -> LoopbackListener:
        return await LoopbackListener.open(*arguments, **{**more, "max_connections": 1_000_000})


#: Answering only to the listener's own names and port.
HOST = Switch("the Host that is asked for", (("mcp_login.browser.listener.is_for_us", _always),))

#: That the authority of an absolute target counts, and not the Host field beside it.
TARGET_COUNTS = Switch(
    "the target's own authority",
    (
        (
            "mcp_login.browser.listener.target",
            lambda request: (
                dict(request.headers)[b"host"].decode(),
                "/" + request.target.decode().split("/", 3)[-1].partition("?")[0],
                request.target.decode().partition("?")[2],
            ),
        ),
    ),
)

#: That a form's POST, and a look at what is there, is no answer.
ANSWER_ONLY_BY_GET = Switch(
    "GET only",
    (("mcp_login.browser.listener.BRING_ANSWERS", frozenset({b"GET", b"HEAD", b"OPTIONS", b"POST", b"PUT"})),),
)

#: That what a page loads behind its person is no answer.
ANSWER_ONLY_BY_NAVIGATION = Switch("Sec-Fetch-Dest and -Mode", (("mcp_login.browser.listener.is_navigation", _always),))

#: That what a browser fetches in advance is no answer.
NO_PREFETCH = Switch("Sec-Purpose", (("mcp_login.browser.listener.is_prefetch", _never),))

#: That the last page is for the browser that brought the answer: nobody else knows where it is, nor is led there.
SECRET_ADDRESS = Switch(
    "the secret address of the last page",
    (("mcp_login.browser.listener.result_path", lambda path: f"{path}/result"),),
)
SAME_ANSWER = Switch("the answer that led to the last page", (("mcp_login.browser.listener.is_same", _always),))

#: That a browser is led away from the address with the code: without it, the page is right there.
LED_AWAY = Switch(
    "the redirect to the last page",
    (
        (
            "mcp_login.browser.listener.led_to",
            lambda _: Answer(HTTPStatus.OK, render(Outcome.RECEIVED), is_last=True),
        ),
    ),
)

#: The header fields of every answer.
HEADERS = Switch("the pages' headers", (("mcp_login.browser.exchange.HEADERS", (("Connection", "close"),)),))

#: Connections at a time.
CONNECTION_LIMIT = Switch(
    "the limit of connections", (("mcp_login.grants.authorization_code.LoopbackListener", _Unlimited),)
)

#: Connections that are accepted before any of them is read.
ACCEPTED_AT_ONCE = Switch("the limit of one step", (("mcp_login.browser.listener.ACCEPTED_AT_ONCE", 1_000),))

#: The size of a request's head.
HEAD_LIMIT = Switch(
    "the limit of a head",
    (("mcp_login.browser.exchange.MAX_HEAD", 1 << 30), ("mcp_login.browser.listener.MAX_HEAD", 1 << 30)),
)

#: What is read of a body that nobody wants.
DISCARD_LIMIT = Switch("the limit of a body", (("mcp_login.browser.exchange.MAX_DISCARDED", 1 << 40),))

#: That cookies don't count as what an authorization response needs.
ROOM_FOR_COOKIES = Switch(
    "room for cookies", (("mcp_login.browser.exchange.WithoutCookies.feed", lambda _, data: data),)
)

#: What is read of cookies that nobody wants.
COOKIE_LIMIT = Switch("the limit of cookies", (("mcp_login.browser.exchange.MAX_COOKIES", 1 << 40),))

#: Refusing to listen elsewhere than on loopback.
LOOPBACK_ONLY = Switch(
    "loopback only",
    (
        ("mcp_login.browser.listener.loopback_addresses", lambda host: [host]),
        ("mcp_login.protocol.authorization.require_secure", nothing),
        ("mcp_login.protocol.registration.require_secure", nothing),
    ),
)

#: Listening on every address that `localhost` may be.
BOTH_LOOPBACKS = Switch(
    "both addresses of localhost", (("mcp_login.browser.listener.loopback_addresses", lambda _: ["127.0.0.1"]),)
)

#: That a code is worth nothing without the verifier.
PKCE = Switch("PKCE", (("mcp_login.protocol.authorization.proof_parameters", lambda _: {}),))
