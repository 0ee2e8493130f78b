"""`mcp-login login`: the person, their browser, and the terminal where there is none."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import click

from mcp_login import api
from mcp_login.browser.opener import browser_available, open_browser
from mcp_login.browser.terminal import terminal_present
from mcp_login.errors import LoginRequired, RegistrationRequired, printable
from mcp_login.flight import Renewed

from .exit_codes import ExitCode
from .failure import failure_of
from .screen import duration, fields, say, warn
from .stored import storage_named
from .wording import message_of

if TYPE_CHECKING:
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


class Way:
    """Brings the authorization URL before the person: in their browser, else as text (an `on_authorization_url`)."""

    def __init__(self, *, no_browser: bool, timeout: float) -> None:
        self._no_browser = no_browser
        self._timeout = timeout

    async def __call__(self, url: str) -> bool:
        """Whether a browser was opened. Raises `LoginRequired` where nobody would see the address."""
        shown = printable(url, len(url))
        if not self._no_browser and await asyncio.to_thread(browser_available):
            say(f"Opening your browser at {printable(urlsplit(url).netloc)}.")
            if await asyncio.to_thread(open_browser, url):
                # The address holds the request's state: not for files.
                if sys.stderr.isatty():
                    say(f"If nothing happens there, open this address:\n\n  {shown}\n")
                self._say_limit()
                return True
            say("No browser could be started.")
        if not (self._no_browser or terminal_present()):
            raise LoginRequired(
                "There is no browser here, and no terminal to show the address on.", resource=url.partition("?")[0]
            )
        say(f"To log in, open this address in a browser, here or on another machine:\n\n  {shown}\n")
        if terminal_present():
            start = parse_qs(urlsplit(url).query).get("redirect_uri", ["the callback"])[0]
            say(
                f"You will end at an address that begins with {printable(start)}\n"
                "If that page doesn't load there, paste its whole address here and press Enter."
            )
        self._say_limit()
        return False

    def _say_limit(self) -> None:
        say(f"Waiting for you, at most {duration(self._timeout)}. Ctrl-C ends the login.")


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
        say(message_of(error))
        client_id, secret = _ask_for_client()
        session, renewed = _obtain(arguments, storage, client_id, secret, error.issuer)
    except LoginRequired as error:
        raise failure_of(
            error,
            hint="Run it on a terminal. Or with --no-browser: the address is then shown here, and the login goes on when "
            "a browser on this machine has been there.",
        ) from None
    _report(session, renewed)
    if arguments.storage is not None and arguments.storage != (os.environ.get(STORAGE_VARIABLE) or "keychain"):
        say(f"Programs find it with {STORAGE_VARIABLE}={arguments.storage}; so do later commands.")
    return ExitCode.OK


def _obtain(
    arguments: LoginArguments, storage: Storage, client_id: str | None, client_secret: str | None, issuer: str | None
) -> tuple[Session, Renewed]:
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
        "on_authorization_url": Way(no_browser=arguments.no_browser, timeout=arguments.timeout),
    }
    if arguments.no_resource:
        options["resource"] = None
    session = api.login_session(arguments.url, options)
    record = api.stored_record(session, force=arguments.force)
    if record is not None:
        return session, Renewed(record, "adopted")
    flight = session.demand(api.login_demand(session, force=arguments.force), abandonable=True)
    try:
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
    if terminal_present():
        return _prompt("Client secret", hide_input=True)
    secret = sys.stdin.readline().strip("\r\n")
    if not secret:
        raise click.UsageError("There was no secret on standard input.")
    return secret


def _ask_for_client() -> tuple[str, str | None]:
    client_id = _prompt("Client id")
    return client_id, _prompt("Client secret (press Enter if it has none)", hide_input=True, default="") or None


def _prompt(text: str, *, hide_input: bool = False, default: str | None = None) -> str:
    answer: str = click.prompt(text, hide_input=hide_input, default=default, show_default=False, err=True)
    return answer.strip()


def _report(session: Session, renewed: Renewed) -> None:
    record = renewed.record
    again = "" if renewed.how == "login" else {"adopted": "Already logged", "refreshed": "Renewed, logged"}[renewed.how]
    say(f"{again or 'Logged'} in at {record.server_url}", fg="green")
    rows = [] if record.account is None else [("account", printable(record.account))]
    rows.append(("issuer", printable(record.issuer)))
    rows.append(("scopes", printable(" ".join(record.granted_scopes)) or "none in particular"))
    if record.expires_at is not None:
        rows.append(("token", f"good for {duration(record.expires_at - time.time())}"))
    rows.append(("renewal", "without asking you" if record.refresh_token else "none: you log in again when it expires"))
    kept = "memory: gone when this command ends" if session.storage.name == "memory" else session.storage.name
    rows.append(("storage", kept))
    say(fields(rows))
    if renewed.how != "login":
        say("--force logs in anew.")
