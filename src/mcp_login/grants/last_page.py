"""What the browser's last page says beside its own words: who is logged in where, or what a server said.

Specification, "Authorization Response Validation": nothing of a response with a wrong `state` or `iss` is displayed. Only
an answer that was validated becomes an `ErrorResponse`; `InvalidResponse` and `IssuerMismatch` quote what was not, and
stay off the page.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from mcp_login.errors import ErrorResponse, TransportError, printable

__all__ = ["detail"]

#: The most characters of a name that may be a stranger's.
MAX_NAME = 80


def detail(error: BaseException | None, client_name: str, server_url: str) -> str | None:
    """One or two sentences for the person at the browser, or None. Nothing in them is secret.

    `error` is what ended the login, None where it went well; `client_name` is how the application calls itself.
    """
    if error is None:
        # The host only: paths and queries of MCP servers may hold keys.
        return f"{printable(client_name, MAX_NAME)} is now logged in to {_host(server_url)}."
    if isinstance(error, ErrorResponse):
        said = f"{_host(error.url or '')} answered “{error.error}”"
        return f"{said}: {error.error_description}" if error.error_description else f"{said}."
    # Of the others' messages some quote what was not validated, and some name files: other users of this machine could
    # ask the listener for this page.
    return str(error) if isinstance(error, TransportError) else None


def _host(url: str) -> str:
    return printable(urlsplit(url).netloc.rpartition("@")[2], MAX_NAME) or "The server"
