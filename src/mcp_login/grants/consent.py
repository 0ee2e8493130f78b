"""Asking a person: the address goes to their browser, their terminal or the caller, the answer comes by redirect or paste."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from mcp_login.browser.listener import Outcome
from mcp_login.browser.opener import browser_available, open_browser
from mcp_login.browser.terminal import read_pasted_line, show_url, terminal_present
from mcp_login.errors import AuthError, AuthorizationErrorResponse, LoginRequired, LoginTimeout, without_query
from mcp_login.protocol.authorization import (
    AuthorizationRequest,
    AuthorizationResponse,
    authorization_response_from_pasted_text,
    matches_state,
    validate_authorization_response,
)

from .authorization_url import AuthorizationUrl

if TYPE_CHECKING:
    from mcp_login.browser.listener import LoopbackListener

__all__ = ["Consent", "OnAuthorizationUrl"]

_log = logging.getLogger("mcp_login")

T = TypeVar("T")

#: Told the URL to open, and what it is for. A plain function runs in a thread of its own, an asynchronous one on the library's
#: asyncio loop. What it answers: True, it opened a browser; False, there is to be none, so that the answer may be pasted on the
#: terminal; None, the library opens one.
OnAuthorizationUrl = Callable[[AuthorizationUrl], object]


@dataclass(frozen=True, slots=True)
class Consent:
    """The way to one person."""

    on_authorization_url: OnAuthorizationUrl | None = None
    #: Seconds that the person has.
    timeout: float = 300.0
    #: For intranets: lets the authorization endpoint be without TLS.
    allow_http: bool = False

    async def require_way(self, server_url: str) -> None:
        """Raise `LoginRequired` where there is nothing to show an address on: before anything is registered."""
        if self.on_authorization_url is None and not terminal_present():
            if await asyncio.to_thread(browser_available):
                return
            raise self._no_way(server_url)

    async def ask(
        self, request: AuthorizationRequest, listener: LoopbackListener, server_url: str
    ) -> AuthorizationResponse:
        """Send the person to the authorization server and wait for the answer.

        Raises `LoginTimeout`, `AuthorizationErrorResponse`, `LoginRequired`, `IssuerMismatch`, `InvalidResponse`, and what
        `on_authorization_url` raises.
        """
        answer: asyncio.Future[AuthorizationResponse] = asyncio.get_running_loop().create_future()

        def accept(query: str) -> Outcome:
            if answer.done() or not matches_state(request, query):
                # Specification, "Open Redirection": results without our state are discarded, and end nothing.
                return Outcome.IGNORED
            try:
                answer.set_result(validate_authorization_response(request, query))
            except AuthError as error:
                # Without its frames: the query is in them.
                answer.set_exception(error.twin())
                denied = isinstance(error, AuthorizationErrorResponse) and error.error == "access_denied"
                return Outcome.DENIED if denied else Outcome.FAILED
            return Outcome.RECEIVED

        # At the same time: a browser in the foreground (BROWSER=lynx) returns only when the login is over.
        tasks = {
            asyncio.ensure_future(listener.receive(accept)),
            asyncio.ensure_future(self._send_person(request, accept, server_url)),
        }
        limit = asyncio.timeout(self.timeout)
        try:
            async with limit:
                return await _first_of(answer, tasks)
        except TimeoutError:
            if not limit.expired():
                raise  # the caller's own, from on_authorization_url
            raise LoginTimeout(
                f"Nobody finished the login at {request.issuer} within {self.timeout:g} seconds. Try again; if the browser "
                "showed an error page there, it may say why. callback_timeout sets the limit.",
                seconds=self.timeout,
            ) from None
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if answer.done() and not answer.cancelled():
                answer.exception()

    async def _send_person(
        self, request: AuthorizationRequest, accept: Callable[[str], Outcome], server_url: str
    ) -> None:
        if not await self._show(request, server_url):
            await _read_paste(request, accept)

    async def _show(self, request: AuthorizationRequest, server_url: str) -> bool:
        """Bring the URL before the person; False where only a terminal is left, to which the answer can be pasted back."""
        url = AuthorizationUrl(
            request.url,
            server_url=server_url,
            issuer=request.issuer,
            resource=request.resource,
            scopes=request.scopes,
            redirect_uri=request.redirect_uri,
            seconds=self.timeout,
        )
        if self.on_authorization_url is not None:
            answer = await self._tell(self.on_authorization_url, url)
            if isinstance(answer, bool):
                return answer
        there_is_one = await asyncio.to_thread(browser_available)
        if there_is_one:
            self._write(url, browser=True)
            if await asyncio.to_thread(open_browser, str(url), allow_http=self.allow_http):
                return True
        if self.on_authorization_url is None and not terminal_present():
            raise self._no_way(server_url)
        self._write(url, browser=False)
        return False

    def _write(self, url: AuthorizationUrl, *, browser: bool) -> None:
        if self.on_authorization_url is None:
            show_url(
                url,
                server=without_query(url.server_url),
                issuer=url.issuer,
                scopes=url.scopes,
                seconds=url.seconds,
                browser=browser,
            )

    async def _tell(self, callback: OnAuthorizationUrl, url: AuthorizationUrl) -> object:
        # Not on this loop: every other login and refresh of the process runs there, and so does the listener.
        if inspect.iscoroutinefunction(callback) or inspect.iscoroutinefunction(getattr(callback, "__call__", None)):  # noqa: B004
            answer = callback(url)
        else:
            answer = await asyncio.to_thread(_called, callback, url)
        return await answer if inspect.isawaitable(answer) else answer

    def _no_way(self, server_url: str) -> LoginRequired:
        return LoginRequired(
            "A person has to log in, but no browser can be opened here and there is no terminal to show the address on. "
            "Log in on a terminal with `mcp-login login`, or pass on_authorization_url.",
            resource=server_url,
        )


def _called(callback: OnAuthorizationUrl, url: AuthorizationUrl) -> object:
    try:
        return callback(url)
    except StopIteration as error:
        # It can't pass through a future, which would wait for ever (PEP 479 does the same to generators).
        raise RuntimeError("on_authorization_url raised StopIteration") from error


async def _first_of(answer: asyncio.Future[T], tasks: set[asyncio.Task[None]]) -> T:
    """Wait for `answer`. A task that fails fails the wait; one that ends doesn't."""
    waiting: set[asyncio.Future[None]] = set(tasks)
    while not answer.done():
        pending: list[asyncio.Future[Any]] = [answer, *waiting]
        await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for task in {task for task in waiting if task.done()}:
            waiting.remove(task)
            if not answer.done():
                task.result()
    return answer.result()


async def _read_paste(request: AuthorizationRequest, accept: Callable[[str], Outcome]) -> None:
    """The redirect URL (or code) that the person copies out of a browser elsewhere is an answer like any other."""
    while (line := await read_pasted_line()) is not None:
        try:
            query = authorization_response_from_pasted_text(request, line)
        except AuthError as error:
            _log.warning("%s", error)
            continue
        if accept(query) is not Outcome.IGNORED:
            return
        _log.warning("What was pasted belongs to another login. Paste the whole address the browser ended at.")
