"""`mcp-login demo`: a protected MCP server and its authorization server on loopback, and three clients that call it."""

from __future__ import annotations

import contextlib
import json as json_text
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from mcp_login.errors import AuthorizationErrorResponse, LoginTimeout, StorageError

from .exit_codes import ExitCode
from .failure import CommandFailed, failure_of
from .live import LiveLine, WaitingLine, can_redraw
from .output import document_of, show_json
from .screen import duration, fields
from .steps import Sheet, Steps, time_text
from .whoami import CLIENT_NAME, call_whoami, load

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from mcp_login.storage.base import Storage
    from mcp_login.testing import EmbeddedServer

__all__ = ["PATIENCE", "Demo", "Part", "run_demo"]

#: How long the demo waits for a person in their browser, in seconds.
PATIENCE = 120.0

_PROBE = "mcp-login demo"


T = TypeVar("T")


def run_demo(*, no_browser: bool, json: bool = False) -> int:
    """Run the demo; with `json` it is told on standard error, and standard output gets one document at the end.

    Raises `CommandFailed` and any `AuthError`.
    """
    try:
        from mcp_login.testing import EmbeddedServer
    except ModuleNotFoundError as error:
        raise CommandFailed(
            f"The demo needs the extra `cli` ({error.name} is missing).",
            hint='In the clone: python -m pip install ".[cli]"',
        ) from None
    with _folder_of_its_own(), contextlib.ExitStack() as stack:
        storage, remark = _storage()
        try:
            server = stack.enter_context(EmbeddedServer(separate_authorization_server=True).run())
        except OSError as error:
            raise CommandFailed(
                f"The demo's server could not be started on 127.0.0.1: {error.strerror}.",
                hint="Programs must be allowed to listen on loopback here.",
            ) from None
        use_browser = not no_browser and _person_has_browser()
        demo = Demo(server, storage, use_browser=use_browser, patience=PATIENCE, sheet=Sheet(on_stderr=json))
        demo.introduce(remark)
        try:
            demo.run()
        finally:
            demo.clean_up()
        if json:
            show_json(demo.document())
    return ExitCode.OK


@dataclass(frozen=True, slots=True)
class Part:
    """One of the demo's four parts, when it is over. `seconds` is what it took, `waited` how much of that for a browser."""

    name: str
    requests: tuple[str, ...]
    seconds: float
    waited: float
    result: dict[str, Any] | None = None


