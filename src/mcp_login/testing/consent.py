"""The authorization server's pages: the question to the person, and the one for requests that nobody is redirected for."""

from __future__ import annotations

import base64
import hashlib
import re
from html import escape
from string import Template
from urllib.parse import urlsplit

from starlette.responses import Response

from .clients import is_loopback

__all__ = ["consent_page", "error_page"]

_STYLE = """
:root{color-scheme:light dark;--ink:#1c2430;--soft:#566073;--page:#f3f5f9;--card:#fff;--line:#d9dee8;
--accent:#1f5fd6;--on:#fff}
@media(prefers-color-scheme:dark){:root{--ink:#e8ecf4;--soft:#a5afc2;--page:#12161e;--card:#1b212c;--line:#323b4b;
--accent:#8ab4ff;--on:#0d1524}}
*{box-sizing:border-box}
body{margin:0;min-height:100vh;display:grid;place-items:center;padding:1rem;
background:var(--page);color:var(--ink);font:1rem/1.5 system-ui,sans-serif}
main{width:100%;max-width:30rem;padding:2rem;background:var(--card);
border:1px solid var(--line);border-radius:1rem;overflow-wrap:anywhere}
h1{margin:0 0 .75rem;font-size:1.35rem;line-height:1.3}
p{margin:.75rem 0}
dl{margin:1.25rem 0;padding:1rem 0;border-block:1px solid var(--line)}
dt{color:var(--soft);font-size:.875rem}
dd{margin:0 0 .75rem}
dd:last-child{margin:0}
code{font-family:ui-monospace,monospace;font-size:.925em}
ul{margin:0;padding-left:1.2rem}
.note{color:var(--soft);font-size:.875rem}
form{display:flex;flex-wrap:wrap;gap:.75rem;margin-top:1.5rem}
button{flex:1 1 8rem;padding:.7rem 1rem;border-radius:.6rem;border:1px solid var(--line);
background:transparent;color:inherit;font:inherit;font-weight:600;cursor:pointer}
button[value=approve]{background:var(--accent);border-color:var(--accent);color:var(--on)}
button:focus-visible{outline:3px solid var(--accent);outline-offset:3px}
"""

_PAGE = Template(
    '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    "<title>$title</title>\n<style>$style</style>\n</head>\n"
    "<body>\n<main>\n<h1>$title</h1>\n$content\n</main>\n</body>\n</html>\n"
)

_CONSENT = Template(
    "<p><strong>$client</strong> asks for access to this MCP server in your name.</p>\n"
    "<dl>\n<dt>Server</dt>\n<dd><code>$resource</code></dd>\n"
    "<dt>Permissions</dt>\n<dd>$scopes</dd>\n"
    "<dt>You will be sent back to</dt>\n<dd><code>$host</code></dd>\n</dl>\n"
    "$warning"
    '<form method="post" action="$action">\n<input type="hidden" name="transaction" value="$transaction">\n'
    '<button name="decision" value="approve">Approve</button>\n<button name="decision" value="deny">Deny</button>\n</form>'
)

_WARNING = (
    '<p class="note">This is a program on your own computer. Any program here can ask like this: '
    "approve only if you have just started it yourself.</p>\n"
)

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
    return _page("Allow access?", content, 200, f"'self' {target}")


def error_page(problem: str) -> Response:
    """For requests whose redirect URI can't be trusted (RFC 6749 section 4.1.2.1): the person is told, and stays here."""
    content = (
        f"<p>{escape(problem)}</p>\n"
        '<p class="note">The program that sent you here made a mistake, or its registration is gone. '
        "Close this window and try again from there.</p>"
    )
    return _page("This login can't go on", content, 400, "'none'")


def _page(title: str, content: str, status: int, form_action: str) -> Response:
    digest = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'sha256-{digest}'; form-action {form_action}; "
        "frame-ancestors 'none'; base-uri 'none'"
    )
    headers = {
        "Content-Security-Policy": policy,
        "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
    text = _PAGE.substitute(title=escape(title), style=_STYLE, content=content)
    return Response(text, status, headers, media_type="text/html")
