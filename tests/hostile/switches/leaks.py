"""The defences that keep secrets where they belong, and how each is switched off."""

from __future__ import annotations

import contextlib
import ssl
from typing import Any

from tests.hostile.attack import Switch, nothing

__all__ = [
    "CALLERS_CREDENTIALS",
    "DISCRETION",
    "KEY_LOG",
    "PORTAL_FRAMES",
    "PROXY_PASSWORD",
    "QUERIES",
    "REDACTION",
    "TOKEN_BOUNDARY",
    "TRACEBACKS",
    "TWINS",
]


def _itself(value: Any, *_: Any) -> Any:
    return value


#: Which requests may carry a token, and whose challenges count.
TOKEN_BOUNDARY = Switch(
    "tokens stay in their resource",
    (
        ("mcp_login.session.is_within", lambda *_: True),
        ("mcp_login.attempt.is_within", lambda *_: True),
    ),
)

#: Secrets that a server quotes are masked.
REDACTION = Switch("quoted secrets are masked", (("mcp_login.protocol.error_response.redact", _itself),))

#: What HTTP libraries log of our requests.
DISCRETION = Switch(
    "HTTP libraries log nothing of what is said", (("mcp_login.network.http.discretion", contextlib.nullcontext),)
)

#: Queries of URLs are not shown.
QUERIES = Switch(
    "queries of URLs are not shown",
    (
        ("mcp_login.errors.without_query", _itself),
        ("mcp_login.session.without_query", _itself),
        ("mcp_login.protocol.uri._cut", _itself),
    ),
)

#: What is raised brings no local variables of ours along: not those of the public functions, nor of the work on the portal.
TRACEBACKS = Switch("tracebacks hold no local variables", (("mcp_login.tracebacks.forget_locals", nothing),))
PORTAL_FRAMES = Switch(
    "foreign errors leave the portal without its frames", (("mcp_login.portal.forget_locals", nothing),)
)
TWINS = Switch("our errors leave the portal without a past", (("mcp_login.errors.AuthError.twin", _itself),))


def _built_by_the_client(client: Any, request: Any, url: str, extensions: dict[str, Any]) -> Any:
    """As httpx's own methods do it: with the client's headers, cookies and parameters."""
    return client.build_request(
        request.method, url, headers=request.headers, content=request.body, extensions=extensions
    )


#: A caller's client sends its own credentials to nobody.
CALLERS_CREDENTIALS = Switch(
    "a caller's client keeps its credentials", (("mcp_login.network.http.built_for", _built_by_the_client),)
)

#: The password of a proxy is not part of its name.
PROXY_PASSWORD = Switch(
    "a proxy is named without its password",
    (
        ("mcp_login.network.http.proxy_shown", _itself),
        ("mcp_login.network.transport.proxy_shown", _itself),
    ),
)

#: Keys of our TLS connections are not written to a file that the environment names.
KEY_LOG = Switch(
    "TLS keys are not logged", (("mcp_login.network.http.default_ssl_context", ssl.create_default_context),)
)
