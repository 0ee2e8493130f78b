"""How this package's pages look: one style sheet, one skeleton, and the headers that go with them.

No script, nothing loaded from elsewhere. The colours have a contrast of 4.5:1 at least, in light and dark (WCAG 2.2,
success criterion 1.4.3), and sizes follow the reader's own font size.
"""

from __future__ import annotations

import base64
import hashlib
import html
from string import Template
from urllib.parse import quote

__all__ = ["headers", "page"]

# Drawn in the text colour of the round badge around them; the words beside them say the same, so they are hidden from
# screen readers.
_ICONS = {
    "good": '<path d="M6.5 12.6l3.7 3.7 7.3-8"/>',
    "bad": '<path d="M12 6.5v7"/><path d="M12 17.4v.1"/>',
    "wait": '<circle cx="12" cy="12" r="6.8"/><path d="M12 8.4V12l2.4 1.6"/>',
    "plain": '<path d="M7 12h10"/>',
    "ask": '<circle cx="8.6" cy="15.4" r="3.4"/><path d="M11 13l6.6-6.6M15 9l2.4 2.4"/>',
}

# The same in a tab's title, where no style sheet reaches: white on the tone's own colour.
_TAB = {"good": "#12773c", "bad": "#b3261e", "wait": "#2557c7", "plain": "#535a67", "ask": "#2557c7"}

_STYLE = """
:root {
  color-scheme: light dark;
  --page: #f4f5f8; --card: #fff; --edge: #dfe3ea; --text: #15181e; --soft: #535a67; --field: #f4f5f8;
  --good: #12773c; --good-badge: #dcf5e5; --bad: #b3261e; --bad-badge: #fde5e3;
  --wait: #2557c7; --wait-badge: #e2ebff; --plain: #535a67; --plain-badge: #e6e9ef;
  --button: #2557c7; --on-button: #fff;
  --shade: 0 1px 2px rgb(18 24 40 / 6%), 0 10px 30px rgb(18 24 40 / 8%);
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #0e1014; --card: #171a20; --edge: #2d333e; --text: #eef0f4; --soft: #a7aebb; --field: #0e1014;
    --good: #58d68d; --good-badge: #14321f; --bad: #ff8a80; --bad-badge: #3d1a18;
    --wait: #8fb4ff; --wait-badge: #1a2947; --plain: #b4bac6; --plain-badge: #262b35;
    --button: #8fb4ff; --on-button: #0c1730;
    --shade: 0 1px 2px rgb(0 0 0 / 40%), 0 10px 28px rgb(0 0 0 / 30%);
  }
}
@media (prefers-contrast: more) { :root { --edge: var(--soft); --soft: var(--text); } }
.good { --tone: var(--good); --badge: var(--good-badge); }
.bad { --tone: var(--bad); --badge: var(--bad-badge); }
.wait, .ask { --tone: var(--wait); --badge: var(--wait-badge); }
.plain { --tone: var(--plain); --badge: var(--plain-badge); }
* { box-sizing: border-box; }
html { height: 100%; }
body {
  margin: 0; min-height: 100%; padding: 1.25rem; display: grid; place-items: center; align-content: center;
  grid-template-columns: minmax(0, 1fr);
  background: radial-gradient(48rem 24rem at 50% -8rem, var(--badge), transparent) no-repeat var(--page);
  color: var(--text); font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif;
  -webkit-text-size-adjust: 100%; text-size-adjust: 100%;
}
main {
  width: 100%; max-width: 27rem; padding: 2.75rem 2.25rem 2.25rem; text-align: center; overflow-wrap: anywhere;
  background: var(--card); border: 1px solid var(--edge); border-radius: 1.25rem; box-shadow: var(--shade);
}
svg {
  display: block; width: 4rem; height: 4rem; margin: 0 auto 1.5rem; padding: .5rem; border-radius: 50%;
  background: var(--badge); color: var(--tone); fill: none; stroke: currentColor; stroke-width: 2;
  stroke-linecap: round; stroke-linejoin: round;
}
h1 { margin: 0; font-size: 1.5rem; line-height: 1.25; font-weight: 650; letter-spacing: -.012em; text-wrap: balance; }
p { margin: .75rem 0 0; color: var(--soft); text-wrap: balance; }
strong { color: var(--text); font-weight: 650; }
code { font: .9375em/1.5 ui-monospace, "SF Mono", "Cascadia Mono", Menlo, Consolas, monospace; }
.detail {
  margin-top: 1.5rem; padding: .75rem 1rem; border: 1px solid var(--edge); border-radius: .75rem;
  background: var(--field); color: var(--text); font-size: .9375rem; unicode-bidi: isolate; text-wrap: pretty;
}
footer {
  max-width: 27rem; margin-top: 1.5rem; padding: .25rem .75rem; border-radius: 1rem; text-align: center;
  background: var(--page); color: var(--soft); font-size: .8125rem; text-wrap: balance;
}
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
<link rel="icon" href="data:image/svg+xml,$tab">
<style>$style</style>
</head>
<body class="$tone">
<main>
<svg viewBox="0 0 24 24" aria-hidden="true" focusable="false">$icon</svg>
<h1>$title</h1>
$content
</main>
<footer>$footer</footer>
</body>
</html>
"""
)

# In the page itself: a browser that found none would ask the listener for /favicon.ico, which may be closed by then.
_TAB_ICON = Template(
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" fill="none" stroke="#fff" stroke-width="2.4" '
    'stroke-linecap="round" stroke-linejoin="round"><circle cx="12" cy="12" r="12" fill="$colour" stroke="none"/>'
    "$icon</svg>"
)


def page(*, tone: str, title: str, content: str, footer: str, style: str = "") -> str:
    """A whole page. `title` and `footer` are text; `content` is HTML, escaped by the caller.

    `tone` is good, bad, wait, plain or ask, and chooses the icon and its colours; `style` comes after the style sheet
    that every page has, and is to be given to `headers`, too.
    """
    return _PAGE.substitute(
        tone=tone,
        title=html.escape(title),
        content=content,
        footer=html.escape(footer),
        icon=_ICONS[tone],
        tab=quote(_TAB_ICON.substitute(colour=_TAB[tone], icon=_ICONS[tone])),
        style=_STYLE + style,
    )


def headers(*, style: str = "", form_action: str = "'none'") -> dict[str, str]:
    """The header fields of a page with this `style`: nobody is to keep it, frame it, or learn where it came from.

    The policy allows the style sheet within the page, by its hash, the icon within the page, forms to go to
    `form_action`, and nothing else at all.
    """
    digest = base64.b64encode(hashlib.sha256((_STYLE + style).encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; "
        f"form-action {form_action}; frame-ancestors 'none'"
    )
    return {
        "Content-Type": "text/html; charset=utf-8",
        "Content-Security-Policy": policy,
        "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
    }
