"""The few pages that the loopback listener shows.

No script, nothing loaded from elsewhere, every word from outside escaped. They are the last thing that a person sees of
a login, and sometimes all that they see of this library.
"""

from __future__ import annotations

import html
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus

from mcp_login.errors import printable

from .look import page

__all__ = ["Outcome", "render", "render_refusal"]

#: The most characters of `detail` that a page shows.
MAX_DETAIL = 300


class Outcome(Enum):
    """What became of a login, as far as its browser tab is concerned."""

    #: The answer belongs to no login that is under way (wrong or missing `state`). The wait goes on.
    IGNORED = "ignored"
    #: An authorization response arrived and the code is being exchanged.
    RECEIVED = "received"
    #: The person is logged in.
    DONE = "done"
    #: The person, or the authorization server on its own, said no.
    DENIED = "denied"
    #: Something else went wrong; the application says what.
    FAILED = "failed"
    #: The server no longer took the application's registration: it asks once more, in another tab.
    AGAIN = "again"
    #: The login took longer than its time limit.
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class _Words:
    tone: str
    title: str
    text: str


_WORDS = {
    Outcome.IGNORED: _Words(
        "plain",
        "This answer was not expected",
        "It belongs to no login that is waiting here, so it was ignored. "
        "If you were logging in, go back to your application and start again from there.",
    ),
    Outcome.RECEIVED: _Words(
        "wait",
        "Almost there",
        "Your answer has arrived, and your application is finishing the login. You can close this tab.",
    ),
    Outcome.DONE: _Words(
        "good",
        "You’re logged in",
        "You can close this tab and go back to your application.",
    ),
    Outcome.DENIED: _Words(
        "plain",
        "Login declined",
        "No access was given. If that was not what you wanted, start the login again from your application.",
    ),
    Outcome.FAILED: _Words(
        "bad",
        "The login didn’t work",
        "Go back to your application: it says what went wrong and what to do next.",
    ),
    Outcome.AGAIN: _Words(
        "wait",
        "Once more, please",
        "The server no longer knew your application, which has introduced itself anew and asks again in another tab. "
        "You can close this one.",
    ),
    Outcome.EXPIRED: _Words(
        "wait",
        "This login has expired",
        "It took longer than your application could wait. Start the login again from there.",
    ),
}

_NOT_FOUND = _Words(
    "plain",
    "Nothing here",
    "This page only waits for the end of a login. There is nothing else at this address.",
)

_REFUSED = _Words(
    "plain",
    "This request was not understood",
    "This page only waits for the end of a login. If you were logging in, go back to your application and try again.",
)

_FOOTER = "Shown by mcp-login on this computer"


def render(outcome: Outcome, detail: str | None = None) -> bytes:
    """The page for `outcome`, in UTF-8.

    `detail` is shown in a box of its own: at most 300 characters, without control and direction-changing ones, and
    escaped. It may be a server's words; never give it a code, a token or a state.
    """
    return _render(_WORDS[outcome], detail)


def render_refusal(status: HTTPStatus) -> bytes:
    """The page that goes with the error `status`, for requests that are no authorization response at all."""
    return _render(_NOT_FOUND if status is HTTPStatus.NOT_FOUND else _REFUSED, None)


def _render(words: _Words, detail: str | None) -> bytes:
    shown = printable(detail, MAX_DETAIL).strip() if detail else ""
    # A long URL is to be broken at its slashes.
    escaped = html.escape(shown).replace("/", "/<wbr>").replace("/<wbr>/<wbr>", "//<wbr>")
    box = f'\n<p class="detail" dir="auto">{escaped}</p>' if shown else ""
    content = f"<p>{html.escape(words.text)}</p>{box}"
    return page(tone=words.tone, title=words.title, content=content, footer=_FOOTER).encode()
