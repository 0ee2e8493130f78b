"""A new login: what the documents say, then the grant; and when not to ask again. Runs on the library's loop only.

Called by `renewal` with the record's lock held.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import shlex
from typing import TYPE_CHECKING, ClassVar, Protocol

from .errors import AuthError, AuthorizationErrorResponse, LoginRequired, TransportError
from .network.http import HttpClient
from .network.policy import NetworkPolicy
from .session import SERVER_RESOURCE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Hashable

    import httpx

    from .discovery import Discovery
    from .flight import Demand
    from .grants.base import Grant, Save
    from .session import Session
    from .storage.base import Storage
    from .storage.record import Record

__all__ = ["Network", "Obtaining", "login_command", "login_required", "opened_http"]

#: How long after a login that failed requests don't ask again, in seconds, unless a server named another time.
FAILURE_REST = 30.0

#: The longest such time that is heeded, in seconds.
LONGEST_REST = 600.0

#: How many logins requests may cause, and in how many seconds. Calls of `login` are not counted among them.
BUDGET = 5
BUDGET_SECONDS = 600.0

#: How long all documents of a server and its authorization server may take together, in seconds.
DISCOVERY_LIMIT = 60.0


class Network(Protocol):
    """How strangers may be reached: what a session was told of it."""

    allow_private_network: bool
    http_client: Callable[[], httpx.AsyncClient] | None


@contextlib.asynccontextmanager
async def opened_http(network: Network) -> AsyncIterator[HttpClient]:
    """The client for requests to strangers."""
    http = HttpClient(NetworkPolicy(allow_private_network=network.allow_private_network), network.http_client)
    try:
        yield http
    finally:
        await http.aclose()


def login_command(session: Session) -> str:
    """The command that logs this account in, for people to copy into a shell."""
    words = ["mcp-login", "login", session.shown_url]
    return shlex.join(words if session.account is None else [*words, "--account", session.account])


def login_required(
    session: Session,
    scopes: tuple[str, ...] = (),
    *,
    why: str = "this call never asks a person",
    is_known: bool = False,
) -> LoginRequired:
    """For a call that may not ask anybody, and `why`. `is_known`: the server said that it needs a login."""
    if session.storage.name == "memory":
        advice = (
            "This process keeps logins in memory, where no other can leave one: set MCP_LOGIN_STORAGE=file here and for "
            f"`{login_command(session)}`, or call login() in this process"
        )
    else:
        advice = f"Log in with `{login_command(session)}` where there is a person"
    said = (
        f"{session.shown_url} needs a login, but"
        if is_known
        else f"There is no usable login at {session.shown_url}, and"
    )
    return LoginRequired(
        f"{said} {why}. {advice}.",
        resource=session.server_url,
        scopes=dict.fromkeys((*session.scopes, *scopes)),
    )


class Obtaining:
    """Obtains new logins for one session; `keep` stores what came of it."""

    def __init__(self, session: Session, keep: Save) -> None:
        self._session = session
        self._keep = keep

    async def obtain(self, demand: Demand, previous: Record | None) -> Record:
        """A new login as `demand` wants it. `previous` is the one it replaces: its scopes are asked for again."""
        from .grants.base import Order

        session = self._session
        if not demand.may_ask and not session.machine:
            raise login_required(session, demand.scopes, is_known=demand.challenged)
        grant = session.grant()
        if grant.needs_person:
            if not demand.may_ask:
                raise login_required(session, demand.scopes, is_known=demand.challenged)
            why = await self._why_nobody(grant)
            if why is not None:
                raise login_required(session, demand.scopes, why=why, is_known=demand.challenged)
        history = _History(session)
        if not demand.explicit:
            history.check()
        async with opened_http(session) as http:
            demand, discovery = await self._discover(http, demand, previous, grant)
            order = Order(
                discovery=discovery,
                account=session.account,
                requested_scopes=session.scopes,
                challenged_scopes=demand.scopes,
                previous_scopes=self._previous_scopes(previous, discovery),
                resource=self._resource(discovery),
                anew=demand.anew,
                asking=history.asking,
            )
            try:
                record = await grant.obtain(order, http, session.storage, self._keep)
            except AuthError as error:
                history.failed(error)
                if demand.kind == "scopes" and isinstance(error, AuthorizationErrorResponse):
                    session.failed_scopes.add(frozenset(demand.scopes))
                raise
        if demand.kind == "scopes":
            session.step_ups += 1
        history.succeeded()
        return record

    async def _why_nobody(self, grant: Grant) -> str | None:
        """Why no person can be asked; None: one can."""
        if self._session.interactive is not None:
            return None if self._session.interactive else "interactive=False says that nobody is to be asked"
        from .browser.terminal import why_nobody_is_present

        return await asyncio.to_thread(why_nobody_is_present, shown_elsewhere=grant.brings_person)

    async def _discover(
        self, http: HttpClient, demand: Demand, previous: Record | None, grant: Grant
    ) -> tuple[Demand, Discovery]:
        """One time limit for all the documents: each of many that come in drips would have its own."""
        from .discovery import discover

        session = self._session
        try:
            async with asyncio.timeout(DISCOVERY_LIMIT):
                demand, status = await self._with_challenge(http, demand)
                return demand, await discover(
                    http,
                    session.server_url,
                    challenge_url=demand.challenge_url,
                    challenged=demand.challenged,
                    status=status,
                    issuer=grant.issuer,
                    preferred_issuer=previous.issuer if previous is not None else None,
                    allow_http=session.allow_private_network,
                    trust_pkce=session.trust_pkce,
                    tolerate_trailing_slash=session.tolerate_trailing_slash,
                )
        except TimeoutError:
            raise TransportError(
                f"The documents of {session.shown_url} and its authorization server took longer than {DISCOVERY_LIMIT:g} "
                "seconds. Try again later.",
                url=session.shown_url,
            ) from None

    async def _with_challenge(self, http: HttpClient, demand: Demand) -> tuple[Demand, int | None]:
        """`demand` with what the server says to an anonymous request, where it hasn't been asked yet."""
        if demand.challenged:
            return demand, None
        from .discovery import find_challenge

        status, challenge = await find_challenge(http, self._session.server_url)
        scopes = tuple(dict.fromkeys((*demand.scopes, *(challenge.scopes if challenge else ()))))
        url = challenge.resource_metadata if challenge else None
        return dataclasses.replace(demand, challenged=status == 401, challenge_url=url, scopes=scopes), status

    def _previous_scopes(self, previous: Record | None, discovery: Discovery) -> tuple[str, ...]:
        """Specification, "Step-Up Authorization Flow": the union with what was asked for before, at the same issuer."""
        if previous is None or previous.issuer != discovery.server.issuer:
            return ()
        return tuple(dict.fromkeys((*previous.requested_scopes, *previous.granted_scopes)))

    def _resource(self, discovery: Discovery) -> str | None:
        chosen = self._session.resource
        if chosen is SERVER_RESOURCE:
            return discovery.resource
        assert chosen is None or isinstance(chosen, str)  # noqa: S101 - the other mark was seen above
        return chosen