class Demo:
    """One run of the demo against `server`, with credentials in `storage`. `patience` with a person is in seconds."""

    def __init__(
        self,
        server: EmbeddedServer,
        storage: Storage,
        *,
        use_browser: bool,
        patience: float = PATIENCE,
        sheet: Sheet | None = None,
    ) -> None:
        self._server = server
        self._storage = storage
        self._use_browser = use_browser
        self._patience = patience
        self._sheet = Sheet() if sheet is None else sheet
        self._line = LiveLine(sys.stderr)
        self._steps = Steps(server.requests, self._sheet, clock=server.clock, decided=self._line.pause)
        self._parts: list[Part] = []
        self._rotated = False

    def introduce(self, remark: str) -> None:
        """Say what is there; `remark` is about the storage."""
        self._sheet.wrapped("A protected MCP server and its authorization server, on this machine only.")
        browser = "yours" if self._use_browser else "none is used: a built-in stand-in approves"
        rows = [
            ("MCP server", self._server.url),
            ("authorization server", self._server.issuer),
            ("credentials", remark),
            ("browser", browser),
        ]
        self._sheet.write(f"\n{fields(rows, width=self._sheet.columns)}")

    def run(self) -> None:
        """All of it. Raises any `AuthError`."""
        load()
        with self._line:
            try:
                login = self._log_in()
            except LoginTimeout as error:
                raise failure_of(error, hint=_HOW_TO_GO_ON) from None
            except AuthorizationErrorResponse as error:
                raise failure_of(
                    error, hint="Programs get this when a person says no. Run the demo again and approve."
                ) from None
            reuse = self._reuse()
            refresh = self._refresh()
            self._log_out()
        kept = f"from the {self._storage.name}" if self._storage.name != "memory" else "from memory"
        self._sheet.write()
        self._sheet.wrapped(
            f"The same call three times: {time_text(login.seconds)} with a login, {time_text(reuse.seconds)} {kept}, "
            f"{time_text(refresh.seconds)} with a refresh.",
            bold=True,
        )
        self._sheet.write(f"\n{_OUTLOOK}")

    def document(self) -> dict[str, Any]:
        """What happened, for programs. Nothing in it is secret."""
        return document_of(
            "demo",
            server_url=self._server.url,
            issuer=self._server.issuer,
            storage=self._storage.name,
            browser="system" if self._use_browser else "stand_in",
            steps=[step.as_json() for step in self._steps.taken],
            parts=[
                {
                    "name": part.name,
                    "requests": len(part.requests),
                    "duration_ms": round(part.seconds * 1000, 1),
                    "waited_ms": round(part.waited * 1000, 1),
                }
                for part in self._parts
            ],
            results=[part.result for part in self._parts if part.result is not None],
            rotated=self._rotated,
        )

    def clean_up(self) -> None:
        """Delete what a demo that broke off has left. No lock: a login that nobody waits for any more may hold it."""
        from mcp_login.storage.record import client_key, record_key

        async def delete() -> None:
            for key in (record_key(self._server.url, None), client_key(self._server.issuer, CLIENT_NAME)):
                with contextlib.suppress(StorageError):
                    await self._storage.delete(key)

        _run(delete())

    def _log_in(self) -> Part:
        self._heading("1. A client calls the tool `whoami`. Nothing is stored: a person logs in.")
        part = self._take_part("login", self._call)
        waited = f"{time_text(part.waited)} of it for {'you' if self._use_browser else 'the stand-in'} in the browser"
        self._summary(f"{_count(part)}, {time_text(part.seconds)} in all; {waited}.")
        return part

    def _reuse(self) -> Part:
        kind = self._storage.name
        where = "in memory" if kind == "memory" else f"in the {kind}, as any later program does"
        self._heading(f"2. A second client finds the login {where}.")
        part = self._take_part("reuse", self._call)
        only_call = set(part.requests) == {"mcp"}
        rest = "no browser, no discovery, no token request" if only_call else "more than was needed"
        self._summary(f"{_count(part)}: {rest}. {time_text(part.seconds)} in all.")
        return part

    def _refresh(self) -> Part:
        self._heading("3. The access token has expired. A third client renews it, and nobody is asked.")
        self._server.expire_access_tokens()
        before = self._refresh_token()
        part = self._take_part("refresh", self._call)
        self._rotated = self._refresh_token() not in (None, before)
        rotation = "The refresh token was rotated, too (RFC 9700)." if self._rotated else ""
        self._summary(f"{_count(part)}, {time_text(part.seconds)} in all. {rotation}".rstrip())
        return part

    def _log_out(self) -> None:
        self._heading("4. Log out: revoked at the server, deleted here.")
        part = self._take_part("logout", self._revoke)
        self._summary(f"{_count(part)}, {time_text(part.seconds)} in all.")

    def _take_part(self, name: str, work: Callable[[], dict[str, Any] | None]) -> Part:
        self._steps.begin(name)
        before, waited, begun = len(self._server.requests), self._steps.waited, time.perf_counter()
        with self._steps.following():
            try:
                result = work()
            finally:
                seconds = time.perf_counter() - begun
                self._line.pause()
        part = Part(name, tuple(self._server.requests.endpoints[before:]), seconds, self._steps.waited - waited, result)
        self._parts.append(part)
        if result is not None:
            self._answer(json_text.dumps(result))
        return part

    def _answer(self, text: str) -> None:
        said = "whoami answers"
        shown = self._sheet.styled(said, fg="green", bold=True)
        if len(said) + len(text) + 4 <= self._sheet.columns:
            self._sheet.write(f"\n  {shown}  {text}")
        else:
            self._sheet.write(f"\n  {shown}")
            self._sheet.wrapped(text, indent="  ")

    def _heading(self, text: str) -> None:
        self._sheet.write()
        self._sheet.wrapped(text, fg="cyan", bold=True)
        self._sheet.write()

    def _summary(self, text: str) -> None:
        self._sheet.write()
        self._sheet.wrapped(text, indent="  ")

    def _call(self) -> dict[str, Any]:
        """What a new client does: it knows the URL and the storage, and nothing of the clients before."""
        return call_whoami(self._server.url, self._storage, self._open, self._patience)

    def _open(self, url: str) -> bool:
        from mcp_login.browser.opener import open_browser
        from mcp_login.testing import Person

        if self._use_browser:
            # Said first: starting a browser takes a while, and it asks for the page meanwhile.
            self._steps.browser(f"yours opens: approve there, within {duration(self._patience)}")
            # Not where the steps go through a pipe to, perhaps, the same terminal.
            if can_redraw(sys.stderr) and can_redraw(self._sheet.stream):
                what = "Waiting for you in the browser"
                self._line.start(WaitingLine(what, seconds=self._patience, encoding=sys.stderr.encoding))
            if open_browser(url):
                return True
            self._line.pause()
            self._steps.browser("yours could not be started: the stand-in approves")
        else:
            self._steps.browser("the stand-in opens the page and approves")
        return Person.approves()(url)

    def _refresh_token(self) -> str | None:
        from mcp_login.storage.record import Record, record_key

        text = _run(self._storage.load(record_key(self._server.url, None)))
        return None if text is None else Record.parse(text).refresh_token

    def _revoke(self) -> None:
        from mcp_login import sync

        result = sync.logout(self._server.url, storage=self._storage, forget_client=True, client_name=CLIENT_NAME)
        if result.error is not None:
            raise result.error


