"""The authorization code grant with PKCE: a person consents in a browser (RFC 6749 section 4.1, RFC 7636, RFC 8252)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import urlsplit

from mcp_login.browser.listener import LoopbackListener, Outcome
from mcp_login.errors import (
    AuthorizationErrorResponse,
    InvalidResponse,
    LoginTimeout,
    RedirectPortTaken,
    TokenErrorResponse,
    TransportError,
)
from mcp_login.network.retry import Retries
from mcp_login.portal import awaiting_answer, protect
from mcp_login.protocol.authorization import AuthorizationResponse, build_authorization_request
from mcp_login.protocol.scope import select_scopes
from mcp_login.protocol.token import TokenResponse, build_code_request, parse_token_response
from mcp_login.storage.record import Record, binding_key, client_key
from mcp_login.surroundings import LoginAbandoned
from mcp_login.surroundings import clock as clock_of_surroundings

from . import last_page
from .client_registration import (
    ClientOptions,
    bind,
    check_binding,
    forget_client,
    mechanism_for,
    register,
    stored_client,
)
from .consent import Consent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from mcp_login.network.http import HttpClient
    from mcp_login.protocol.authorization import AuthorizationRequest
    from mcp_login.protocol.client import ClientInformation
    from mcp_login.storage.base import Storage

    from .base import Order, Save

__all__ = ["AuthorizationCodeGrant", "RedirectOptions"]

_log = logging.getLogger("mcp_login")

#: How long to wait for another login with the same redirect URI, beyond the time that one has itself, in seconds.
QUEUE_GRACE = 30.0


@dataclass(frozen=True, slots=True)
class RedirectOptions:
    """Where the browser comes back to."""

    host: str = "127.0.0.1"
    #: None: the registered one, else any free one.
    port: int | None = None


@dataclass(frozen=True, slots=True)
class AuthorizationCodeGrant:
    """Logs a person in through the system browser and a loopback redirect listener."""

    client: ClientOptions = field(default_factory=ClientOptions)
    redirect: RedirectOptions = field(default_factory=RedirectOptions)
    #: Extra parameters of the authorization request, such as `audience` or `prompt`.
    authorize_params: Mapping[str, str] = field(default_factory=dict)
    consent: Consent = field(default_factory=Consent)
    clock: Callable[[], float] = field(default_factory=clock_of_surroundings)

    name: ClassVar[str] = "authorization_code"
    needs_person: ClassVar[bool] = True

    @property
    def issuer(self) -> str | None:
        """The issuer that a pre-registered client is bound to."""
        return self.client.issuer

    @property
    def client_id(self) -> str | None:
        """The client id that the caller gave."""
        return self.client.client_id

    @property
    def brings_person(self) -> bool:
        """Whether the caller shows the address to the person itself."""
        return self.consent.on_authorization_url is not None

    async def forget(self, server_url: str, issuer: str, storage: Storage) -> None:
        """Forget this application's registration at `issuer`, and where the caller's own client was used: all begins anew."""
        await storage.delete(client_key(issuer, self.client.client_name))
        if self.client.client_id is not None:
            await storage.delete(binding_key(server_url, self.client.client_id))

    async def obtain(self, order: Order, http: HttpClient, storage: Storage, save: Save) -> Record:
        """Log the person in. Raises any `AuthError`; among them `LoginTimeout` after the login's own time limit."""
        server_url, issuer = order.discovery.server_url, order.discovery.server.issuer
        await self.consent.require_way(server_url)
        await check_binding(self.client, storage, server_url, issuer)
        record = await self._obtain(order, http, storage, save)
        await bind(self.client, storage, server_url, issuer)
        return record

    async def _obtain(self, order: Order, http: HttpClient, storage: Storage, save: Save) -> Record:
        registration, narrow = _Registration(is_stale=order.anew), False
        while True:
            try:
                return await self._login(order, http, storage, save, registration, narrow=narrow)
            except _OtherRegistrationNeeded as signal:
                _log.info("registering anew: %s", signal.cause.error)
                registration.is_stale = True
            except AuthorizationErrorResponse as error:
                # Specification, "Step-Up Authorization Flow": scope-related errors come during authorization, too. What
                # nobody asked for in so many words is left out, once.
                if error.error != "invalid_scope" or narrow or self._scopes(order, narrow=True) == self._scopes(order):
                    raise
                _log.info("the server knows not all of the scopes: once more with those that were asked for")
                narrow = True

    def _scopes(self, order: Order, *, narrow: bool = False) -> tuple[str, ...]:
        """Specification, "Scope Selection Strategy"; `narrow`: without what only lists and earlier logins name."""
        return select_scopes(
            requested=order.requested_scopes,
            challenged=order.challenged_scopes,
            previous=() if narrow else order.previous_scopes,
            supported_by_resource=None if narrow else order.discovery.scopes_supported,
            supported_by_server=None if narrow else order.discovery.server.scopes_supported,
        )

    async def _login(
        self,
        order: Order,
        http: HttpClient,
        storage: Storage,
        save: Save,
        registration: _Registration,
        *,
        narrow: bool,
    ) -> Record:
        server = order.discovery.server
        if server.authorization_endpoint is None or server.token_endpoint is None:
            raise InvalidResponse("the metadata names no authorization or token endpoint", url=server.issuer)
        scopes = self._scopes(order, narrow=narrow)
        async with self._registered(order, http, storage, scopes, registration) as (listener, client, reused):
            request = build_authorization_request(
                server,
                client,
                redirect_uri=listener.redirect_uri,
                scopes=scopes,
                resource=order.resource,
                extra_params=self.authorize_params,
                state_bytes=secrets.token_bytes(32),
                verifier_bytes=secrets.token_bytes(32),
            )
            # The browser isn't sent where we would not go ourselves: into a private network, by a public server.
            await http.check_place(server.authorization_endpoint, floor=order.discovery.floor)
            outcome = Outcome.FAILED
            order.asking()
            try:
                async with _in_doubt(client if reused else None, storage):
                    response = await self._ask(request, listener, order.discovery.server_url)
                record = await protect(self._redeem(order, http, client, response, scopes, save))
                outcome = Outcome.DONE
            except AuthorizationErrorResponse as error:
                outcome = Outcome.DENIED if error.error == "access_denied" else Outcome.FAILED
                await self._consider(error, storage, client, reused=reused)
                raise
            except TokenErrorResponse as error:
                await self._consider(error, storage, client, reused=reused)
                raise
            except LoginTimeout:
                outcome = Outcome.EXPIRED
                raise
            finally:
                failure = None if outcome is Outcome.DONE else sys.exception()
                if isinstance(failure, _OtherRegistrationNeeded):
                    outcome = Outcome.AGAIN
                told = last_page.detail(failure, self.client.client_name, order.discovery.server_url)
                listener.finish(outcome, told)
            return record

    async def _ask(
        self, request: AuthorizationRequest, listener: LoopbackListener, server_url: str
    ) -> AuthorizationResponse:
        try:
            return await self.consent.ask(request, listener, server_url)
        except LoginAbandoned as end:
            # In a test the browser says so; else it takes the whole time limit to find out.
            raise LoginTimeout(
                f"Nobody finished the login at {request.issuer}, and nobody will: {end}.", seconds=self.consent.timeout
            ) from None

    @contextlib.asynccontextmanager
    async def _registered(
        self,
        order: Order,
        http: HttpClient,
        storage: Storage,
        scopes: tuple[str, ...],
        registration: _Registration,
    ) -> AsyncIterator[tuple[LoopbackListener, ClientInformation, bool]]:
        """A bound listener, and a client that is known by its redirect URI; whether the registration is an earlier login's."""
        server = order.discovery.server
        async with contextlib.AsyncExitStack() as stack:
            earlier = None
            dynamic = mechanism_for(self.client, server) == "dynamic"
            # One redirect URI serves one login at a time: logins that share a registration or a port queue.
            if dynamic:
                await self._queue(stack, storage, client_key(server.issuer, self.client.client_name))
                earlier = registration.made
                if earlier is None and not registration.is_stale:
                    earlier = await stored_client(storage, server.issuer, self.client.client_name, self.clock())
            if self.redirect.port:
                await self._queue(stack, storage, f"redirect {self.redirect.host}:{self.redirect.port}")
            listener, earlier = await self._listen(earlier)
            stack.push_async_callback(listener.aclose)
            client = earlier or await register(
                self.client,
                server,
                redirect_uri=listener.redirect_uri,
                scopes=scopes,
                http=http,
                floor=order.discovery.floor,
                storage=storage,
            )
            reused = earlier is not None and earlier is not registration.made
            registration.made = client if dynamic and not reused else None
            yield listener, client, reused

    async def _queue(self, stack: contextlib.AsyncExitStack, storage: Storage, key: str) -> None:
        limit = self.consent.timeout + QUEUE_GRACE
        try:
            async with asyncio.timeout(limit):
                await stack.enter_async_context(storage.lock(key))
        except TimeoutError:
            raise LoginTimeout(
                f"Another login that needs the same redirect URI has been open for {limit:g} seconds. Finish it or end it, "
                "and try again.",
                seconds=limit,
            ) from None

    async def _listen(self, earlier: ClientInformation | None) -> tuple[LoopbackListener, ClientInformation | None]:
        """Bind first (RFC 8252 section 7.3): the registered port, else the caller's, else any."""
        host, port = self.redirect.host, self.redirect.port
        if earlier is not None:
            registered = urlsplit(earlier.redirect_uri or "")
            if registered.hostname == host.strip("[]") and registered.port and port in (None, registered.port):
                with contextlib.suppress(RedirectPortTaken):
                    return await LoopbackListener.open(host, registered.port), earlier
        return await LoopbackListener.open(host, port or 0), None

    async def _redeem(
        self,
        order: Order,
        http: HttpClient,
        client: ClientInformation,
        response: AuthorizationResponse,
        scopes: tuple[str, ...],
        save: Save,
    ) -> Record:
        server = order.discovery.server
        assert server.token_endpoint is not None  # noqa: S101 - _login saw it
        request = build_code_request(server.token_endpoint, client, response, resource=order.resource)
        retries = Retries(asyncio.get_running_loop().time)
        while True:
            # A life counts from the request: a slow answer was made some time before it came.
            sent_at = self.clock()
            try:
                with awaiting_answer():
                    said = await http.send(request, floor=order.discovery.floor)
                answer = parse_token_response(said, secrets=request.secrets, now=sent_at)
                break
            except TransportError as error:
                # RFC 6749 section 4.1.2: a code that comes back ends what it gave. It is good as long as nobody saw it.
                pause = None if error.may_have_acted else retries.pause(error)
                if pause is None:
                    raise
            await asyncio.sleep(pause)
        record = self._record(order, client, answer, scopes, sent_at)
        await save(record)
        return record

    def _record(
        self, order: Order, client: ClientInformation, answer: TokenResponse, scopes: tuple[str, ...], sent_at: float
    ) -> Record:
        discovery = order.discovery
        return Record(
            server_url=discovery.server_url,
            account=order.account,
            issuer=discovery.server.issuer,
            client=client,
            grant=self.name,
            token_endpoint=discovery.server.token_endpoint or "",
            revocation_endpoint=discovery.server.revocation_endpoint,
            access_token=answer.access_token,
            refresh_token=answer.refresh_token,
            expires_at=None if answer.expires_in is None else sent_at + answer.expires_in,
            obtained_at=sent_at,
            # RFC 6749 section 5.1: a scope that is left out is the one that was asked for.
            granted_scopes=scopes if answer.scopes is None else answer.scopes,
            requested_scopes=scopes,
            resource=order.resource or discovery.resource,
            sends_resource=order.resource is not None,
            address_space=discovery.floor.name.lower(),
        )

    async def _consider(
        self,
        error: AuthorizationErrorResponse | TokenErrorResponse,
        storage: Storage,
        client: ClientInformation,
        *,
        reused: bool,
    ) -> None:
        """Whether an earlier registration is to blame: forgotten by the server, or without the scopes that are wanted now."""
        if client.mechanism == "dynamic" and reused and error.error in _BLAMES_REGISTRATION:
            await forget_client(storage, client)
            raise _OtherRegistrationNeeded(error) from None