class _History:
    """How often, and with what end, a person was asked of late: for all sessions of the process that share the login."""

    # One for the process.
    _all: ClassVar[dict[tuple[Hashable, str], _Past]] = {}
    #: Of how many logins the past is kept.
    _MOST: ClassVar[int] = 100

    def __init__(self, session: Session) -> None:
        self._session = session
        # Programs make a new object for each connection. Of those that don't say what they share, each is on its own.
        storage = session.chosen or session.storage
        self._key = (getattr(storage, "place", id(storage)), session.key)
        self._storage = storage
        self._asked = False

    def check(self) -> None:
        """Raise where the next request must not ask: after a failure that is fresh, or too many logins in short time."""
        past = self._all.get(self._key)
        if past is None:
            return
        now = self._session.clock()
        if past.failure is not None and 0 <= now - past.failed_at < _rest_after(past.failure):
            raise past.failure.twin()
        if sum(0 <= now - asked < BUDGET_SECONDS for asked in past.asked) >= BUDGET:
            raise login_required(
                self._session,
                is_known=True,
                why=f"a person was asked {BUDGET} times within {BUDGET_SECONDS / 60:g} minutes, and the server still refuses",
            )

    def asking(self) -> None:
        """A person is about to be asked."""
        self._asked = True
        past = self._all.pop(self._key, None) or _Past(self._storage)
        self._all[self._key] = past  # at the end: the one that was asked for longest ago is forgotten first
        if len(self._all) > self._MOST:
            del self._all[next(iter(self._all))]
        past.asked = [*past.asked[1 - BUDGET :], self._session.clock()]

    def failed(self, error: AuthError) -> None:
        """Remember `error`, if a person was asked: what failed before may be tried again at once."""
        if self._asked:
            past = self._all.setdefault(self._key, _Past(self._storage))
            past.failure, past.failed_at = error.twin(), self._session.clock()

    def succeeded(self) -> None:
        """Somebody logged in."""
        past = self._all.get(self._key)
        if past is not None:
            past.failure = None


def _rest_after(error: AuthError) -> float:
    asked_for = error.retry_after if isinstance(error, TransportError) else None
    return FAILURE_REST if asked_for is None else min(max(asked_for, 1.0), LONGEST_REST)


@dataclasses.dataclass(slots=True)
class _Past:
    #: Kept, so that nobody else gets its id.
    storage: Storage
    asked: list[float] = dataclasses.field(default_factory=list)
    failure: AuthError | None = None
    failed_at: float = 0.0