def _person_has_browser() -> bool:
    from mcp_login.browser.opener import browser_available
    from mcp_login.browser.terminal import person_present

    return person_present() and browser_available()


@contextlib.contextmanager
def _folder_of_its_own() -> Iterator[None]:
    """The demo's locks and index go to a folder that is deleted: it leaves nothing behind, and needs no home folder."""
    before = os.environ.get("MCP_LOGIN_HOME")
    with tempfile.TemporaryDirectory(prefix="mcp-login-demo-", ignore_cleanup_errors=True) as folder:
        os.environ["MCP_LOGIN_HOME"] = folder
        try:
            yield
        finally:
            if before is None:
                del os.environ["MCP_LOGIN_HOME"]
            else:
                os.environ["MCP_LOGIN_HOME"] = before


def _storage() -> tuple[Storage, str]:
    """The default storage if it works here, else memory; and what to say about it."""
    from mcp_login.storage.choose import default_storage
    from mcp_login.storage.memory import MemoryStorage

    storage = default_storage()
    if storage.name == "memory":
        return MemoryStorage(), "in memory"
    try:
        _run(_probe(storage))
    except StorageError:
        return MemoryStorage(), f"in memory: the {storage.name} can't be used here"
    return storage, f"in the {storage.name}, deleted at the end"


async def _probe(storage: Storage) -> None:
    await storage.save(_PROBE, "probe")
    await storage.delete(_PROBE)


def _run(work: Coroutine[Any, Any, T]) -> T:
    from mcp_login.portal import portal, wait_sync

    return wait_sync(portal().submit(lambda: work))


def _count(part: Part) -> str:
    return f"{len(part.requests)} request{'' if len(part.requests) == 1 else 's'}"


_HOW_TO_GO_ON = (
    "Run it again and approve in the browser; or run `mcp-login demo --no-browser`, and a built-in stand-in approves."
)

_OUTLOOK = """\
Next, with a server of your own:

  mcp-login login https://mcp.example.com/mcp
  mcp-login token https://mcp.example.com/mcp

and in Python, with httpx or httpx2:

  from mcp_login import OAuth
  httpx.Client(auth=OAuth("https://mcp.example.com/mcp"))"""
