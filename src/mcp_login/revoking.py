"""Tells an authorization server that nobody uses some tokens any more (RFC 7009). Runs on the library's loop only."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Literal

from .errors import AuthError, PolicyError, TokenErrorResponse, TransportError
from .obtaining import opened_http
from .protocol.token import build_revocation_request, parse_revocation_response
from .reach import Reach

if TYPE_CHECKING:
    from .network.http import HttpClient
    from .obtaining import Network
    from .protocol.client import ClientInformation
    from .protocol.message import HttpRequest, HttpResponse
    from .storage.record import Record

__all__ = ["ORPHAN_LIMIT", "revoke", "revoke_orphan"]

_log = logging.getLogger("mcp_login")

#: How long the revocation of tokens may take that nobody waits for, in seconds: others wait for the lock meanwhile.
ORPHAN_LIMIT = 10.0


async def revoke(network: Network, record: Record, client: ClientInformation) -> bool | None:
    """RFC 7009 section 2: the refresh token, with which the server should end its access tokens; then the access token.

    None where the server offers no revocation. Raises any `AuthError`; what the caller's `http_client` raises becomes one, since
    nothing is to stand in the way of a logout.
    """
    if record.revocation_endpoint is None:
        return None
    tokens: tuple[tuple[str | None, Literal["refresh_token", "access_token"]], ...] = (
        (record.refresh_token, "refresh_token"),
        (record.access_token, "access_token"),
    )
    problem: AuthError | None = None
    try:
        async with opened_http(network) as http:
            reach = Reach(http, record)
            for token, hint in tokens:
                if token is None:
                    continue
                try:
                    await _revoke_one(http, reach, record.revocation_endpoint, client, token, hint)
                except AuthError as error:
                    problem = problem or error  # the other one may be revoked all the same
    except Exception as error:  # noqa: BLE001 - of a client that isn't ours
        problem = problem or TransportError(
            f"The tokens were not revoked: the client that http_client makes raised {type(error).__name__}. Correct it; the "
            "tokens stay good until they expire.",
            may_have_acted=False,
        )
    if problem is not None:
        raise problem
    return True


async def revoke_orphan(network: Network, record: Record, client: ClientInformation) -> None:
    """Revoke tokens that came after somebody had logged out, as far as it can be done at once. Raises nothing."""
    try:
        async with asyncio.timeout(ORPHAN_LIMIT):
            await revoke(network, record, client)
    except (AuthError, TimeoutError) as error:
        _log.info("tokens that came after a logout could not be revoked: %s", type(error).__name__)


async def _revoke_one(
    http: HttpClient,
    reach: Reach,
    endpoint: str,
    client: ClientInformation,
    token: str,
    hint: Literal["refresh_token", "access_token"],
) -> None:
    for name_empty_secret in (False, True):
        request = build_revocation_request(endpoint, client, token, hint, name_empty_secret=name_empty_secret)
        try:
            parse_revocation_response(await _sent(http, reach, request), secrets=request.secrets)
        except TokenErrorResponse as error:
            # The MCP SDK's and FastMCP's servers want the parameter of public clients, too.
            wants_parameter = error.error == "invalid_request" and "client_secret" in (error.error_description or "")
            if name_empty_secret or client.client_secret is not None or not wants_parameter:
                raise
        else:
            return


async def _sent(http: HttpClient, reach: Reach, request: HttpRequest) -> HttpResponse:
    while True:
        try:
            return await http.send(request, floor=reach.floor)
        except PolicyError:
            if not await reach.has_widened():
                raise
