"""How far a stored login may lead: where its resource lives by now. Runs on the library's loop only."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from .errors import AuthError
from .network.policy import AddressSpace

if TYPE_CHECKING:
    from .network.http import HttpClient
    from .storage.record import Record

__all__ = ["Reach"]

#: How long it may take to see where a server lives by now, in seconds: others wait for the refresh.
WHEREABOUTS_LIMIT = 10.0


class Reach:
    """The address space in which the endpoints of `record` may lie: that of its resource (RFC 9728 section 7.7)."""

    def __init__(self, http: HttpClient, record: Record) -> None:
        self._http = http
        self._server_url = record.server_url
        self._has_looked = False
        #: As it was at the login, or as it is by now.
        self.floor: AddressSpace = AddressSpace[record.address_space.upper()]

    async def has_widened(self) -> bool:
        """Look once where the resource is by now; whether that is a more private place than before. Raises nothing.

        A laptop that is taken into the office reaches the same names at other addresses. What counts is a connection with a valid
        certificate, as at the login: what a name says proves nothing, and what the server says is no matter. It counts for this
        exchange only: the laptop leaves the office again.
        """
        if self._has_looked:
            return False
        self._has_looked = True
        from .discovery import find_challenge

        # Behind a proxy, or with a client of the caller's, an answer would tell nothing of addresses.
        if self._http.would_learn_space(self._server_url):
            with contextlib.suppress(AuthError, TimeoutError):
                async with asyncio.timeout(WHEREABOUTS_LIMIT):
                    await find_challenge(self._http, self._server_url)
        space = self._http.reached(self._server_url)
        if space is None or space <= self.floor:
            return False
        self.floor = space
        return True
