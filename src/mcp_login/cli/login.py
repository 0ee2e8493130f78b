"""`mcp-login login`: the person, their browser, and the terminal where there is none."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO
from urllib.parse import urlsplit

import click

from mcp_login import api
from mcp_login.browser.opener import browser_available, open_browser
from mcp_login.browser.terminal import terminal_present
from mcp_login.errors import LoginRequired, RegistrationRequired, printable, without_query
from mcp_login.flight import Renewed
from mcp_login.storage.index import enter
from mcp_login.tracebacks import discreet

from .announcement import announcement, known_issuers
from .exit_codes import ExitCode
from .failure import failure_of
from .live import LiveLine, WaitingLine, can_redraw
from .output import login_document, show_json
from .screen import duration, fields, say, terminal_width, warn
from .steps import Sheet
from .stored import storage_named
from .wording import message_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from mcp_login import AuthorizationUrl
    from mcp_login.session import Session
    from mcp_login.settings import LoginOptions
    from mcp_login.storage.base import Storage

__all__ = ["SECRET_VARIABLE", "STORAGE_VARIABLE", "LoginArguments", "Way", "log_in"]

SECRET_VARIABLE = "MCP_LOGIN_CLIENT_SECRET"  # noqa: S105 - its name
STORAGE_VARIABLE = "MCP_LOGIN_STORAGE"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginArguments:
    """What the command line said. `timeout` is in seconds."""

    url: str
    scopes: tuple[str, ...]
    account: str | None
    client_id: str | None
    client_secret_stdin: bool
    issuer: str | None
    client_metadata_url: str | None
    callback_host: str | None
    callback_port: int | None
    timeout: float
    no_browser: bool
    force: bool
    storage: str | None
    no_resource: bool
    allow_private_network: bool
    trust_pkce: bool
    #: Print one document on standard output.
    json: bool = False


class Way:
    """Brings the authorization URL before the person: in their browser, else as text (an `on_authorization_url`).

    While the browser is open, `line` says so.
    """

    def __init__(self, *, no_browser: bool, allow_http: bool, line: LiveLine) -> None:
        self._no_browser = no_browser
        self._allow_http = allow_http
        self._line = line

    async def __call__(self, url: AuthorizationUrl) -> bool:
        """Whether a browser was opened. Raises `LoginRequired` where nobody would see the address."""
        has_browser = not self._no_browser and await asyncio.to_thread(browser_available)
        told = await asyncio.to_thread(announcement, url, known_issuers)
        if told is not None:
            say(told)
        if has_browser and await self._open(url):
            return True
        if has_browser:
            say("No browser could be started.")
        if not (self._no_browser or terminal_present()):
            raise _nobody_here(url.resource or without_query(url.server_url), url.scopes)
        _show(url)
        return False

    async def _open(self, url: AuthorizationUrl) -> bool:
        say(f"Opening your browser at {printable(urlsplit(url).netloc)}.")
        # The address holds the request's state: not for files.
        if _is_terminal(sys.stderr):
            say(f"If nothing happens there, open this address:\n\n  {printable(url, len(url))}\n")
        redraws = can_redraw(sys.stderr)
        if redraws:
            # Before the browser: that may take seconds to start, and be done with the login before it has.
            self._line.start(
                WaitingLine("Waiting for you in the browser", seconds=url.seconds, encoding=sys.stderr.encoding)
            )
        opened = await asyncio.to_thread(open_browser, url, allow_http=self._allow_http)
        if not opened:
            self._line.pause()
        elif not redraws:
            _say_limit(url)
        return opened


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except (OSError, ValueError):
        return False


def _show(url: AuthorizationUrl) -> None:
    # Where nothing can be pasted, the answer has to come to the redirect URI, which is at this machine.
    where = ", here or on another machine" if terminal_present() else " on this machine"
    say(f"To log in, open this address in a browser{where}:\n\n  {printable(url, len(url))}\n")
    if terminal_present():
        say(
            f"You will end at an address that begins with {printable(url.redirect_uri)}\n"
            "If that page doesn't load there, paste its whole address here and press Enter."
        )
    # In a line that stays: a countdown would be drawn over what is typed.
    _say_limit(url)


def _say_limit(url: AuthorizationUrl) -> None:
    say(f"Waiting for you, at most {duration(url.seconds)}. Ctrl-C ends the login.")


def _nobody_here(resource: str, scopes: Collection[str]) -> LoginRequired:
    return LoginRequired(
        "There is no browser here, and no terminal to show the address on.", resource=resource, scopes=scopes
    )


@discreet
def log_in(arguments: LoginArguments) -> int:
    """Log in, and say what came of it."""
    secret = _secret(arguments)
    storage = storage_named(arguments.storage)
    if storage.name == "memory":
        warn("MCP_LOGIN_STORAGE is memory: nothing of this login is left when the command ends.")
    try:
        session, renewed = _obtain(arguments, storage, arguments.client_id, secret, arguments.issuer)
    except RegistrationRequired as error:
        if arguments.client_id is not None or not terminal_present():
            raise
        # Specification, "Client Registration": ask the person where there is no other way. Asked in this thread, after the
        # login that found out: an interrupt then ends the question too, and the terminal shows what is typed again.
        client_id, secret = _ask_for_client(error)
        session, renewed = _obtain(arguments, storage, client_id, secret, error.issuer)
    except LoginRequired as error:
        raise failure_of(
            _nobody_here(error.resource, error.scopes),
            hint="Run it on a terminal. Or with --no-browser: the address is then shown here, and the login goes on when "
            "a browser on this machine has been there.",
        ) from None
    _report(session, renewed)
    if arguments.storage is not None and arguments.storage != (os.environ.get(STORAGE_VARIABLE) or "keychain"):
        say(f"Programs find it with {STORAGE_VARIABLE}={arguments.storage}; so do later commands.")
    if arguments.json:
        # Last: until it is out, whatever ends the command is a document.
        show_json(login_document(renewed.record, renewed.how, session.storage.name))
    return ExitCode.OK


def _obtain(
    arguments: LoginArguments, storage: Storage, client_id: str | None, client_secret: str | None, issuer: str | None
) -> tuple[Session, Renewed]:
    line = LiveLine(sys.stderr)
    has_way = arguments.no_browser or terminal_present() or browser_available()
    way = Way(no_browser=arguments.no_browser, allow_http=arguments.allow_private_network, line=line)
    options: LoginOptions = {
        "scopes": [scope for words in arguments.scopes for scope in words.split()],
        "account": arguments.account,
        "client_id": client_id,
        "client_secret": client_secret,
        "issuer": issuer,
        "client_metadata_url": arguments.client_metadata_url,
        "callback_host": arguments.callback_host or "127.0.0.1",
        "callback_port": arguments.callback_port,
        "callback_timeout": arguments.timeout,
        "storage": storage,
        "allow_private_network": arguments.allow_private_network,
        "trust_pkce": arguments.trust_pkce,
        # Whoever runs this command is there.
        "interactive": True,
        # None: a login that nobody would see ends before anything is registered for it.
        "on_authorization_url": way if has_way else None,
    }
    if arguments.no_resource:
        options["resource"] = None
    session = api.login_session(arguments.url, options)
    record = api.stored_record(session, force=arguments.force)
    if record is not None:
        enter(session.storage, record, session.shown_url)  # where the list was lost
        return session, Renewed(record, "adopted")
    flight = session.demand(api.login_demand(session, force=arguments.force), abandonable=True)
    try:
        with line:
            return session, flight.result()
    finally:
        session.release(flight)


def _secret(arguments: LoginArguments) -> str | None:
    # Taken out of the environment: the browser's process has no business with it.
    secret = os.environ.pop(SECRET_VARIABLE, None) or None
    if not arguments.client_secret_stdin:
        return secret if arguments.client_id is not None else None
    if arguments.client_id is None:
        raise click.UsageError("--client-secret-stdin needs --client-id.")
    with contextlib.suppress(EOFError):
        if terminal_present():
            return _prompt("Client secret", hide_input=True)
        if secret := sys.stdin.readline().strip("\r\n"):
            return secret
    raise click.UsageError("There was no secret on standard input.")


def _ask_for_client(error: RegistrationRequired) -> tuple[str, str | None]:
    sheet = Sheet(on_stderr=True)
    sheet.wrapped(message_of(error))
    sheet.write()
    sheet.wrapped("Then type it here, or press Ctrl-C and come back with --client-id.")
    sheet.write()
    try:
        client_id = _prompt("Client id")
        return client_id, _prompt("Client secret (press Enter if it has none)", hide_input=True, default="") or None
    except EOFError:
        # Nobody answers: the command ends as where nobody can be asked.
        raise error from None


def _prompt(text: str, *, hide_input: bool = False, default: str | None = None) -> str:
    """What the person types, without the spaces around it. Raises `EOFError` where the input ends (Ctrl-D)."""
    try:
        answer = ""
        while not answer:
            answer = click.prompt(text, hide_input=hide_input, default=default, show_default=False, err=True).strip()
            if default is not None:
                break
    except click.Abort as abort:
        if not hide_input:
            say()  # the cursor is behind the question still
        # click makes one of both.
        end_of_input = isinstance(abort.__context__, EOFError)
        raise (EOFError() if end_of_input else abort) from None
    return answer


def _told(scopes: Iterable[str]) -> str:
    """Each is cut, so that a long one doesn't hide the next."""
    return printable(" ".join(printable(scope, 60) for scope in scopes), 2000)


def _report(session: Session, renewed: Renewed) -> None:
    record = renewed.record
    again = "" if renewed.how == "login" else {"adopted": "Already logged", "refreshed": "Renewed, logged"}[renewed.how]
    say(f"{again or 'Logged'} in at {printable(without_query(record.server_url), 2000)}", fg="green")
    rows = [] if record.account is None else [("account", printable(record.account))]
    rows.append(("issuer", printable(record.issuer)))
    unrequested = record.unrequested_scopes
    if unrequested:
        # First, and apart from the others: what they are called is the server's to say.
        rows.append((f"not asked for: {len(unrequested)}", _told(unrequested)))
    rows.append(("scopes", _told(s for s in record.granted_scopes if s not in unrequested) or "none in particular"))
    if record.expires_at is not None:
        rows.append(("token", f"good for {duration(record.expires_at - time.time())}"))
    rows.append(("renewal", "without asking you" if record.refresh_token else "none: you log in again when it expires"))
    kept = "memory: gone when this command ends" if session.storage.name == "memory" else session.storage.name
    rows.append(("storage", kept))
    say(fields(rows, width=terminal_width(sys.stderr)))
    if renewed.how != "login":
        say("--force logs in anew.")
