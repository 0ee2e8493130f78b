"""The demo's client: one call of a tool, as any program makes it that knows nothing but a URL and a storage."""

from __future__ import annotations

import functools
import ssl
from typing import TYPE_CHECKING, Any

from .failure import CommandFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from mcp_login import AuthorizationUrl
    from mcp_login.storage.base import Storage

__all__ = ["CLIENT_NAME", "call_whoami", "load"]

#: How the demo introduces itself where it registers.
CLIENT_NAME = "mcp-login demo"
#: The limit of each of the demo's own requests, in seconds.
REQUEST_LIMIT = 10.0

_PROTOCOL_VERSION = "2026-07-28"


def call_whoami(
    url: str, storage: Storage, open_url: Callable[[AuthorizationUrl], bool], patience: float
) -> dict[str, Any]:
    """One MCP call, as any program makes it: the login is the `auth` of its HTTP client.

    `open_url` brings the authorization URL before a person, who has `patience` seconds. Gives the tool's answer.
    """
    import httpx

    from mcp_login import OAuth

    auth = OAuth(
        url,
        client_name=CLIENT_NAME,
        storage=storage,
        interactive=True,
        on_authorization_url=open_url,
        callback_timeout=patience,
    )
    message = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {
            "name": "whoami",
            "arguments": {},
            "_meta": {"io.modelcontextprotocol/protocolVersion": _PROTOCOL_VERSION},
        },
    }
    headers = {
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": _PROTOCOL_VERSION,
        "mcp-method": "tools/call",
        "mcp-name": "whoami",
    }
    # The environment's proxies can't reach this machine's loopback.
    with httpx.Client(auth=auth, trust_env=False, verify=_certificates(), timeout=REQUEST_LIMIT) as http:
        response = http.post(url, json=message, headers=headers)
    if response.is_error:
        raise CommandFailed(f"The MCP server answered with status {response.status_code}.")
    answer: dict[str, Any] = response.json()["result"]["structuredContent"]
    return answer


def load() -> None:
    """What a program loads once, before the clock starts: the times are to be those of the logins."""
    import mcp_login.auth
    import mcp_login.grants.authorization_code
    import mcp_login.network.http
    import mcp_login.obtaining
    import mcp_login.portal
    import mcp_login.renewal
    import mcp_login.testing  # noqa: F401

    _certificates()


@functools.cache
def _certificates() -> ssl.SSLContext:
    return ssl.create_default_context()
