"""`OAuth`: the httpx and httpx2 adapter over a session."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import httpx

from .errors import AuthError, LoginRequired
from .session import SERVER_RESOURCE, Demand, Flight, Renewed, ServerResource, Session
from .settings import open_session

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence

    import httpx2

    from .grants.base import Grant
    from .protocol.challenge import Challenge
    from .storage.base import Storage
    from .storage.record import Record

    class _Auth(httpx.Auth, httpx2.Auth):
        """For type checkers: an Auth of both libraries. Their flows differ in the types of requests only."""

        def auth_flow(self, request: Any) -> Generator[Any, Any, None]: ...
        def sync_auth_flow(self, request: Any) -> Generator[Any, Any, None]: ...
        def async_auth_flow(self, request: Any) -> AsyncGenerator[Any, Any]: ...

else:
    try:
        import httpx2
    except ModuleNotFoundError:
        _bases = (httpx.Auth,)
    else:
        # httpx2.alias_httpx() makes the two one class.
        _bases = tuple(dict.fromkeys((httpx2.Auth, httpx.Auth)))
    _Auth = type("_Auth", _bases, {})

__all__ = ["OAuth"]

_log = logging.getLogger("mcp_login")

#: Authorizations that one request may cause (specification, "Step-Up Authorization Flow": no more than a few times).
ATTEMPTS = 3

#: The status codes that may say something of the token (RFC 6750 section 3.1).
_REFUSALS = frozenset({401, 403})

#: How long a request whose token is still good waits for an early refresh, in seconds.
EARLY_PATIENCE = 5.0


class OAuth(_Auth):
    """Logs an MCP client in, for the `auth=` of an httpx or httpx2 client, asynchronous or synchronous.

    A request gets the stored token of its server. When there is none, or the server refuses it, the token is refreshed or a
    person logs in through the browser, and the request goes out again. Credentials are kept in the OS keychain, so that the
    next process needs neither. One object may serve any number of clients, threads and event loops.

    Implements the MCP specification 2026-07-28, "Authorization".

    Arguments:
        server_url: The MCP endpoint. https, or http on loopback.
        scopes: Scopes to ask for besides those that the server names: a space-separated string or a sequence.
        client_name: How this client introduces itself when it registers.
        client_id: A client id that the authorization server's operator gave you; `client_secret` with it, if there is one.
        issuer: The issuer that `client_id` belongs to; it is used at no other.
        client_metadata_url: Your Client ID Metadata Document, used where the server supports them.
        additional_client_metadata: More fields for dynamic registration (RFC 7591 section 2).
        callback_host: Host of the redirect URI: `127.0.0.1`, `localhost` or `::1`.
        callback_port: Port of the redirect URI. None: the registered one, else any that is free.
        callback_timeout: How long a person has to finish a login, in seconds.
        storage: Where credentials are kept. None: what MCP_LOGIN_STORAGE says, else the OS keychain.
        account: A label that keeps several logins at one server apart.
        interactive: Whether a person may be asked. None: unless this is CI or there is nothing to show an address on.
        on_authorization_url: Called with the address a person has to open; may be asynchronous. If it answers True, it
            has opened a browser; if False, there is to be none; else the library opens one. The default writes the
            address to stderr, if that is a terminal.
        resource: The resource indicator (RFC 8707), where it isn't the one of the server's metadata; None leaves it out.
        authorize_params: More parameters for the authorization request, such as `audience` or `prompt`.
        grant: Another way to obtain tokens than a person's login.
        http_client: Makes the httpx.AsyncClient for the library's own requests. Addresses are then judged by URL only.
        allow_private_network: For intranets and tests: lets metadata lead to private and loopback addresses, and
            private addresses be used without TLS.
        trust_pkce: Go on where the server's metadata doesn't say whether it supports PKCE (Entra ID). It is used anyway.
        tolerate_trailing_slash: Accept metadata whose issuer differs from the expected one by a slash at its end.

    Requests raise any `AuthError`: `LoginRequired` where a person would have to be asked, `TransportError` where a server is
    down. Inside an MCP client these arrive in exception groups: catch them with `except* AuthError`.

    Raises `PolicyError` for a URL that is neither https nor loopback.
    """

    requires_request_body = False
    requires_response_body = False

    def __init__(
        self,
        server_url: str,
        *,
        scopes: str | Sequence[str] | None = None,
        client_name: str = "mcp-login",
        client_id: str | None = None,
        client_secret: str | None = None,
        issuer: str | None = None,
        client_metadata_url: str | None = None,
        additional_client_metadata: Mapping[str, Any] | None = None,
        callback_host: str = "127.0.0.1",
        callback_port: int | None = None,
        callback_timeout: float = 300.0,
        storage: Storage | None = None,
        account: str | None = None,
        interactive: bool | None = None,
        on_authorization_url: Callable[[str], object] | None = None,
        resource: str | ServerResource | None = SERVER_RESOURCE,
        authorize_params: Mapping[str, str] | None = None,
        grant: Grant | None = None,
        http_client: Callable[[], httpx.AsyncClient] | None = None,
        allow_private_network: bool = False,
        trust_pkce: bool = False,
        tolerate_trailing_slash: bool = False,
    ) -> None:
        self._session = open_session(
            server_url,
            scopes=scopes,
            client_name=client_name,
            client_id=client_id,
            client_secret=client_secret,
            issuer=issuer,
            client_metadata_url=client_metadata_url,
            additional_client_metadata=additional_client_metadata,
            callback_host=callback_host,
            callback_port=callback_port,
            callback_timeout=callback_timeout,
            storage=storage,
            account=account,
            interactive=interactive,
            on_authorization_url=on_authorization_url,
            resource=resource,
            authorize_params=authorize_params,
            grant=grant,
            http_client=http_client,
            allow_private_network=allow_private_network,
            trust_pkce=trust_pkce,
            tolerate_trailing_slash=tolerate_trailing_slash,
        )

    def __repr__(self) -> str:
        account = "" if self._session.account is None else f", account={self._session.account!r}"
        return f"OAuth({self._session.server_url!r}{account})"

    def sync_auth_flow(self, request: Any) -> Generator[Any, Any, None]:
        """Authenticate one request of a synchronous client."""
        session = self._session
        attempt = None
        header = session.header_for(str(request.url))
        if header is not None:
            request.headers["Authorization"] = header
        else:
            attempt = _Attempt(session, request)
            flight = attempt.begin()
            if flight is not None:
                attempt.settle(_outcome(flight, attempt.patience))
        while True:
            response = yield request
            if response.status_code not in _REFUSALS and not session.login_is_useless:
                return
            attempt = attempt or _Attempt(session, request, header)
            flight = attempt.judge(response)
            if flight is None:
                return
            response.read()  # frees the connection: a person may take minutes
            attempt.take(flight.result())

    async def async_auth_flow(self, request: Any) -> AsyncGenerator[Any, Any]:
        """Authenticate one request of an asynchronous client, on asyncio or trio."""
        session = self._session
        attempt = None
        header = session.header_for(str(request.url))
        if header is not None:
            request.headers["Authorization"] = header
        else:
            attempt = _Attempt(session, request)
            flight = attempt.begin()
            if flight is not None:
                attempt.settle(await _outcome_async(flight, attempt.patience))
        while True:
            response = yield request
            if response.status_code not in _REFUSALS and not session.login_is_useless:
                return
            attempt = attempt or _Attempt(session, request, header)
            flight = attempt.judge(response)
            if flight is None:
                return
            await response.aread()  # frees the connection: a person may take minutes
            attempt.take(await flight.wait())


def _outcome(flight: Flight, patience: float | None) -> Renewed | AuthError | None:
    try:
        return flight.result(patience)
    except AuthError as error:
        return error
    except TimeoutError:
        return None


async def _outcome_async(flight: Flight, patience: float | None) -> Renewed | AuthError | None:
    import anyio

    try:
        with anyio.move_on_after(patience):
            return await flight.wait()
    except AuthError as error:
        return error
    return None


class _Attempt:
    """One request of the caller, from its first sending to its last."""

    __slots__ = ("_authorizations", "_fallback", "_how", "_inside", "_request", "_session", "_token", "patience")

    def __init__(self, session: Session, request: Any, sent: str | None = None) -> None:
        self._session = session
        self._request = request
        #: The token that was sent last: one on the warmest path, where nobody attended.
        self._token = None if sent is None else sent.removeprefix("Bearer ")
        self._inside = sent is not None
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
        return session.demand(Demand("token", may_login=False))

    def settle(self, outcome: Renewed | AuthError | None) -> None:
        """Go on with what came of `begin`: a login is left to the server's challenge, other errors to the caller."""
        if isinstance(outcome, Renewed):
            if self._session.is_good(outcome.record, 0.0):
                self.take(outcome)
        elif self._fallback is not None:
            self._authorize(self._fallback)
        elif outcome is not None and not isinstance(outcome, LoginRequired):
            raise outcome

    def take(self, renewed: Renewed) -> None:
        """Use what was waited for."""
        self._how.add(renewed.how)
        self._authorize(renewed.record)

    def _authorize(self, record: Record) -> None:
        """RFC 6750 section 2.1."""
        self._token = record.access_token
        self._request.headers["Authorization"] = "Bearer " + record.access_token

    def judge(self, response: Any) -> Flight | None:
        """What has to be waited for before the request is sent again; None: the response stands."""
        status = response.status_code
        if status not in _REFUSALS:
            if self._session.login_is_useless and self._token is not None:
                self._session.accepted()
            return None
        if not self._inside or self._authorizations >= ATTEMPTS:
            return None
        from .protocol.challenge import bearer_challenge

        challenge = bearer_challenge(response.headers.get_list("www-authenticate"))
        demand = self._renew(challenge) if status == 401 else self._step_up(challenge)
        if demand is None:
            return None
        self._authorizations += 1
        flight = self._session.demand(demand)
        return flight if self._replayable() else None

    def _renew(self, challenge: Challenge | None) -> Demand | None:
        """401: what the storage has by now, then one refresh, then one login; after that the answer stands."""
        session = self._session
        if "login" in self._how:
            session.login_is_useless = True
        if session.login_is_useless and (self._token is None or self._how & {"refreshed", "login"}):
            return None
        return Demand(
            "rejected",
            rejected=self._token,
            challenge_url=challenge.resource_metadata if challenge else None,
            scopes=challenge.scopes if challenge else (),
            may_refresh="refreshed" not in self._how,
            may_login=not session.login_is_useless,
        )

    def _step_up(self, challenge: Challenge | None) -> Demand | None:
        """403 insufficient_scope: a login with more scopes, once for each set of them ("Step-Up Authorization Flow")."""
        session = self._session
        if challenge is None or challenge.error != "insufficient_scope" or not challenge.scopes:
            return None
        wanted = frozenset(challenge.scopes)
        record = session.peek()
        if "login" in self._how and record is not None and wanted <= set(record.requested_scopes):
            session.failed_scopes.add(wanted)
        if wanted in session.failed_scopes:
            return None
        return Demand(
            "scopes",
            rejected=self._token,
            challenge_url=challenge.resource_metadata,
            scopes=challenge.scopes,
        )

    def _replayable(self) -> bool:
        """Whether the body can be sent again: a stream that was consumed can't."""
        if type(self._request.stream).__name__ == "ByteStream":
            return True
        _log.warning(
            "A request to %s needs a new token, but its body is a stream that can't be sent twice. Send it again.",
            self._session.server_url,
        )
        return False

    def _withhold(self) -> None:
        """A token that a redirect carried outside its resource is taken off again."""
        record = self._session.peek()
        if record is None:
            return
        headers = self._request.headers
        if headers.get("Authorization") == "Bearer " + record.access_token:
            del headers["Authorization"]
        self._session.warn_outside(str(self._request.url))
