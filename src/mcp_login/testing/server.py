"""`EmbeddedServer`: a protected MCP server together with its authorization server, in process or on loopback."""

from __future__ import annotations

from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Unpack

import anyio.to_thread

from mcp_login.surroundings import clock as clock_of_surroundings

from .application import Application
from .authorization_server import AuthorizationServer
from .clients import Clients
from .configuration import Configuration, Settings
from .faults import Faults
from .mcp_server import McpServer
from .request_log import Endpoint, RequestLog
from .site import Site
from .token_endpoint import TokenEndpoint
from .tokens import Authorization, Tokens

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    import httpx

    from mcp_login.credentials import Credentials
    from mcp_login.storage.base import Storage

    from .loopback import LoopbackServer

__all__ = ["EmbeddedServer"]


class EmbeddedServer:
    """A protected MCP server and its OAuth 2.1 authorization server. It is strict: a client's mistake is refused.

    The other keywords are the fields of `Configuration`, and change those of `configuration`. `clock` gives seconds since
    the epoch; None: the clock of `isolated`, or of the machine. `authorization_server`: another embedded server that issues
    the tokens for this one.

    In process, `app` is an ASGI application (`http_client` makes a client for it); `run` and `serve` put it on loopback.
    Clients and tokens are remembered as long as the object lives, also when it leaves its port and comes back to it.
    """

    def __init__(
        self,
        configuration: Configuration | None = None,
        *,
        clock: Callable[[], float] | None = None,
        authorization_server: EmbeddedServer | None = None,
        **settings: Unpack[Settings],
    ) -> None:
        self._site = Site(replace(configuration or Configuration(), **settings))
        clock = clock or clock_of_surroundings()
        self.clock: Callable[[], float] = clock
        self._issuing: EmbeddedServer = self
        #: Faults to come, by endpoint.
        self.faults: Faults = Faults()
        #: What was asked, in order.
        self.requests: RequestLog = RequestLog()
        self._tokens = Tokens(self._site, clock)
        self._clients = Clients(self._site, clock)
        self._authorization_server = AuthorizationServer(self._site, self._clients, self._tokens)
        self._mcp_server = McpServer(self._site, self._tokens)
        #: The ASGI application, of both origins where the authorization server has its own.
        self.app: Application = Application(
            site=self._site,
            clock=clock,
            faults=self.faults,
            log=self.requests,
            authorization_server=self._authorization_server,
            token_endpoint=TokenEndpoint(self._site, self._clients, self._tokens),
            mcp_server=self._mcp_server,
        )

        if authorization_server is not None:
            self.use_authorization_server(authorization_server)

    def __repr__(self) -> str:
        return f"EmbeddedServer({self.url!r})"

    def use_authorization_server(self, other: EmbeddedServer) -> None:
        """From now on `other` issues the tokens for this server: its issuer is named, and tokens of before don't count.

        So several servers have one authorization server, or one server moves to another.
        """
        other._authorization_server.protect(self._site)
        self._mcp_server.accept(other._site, other._tokens)
        self._issuing = other

    @property
    def configuration(self) -> Configuration:
        """What holds now."""
        return self._site.configuration

    def reconfigure(self, **settings: Unpack[Settings]) -> None:
        """Change the configuration while the server runs, for example `reconfigure(issuer_path="/moved")`."""
        self._site.configuration = replace(self._site.configuration, **settings)

    @property
    def url(self) -> str:
        """The MCP endpoint, for example http://127.0.0.1:49152/mcp."""
        return self._site.url

    @property
    def origin(self) -> str:
        """The MCP server's origin."""
        return self._site.origin

    @property
    def resource(self) -> str:
        """The resource identifier that tokens are bound to (RFC 8707)."""
        return self._site.resource

    @property
    def issuer(self) -> str:
        """The issuer identifier (RFC 8414) of the authorization server that is named to clients."""
        return (self._mcp_server.protector or self._site).issuer

    def endpoint(self, name: str) -> str:
        """The URL of an endpoint of this server's own authorization server: `authorize`, `token`, `register`, `revoke`."""
        return self._site.server_endpoint(name)

    @contextmanager
    def run(self, *, host: str = "127.0.0.1", port: int = 0) -> Iterator[EmbeddedServer]:
        """Serve on loopback, from a thread, inside a `with` block. `port` 0 lets the system choose.

        `url`, `issuer` and the others follow, and keep the address after the block. Raises `OSError` where the port is
        taken.
        """
        running = self._start(host, port)
        try:
            yield self
        finally:
            running.stop()

    @asynccontextmanager
    async def serve(self, *, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[EmbeddedServer]:
        """`run` for an `async with` block; it works on asyncio and on trio."""
        running = await anyio.to_thread.run_sync(self._start, host, port)
        try:
            yield self
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(running.stop)

    def _start(self, host: str, port: int) -> LoopbackServer:
        # uvicorn is only needed here, not in process.
        from .loopback import LoopbackServer, listening_socket

        separate = self.configuration.separate_authorization_server
        listener = listening_socket(host, port)
        sockets = [listener]
        try:
            if separate:
                sockets.append(listening_socket(host, 0))
            name = f"[{host}]" if ":" in host else host
            origins = [f"http://{name}:{known.getsockname()[1]}" for known in sockets]
            self._site.move(origins[0], origins[-1])
            running = LoopbackServer(self.app, sockets)
            running.start()
        except BaseException:
            for known in sockets:
                known.close()
            raise
        return running

    def http_client(self) -> httpx.AsyncClient:
        """A client whose requests reach this server in process, whatever host they name."""
        from .in_process import in_process_client

        return in_process_client(self.app)

    def sign_in(
        self,
        storage: Storage | None = None,
        *,
        account: str | None = None,
        scopes: str | Sequence[str] = (),
        client_id: str | None = None,
        client_name: str = "mcp-login",
    ) -> Credentials:
        """Leave a login at this server in `storage`, as if a person had consented before. No request is made or counted.

        `storage` None: the default storage of `isolated`. The other arguments are those of `OAuth`; `client_id` names one of
        `Configuration.clients`, and by default the client registers dynamically where the server allows that.

        Call it from any thread, with or without an event loop. Raises `ValueError` where there is no such client, or no
        storage; and what the storage raises.
        """
        from .sign_in import leave_login

        issuing: EmbeddedServer = self._issuing
        wanted = tuple(scopes.split()) if isinstance(scopes, str) else tuple(scopes)
        return leave_login(
            storage,
            resource_site=self._site,
            site=issuing._site,
            clients=issuing._clients,
            tokens=issuing._tokens,
            clock=self.clock,
            account=account,
            scopes=wanted,
            client_id=client_id,
            client_name=client_name,
        )

    def count(self, endpoint: Endpoint | None = None, **params: str) -> int:
        """How many requests there were, for example `count("token", grant_type="refresh_token")`."""
        return self.requests.count(endpoint, **params)

    @property
    def authorizations(self) -> list[Authorization]:
        """What was approved and denied so far, in order."""
        return list(self._authorization_server.authorizations)

    @property
    def reuse_detections(self) -> int:
        """How often a refresh token came back after its rotation (and its grace)."""
        return self._tokens.reuse_detections

    def secrets(self) -> frozenset[str]:
        """Every code, token, client secret, state and verifier so far: what no log, repr or file in clear may hold."""
        verifiers = {request.params.get("code_verifier", "") for request in self.requests.matching("token")}
        known = self._tokens.secrets() | self._clients.secrets() | self._authorization_server.secrets() | verifiers
        return frozenset(known - {""})

    def forget_clients(self) -> None:
        """Registrations are gone, except pre-registered ones: `invalid_client`, and an error page for the browser."""
        self._clients.forget()

    def revoke_access_tokens(self) -> None:
        """Access tokens are dead at once; refresh tokens live."""
        self._tokens.revoke_access_tokens()

    def revoke_refresh_tokens(self) -> None:
        """Refresh tokens are dead at once; access tokens live."""
        self._tokens.revoke_refresh_tokens()

    def expire_access_tokens(self) -> None:
        """Access tokens are dead at once, as if their time were up."""
        self._tokens.expire_access_tokens()
