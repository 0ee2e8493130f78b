"""The authorization server's pages: the question to the person, and the one for requests that nobody is redirected for."""

from __future__ import annotations

import re
from html import escape
from string import Template
from urllib.parse import urlsplit

from starlette.responses import Response

from mcp_login.browser.look import headers, page

from .clients import is_loopback

__all__ = ["consent_page", "error_page"]

_STYLE = """
main { padding: 2rem 2.25rem; }
svg { width: 3.25rem; height: 3.25rem; margin-bottom: 1rem; }
dl { margin: 1.25rem 0 0; border: 1px solid var(--edge); border-radius: .75rem; text-align: start; background: var(--field); }
dl > div { padding: .5rem 1rem .625rem; }
dl > div + div { border-top: 1px solid var(--edge); }
dt { color: var(--soft); font-size: .8125rem; }
dd { margin: 0; }
ul { margin: 0; padding: 0; list-style: none; }
form { display: flex; flex-wrap: wrap; gap: .75rem; margin-top: 1.5rem; }
button {
  flex: 1 1 8rem; padding: .6875rem 1rem; border: 1px solid var(--soft); border-radius: .75rem; cursor: pointer;
  background: transparent; color: var(--text); font: inherit; font-weight: 650;
}
button[value=approve] { background: var(--button); border-color: var(--button); color: var(--on-button); }
button:hover { box-shadow: 0 0 0 4px var(--badge); }
button:focus-visible { outline: 3px solid var(--tone); outline-offset: 3px; }
.test {
  display: inline-block; padding: .125rem .75rem; border: 1px dashed var(--soft); border-radius: 1rem; font-size: .8125rem;
}
.note { font-size: .875rem; }
@media (max-width: 26rem) { main { padding: 1.75rem 1.25rem 1.5rem; } }
"""

_FOOTER = "The embedded server of mcp-login: for tests and demonstrations, on this computer only"

_CONSENT = Template(
    "<p><strong>$client</strong> asks for access to this MCP server in your name.</p>\n"
    "<dl>\n<div><dt>MCP server</dt><dd><code>$resource</code></dd></div>\n"
    "<div><dt>Permissions</dt><dd>$scopes</dd></div>\n"
    "<div><dt>You will be sent back to</dt><dd><code>$host</code></dd></div>\n</dl>\n"
    "$warning"
    '<form method="post" action="$action">\n<input type="hidden" name="transaction" value="$transaction">\n'
    '<button name="decision" value="approve">Approve</button>\n<button name="decision" value="deny">Deny</button>\n</form>'
)

_WARNING = (
    '<p class="note">That is a program on this computer. Any program here can ask like this: '
    "approve only if you have just started it yourself.</p>\n"
)

_TEST = '<p class="test">Test server: nothing here is real</p>\n'

_HOST_SOURCE = re.compile(r"https?://[A-Za-z0-9.\-]+(:[0-9]+)?")


def consent_page(
    *,
    client_name: str,
    resource: str,
    scopes: tuple[str, ...],
    redirect_uri: str,
    action: str,
    transaction: str,
) -> Response:
    """The question to the person. All arguments but `action` and `transaction` are a stranger's words, and escaped."""
    parts = urlsplit(redirect_uri)
    listed = "".join(f"<li><code>{escape(scope)}</code></li>" for scope in scopes)
    content = _CONSENT.substitute(
        client=escape(client_name),
        resource=escape(resource),
        scopes=f"<ul>{listed}</ul>" if scopes else "None in particular",
        host=escape(parts.netloc),
        warning=_WARNING if is_loopback(parts.hostname) else "",
        action=escape(action),
        transaction=escape(transaction),
    )
    # Browsers apply form-action to the redirect that answers the form, too. An IPv6 address can't be written there.
    source = f"{parts.scheme}://{parts.netloc}"
    target = source if _HOST_SOURCE.fullmatch(source) else f"{parts.scheme}:"
    return _page("ask", "Allow access?", content, 200, f"'self' {target}")


def error_page(problem: str) -> Response:
    """For requests whose redirect URI can't be trusted (RFC 6749 section 4.1.2.1): the person is told, and stays here."""
    content = (
        f"<p>{escape(problem)}</p>\n"
        '<p class="note">The program that sent you here made a mistake, or its registration is gone. '
        "Close this window and try again from there.</p>"
    )
    return _page("bad", "This login can’t go on", content, 400, "'none'")


def _page(tone: str, title: str, content: str, status: int, form_action: str) -> Response:
    text = page(tone=tone, title=title, content=_TEST + content, footer=_FOOTER, style=_STYLE)
    return Response(text, status, headers(style=_STYLE, form_action=form_action))
