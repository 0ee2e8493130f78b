"""Requests to the endpoints that are stored with a login. Runs on the library's loop only."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from typing import TYPE_CHECKING

from .errors import AuthError, PolicyError
from .network.policy import AddressSpace

if TYPE_CHECKING:
    from .network.http import HttpClient
    from .protocol.message import HttpRequest, HttpResponse
    from .storage.record import Record

__all__ = ["send_to_endpoint"]

#: How long it may take to see where a server lives by now, in seconds: others wait for the refresh.
WHEREABOUTS_LIMIT = 10.0

_log = logging.getLogger("mcp_login")


async def send_to_endpoint(http: HttpClient, request: HttpRequest, record: Record) -> tuple[HttpResponse, Record]:
    """Send `request` to an endpoint of `record`, which may lie no more privately than its resource (RFC 9728 section 7.7).

    With the answer comes `record`, and in it where its resource lives by now if that is a more private place: a laptop that is
    taken into the office reaches the same names at other addresses. Raises as `HttpClient.send` does.
    """
    while True:
        try:
            return await http.send(request, floor=_floor(record)), record
        except PolicyError:
            moved = await _moved_inside(http, record)
            if moved is None:
                raise
        record = moved


async def _moved_inside(http: HttpClient, record: Record) -> Record | None:
    """`record` with the space of its resource, if that is a more private one than it was.

    What counts is a connection with a valid certificate, as at the login: what a name says proves nothing.
    """
    from .discovery import find_challenge

    try:
        async with asyncio.timeout(WHEREABOUTS_LIMIT):
            await find_challenge(http, record.server_url)
            space = await http.space_of(record.server_url)
    except (AuthError, TimeoutError) as error:
        _log.debug("where the server lives by now can't be told: %s", type(error).__name__)
        return None
    return dataclasses.replace(record, address_space=space.name.lower()) if space > _floor(record) else None


def _floor(record: Record) -> AddressSpace:
    return AddressSpace[record.address_space.upper()]
