"""The few pages that the loopback listener shows.

No script, nothing loaded from elsewhere, every word from outside escaped. They are the last thing that a person sees of
a login, and sometimes all that they see of this library.
"""

from __future__ import annotations

import base64
import hashlib
import html
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from string import Template

from mcp_login.errors import printable

__all__ = ["CONTENT_SECURITY_POLICY", "Outcome", "render", "render_refusal"]

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

# Drawn in the text colour of the round badge around them; the words beside them say the same, so they are hidden from
# screen readers.
_ICONS = {
    "good": '<path d="M6.5 12.6l3.7 3.7 7.3-8"/>',
    "bad": '<path d="M12 6.5v7"/><path d="M12 17.4v.1"/>',
    "wait": '<circle cx="12" cy="12" r="6.8"/><path d="M12 8.4V12l2.4 1.6"/>',
    "plain": '<path d="M7 12h10"/>',
}

_STYLE = """
:root {
  color-scheme: light dark;
  --page: #f4f5f8; --card: #fff; --edge: #e1e4ea; --text: #15181e; --soft: #535a67; --field: #f4f5f8;
  --good: #12773c; --good-badge: #dcf5e5; --bad: #b3261e; --bad-badge: #fde5e3;
  --wait: #2557c7; --wait-badge: #e2ebff; --plain: #535a67; --plain-badge: #e8eaef;
  --shade: 0 1px 2px rgb(18 24 40 / 6%), 0 12px 40px rgb(18 24 40 / 9%);
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #0e1014; --card: #171a20; --edge: #2a2f39; --text: #eef0f4; --soft: #a7aebb; --field: #0e1014;
    --good: #58d68d; --good-badge: #14321f; --bad: #ff8a80; --bad-badge: #3d1a18;
    --wait: #8fb4ff; --wait-badge: #1a2947; --plain: #b4bac6; --plain-badge: #262b35;
    --shade: 0 1px 2px rgb(0 0 0 / 40%), 0 16px 48px rgb(0 0 0 / 40%);
  }
}
.good { --tone: var(--good); --badge: var(--good-badge); }
.bad { --tone: var(--bad); --badge: var(--bad-badge); }
.wait { --tone: var(--wait); --badge: var(--wait-badge); }
.plain { --tone: var(--plain); --badge: var(--plain-badge); }
* { box-sizing: border-box; }
html { height: 100%; }
body {
  margin: 0; min-height: 100%; padding: 1.25rem; display: grid; place-items: center; place-content: center;
  background: radial-gradient(48rem 24rem at 50% -8rem, var(--badge), transparent) no-repeat var(--page);
  color: var(--text); font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif;
  -webkit-text-size-adjust: 100%;
}
main {
  width: 100%; max-width: 27rem; padding: 2.75rem 2.25rem 2.25rem; text-align: center;
  background: var(--card); border: 1px solid var(--edge); border-radius: 1.25rem; box-shadow: var(--shade);
}
svg {
  display: block; width: 4rem; height: 4rem; margin: 0 auto 1.5rem; padding: .5rem; border-radius: 50%;
  background: var(--badge); color: var(--tone); fill: none; stroke: currentColor; stroke-width: 2;
  stroke-linecap: round; stroke-linejoin: round;
}
h1 { margin: 0; font-size: 1.5rem; line-height: 1.25; font-weight: 650; letter-spacing: -.012em; text-wrap: balance; }
p { margin: .75rem 0 0; color: var(--soft); overflow-wrap: anywhere; text-wrap: balance; }
.detail {
  margin-top: 1.5rem; padding: .75rem 1rem; border: 1px solid var(--edge); border-radius: .75rem;
  background: var(--field); color: var(--text); font-size: .9375rem; unicode-bidi: isolate;
}
footer { margin-top: 1.25rem; color: var(--soft); font-size: .8125rem; text-align: center; }
@media (max-width: 26rem) { main { padding: 2.25rem 1.375rem 1.75rem; } h1 { font-size: 1.375rem; } }
@media (forced-colors: active) { svg { border: 2px solid CanvasText; } }
"""

_PAGE = Template(
    """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="robots" content="noindex">
<title>$title</title>
<style>$style</style>
</head>
<body class="$tone">
<main>
<svg viewBox="0 0 24 24" aria-hidden="true" focusable="false">$icon</svg>
<h1>$title</h1>
<p>$text</p>$detail
</main>
<footer>Shown by mcp-login on this computer</footer>
</body>
</html>
"""
)

_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

#: Goes with every page: it allows the style sheet within the page, by its hash, and nothing else at all.
CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


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
    page = _PAGE.substitute(
        tone=words.tone,
        title=html.escape(words.title),
        text=html.escape(words.text),
        icon=_ICONS[words.tone],
        style=_STYLE,
        detail=box,
    )
    return page.encode()
