"""One request of the caller: which token it carries, and what its response says about that."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

from .errors import AuthError, LoginRequired
from .flight import Demand, Flight, Renewed, unnamed_scopes
from .protocol.uri import is_within
from .session import boundary

if TYPE_CHECKING:
    from .protocol.challenge import Challenge
    from .session import Session
    from .storage.record import Record

__all__ = ["ATTEMPTS", "EARLY_PATIENCE", "REFUSALS", "Attempt"]

_log = logging.getLogger("mcp_login")

#: Authorizations that one request may cause (specification, "Step-Up Authorization Flow": no more than a few times).
ATTEMPTS = 3

#: The status codes that may say something of the token (RFC 6750 section 3.1).
REFUSALS = frozenset({401, 403})

#: Client errors that say nothing of the token, as 5xx doesn't: the request may not have been looked at.
_SILENT = frozenset({408, 429})

#: How long a request whose token is still good waits for an early refresh, in seconds.
EARLY_PATIENCE = 5.0


class Attempt:
    """One request of the caller, from its first sending to its last."""

    __slots__ = ("_authorizations", "_fallback", "_how", "_inside", "_request", "_session", "_token", "patience")

    def __init__(self, session: Session, request: Any, *, is_sent: bool = False) -> None:
        self._session = session
        self._request = request
        #: The token that was sent last: one on the warmest path (`is_sent`), where nobody attended.
        self._token = request.headers.get("Authorization", "").removeprefix("Bearer ") if is_sent else None
        self._inside = is_sent
        self._authorizations = 0
        #: How the tokens of this request were come by.
        self._how: set[str] = set()
        #: A record whose token can still be sent if nothing better comes in time.
        self._fallback: Record | None = None
        #: How long to wait for something better, in seconds; None: as long as it takes.
        self.patience: float | None = None

    def begin(self) -> Flight | None:
        """Put the token on the request, or say what has to be waited for first (`settle`)."""
        session = self._session
        record = session.usable()
        self._inside = session.covers(str(self._request.url))
        if not self._inside:
            self._withhold()
            return None
        if record is not None:
            self._authorize(record)
            return None
        known = session.peek()
        if known is None:
            # Nothing is stored: ask the server first. It may need no login, and its challenge says more than we know.
            return session.demand(Demand("look")) if session.is_unread else None
        if known.refresh_token is None:
            if session.is_good(known, 0.0):
                self._authorize(known)
            return None
        if session.is_good(known):
            # A request whose token is still good doesn't wait for ever, say behind another's login.
            self._fallback, self.patience = known, EARLY_PATIENCE
        return session.demand(Demand("token", may_ask=False))

    def settle(self, outcome: Renewed | AuthError | None) -> None:
        """Go on with what came of `begin`: a login is left to the server's challenge, other errors to the caller."""
        if isinstance(outcome, Renewed):
            if self._session.is_good(outcome.record, 0.0):
                self._use(outcome)
        elif self._fallback is not None and self._session.peek() is not None:
            self._session.rest(self._fallback)
            self._authorize(self._fallback)
        elif outcome is not None and not isinstance(outcome, LoginRequired):
            raise outcome

    def take(self, outcome: Renewed | AuthError | None) -> bool:
        """Use what was waited for; False where the response stands. Raises what went wrong."""
        if isinstance(outcome, Renewed):
            if outcome.how == "nothing":
                return False
            self._use(outcome)
            return True
        if isinstance(outcome, LoginRequired) and self._session.login_is_useless:
            return False
        assert outcome is not None  # noqa: S101 - it was waited for without a limit
        raise outcome

    def _use(self, renewed: Renewed) -> None:
        self._how.add(renewed.how)
        self._authorize(renewed.record)

    def _authorize(self, record: Record) -> None:
        """RFC 6750 section 2.1."""
        if not is_within(str(self._request.url), boundary(record)):
            # The login that was waited for is for less than the one before it.
            self._inside = False
            self._withhold()
            return
        self._token = record.access_token
        self._request.headers["Authorization"] = "Bearer " + record.access_token

    def judge(self, response: Any) -> Flight | None:
        """What has to be waited for before the request is sent again; None: the response stands."""
        session = self._session
        if not session.covers(str(response.request.url)):
            # A redirect led out of the resource, inside the client and past us: what comes from there counts for nothing.
            if self._inside:
                session.warn_redirected(str(response.request.url))
            return None
        status = response.status_code
        if status not in REFUSALS:
            if self._token is not None and not (status >= 500 or status in _SILENT):
                session.accepted(self._token)
            return None
        if status == 401 and self._token is not None and ("login" in self._how or session.login_is_useless):
            session.refused(self._token)
        if not self._inside or self._authorizations >= ATTEMPTS:
            return None
        from .protocol.challenge import bearer_challenge

        challenge = bearer_challenge(response.headers.get_list("www-authenticate"))
        demand = self._renew(challenge) if status == 401 else self._step_up(challenge)
        if demand is None:
            return None
        self._authorizations += 1
        flight = session.demand(demand)
        return flight if self._replayable() else None

    def _renew(self, challenge: Challenge | None) -> Demand | None:
        """401: what the storage has by now, then one refresh, then one login; after that the answer stands."""
        session = self._session
        if session.login_is_useless and self._how & {"refreshed", "login"}:
            return None
        return Demand(
            "rejected",
            rejected=self._token,
            challenge_url=challenge.resource_metadata if challenge else None,
            scopes=challenge.scopes if challenge else (),
            may_refresh="refreshed" not in self._how,
        )

    def _step_up(self, challenge: Challenge | None) -> Demand | None:
        """403 insufficient_scope: a login with more scopes, once for each set of them ("Step-Up Authorization Flow").

        Where the challenge names none (the MCP SDK's never does), they are those that the resource lists, once ("Scope
        Selection Strategy"). A server that always wants others gets a few, until it lets a request through.
        """
        session = self._session
        if challenge is None or challenge.error != "insufficient_scope":
            return None
        record = session.peek()
        requested = frozenset() if record is None else frozenset(record.requested_scopes)
        named = frozenset(challenge.scopes)
        if not named and self._token is None:
            return None
        wanted = named or unnamed_scopes(requested)
        if "login" in self._how and named <= requested:
            session.failed_scopes.add(wanted)
        if wanted in session.failed_scopes or session.step_ups >= ATTEMPTS:
            return None
        return Demand(
            "scopes",
            rejected=self._token,
            challenge_url=challenge.resource_metadata,
            scopes=challenge.scopes,
        )

    def _replayable(self) -> bool:
        """Whether the body can be sent again: a stream that was consumed can't."""
        libraries = [library for name in ("httpx", "httpx2") if (library := sys.modules.get(name)) is not None]
        if isinstance(self._request.stream, tuple(library.ByteStream for library in libraries)):
            return True
        _log.warning(
            "A request to %s needs a new token, but its body is a stream that can't be sent twice. Send it again.",
            self._session.shown_url,
        )
        return False

    def _withhold(self) -> None:
        """A token that a redirect carried outside its resource is taken off again."""
        headers = self._request.headers
        if self._session.is_issued(headers.get("Authorization", "")):
            del headers["Authorization"]
        if self._session.peek() is not None:
            self._session.warn_outside(str(self._request.url))
