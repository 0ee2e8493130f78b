"""One refresh: the token request, sent again within bounds, and what comes of its answer. Runs on the library's loop only."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from typing import TYPE_CHECKING

from .errors import AuthError, InvalidResponse, PolicyError, TransportError
from .keeping import Withheld
from .network.retry import Retries
from .obtaining import opened_http
from .portal import awaiting_answer
from .protocol.token import TokenResponse, build_refresh_request, parse_token_response
from .reach import Reach

if TYPE_CHECKING:
    from .keeping import Keeping
    from .protocol.message import HttpResponse
    from .session import Session
    from .storage.record import Record

__all__ = ["UsedUp", "refreshed"]

_log = logging.getLogger("mcp_login")


class UsedUp(AuthError):
    """The refresh token is known to be used up, and nobody has the one that came after it. No caller of ours sees this."""


async def refreshed(session: Session, keeping: Keeping, record: Record) -> Record | None:
    """RFC 6749 section 6: one token request, to the endpoint and with the client that are stored with the token.

    None where somebody has logged out meanwhile.
    """
    await _require_unspent(keeping, record)
    answer, sent_at = await _send(session, record)
    renewed = dataclasses.replace(
        record,
        access_token=answer.access_token,
        refresh_token=answer.refresh_token or record.refresh_token,
        expires_at=None if answer.expires_in is None else sent_at + answer.expires_in,
        obtained_at=sent_at,
        granted_scopes=record.granted_scopes if answer.scopes is None else answer.scopes,
    )
    _log.debug("refreshed the token for %s", session.shown_url)
    try:
        return await keeping.keep(renewed)
    finally:
        # Not before: whoever is killed here has lost the new tokens, and a server with a period of grace takes the old one.
        await keeping.note_spent(record, renewed)


async def _require_unspent(keeping: Keeping, record: Record) -> None:
    """RFC 9700 section 4.14.2: a refresh token that is offered a second time is taken for stolen, and ends the login."""
    spent = await keeping.is_spent(record)
    if spent and keeping.outage is not None:
        raise Withheld(keeping.outage)  # the new tokens are behind it
    await keeping.require_newest()
    if spent:
        raise UsedUp


async def _send(session: Session, record: Record) -> tuple[TokenResponse, float]:
    """The answer, and when the request was sent that it is the answer to."""
    assert record.refresh_token is not None  # noqa: S101 - whoever asks has seen it
    request = build_refresh_request(
        record.token_endpoint,
        session.current_client(record),
        record.refresh_token,
        resource=record.resource if record.sends_resource else None,
        # RFC 6749 section 6: left out, it is what was granted. Where the resource is left out, too, only scopes are left to
        # say what the token is for (Entra ID).
        scopes=() if record.sends_resource else record.granted_scopes,
    )
    retries = Retries(asyncio.get_running_loop().time)
    async with opened_http(session) as http:
        reach = Reach(http, record)
        while True:
            response: HttpResponse | None = None
            sent_at = session.clock()
            try:
                with awaiting_answer():
                    response = await http.send(request, floor=reach.floor)
                return parse_token_response(response, secrets=request.secrets, now=sent_at), sent_at
            except PolicyError:
                if not await reach.has_widened():
                    raise
                continue
            except (TransportError, InvalidResponse) as error:
                pause = retries.pause(error, status=None if response is None else response.status)
                if pause is None:
                    raise _explained(session, error, retries.attempts) from None
                _log.debug("a refresh for %s failed (%s): once more", session.shown_url, type(error).__name__)
            await asyncio.sleep(pause)


def _explained(session: Session, error: TransportError | InvalidResponse, attempts: int) -> AuthError:
    if isinstance(error, InvalidResponse):
        return error
    times = "" if attempts == 1 else f" ({attempts} attempts)"
    return TransportError(
        f"The login at {session.shown_url} could not be refreshed{times}, and stays stored. {error}",
        url=error.url,
        retry_after=error.retry_after,
        may_have_acted=error.may_have_acted,
    )