@contextlib.asynccontextmanager
async def _in_doubt(earlier: ClientInformation | None, storage: Storage) -> AsyncIterator[None]:
    """Around the wait for a person: if it ends without an answer, the registration `earlier` is forgotten.

    A server that no longer knows it shows the person an error page and never comes back: they wait in vain, or give up.
    """
    try:
        yield
    except LoginTimeout as error:
        if earlier is None:
            raise
        await forget_client(storage, earlier)
        raise LoginTimeout(
            f"{error} The next login registers this client anew, in case the server has forgotten it.",
            seconds=error.seconds,
        ) from None
    except asyncio.CancelledError:
        if earlier is not None:
            await protect(forget_client(storage, earlier))
        raise


_BLAMES_REGISTRATION = frozenset({"invalid_client", "unauthorized_client", "invalid_scope"})


@dataclass(slots=True)
class _Registration:
    """What the windows of one login know of its dynamic registration: one is enough for all of them."""

    #: An earlier login's is of no use.
    is_stale: bool = False
    made: ClientInformation | None = None


class _OtherRegistrationNeeded(Exception):
    """Not an error: the login starts once more, with a new registration."""

    def __init__(self, cause: AuthorizationErrorResponse | TokenErrorResponse) -> None:
        super().__init__()
        self.cause = cause
